//! Where trust comes from, and how it may be had.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// Where the trusted root and the signing configuration come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustSource {
    /// The public-good instance of Sigstore, by its TUF repository.
    PublicGood,
    /// Sigstore's staging instance, by its TUF repository.
    Staging,
    /// GitHub's instance for private repositories, by its TUF repository: it can verify but never
    /// sign or publish.
    Github,
    /// Any other instance that has a TUF repository.
    Tuf {
        /// The repository: `https`, or `http` on loopback.
        url: Url,
        /// The file with the TUF root metadata where trust in it begins.
        root: PathBuf,
    },
    /// Files at hand.
    File {
        /// A `trust_config.json`, or a `trusted_root.json`.
        path: PathBuf,
        /// A `signing_config.json`, which goes before that of a `trust_config.json`.
        signing_config: Option<PathBuf>,
    },
}

/// What the trust material is for: that decides how fresh it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Verifying takes the copy in the cache, or the one in this program, where the repository
    /// cannot be reached.
    Verify,
    /// Signing takes what the repository says today, or nothing.
    Sign,
}

/// How trust material is loaded.
#[derive(Clone, Debug)]
pub struct TrustOptions {
    /// The folder for copies of TUF repositories, one file each; the platform's cache folder where
    /// none is named.
    pub cache: Option<PathBuf>,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The audience of identity tokens for this instance, where it is not `sigstore`.
    pub audience: Option<String>,
    /// What the trust material is for.
    pub purpose: Purpose,
    /// How long refreshing may take in all, repeated requests included.
    pub deadline: Duration,
}

impl TrustOptions {
    /// The platform's cache folder, the network allowed, the audience `sigstore`; half a minute to
    /// refresh for signing, and half of that for verifying, which a copy will do for.
    #[must_use]
    pub fn new(purpose: Purpose) -> Self {
        Self {
            cache: None,
            offline: false,
            audience: None,
            purpose,
            deadline: match purpose {
                Purpose::Verify => Duration::from_secs(15),
                Purpose::Sign => Duration::from_secs(30),
            },
        }
    }
}
