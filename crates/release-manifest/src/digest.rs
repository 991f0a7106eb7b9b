//! Digests of what is not a package.

use std::fmt;
use std::str::FromStr;

use cep27::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::Error;

/// The digest of something that is not a package: a plan, a configuration, the inputs of an
/// output. Written with its algorithm: `sha256:` and 64 lower-case hexadecimal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Sha256);

const PREFIX: &str = "sha256:";

impl Digest {
    /// The SHA-256 digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::from_bytes(sha2::Sha256::digest(bytes).into()))
    }

    /// The digest without its algorithm.
    #[must_use]
    pub fn sha256(self) -> Sha256 {
        self.0
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.strip_prefix(PREFIX)
            .and_then(|hex| hex.parse().ok())
            .map(Self)
            .ok_or_else(|| Error::Digest {
                found: cep27::printable(text),
            })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl From<Sha256> for Digest {
    fn from(sha256: Sha256) -> Self {
        Self(sha256)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}
