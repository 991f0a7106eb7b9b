//! The channel URLs that we attest.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{NameError, printable};

/// The channel that we attest a package for: the URL that conda clients read.
///
/// Stricter than what CEP-27 rule 7 accepts, since it is published for good: `http` or `https`,
/// no credentials, no token path (`/t/…`), no query, no fragment, no trailing slash, at most 2083
/// characters, and in the normal form that every URL parser agrees on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetChannel(String);

/// Most characters of a target channel (CEP-27's schema).
pub(crate) const CHANNEL_LIMIT: usize = 2083;

impl TargetChannel {
    /// The URL, without trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TargetChannel {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let unreadable = |found| NameError::ChannelUrl {
            found,
            limit: CHANNEL_LIMIT,
        };
        let length = text.chars().count();
        if length == 0 || length > CHANNEL_LIMIT {
            return Err(unreadable(format!("{length} characters")));
        }
        let url = Url::parse(text).map_err(|error| unreadable(format!("no URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(NameError::ChannelScheme {
                found: printable(url.scheme()),
            });
        }
        if let Some(found) = carries(&url) {
            return Err(NameError::ChannelCarries { found });
        }
        let expected = url.as_str().trim_end_matches('/').to_owned();
        if text == expected {
            Ok(Self(expected))
        } else if text.trim_end_matches('/') == expected {
            Err(NameError::ChannelSlash { expected })
        } else {
            Err(NameError::ChannelForm { expected })
        }
    }
}

/// What the URL carries that is not for everyone to read.
fn carries(url: &Url) -> Option<&'static str> {
    // As conda does it: a token is what follows `/t/`, wherever that stands.
    let mut segments = url
        .path()
        .split('/')
        .skip_while(|segment| !segment.eq_ignore_ascii_case("t"));
    let has_token = segments.next().is_some() && segments.next().is_some();
    if !url.username().is_empty() || url.password().is_some() {
        Some("credentials")
    } else if has_token {
        Some("a token (`/t/…`)")
    } else if url.query().is_some() {
        Some("a query (`?…`)")
    } else if url.fragment().is_some() {
        Some("a fragment (`#…`)")
    } else {
        None
    }
}

impl TryFrom<String> for TargetChannel {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<TargetChannel> for String {
    fn from(channel: TargetChannel) -> Self {
        channel.0
    }
}

impl fmt::Display for TargetChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
