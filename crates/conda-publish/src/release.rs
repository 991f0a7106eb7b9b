//! The manifest of a release and its attestation, which channels that are folders keep beside the packages.
//!
//! ```text
//! <channel>/releases/<plan digest>/release-manifest.json
//!                                  release-manifest.json.sigstore.json
//! ```

use std::ops::ControlFlow;
use std::path::PathBuf;

use async_trait::async_trait;
use cep27::Sha256;
use release_manifest::{DOCUMENT_LIMIT, Digest, MANIFEST_NAME, PublishResult, RELEASE_BUNDLE_NAME};

use crate::{Error, disk};

/// The folder of a channel in which the releases are that it was made by.
pub const RELEASES: &str = "releases";

/// Somewhere the manifests of releases are kept, with their attestations.
#[async_trait]
pub trait ReleaseKeeper: Send + Sync {
    /// Publishes the manifest of a release with its attestation, once its packages are found.
    ///
    /// A manifest that is there under its name stays.
    async fn put_release(&self, release: &ReleaseUpload) -> Result<ReleasePlaced, Error>;

    /// The plans whose releases are kept, the newest release first.
    ///
    /// # Errors
    /// They cannot be listed: never taken for a channel that keeps none.
    async fn kept(&self) -> Result<Vec<Digest>, Error>;

    /// The bytes of the release manifest of a plan; `None` where there is none.
    async fn manifest(&self, plan: Digest) -> Result<Option<Vec<u8>>, Error>;
}

/// The plan that a folder below [`RELEASES`] is named after; `None` for other names.
pub(crate) fn plan_of(folder: &str) -> Option<Digest> {
    folder.parse::<Sha256>().ok().map(Digest::from)
}

/// The manifest of a release with its attestation, to publish as they are.
#[derive(Debug, Clone)]
pub struct ReleaseUpload {
    /// The plan that the release follows: what its folder in the channel is named after.
    pub plan: Digest,
    /// The manifest as it was attested.
    pub manifest: Document,
    /// The bundle that attests it.
    pub attestation: Document,
}

/// A file whose bytes were verified.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file to read it from.
    pub path: PathBuf,
    /// The hash that was verified: a file with another one is refused.
    pub sha256: Sha256,
}

/// Where the manifest of a release is in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePlaced {
    /// The URL of the manifest.
    pub url: String,
    /// Whether it was brought there, was there, or the name holds the manifest of an earlier release of the same plan,
    /// which stays (invariant 7).
    pub result: PublishResult,
}

impl ReleasePlaced {
    /// A manifest at this URL, of whose documents none was placed yet.
    pub(crate) fn at(url: String) -> Self {
        Self {
            url,
            result: PublishResult::Identical,
        }
    }

    /// Takes what became of the next document. Where its name holds another one, those after it are not placed.
    pub(crate) fn add(&mut self, document: PublishResult) -> ControlFlow<()> {
        match document {
            PublishResult::Identical => ControlFlow::Continue(()),
            PublishResult::Uploaded => {
                self.result = document;
                ControlFlow::Continue(())
            }
            PublishResult::Exists => {
                self.result = document;
                ControlFlow::Break(())
            }
        }
    }
}

/// The manifest of a release as a channel on a server keeps it.
#[derive(Debug)]
pub struct KeptRelease {
    /// The URL of the manifest.
    pub url: String,
    /// The bytes of the manifest.
    pub manifest: Vec<u8>,
    /// Those of the bundle that attests it, where there is one.
    pub attestation: Option<Vec<u8>>,
}

impl ReleaseUpload {
    /// The folder of the release below [`RELEASES`].
    pub(crate) fn folder(&self) -> String {
        self.plan.sha256().to_string()
    }

    /// Both files with their names, the manifest first: an attestation never stands without what it attests.
    ///
    /// # Errors
    /// One of them cannot be read, or is not what was verified.
    pub(crate) fn read(&self) -> Result<[(&'static str, Vec<u8>); 2], Error> {
        Ok([
            (MANIFEST_NAME, self.manifest.read()?),
            (RELEASE_BUNDLE_NAME, self.attestation.read()?),
        ])
    }
}

impl Document {
    fn read(&self) -> Result<Vec<u8>, Error> {
        let bytes = disk::read_existing(&self.path, LIMIT)?;
        match disk::hash_of(&bytes) {
            found if found == self.sha256 => Ok(bytes),
            found => Err(Error::DocumentChanged {
                path: self.path.clone(),
                expected: self.sha256,
                found,
            }),
        }
    }
}

/// The size, in bytes, up to which a document of a release is read.
pub(crate) const LIMIT: u64 = DOCUMENT_LIMIT as u64;
