//! What every channel can do, and what it takes and gives.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use cep27::Sha256;
use release_manifest::{PackageKey, PublishResult};

use crate::Error;

/// Somewhere packages are published to.
///
/// All methods may be called from many tasks at once. Each is safe to repeat: a run that was killed is completed
/// by the same calls again.
#[async_trait]
pub trait Channel: Send + Sync {
    /// The SHA-256 of the bytes that the channel serves under this name; `None` where there is no such package.
    async fn lookup(&self, package: &PackageKey) -> Result<Option<Sha256>, Error>;

    /// Publishes a package with its bundles: the package first, then its sidecars (CEP-50).
    ///
    /// Clients may find it only after [`finish`](Self::finish).
    async fn put(&self, upload: &Upload) -> Result<Placed, Error>;

    /// Removes every package that is not in `packages`, sidecars included.
    ///
    /// Only a mirror of the current plan has this; a target, whose names are immutable, answers
    /// [`Error::NotAMirror`].
    async fn retain(&self, packages: &BTreeSet<PackageKey>) -> Result<(), Error>;

    /// Brings the channel's repodata in line with its packages and sidecars, last of all (CEP-50).
    ///
    /// Where nothing changed, nothing is written.
    async fn finish(&self) -> Result<(), Error>;
}

/// A package to publish.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The file to read it from.
    pub source: PathBuf,
    /// Its subdir and file name in the channel.
    pub package: PackageKey,
    /// The hash that was attested: a file with another one is refused.
    pub sha256: Sha256,
    /// Its attestations, in the order in which they join the sidecar.
    pub bundles: Vec<Bundle>,
}

/// A Sigstore bundle to publish with a package.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The file to read it from.
    pub path: PathBuf,
    /// The hash of the file that was verified: a file with another one is refused.
    pub sha256: Sha256,
}

/// Where a package is after [`Channel::put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The URL of the package itself.
    pub url: String,
    /// The hash of its sidecar, which is what repodata calls `attestations_sha256`; `None` without attestations.
    pub sidecar_sha256: Option<Sha256>,
    /// Whether the package was brought there or was there already.
    pub result: PublishResult,
}
