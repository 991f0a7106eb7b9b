//! A channel in a folder.
//!
//! ```text
//! <root>/<subdir>/<package>                 the packages
//!                 <package>.sigs            their attestations, growing (CEP-50)
//!                 <package>.sigs.<sha256>   the same, under a name whose bytes never change
//!                 repodata.json             written last
//!        releases/<plan digest>/            the manifests of releases, attested
//!        .conda-release/channel.json        what the folder is for: the marker
//!                       users.lock          shared by those who have the channel open
//!                       write.lock          held while names are given and taken
//!                       tmp/                files that are not whole yet
//!                       indexing-<subdir>   an index that was begun and not ended
//! ```

#[cfg(all(test, unix))]
pub(crate) mod crash;
mod folder;
mod index;
mod marker;
mod mirror;
mod put;
pub(crate) mod release;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cep27::Sha256;
use release_manifest::{Digest, Mode, PackageKey};
use tokio::sync::SemaphorePermit;

use self::folder::Folder;
use crate::Error;
use crate::blocking::blocking;
use crate::channel::{Channel, Keeps, Placed, Present, Reporter, Upload};
use crate::reader::ChannelReader;
use crate::sidecar::Sidecar;
use crate::{ReleaseKeeper, ReleasePlaced, ReleaseUpload};

/// A channel in a folder.
///
/// Any number of tasks and processes may publish to one folder at the same time; clones are the same channel.
#[derive(Debug, Clone)]
pub struct FileChannel {
    folder: Arc<Folder>,
}

/// What a folder is used for. It is written into the folder, which then can't be used for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The rehearsal's own channel, an exact mirror of the current plan: a rebuilt package replaces its old file,
    /// record and sidecars.
    Rehearsal,
    /// A place to publish to: names are immutable.
    Target(Mode),
}

impl FileChannel {
    /// Opens a channel, and makes it where the folder is new or empty.
    ///
    /// Refused are a folder with other content, and one that is marked for another use (see [`Kind`]). A channel
    /// without a mark, made by another tool, is taken over as a live target and nothing else.
    pub fn open(root: &Path, kind: Kind) -> Result<Self, Error> {
        Folder::open(root, kind).map(|folder| Self {
            folder: Arc::new(folder),
        })
    }

    /// The SHA-256 of the package's file in the channel, taken now; `None` where there is none.
    pub fn lookup(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        self.folder.lookup(package)
    }

    /// Publishes a package with its bundles. See [`Channel::put`].
    pub async fn put(&self, upload: &Upload) -> Result<Placed, Error> {
        let _turn = self.turn().await?;
        let (folder, upload) = (self.folder.clone(), upload.clone());
        blocking(move || folder.put(&upload)).await
    }

    /// Removes every package that is not in `packages`, sidecars included; only from a [`Kind::Rehearsal`].
    pub fn retain(&self, packages: &BTreeSet<PackageKey>) -> Result<(), Error> {
        self.folder.retain(packages)
    }

    /// Brings the repodata in line with the packages and sidecars, also where an earlier run was killed.
    ///
    /// Where nothing changed, nothing is written. A file that would make the index of its subdir fail is named.
    pub async fn finish(&self) -> Result<(), Error> {
        let _turn = self.turn().await?;
        let folder = self.folder.clone();
        let (writing, stale) = blocking(move || {
            let writing = folder.lock()?;
            let stale = index::survey(&folder)?;
            Ok((writing, stale))
        })
        .await?;
        for stale in stale {
            index::write(&self.folder, &stale).await?;
        }
        let folder = self.folder.clone();
        blocking(move || {
            let result = folder.prune();
            drop(writing);
            result
        })
        .await
    }

    /// The attestations that clients find for a package, by either name. See [`ChannelReader::sidecar`].
    ///
    /// An error also when the mutable sidecar is another one than the advertised: the next indexing goes by it.
    pub fn sidecar(&self, package: &PackageKey) -> Result<Option<Sidecar>, Error> {
        self.sidecar_seen_by(&ChannelReader::open(&self.folder.root)?, package)
    }

    /// [`sidecar`](Self::sidecar) for many packages: the repodata is the one that `reader` of this channel read.
    pub fn sidecar_seen_by(
        &self,
        reader: &ChannelReader,
        package: &PackageKey,
    ) -> Result<Option<Sidecar>, Error> {
        let advertised = reader.sidecar(package)?;
        let path = self.folder.sidecar(package)?;
        if put::read_sidecar(&path)? != advertised {
            return Err(Error::Advertised {
                package: Box::new(package.clone()),
                reason: format!("{}.sigs is not the same", package.file),
            });
        }
        Ok(advertised)
    }

    /// The channel's folder, absolute and without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.folder.root
    }

    /// Who waits for the lock of the folder holds a thread of the runtime meanwhile, and who has it needs further
    /// ones: so only a few may come that far.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.folder
            .turns
            .acquire()
            .await
            .map_err(|_| Error::Stopped)
    }
}

#[async_trait]
impl Channel for FileChannel {
    fn attestations(&self) -> Keeps {
        Keeps::Sidecars
    }

    fn url(&self, package: &PackageKey) -> String {
        put::url(&package.under(&self.folder.root))
    }

    async fn preflight(&self) -> Result<(), Error> {
        let folder = self.folder.clone();
        blocking(move || {
            let writing = folder.lock()?;
            let surveyed = index::survey(&folder).map(drop);
            drop(writing);
            surveyed
        })
        .await
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        let (folder, packages) = (self.folder.clone(), packages.clone());
        blocking(move || {
            let mut present = BTreeMap::new();
            for package in packages {
                if let Some(sha256) = folder.lookup(&package)? {
                    let found = Present {
                        sha256: Some(sha256),
                        attested: None,
                        claimed: None,
                    };
                    present.insert(package, found);
                }
            }
            Ok(present)
        })
        .await
    }

    async fn put(&self, upload: &Upload, _: &dyn Reporter) -> Result<Placed, Error> {
        Self::put(self, upload).await
    }

    async fn finish(&self) -> Result<(), Error> {
        Self::finish(self).await
    }

    fn releases(&self) -> Option<&dyn ReleaseKeeper> {
        Some(self)
    }
}

#[async_trait]
impl ReleaseKeeper for FileChannel {
    async fn put_release(&self, release: &ReleaseUpload) -> Result<ReleasePlaced, Error> {
        let (folder, release) = (self.folder.clone(), release.clone());
        blocking(move || folder.put_release(&release)).await
    }

    async fn kept(&self) -> Result<Vec<Digest>, Error> {
        let folder = self.folder.clone();
        blocking(move || release::kept(&folder.root)).await
    }

    async fn manifest(&self, plan: Digest) -> Result<Option<Vec<u8>>, Error> {
        let folder = self.folder.clone();
        blocking(move || release::manifest(&folder.root, plan)).await
    }
}
