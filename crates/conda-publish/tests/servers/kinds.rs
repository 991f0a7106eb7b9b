//! The servers that packages are uploaded to, one of each kind.

use std::collections::BTreeMap;
use std::path::Path;

use cep27::Sha256;
use channel_servers::anaconda::AnacondaOrg;
use channel_servers::artifactory::Artifactory;
use channel_servers::cloudsmith::Cloudsmith;
use channel_servers::prefix::{Access, PrefixOptions, PrefixServer};
use channel_servers::quetz::{CHANNEL, OWNER_KEY, Quetz};
use conda_publish::{Channel, ChannelLocation, ChannelType, OpenOptions, open};
use release_manifest::PackageKey;

use crate::options;
use crate::package::sha256;

/// What each of them takes.
pub(crate) const SECRET: &str = OWNER_KEY;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Prefix,
    Quetz,
    Artifactory,
    Anaconda,
    Cloudsmith,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Prefix,
        Self::Quetz,
        Self::Artifactory,
        Self::Anaconda,
        Self::Cloudsmith,
    ];

    /// What publishing to a server of this kind needs, credentials for 127.0.0.1 included.
    pub(crate) fn options(self, folder: &Path) -> OpenOptions {
        let kind = match self {
            Self::Prefix | Self::Artifactory => "BearerToken",
            Self::Quetz | Self::Anaconda | Self::Cloudsmith => "CondaToken",
        };
        options(folder, &format!(r#"{{"{kind}":"{SECRET}"}}"#))
    }

    /// The channel on a server of this kind, as it is reached at this origin.
    pub(crate) async fn open(self, origin: &str, mut options: OpenOptions) -> Box<dyn Channel> {
        let typed = |url: String, kind| ChannelLocation::of_type(&url, kind).unwrap();
        let location = match self {
            Self::Prefix => typed(format!("{origin}/my-channel"), ChannelType::Prefix),
            Self::Quetz => typed(format!("{origin}/{CHANNEL}"), ChannelType::Quetz),
            Self::Artifactory => typed(
                format!("{origin}/artifactory/conda-local"),
                ChannelType::Artifactory,
            ),
            Self::Anaconda => {
                options.api_url = Some(origin.parse().unwrap());
                options.read_at = Some(format!("{origin}/conda/acme").parse().unwrap());
                "https://anaconda.org/acme".parse().unwrap()
            }
            Self::Cloudsmith => {
                options.api_url = Some(format!("{origin}/v1").parse().unwrap());
                options.read_at = Some(format!("{origin}/conda/acme/pkgs").parse().unwrap());
                "cloudsmith://acme/pkgs".parse().unwrap()
            }
        };
        open(&location, &options).await.unwrap()
    }
}

/// A server that works.
pub(crate) enum Server {
    Prefix(PrefixServer),
    Quetz(Quetz),
    Artifactory(Artifactory),
    Anaconda(AnacondaOrg),
    Cloudsmith(Cloudsmith),
}

impl Server {
    /// Starts one of this kind; `None` where it is not installed.
    pub(crate) async fn start(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Prefix => Self::Prefix(
                PrefixServer::start(PrefixOptions {
                    api_keys: BTreeMap::from([(SECRET.to_owned(), Access::Write)]),
                    ..PrefixOptions::default()
                })
                .await,
            ),
            Kind::Quetz => Self::Quetz(Quetz::start().await?),
            Kind::Artifactory => {
                Self::Artifactory(Artifactory::start(&format!("Bearer {SECRET}")).await)
            }
            Kind::Anaconda => Self::Anaconda(AnacondaOrg::start(SECRET).await),
            Kind::Cloudsmith => Self::Cloudsmith(Cloudsmith::start(SECRET).await),
        })
    }

    /// Where it listens, as host and port.
    pub(crate) fn address(&self) -> String {
        let url = match self {
            Self::Prefix(server) => server.url().to_owned(),
            Self::Quetz(server) => server.origin().to_owned(),
            Self::Artifactory(server) => server.url(""),
            Self::Anaconda(server) => server.api().to_owned(),
            Self::Cloudsmith(server) => server.api(),
        };
        let address = url.strip_prefix("http://").unwrap().split('/').next();
        address.unwrap().to_owned()
    }

    /// The hash of what it has under a package's name.
    pub(crate) async fn sha256(&self, package: &PackageKey) -> Option<Sha256> {
        let path = package.to_string();
        let url = match self {
            Self::Prefix(server) => format!("{}/{path}", server.channel()),
            Self::Quetz(server) => format!("{}/{path}", server.channel()),
            Self::Artifactory(server) => {
                return server.shelf().package(&path).as_deref().map(sha256);
            }
            Self::Anaconda(server) => return server.shelf().package(&path).as_deref().map(sha256),
            Self::Cloudsmith(server) => {
                return server.shelf().package(&path).as_deref().map(sha256);
            }
        };
        let answer = reqwest::get(url).await.unwrap();
        match answer.status().as_u16() {
            404 => None,
            200 => Some(sha256(&answer.bytes().await.unwrap())),
            status => panic!("{status}"),
        }
    }
}
