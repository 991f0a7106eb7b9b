//! The repodata of a channel in a bucket.
//!
//! What is there decides, not what this process brought there: packages that a killed run left without a record get
//! one, and records follow the sidecars. Records of other packages, and whatever else the repodata says, stay as they
//! are. Each write is conditional on what was read, and nothing that is right already is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cep27::{Sha256, Subdir};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rattler_conda_types::package::IndexJson;
use rattler_conda_types::{PackageRecord, RepodataRevision};
use release_manifest::PackageKey;
use tokio::runtime::Handle;

use super::bucket::{Bucket, Condition, Content, Entry, Hashes, Object};
use super::document::{self, Document};
use super::ranged::Ranged;
use super::sidecars::{hashed_key, mutable_key};
use crate::blocking::blocking;
use crate::repodata::{REPODATA, REPODATA_LIMIT, Record};
use crate::retry::Retries;
use crate::{Error, Patience, archive};

const COMPRESSED: &str = "repodata.json.zst";
const SHARDS: &str = "repodata_shards.msgpack.zst";

/// So many objects are read at a time.
const AT_ONCE: usize = 16;

/// So often may others be quicker.
const ROUNDS: u32 = 20;

/// What is known of a package without asking, since this process brought it there.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) hashes: Hashes,
    pub(super) index: Option<IndexJson>,
    /// Whether it, or an attestation of it, wasn't there before.
    pub(super) is_new: bool,
    /// The sidecar that it was given.
    pub(super) sidecar: Option<Sha256>,
}

/// A subdir, compared with its repodata.
pub(super) struct Survey {
    subdir: Subdir,
    document: Document,
    text: Option<Object>,
    compressed: Option<Object>,
    /// Packages without a record, or with one of other bytes, and their sizes.
    unlisted: Vec<(PackageKey, u64)>,
    /// Records that don't name the sidecar there is.
    unattested: Vec<PackageKey>,
    /// The sidecar of each package that has one.
    sidecars: BTreeMap<PackageKey, Sha256>,
    /// Those whose sidecar isn't there under its hash.
    unkept: Vec<PackageKey>,
}

impl Survey {
    /// Whether clients see what there is already.
    pub(super) fn is_right(&self) -> bool {
        let compressed = self.compressed.as_ref();
        self.unlisted.is_empty()
            && self.unattested.is_empty()
            && self.unkept.is_empty()
            && self.text.as_ref().is_some_and(|text| {
                compressed.is_some_and(|zst| document::is_compressed(&zst.bytes, &text.bytes))
            })
    }
}

impl Bucket {
    /// The subdirs that the channel has.
    pub(super) async fn subdirs(&self) -> Result<Vec<Subdir>, Error> {
        let names = self.names().await?;
        let subdirs = names.iter().filter_map(|name| name.strip_suffix('/'));
        Ok(subdirs.filter_map(|name| name.parse().ok()).collect())
    }

    /// Compares a subdir with its repodata. Nothing is written; a sidecar that is wrong is named.
    pub(super) async fn survey(
        &self,
        subdir: Subdir,
        known: &BTreeMap<PackageKey, Known>,
    ) -> Result<Survey, Error> {
        // The repodata first: what is written under its tag then knows of everything that others had listed.
        let text = self
            .get(&format!("{subdir}/{REPODATA}"), REPODATA_LIMIT)
            .await?;
        let compressed = self
            .get(&format!("{subdir}/{COMPRESSED}"), REPODATA_LIMIT)
            .await?;
        let entries = self.list(&format!("{subdir}/")).await?;
        let entries: BTreeMap<_, _> = entries.iter().map(|entry| (&*entry.key, entry)).collect();
        if entries.contains_key(&*format!("{subdir}/{SHARDS}")) {
            return Err(Error::Unsupported {
                channel: self.url(&format!("{subdir}/{SHARDS}")),
                reason: "is what clients prefer, and sharded repodata in a bucket is not written by this version: remove it, or publish elsewhere",
            });
        }
        let document = match &text {
            // We write the compressed form last.
            None if compressed.is_some() => {
                return Err(Error::RepodataMissing {
                    at: self.url(&format!("{subdir}/{REPODATA}")),
                    beside: Some(self.url(&format!("{subdir}/{COMPRESSED}"))),
                });
            }
            None => Document::empty(subdir),
            Some(object) => Document::parse(&object.bytes),
        };
        let invalid = |error: serde_json::Error| self.invalid(subdir, &error);
        let document = document.map_err(invalid)?;
        let records = document.records().map_err(invalid)?;

        let mut survey = Survey {
            subdir,
            document,
            text,
            compressed,
            unlisted: Vec::new(),
            unattested: Vec::new(),
            sidecars: BTreeMap::new(),
            unkept: Vec::new(),
        };
        let mut unread = Vec::new();
        let mut packages = Vec::new();
        for entry in entries.values() {
            let Ok(package) = entry.key.parse::<PackageKey>() else {
                continue;
            };
            let record = records.get(package.file.as_str());
            if !record.is_some_and(|record| is_of(record, entry, known.get(&package))) {
                survey.unlisted.push((package.clone(), entry.size));
            }
            if let Some(mutable) = entries.get(&*mutable_key(&package)) {
                match advertised(&package, record, mutable, &entries) {
                    Some(sha256) => drop(survey.sidecars.insert(package.clone(), sha256)),
                    None => unread.push(package.clone()),
                }
            }
            packages.push(package);
        }
        let read: Vec<_> = stream::iter(unread)
            .map(async |package| {
                let current = self.current(&package).await?;
                Ok::<_, Error>((package, current.sidecar.map(|sidecar| sidecar.sha256())))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (package, sha256) in read {
            if let Some(sha256) = sha256 {
                if !entries.contains_key(&*hashed_key(&package, sha256)) {
                    survey.unkept.push(package.clone());
                }
                survey.sidecars.insert(package, sha256);
            }
        }
        for package in packages {
            if let Some(record) = records.get(package.file.as_str())
                && !advertises(record, survey.sidecars.get(&package))
            {
                survey.unattested.push(package);
            }
        }
        Ok(survey)
    }

    /// Has clients see what there is in a subdir.
    pub(super) async fn index(
        &self,
        subdir: Subdir,
        known: &BTreeMap<PackageKey, Known>,
    ) -> Result<(), Error> {
        let patience = Patience {
            retries: ROUNDS,
            ..self.patience.clone()
        };
        let mut rounds = Retries::new(&patience);
        loop {
            let survey = self.survey(subdir, known).await?;
            if !self.restore_all(&survey, known).await?
                && (survey.is_right() || self.write(survey, known).await?)
            {
                return Ok(());
            }
            let Some(delay) = rounds.delay(Duration::ZERO) else {
                return Err(Error::NotSent {
                    server: self.connection.server.clone(),
                    what: format!("{subdir}/{REPODATA}"),
                    attempts: rounds.attempts(),
                    reason: "others keep writing it".to_owned(),
                });
            };
            tokio::time::sleep(delay).await;
        }
    }

    /// Adds again the attestations that others' took the place of; whether there were any.
    async fn restore_all(
        &self,
        survey: &Survey,
        known: &BTreeMap<PackageKey, Known>,
    ) -> Result<bool, Error> {
        let mut any = false;
        for (package, found) in &survey.sidecars {
            let given = known.get(package).and_then(|known| known.sidecar);
            if let Some(given) = given.filter(|given| given != found) {
                any |= self.restore(package, given).await?;
            }
        }
        Ok(any)
    }

    /// Writes what a survey found to be wrong; `false` where somebody else wrote meanwhile.
    async fn write(
        &self,
        survey: Survey,
        known: &BTreeMap<PackageKey, Known>,
    ) -> Result<bool, Error> {
        let Survey {
            subdir,
            mut document,
            text,
            compressed,
            unlisted,
            unattested,
            mut sidecars,
            unkept,
        } = survey;
        let invalid = |error: serde_json::Error| self.invalid(subdir, &error);
        for package in unkept {
            // Read again, rather than held for so many packages.
            if let Some(sidecar) = self.current(&package).await?.sidecar {
                self.keep(&package, &sidecar).await?;
                sidecars.insert(package, sidecar.sha256());
            }
        }
        let records: Vec<_> = stream::iter(unlisted)
            .map(async |(package, size)| {
                let record = self.record(&package, size, known.get(&package)).await?;
                Ok::<_, Error>((package, record))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (package, record) in records {
            let sidecar = sidecars.get(&package).copied();
            document
                .insert(&package, &record, sidecar)
                .map_err(invalid)?;
        }
        for package in unattested {
            let sidecar = sidecars.get(&package).copied();
            document.attest(&package, sidecar).map_err(invalid)?;
        }

        let bytes = match &text {
            Some(text) if !document.is_changed() => text.bytes.clone(),
            _ => {
                let bytes = document.to_bytes().map_err(invalid)?.into();
                let content = json(bytes);
                let key = format!("{subdir}/{REPODATA}");
                if self.put(&key, &content, &condition(text)).await?.is_none() {
                    return Ok(false);
                }
                content.bytes
            }
        };
        let key = format!("{subdir}/{COMPRESSED}");
        let path = PathBuf::from(self.url(&key));
        let content = Content {
            bytes: blocking(move || {
                let compressed = document::compress(&bytes);
                compressed.map(Into::into).map_err(|source| Error::Io {
                    action: "compress",
                    path,
                    source,
                })
            })
            .await?,
            content_type: "application/zstd",
            no_cache: true,
            sha256: None,
        };
        let written = self.put(&key, &content, &condition(compressed)).await?;
        Ok(written.is_some())
    }

    /// Makes the empty repodata that CEP-26 asks of every channel, unless it is there.
    pub(super) async fn write_empty(&self) -> Result<(), Error> {
        let invalid = |error: serde_json::Error| self.invalid(Subdir::NOARCH, &error);
        let document = Document::empty(Subdir::NOARCH).map_err(invalid)?;
        let bytes = document.to_bytes().map_err(invalid)?.into();
        let key = format!("{}/{REPODATA}", Subdir::NOARCH);
        self.put(&key, &json(bytes), &Condition::Absent)
            .await
            .map(drop)
    }

    /// What every record of a subdir says, by file name.
    pub(super) async fn records(&self, subdir: Subdir) -> Result<BTreeMap<String, Record>, Error> {
        let key = format!("{subdir}/{REPODATA}");
        let Some(object) = self.get(&key, REPODATA_LIMIT).await? else {
            return Ok(BTreeMap::new());
        };
        Document::parse(&object.bytes)
            .and_then(|document| document.records())
            .map_err(|error| self.invalid(subdir, &error))
    }

    /// The record of a package: from its own bytes, of which only the description is read where the hashes are known.
    async fn record(
        &self,
        package: &PackageKey,
        size: u64,
        known: Option<&Known>,
    ) -> Result<PackageRecord, Error> {
        let key = package.to_string();
        let hashes = match known.map(|known| &known.hashes) {
            Some(hashes) if hashes.size == size => hashes.clone(),
            _ => self
                .hash(&key, size)
                .await?
                .ok_or_else(|| self.unexpected(&key, "it is in a list and isn't there"))?,
        };
        let index = match known.and_then(|known| known.index.clone()) {
            Some(index) => index,
            None => self.describe(package, hashes.size).await?,
        };
        let sha256 = *hashes.sha256.as_bytes();
        PackageRecord::from_index_json(
            index,
            Some(hashes.size),
            Some(sha256.into()),
            Some(hashes.md5),
        )
        .map_err(|error| self.unindexable(package, error.to_string()))
    }

    /// What a package that is there says of itself.
    async fn describe(&self, package: &PackageKey, size: u64) -> Result<IndexJson, Error> {
        let key = package.to_string();
        let path = PathBuf::from(self.url(&key));
        let mut archive = Ranged::new(self.clone(), key, size, Handle::current());
        let of = package.clone();
        let index = blocking(move || {
            let index = archive::check_content(&mut archive, &path, &of);
            archive.failed.map_or(index, Err)
        })
        .await?;
        match is_legacy(&index) {
            true => Ok(index),
            false => Err(self.unindexable(package, NOT_LEGACY.to_owned())),
        }
    }

    fn unindexable(&self, package: &PackageKey, reason: String) -> Error {
        Error::Unindexable {
            path: PathBuf::from(self.url(&package.to_string())),
            reason,
        }
    }

    fn invalid(&self, subdir: Subdir, error: &serde_json::Error) -> Error {
        Error::Repodata {
            at: self.url(&format!("{subdir}/{REPODATA}")),
            reason: error.to_string(),
        }
    }
}

pub(super) const NOT_LEGACY: &str =
    "it uses what only the third revision of repodata has, which is not written here";

/// Whether the repodata that every client reads can hold a package's record.
pub(super) fn is_legacy(index: &IndexJson) -> bool {
    index.required_repodata_revision() == RepodataRevision::Legacy
}

/// Whether a record is of this object.
fn is_of(record: &Record, entry: &Entry, known: Option<&Known>) -> bool {
    record.size == Some(entry.size)
        && known.is_none_or(|known| record.sha256 == Some(known.hashes.sha256.to_string()))
}

/// The hash that a record has for the sidecar, if that can be told to be right without reading: the copy under this
/// hash has the same tag as the sidecar that grows.
fn advertised(
    package: &PackageKey,
    record: Option<&Record>,
    mutable: &Entry,
    entries: &BTreeMap<&str, &Entry>,
) -> Option<Sha256> {
    let sha256 = record?.advertised(package).ok()??;
    let hashed = entries.get(&*hashed_key(package, sha256))?;
    let is_same =
        !mutable.etag.is_empty() && (&hashed.etag, hashed.size) == (&mutable.etag, mutable.size);
    is_same.then_some(sha256)
}

fn advertises(record: &Record, sidecar: Option<&Sha256>) -> bool {
    match (&record.attestations_sha256, sidecar) {
        (None, None) => true,
        (Some(value), Some(sha256)) => value.as_str() == Some(&sha256.to_string()),
        _ => false,
    }
}

fn condition(object: Option<Object>) -> Condition {
    object.map_or(Condition::Absent, |object| Condition::Is(object.etag))
}

fn json(bytes: bytes::Bytes) -> Content {
    Content {
        bytes,
        content_type: "application/json",
        no_cache: true,
        sha256: None,
    }
}
