//! What every channel can do, and what it takes and gives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cep27::Sha256;
use release_manifest::{PackageKey, PublishResult, Timestamp};

use crate::{Error, ReleaseKeeper};

/// Somewhere packages are published to.
///
/// All methods may be called from many tasks at once. Each is safe to repeat: a run that was killed is completed
/// by the same calls again. A call whose future is dropped leaves nothing half visible.
#[async_trait]
pub trait Channel: Send + Sync {
    /// What it does with attestations.
    fn attestations(&self) -> Keeps;

    /// Asks for everything that publishing needs, before anything is published: that the channel answers, that it
    /// is one, and that the credentials are there and good as far as can be told without writing.
    ///
    /// Nothing that lasts is changed.
    async fn preflight(&self) -> Result<(), Error>;

    /// Where clients find a package that is published here.
    fn url(&self, package: &PackageKey) -> String;

    /// What the channel has under these names, as of now; those it has not are left out.
    ///
    /// # Errors
    /// The channel can't be asked: never taken for an empty one.
    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error>;

    /// Publishes a package with its bundles: the package first, then its sidecars (CEP-50).
    ///
    /// Clients may find it only after [`finish`](Self::finish).
    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error>;

    /// Brings the channel's repodata in line with its packages and sidecars, last of all (CEP-50), where the
    /// channel doesn't do so itself.
    ///
    /// Where nothing changed, nothing is written.
    async fn finish(&self) -> Result<(), Error>;

    /// Where it keeps the manifests of releases; `None` where it has no place for them.
    fn releases(&self) -> Option<&dyn ReleaseKeeper> {
        None
    }
}

/// What a channel does with the attestations of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Takes this many with the package, verifies them and serves them.
    Native {
        /// The most that it takes for one package.
        most: usize,
    },
    /// Serves as many as fit into a sidecar (CEP-50).
    Sidecars,
    /// Has no place for them.
    Nothing,
}

/// What a channel has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// The hash of its bytes; `None` where the channel doesn't tell.
    pub sha256: Option<Sha256>,
    /// Whether attestations are served for it; `None` where that takes another question.
    pub attested: Option<bool>,
    /// The build time that its record states, unproved; `None` without a record or a time in it.
    pub claimed: Option<Timestamp>,
}

/// Hears how an upload goes, while it goes.
pub trait Reporter: Send + Sync {
    /// So many more bytes of the package have left.
    fn sent(&self, package: &PackageKey, bytes: u64);

    /// The upload failed in passing and begins again after this delay; its bytes count from zero.
    fn repeating(&self, package: &PackageKey, reason: &str, delay: Duration);
}

/// Nobody listens.
impl Reporter for () {
    fn sent(&self, _: &PackageKey, _: u64) {}
    fn repeating(&self, _: &PackageKey, _: &str, _: Duration) {}
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
    /// The hash of its sidecar, which is what repodata calls `attestations_sha256`; `None` without attestations,
    /// and where the channel makes the sidecar itself.
    pub sidecar_sha256: Option<Sha256>,
    /// Whether the package was brought there or was there already.
    pub result: PublishResult,
}
