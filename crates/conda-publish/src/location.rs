//! How a user names a channel.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::remote::is_loopback;
use crate::{Error, anaconda, artifactory, cloudsmith, quetz, s3};

/// A channel as the user names it with `--to`: every kind of channel that is known, whether or not something can
/// be published there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelLocation {
    /// A folder: `file:///path`, or a plain path as it was given.
    File(PathBuf),
    /// A channel on prefix.dev (`https://prefix.dev/<channel>`) or a server like it (`prefix://host/<channel>`).
    Prefix {
        /// The server's URL.
        server: Url,
        /// The channel's name.
        channel: String,
    },
    /// `https://anaconda.org/<owner>[/<label>]`.
    AnacondaOrg {
        /// The user or organisation.
        owner: String,
        /// The label; `main` where none is named.
        label: String,
    },
    /// `cloudsmith://<owner>/<repository>`.
    Cloudsmith {
        /// The user or organisation.
        owner: String,
        /// The repository.
        repository: String,
    },
    /// `s3://<bucket>[/<path>]`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The folder in it, without slashes at its ends; empty for the bucket itself.
        path: String,
    },
    /// `quetz://<host>/<channel>`.
    Quetz {
        /// The server's URL.
        server: Url,
        /// The channel's name.
        channel: String,
    },
    /// `artifactory://<host>/<channel>`.
    Artifactory {
        /// The server's URL.
        server: Url,
        /// The channel's name.
        channel: String,
    },
}

/// The kinds of servers whose URLs may look like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelType {
    /// A server like prefix.dev.
    Prefix,
    /// Quetz.
    Quetz,
    /// Artifactory.
    Artifactory,
}

impl FromStr for ChannelType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "prefix" => Ok(Self::Prefix),
            "quetz" => Ok(Self::Quetz),
            "artifactory" => Ok(Self::Artifactory),
            _ => Err(format!(
                "expected \"prefix\", \"quetz\" or \"artifactory\", found \"{}\"",
                cep27::printable(text)
            )),
        }
    }
}

impl ChannelLocation {
    /// The environment variables that have the credentials of who publishes to the channel, for a job to be given them.
    /// Where there are none, nobody is asked for any, or the identity of the job is enough.
    #[must_use]
    pub fn credential_variables(&self) -> &'static [&'static str] {
        match self {
            Self::File(_) | Self::Prefix { .. } => &[],
            Self::AnacondaOrg { .. } => &[anaconda::KEY],
            Self::Cloudsmith { .. } => &[cloudsmith::KEY],
            Self::S3 { .. } => &[s3::KEY_ID, s3::SECRET_KEY],
            Self::Quetz { .. } => &[quetz::KEY],
            Self::Artifactory { .. } => &[artifactory::TOKEN],
        }
    }

    /// Takes a channel's URL as that of a server of this type, where the URL alone doesn't tell: `https`, or `http`
    /// on this machine. One that tells, and tells something else, is an error.
    pub fn of_type(text: &str, channel_type: ChannelType) -> Result<Self, Error> {
        let url = Url::parse(text).map_err(|_| unknown(text))?;
        if !matches!(url.scheme(), "http" | "https") {
            let location: Self = text.parse()?;
            return match location.channel_type() == Some(channel_type) {
                true => Ok(location),
                false => Err(unknown(text)),
            };
        }
        refuse_secrets(&url)?;
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(unknown(text));
        }
        let known = match channel_type {
            ChannelType::Prefix => {
                on_namespace(&url).map(|(server, channel)| Self::Prefix { server, channel })
            }
            ChannelType::Quetz => {
                on_server(&url).map(|(server, channel)| Self::Quetz { server, channel })
            }
            ChannelType::Artifactory => {
                on_server(&url).map(|(server, channel)| Self::Artifactory { server, channel })
            }
        };
        known.ok_or_else(|| unknown(text))
    }

    fn channel_type(&self) -> Option<ChannelType> {
        match self {
            Self::Prefix { .. } => Some(ChannelType::Prefix),
            Self::Quetz { .. } => Some(ChannelType::Quetz),
            Self::Artifactory { .. } => Some(ChannelType::Artifactory),
            Self::File(_)
            | Self::AnacondaOrg { .. }
            | Self::Cloudsmith { .. }
            | Self::S3 { .. } => None,
        }
    }

    /// The forms in which a channel can be named.
    pub const FORMS: &[&str] = &[
        "a path",
        "file:///<path>",
        "https://prefix.dev/<channel>",
        "https://<name>.prefix.dev/<namespace>/<channel>",
        "prefix://<host>/<channel>",
        "https://anaconda.org/<owner>/<label>",
        "cloudsmith://<owner>/<repository>",
        "s3://<bucket>/<path>",
        "quetz://<host>/<channel>",
        "artifactory://<host>/<channel>",
    ];

    /// What this kind of channel is called: "a folder", "prefix.dev", "S3" and so on.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "a folder",
            Self::Prefix { server, .. } if server.host_str() == Some(PREFIX) => "prefix.dev",
            Self::Prefix { .. } => "a prefix server",
            Self::AnacondaOrg { .. } => "anaconda.org",
            Self::Cloudsmith { .. } => "Cloudsmith",
            Self::S3 { .. } => "S3",
            Self::Quetz { .. } => "Quetz",
            Self::Artifactory { .. } => "Artifactory",
        }
    }
}

impl FromStr for ChannelLocation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((scheme, _)) = text.split_once("://") else {
            return if text.is_empty() {
                Err(unknown(text))
            } else {
                Ok(Self::File(text.into()))
            };
        };
        let url = Url::parse(text).map_err(|_| unknown(text))?;
        refuse_secrets(&url)?;
        let known = match (scheme.to_ascii_lowercase().as_str(), url.host_str()) {
            ("file", None) => url.to_file_path().ok().map(Self::File),
            ("https", Some(host)) if is_prefix_dev(host) => {
                on_namespace(&url).map(|(server, channel)| Self::Prefix { server, channel })
            }
            ("prefix", Some(_)) => {
                on_namespace(&url).map(|(server, channel)| Self::Prefix { server, channel })
            }
            ("https", Some(host)) if host.split('.').any(|label| label == "quetz") => {
                on_server(&url).map(|(server, channel)| Self::Quetz { server, channel })
            }
            ("https", Some("anaconda.org")) => match *segments(&url) {
                [owner] => Some(Self::AnacondaOrg {
                    owner: owner.to_owned(),
                    label: "main".to_owned(),
                }),
                [owner, label] => Some(Self::AnacondaOrg {
                    owner: owner.to_owned(),
                    label: label.to_owned(),
                }),
                _ => None,
            },
            ("cloudsmith", Some(owner)) => match *segments(&url) {
                [repository] => Some(Self::Cloudsmith {
                    owner: owner.to_owned(),
                    repository: repository.to_owned(),
                }),
                _ => None,
            },
            ("s3", Some(bucket)) => Some(Self::S3 {
                bucket: bucket.to_owned(),
                path: segments(&url).join("/"),
            }),
            ("quetz", Some(_)) => {
                on_server(&url).map(|(server, channel)| Self::Quetz { server, channel })
            }
            ("artifactory", Some(_)) => {
                on_server(&url).map(|(server, channel)| Self::Artifactory { server, channel })
            }
            _ => None,
        };
        known.ok_or_else(|| unknown(text))
    }
}

impl fmt::Display for ChannelLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |scheme: &str, server: &Url, channel: &str| {
            let server = server.as_str().trim_end_matches('/');
            match server.strip_prefix("https://") {
                Some(server) => format!("{scheme}://{server}/{channel}"),
                None => format!("{server}/{channel}"),
            }
        };
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Prefix { server, channel } if server.host_str().is_some_and(is_prefix_dev) => {
                f.pad(&on("https", server, channel))
            }
            Self::Prefix { server, channel } => f.pad(&on("prefix", server, channel)),
            Self::AnacondaOrg { owner, label } => {
                f.pad(&format!("https://anaconda.org/{owner}/{label}"))
            }
            Self::Cloudsmith { owner, repository } => {
                f.pad(&format!("cloudsmith://{owner}/{repository}"))
            }
            Self::S3 { bucket, path } if path.is_empty() => f.pad(&format!("s3://{bucket}")),
            Self::S3 { bucket, path } => f.pad(&format!("s3://{bucket}/{path}")),
            Self::Quetz { server, channel } => f.pad(&on("quetz", server, channel)),
            Self::Artifactory { server, channel } => f.pad(&on("artifactory", server, channel)),
        }
    }
}

const PREFIX: &str = "prefix.dev";

/// Secrets have other ways in; in a URL they end up in logs, manifests and attestations.
fn refuse_secrets(url: &Url) -> Result<(), Error> {
    let found = if !url.username().is_empty() || url.password().is_some() {
        "credentials"
    } else if url.query().is_some() {
        "a query"
    } else if url.fragment().is_some() {
        "a fragment"
    } else if url.scheme() != "file" && segments(url).first() == Some(&"t") {
        "a token"
    } else {
        return Ok(());
    };
    Err(Error::LocationSecret { found })
}

fn is_prefix_dev(host: &str) -> bool {
    host == PREFIX || host.ends_with(".prefix.dev")
}

/// The server and the channel: all of the path, since channels have namespaces.
fn on_namespace(url: &Url) -> Option<(Url, String)> {
    let channel = segments(url).join("/");
    let mut server = url.clone();
    server.set_path("");
    let (server, _) = on_server(&server.join("x").ok()?)?;
    (!channel.is_empty()).then_some((server, channel))
}

/// The server and the channel: the last segment of the path.
fn on_server(url: &Url) -> Option<(Url, String)> {
    let mut path = segments(url);
    let channel = path.pop()?.to_owned();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let scheme = match url.scheme() {
        "http" => "http",
        _ => "https",
    };
    let server = format!("{scheme}://{}{port}/{}", url.host_str()?, path.join("/"));
    Some((Url::parse(&server).ok()?, channel))
}

fn segments(url: &Url) -> Vec<&str> {
    url.path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect()
}

fn unknown(text: &str) -> Error {
    Error::Location {
        found: cep27::printable(text),
        forms: ChannelLocation::FORMS.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ChannelLocation {
        text.parse().unwrap()
    }

    #[test]
    fn paths_are_folders() {
        for path in ["channel", "./a b", "/srv/channel", "../x", "C:\\channel"] {
            assert_eq!(parsed(path), ChannelLocation::File(path.into()));
        }
        assert_eq!(
            parsed("file:///srv/my%20channel/"),
            ChannelLocation::File("/srv/my channel/".into())
        );
    }

    #[test]
    fn every_known_kind_is_told_apart_and_shown_as_it_was_named() {
        for (text, kind) in [
            ("https://prefix.dev/my-channel", "prefix.dev"),
            (
                "prefix://conda.example.org:8443/my-channel",
                "a prefix server",
            ),
            ("https://anaconda.org/acme/dev", "anaconda.org"),
            ("cloudsmith://acme/pkgs", "Cloudsmith"),
            ("s3://bucket/some/path", "S3"),
            ("s3://bucket", "S3"),
            ("quetz://quetz.example.org/acme", "Quetz"),
            (
                "artifactory://acme.jfrog.example/artifactory/conda-local",
                "Artifactory",
            ),
        ] {
            let location = parsed(text);
            assert_eq!(
                (location.kind(), location.to_string().as_str()),
                (kind, text)
            );
        }
        assert_eq!(
            parsed("https://anaconda.org/acme").to_string(),
            "https://anaconda.org/acme/main"
        );
        assert_eq!(
            parsed("artifactory://acme.jfrog.example/artifactory/conda-local"),
            ChannelLocation::Artifactory {
                server: Url::parse("https://acme.jfrog.example/artifactory").unwrap(),
                channel: "conda-local".to_owned()
            }
        );
    }

    #[test]
    fn other_urls_are_refused_with_the_forms_there_are() {
        for text in [
            "",
            "https://example.org/channel",
            "http://prefix.dev/channel",
            "https://prefix.dev",
            "https://prefix.dev.evil.example/channel",
            "https://anaconda.org/a/b/c",
            "cloudsmith://acme",
            "file://host/path",
            "ftp://example.org/x",
            "://",
        ] {
            let message = text.parse::<ChannelLocation>().unwrap_err().to_string();
            for form in ChannelLocation::FORMS {
                assert!(message.contains(form), "{text}: {message}");
            }
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for (text, found) in [
            ("https://user:s3cret@prefix.dev/channel", "credentials"),
            ("quetz://s3cret@host/channel", "credentials"),
            ("https://prefix.dev/channel?token=s3cret", "a query"),
            ("https://prefix.dev/channel#s3cret", "a fragment"),
            ("https://anaconda.org/t/s3cret/channel", "a token"),
        ] {
            let message = text.parse::<ChannelLocation>().unwrap_err().to_string();
            assert!(
                message.contains(found) && !message.contains("s3cret"),
                "{message}"
            );
        }
    }
}
