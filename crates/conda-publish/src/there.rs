//! What is under a package's name on a server, as its clients see it.

use std::collections::{BTreeMap, BTreeSet};

use cep27::{Sha256, Subdir};
use release_manifest::PackageKey;

use crate::settings::Settings;
use crate::{ChannelUrl, Error, Patience, Present, RemoteChannel, Upload};

/// Reads a channel where its clients do, as it is at the moment of asking.
pub(crate) struct There {
    url: ChannelUrl,
    patience: Patience,
    settings: Settings,
}

impl There {
    pub(crate) fn new(url: ChannelUrl, patience: Patience, settings: Settings) -> Self {
        Self {
            url,
            patience,
            settings,
        }
    }

    /// Asks with `exists` whether there is such a channel at all, and reads the index of `noarch`, which every channel
    /// has once it has packages.
    pub(crate) async fn preflight(
        &self,
        exists: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        exists.await?;
        self.read(BTreeSet::from([Subdir::NOARCH])).await?;
        Ok(())
    }

    /// What the repodata lists of these packages.
    ///
    /// A subdir without repodata is an empty one, if `exists`, which is asked only then, finds that there is such a channel.
    pub(crate) async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
        exists: impl Future<Output = Result<(), Error>>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        let subdirs: BTreeSet<Subdir> = packages.iter().map(|package| package.subdir).collect();
        let channel = self.read(subdirs.clone()).await?;
        if !subdirs.iter().all(|subdir| channel.has(*subdir)) {
            exists.await?;
        }
        let present = packages.iter().filter_map(|package| {
            let present = channel.present(package).transpose()?;
            Some(present.map(|present| (package.clone(), present)))
        });
        present.collect()
    }

    /// The hash of what is published under a name: as the repodata has it, else of the bytes, since repodata follows
    /// later; `None` where there is nothing.
    pub(crate) async fn sha256(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let channel = self.read(BTreeSet::from([package.subdir])).await?;
        match channel.present(package)?.and_then(|present| present.sha256) {
            Some(listed) => Ok(Some(listed)),
            None => channel.hash(package).await,
        }
    }

    /// The hash of the bytes under a name, whatever repodata says; `None` where there are none.
    pub(crate) async fn hashed(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        self.read(BTreeSet::new()).await?.hash(package).await
    }

    /// Where clients find a package.
    pub(crate) fn url(&self, package: &PackageKey) -> String {
        (self.url)
            .join([package.subdir.as_str(), package.file.as_str()])
            .into()
    }

    async fn read(&self, subdirs: BTreeSet<Subdir>) -> Result<RemoteChannel, Error> {
        let (patience, settings) = (self.patience.clone(), self.settings.clone());
        RemoteChannel::found(self.url.clone(), &subdirs, patience, settings).await
    }
}

/// Whether what is published under a name, with this hash, is the package itself: published before, or by a request
/// whose answer was lost.
///
/// # Errors
/// It is another one (invariant 7).
pub(crate) fn is_same(upload: &Upload, there: Option<Sha256>) -> Result<bool, Error> {
    match there {
        None => Ok(false),
        Some(there) if there == upload.sha256 => Ok(true),
        Some(there) => Err(Error::Conflict {
            package: Box::new(upload.package.clone()),
            there,
            here: upload.sha256,
        }),
    }
}
