//! Where a channel that is read over http(s) may be, and where it may lead.

use std::fmt;
use std::str::FromStr;

use cep27::TargetChannel;
use url::{Host, Url};

use crate::Error;

/// The URL at which clients read a channel: `https`, or `http` on this machine; without credentials, token, query
/// and fragment.
///
/// It equals what an attestation for this channel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelUrl {
    channel: TargetChannel,
    url: Url,
}

impl ChannelUrl {
    /// The URL, without slash at its end: as it is attested.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.channel.as_str()
    }

    /// Whether it leads to this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }

    /// Whether it is a channel on prefix.dev, which has a convention for attestations that is older than CEP-50.
    pub(super) fn is_prefix(&self) -> bool {
        self.url
            .host_str()
            .is_some_and(|host| host == "prefix.dev" || host.ends_with(".prefix.dev"))
    }

    /// The URL of something in the channel, by the parts of its path. Each stays one part, whatever is in it.
    pub(crate) fn join<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        join(&self.url, parts)
    }

    /// The folder that repodata names as the place of its packages (CEP-15), as seen from the repodata.
    ///
    /// The error says why nothing is fetched from there.
    pub(super) fn folder_at(&self, repodata: &Url, base_url: &str) -> Result<Url, String> {
        let shown = cep27::printable(base_url);
        let mut folder = repodata
            .join(base_url)
            .map_err(|error| format!("its base_url {shown} is no URL: {error}"))?;
        folder.set_fragment(None);
        if folder.query().is_some() {
            return Err(format!("its base_url {shown} has a query"));
        }
        check_step(&folder, self.is_loopback())
            .map_err(|refused| format!("its base_url {shown} {refused}"))?;
        Ok(folder)
    }
}

/// The URL of something in a folder, by the parts of its path.
pub(crate) fn join<'a>(folder: &Url, parts: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = folder.clone();
    // A URL with a host, as all of these are, has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// Whether a request may go to this URL; `from_loopback` where it comes from a channel on this machine.
///
/// Only https, so that nothing can be read or changed on the way; http within this machine, which a channel
/// elsewhere must not lead to either. Credentials in the URL would be sent to a host that somebody else chose. The
/// error says what the URL is instead.
pub(crate) fn check_step(url: &Url, from_loopback: bool) -> Result<(), &'static str> {
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    match url.scheme() {
        _ if has_credentials => Err("has credentials in it"),
        "http" | "https" if is_loopback(url) && !from_loopback => Err("leads to this machine"),
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("is plain http"),
        _ => Err("is not https"),
    }
}

impl FromStr for ChannelUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |reason: String| Error::ChannelUrl { reason };
        let channel: TargetChannel = text
            .trim_end_matches('/')
            .parse()
            .map_err(|error: cep27::NameError| refused(error.to_string()))?;
        let url = Url::parse(channel.as_str()).map_err(|error| refused(error.to_string()))?;
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(refused(format!(
                "expected https, found {}: only a channel on this machine may be plain http",
                cep27::printable(channel.as_str())
            )));
        }
        Ok(Self { channel, url })
    }
}

impl fmt::Display for ChannelUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a URL leads to this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(text: &str) -> ChannelUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_channel_is_https_or_on_this_machine() {
        for (text, url) in [
            ("https://prefix.dev/acme", "https://prefix.dev/acme"),
            ("https://prefix.dev/acme/", "https://prefix.dev/acme"),
            ("http://127.0.0.1:8080/c", "http://127.0.0.1:8080/c"),
            ("http://[::1]:8080/c", "http://[::1]:8080/c"),
            ("http://localhost/c", "http://localhost/c"),
        ] {
            assert_eq!(channel(text).as_str(), url);
        }
        for text in [
            "http://conda.example.org/c",
            "http://127.0.0.1.nip.io/c",
            "http://localhost.evil.example/c",
            "file:///c",
            "s3://bucket/c",
            "https://prefix.dev/acme?x=1",
            "nonsense",
            "",
        ] {
            assert_eq!(
                text.parse::<ChannelUrl>().unwrap_err().code(),
                "channel_url_invalid",
                "{text}"
            );
        }
    }

    #[test]
    fn secrets_in_a_channel_are_refused_and_not_repeated() {
        for text in [
            "https://user:s3cret@prefix.dev/acme",
            "https://prefix.dev/t/s3cret/acme",
            "https://prefix.dev/acme?token=s3cret",
        ] {
            let message = text.parse::<ChannelUrl>().unwrap_err().to_string();
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn parts_of_a_path_stay_parts() {
        let joined = channel("https://a.example/c").join(["noarch", "../x/y?z#1.0-0.conda"]);
        assert_eq!(
            joined.as_str(),
            "https://a.example/c/noarch/..%2Fx%2Fy%3Fz%231.0-0.conda"
        );
        let joined = channel("https://a.example").join(["noarch", "a-1!2.0+x-0.conda"]);
        assert_eq!(
            joined.as_str(),
            "https://a.example/noarch/a-1!2.0+x-0.conda"
        );
    }

    #[test]
    fn packages_may_be_elsewhere_but_not_anywhere() {
        let (far, near) = (
            channel("https://a.example/c"),
            channel("http://127.0.0.1/c"),
        );
        let at = |channel: &ChannelUrl, base_url| {
            channel
                .folder_at(&channel.join(["noarch", "repodata.json"]), base_url)
                .map(String::from)
        };
        assert_eq!(at(&far, "../files/").unwrap(), "https://a.example/c/files/");
        assert_eq!(
            at(&far, "https://cdn.example/f").unwrap(),
            "https://cdn.example/f"
        );
        assert_eq!(
            at(&near, "http://127.0.0.1:9/f").unwrap(),
            "http://127.0.0.1:9/f"
        );
        for base_url in [
            "http://cdn.example/f",
            "http://127.0.0.1/f",
            "https://localhost/f",
            "file:///etc",
            "ftp://cdn.example/f",
            "https://user:word@cdn.example/f",
            "https://cdn.example/f?x",
            "https://",
        ] {
            assert!(at(&far, base_url).is_err(), "{base_url}");
        }
        assert!(at(&near, "http://cdn.example/f").is_err());
    }
}
