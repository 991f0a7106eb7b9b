//! A channel in a bucket of Amazon S3 or a server that speaks its protocol.
//!
//! ```text
//! <path>/<subdir>/<package>                 the packages; their hash is in the metadata
//!                 <package>.sigs            their attestations, growing (CEP-50)
//!                 <package>.sigs.<sha256>   the same, under a name whose bytes never change
//!                 repodata.json, .zst       written last
//!        releases/<plan digest>/            the manifests of releases, attested
//!        .conda-release/lease.json          who indexes the channel
//!                       probe-<random>      for a moment: whether the server honours conditions
//! ```
//!
//! Any number of publishers may work at the same time. There is no lock that could be forgotten: each object is
//! written only if nobody wrote it meanwhile (`If-None-Match`, `If-Match`), and otherwise read again. A server that
//! ignores these conditions is refused.

mod bucket;
mod connect;
mod document;
mod failure;
mod index;
mod lease;
mod multipart;
mod probe;
mod put;
mod ranged;
mod release;
mod sidecars;
#[cfg(all(test, unix))]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cep27::Subdir;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use release_manifest::{Digest, PackageKey, PublishResult};
use tokio::sync::{OnceCell, Semaphore};
use url::Url;

use self::bucket::Bucket;
use self::connect::{Access, Connection};
pub(crate) use self::connect::{KEY_ID, SECRET_KEY};
use self::index::Known;
use self::lease::{LEASE, Lease};
use crate::blocking::blocking;
use crate::channel::{Channel, Keeps, Placed, Present, Reporter, Upload};
use crate::repodata::{REPODATA, Record};
use crate::settings::Settings;
use crate::sidecar::{BundleText, Sidecar};
use crate::source::Source;
use crate::{Error, Patience, ReleaseKeeper, ReleasePlaced, ReleaseUpload};

/// The folder of a channel that clients never look into.
const OWN: &str = ".conda-release";

/// How much of packages is in memory at a time, in KiB.
const MEMORY: u32 = 64 * 1024;

/// So many objects are asked for at a time.
const AT_ONCE: usize = 16;

/// A channel in a bucket.
#[derive(Debug)]
pub struct S3Channel {
    bucket: Bucket,
    lease: Duration,
    memory: Semaphore,
    /// Whether the channel is known to be one.
    begun: OnceCell<()>,
    /// What this process brought there and nobody indexed yet.
    known: Mutex<BTreeMap<PackageKey, Known>>,
}

impl S3Channel {
    /// Opens the channel in this folder of a bucket; an empty `path` is the bucket itself.
    ///
    /// Server and credentials are those that rattler has for the bucket, else those that AWS tools find.
    ///
    /// # Errors
    /// rattler's files can't be read, or the server is one that credentials must not be sent to. Nothing is asked yet.
    pub async fn open(bucket: &str, path: &str, patience: Patience) -> Result<Self, Error> {
        let url = format!("s3://{bucket}/{path}");
        let url = Url::parse(&url).map_err(|error| Error::ChannelUrl {
            reason: error.to_string(),
        })?;
        let settings = blocking(Settings::read).await?;
        let access = Access::find(&url, &settings).await?;
        Self::with(access, bucket, path, patience)
    }

    fn with(access: Access, bucket: &str, path: &str, patience: Patience) -> Result<Self, Error> {
        let prefix = match path.trim_matches('/') {
            "" => String::new(),
            path => format!("{path}/"),
        };
        Ok(Self {
            bucket: Bucket {
                connection: Connection::new(access, &patience)?,
                name: bucket.to_owned(),
                prefix,
                patience,
            },
            lease: LEASE,
            memory: Semaphore::new(MEMORY as usize),
            begun: OnceCell::new(),
            known: Mutex::default(),
        })
    }

    /// Makes sure that the folder is a channel or empty, and gives `true` where it is one.
    async fn check(&self) -> Result<bool, Error> {
        let mut found = None;
        for name in self.bucket.names().await? {
            // A store on a disk lists a folder before the first object is in it, as another publisher begins.
            let is_empty = name.ends_with('/') && !self.bucket.holds(&name).await?;
            if name.trim_end_matches('/') != OWN && !is_empty {
                found = Some(name);
                break;
            }
        }
        // Looked for last: whoever makes a channel writes it first.
        let key = format!("{}/{REPODATA}", Subdir::NOARCH);
        match (self.bucket.head(&key).await?, found) {
            (Some(_), _) => Ok(true),
            (None, None) => Ok(false),
            (None, Some(found)) => Err(Error::ForeignFolder {
                path: PathBuf::from(self.bucket.url("")),
                found: cep27::printable(&found),
            }),
        }
    }

    /// Has the folder be a channel before anything is in it: a killed run is known again by that.
    async fn begin(&self) -> Result<(), Error> {
        let begin = async || match self.check().await? {
            true => Ok(()),
            false => self.bucket.write_empty().await,
        };
        self.begun.get_or_try_init(begin).await.copied()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PackageKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put_package(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<put::Arrived, Error> {
        let source = Source::open(upload).await?;
        let memory = put::memory(source.size()).div_ceil(1024);
        let memory = u32::try_from(memory).unwrap_or(MEMORY).min(MEMORY);
        let held = self.memory.acquire_many(memory).await;
        let held = held.map_err(|_| Error::Stopped)?;
        let arrived = self.bucket.put_package(upload, &source, reporter).await;
        drop(held);
        arrived
    }

    async fn index(&self) -> Result<(), Error> {
        let known = self.known().clone();
        for subdir in self.bucket.subdirs().await? {
            self.bucket.index(subdir, &known).await?;
        }
        self.known()
            .retain(|package, _| !known.contains_key(package));
        Ok(())
    }

    /// Whether clients see everything already.
    async fn is_right(&self) -> Result<bool, Error> {
        if !self.known().is_empty() {
            return Ok(false);
        }
        for subdir in self.bucket.subdirs().await? {
            if !self
                .bucket
                .survey(subdir, &BTreeMap::new())
                .await?
                .is_right()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl Channel for S3Channel {
    fn attestations(&self) -> Keeps {
        Keeps::Sidecars
    }

    fn url(&self, package: &PackageKey) -> String {
        self.bucket.url(&package.to_string())
    }

    async fn preflight(&self) -> Result<(), Error> {
        let Bucket {
            connection,
            patience,
            ..
        } = &self.bucket;
        connection.check_credentials(patience).await?;
        self.check().await?;
        for subdir in self.bucket.subdirs().await? {
            self.bucket.survey(subdir, &BTreeMap::new()).await?;
        }
        self.bucket.probe().await
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        self.bucket.check().await?;
        let subdirs: BTreeSet<_> = packages.iter().map(|package| package.subdir).collect();
        let mut records = BTreeMap::new();
        for subdir in subdirs {
            records.insert(subdir, self.bucket.records(subdir).await?);
        }
        let record = |package: &PackageKey| -> Option<&Record> {
            records.get(&package.subdir)?.get(package.file.as_str())
        };
        let found: Vec<_> = stream::iter(packages.clone())
            .map(|package| {
                let record = record(&package);
                async move {
                    let present = self.bucket.present(&package, record).await?;
                    Ok::<_, Error>(present.map(|present| (package, present)))
                }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
        let package = &upload.package;
        let bundles = {
            let upload = upload.clone();
            blocking(move || {
                let read = |bundle| BundleText::read(bundle, &upload.package);
                upload
                    .bundles
                    .iter()
                    .map(read)
                    .collect::<Result<Vec<_>, _>>()
            })
            .await?
        };
        self.begin().await?;
        // Known to be writable before the package appears.
        let current = self.bucket.current(package).await?;
        current.with(package, &bundles)?;
        let before = current.sidecar.as_ref().map(Sidecar::sha256);
        let put::Arrived {
            result,
            hashes,
            index,
        } = self.put_package(upload, reporter).await?;
        let mut known = Known {
            hashes,
            index,
            is_new: result == PublishResult::Uploaded,
            sidecar: None,
        };
        // Known even if its attestations fail: it is there.
        self.known().insert(package.clone(), known.clone());
        let sidecar_sha256 = self.bucket.attest(package, &bundles, current).await?;
        known.is_new |= sidecar_sha256 != before;
        known.sidecar = sidecar_sha256;
        self.known().insert(package.clone(), known);
        Ok(Placed {
            url: self.url(package),
            sidecar_sha256,
            result,
        })
    }

    async fn finish(&self) -> Result<(), Error> {
        if self.is_right().await? {
            return Ok(());
        }
        let mut lease = Lease::take(&self.bucket, self.lease).await?;
        let indexed = tokio::select! {
            indexed = self.index() => indexed,
            () = lease.renew() => Err(Error::Stopped),
        };
        lease.give_back().await;
        indexed
    }

    fn releases(&self) -> Option<&dyn ReleaseKeeper> {
        Some(self)
    }
}

#[async_trait]
impl ReleaseKeeper for S3Channel {
    async fn put_release(&self, release: &ReleaseUpload) -> Result<ReleasePlaced, Error> {
        let read = {
            let release = release.clone();
            blocking(move || release.read()).await?
        };
        self.begin().await?;
        self.bucket.put_release(&release.folder(), read).await
    }

    async fn kept(&self) -> Result<Vec<Digest>, Error> {
        self.bucket.kept_releases().await
    }

    async fn manifest(&self, plan: Digest) -> Result<Option<Vec<u8>>, Error> {
        self.bucket.manifest(plan).await
    }
}

/// A name that nobody else takes.
fn random() -> String {
    let part = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", part(), part())
}
