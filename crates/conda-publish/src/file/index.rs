//! The repodata of a channel in a folder, written by `rattler_index`.
//!
//! It works by file name: a record stays as it is while a file of that name is there, whatever its bytes, unless
//! forced. And a single malformed archive or sidecar fails the whole subdir, mostly without saying which. So the
//! folder is surveyed first: what differs from the repodata decides whether it is called at all, and how.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use cep27::{Sha256, Subdir};
use rattler_conda_types::package::{CondaArchiveType, DistArchiveIdentifier, DistArchiveType};
use rattler_index::{IndexFsConfig, index_fs};
use release_manifest::PackageKey;

use super::Kind;
use super::folder::{Folder, OWN, hashed_name, sidecar_of};
use super::put::read_sidecar;
use crate::disk::{self, At};
use crate::repodata::{REPODATA, Record, Repodata};
use crate::{Error, archive};

/// What `rattler_index` writes beside the repodata.
const COMPRESSED: &str = "repodata.json.zst";

/// A subdir whose repodata is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stale {
    subdir: Subdir,
    /// Some record is of other bytes than the file of its name: every record is to be made anew.
    force: bool,
}

/// A regular file in a folder.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: PathBuf,
    size: u64,
}

/// The regular files in a folder, sorted by name; those whose name is not Unicode left out, since nothing of a
/// channel's has such a name.
pub(super) fn files(folder: &Path) -> Result<Vec<Found>, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = entry.path();
        let metadata = entry.metadata().at("read", &path)?;
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            files.push(Found {
                name,
                path,
                size: metadata.len(),
            });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The package that a file is, or is a sidecar of.
pub(super) fn owner(name: &str) -> Option<&str> {
    let is_package = |name: &str| DistArchiveIdentifier::try_from_filename(name).is_some();
    if is_package(name) {
        return Some(name);
    }
    let (package, _) = name.rsplit_once(".sigs")?;
    is_package(package).then_some(package)
}

/// The subdirs whose repodata doesn't say what is in their folder.
///
/// What would make indexing fail is an error that names it.
pub(super) fn survey(folder: &Folder) -> Result<Vec<Stale>, Error> {
    let mut stale = Vec::new();
    for subdir in folder.subdirs()? {
        stale.extend(survey_subdir(folder, subdir)?);
    }
    Ok(stale)
}

fn survey_subdir(folder: &Folder, subdir: Subdir) -> Result<Option<Stale>, Error> {
    let path = folder.subdir(subdir);
    let repodata = match Repodata::read(&path) {
        Ok(repodata) => repodata,
        // Only a mirror's repodata is ours alone, and an index that was interrupted. Another tool's may contain more than
        // the packages tell.
        Err(Error::Repodata { .. })
            if folder.kind == Kind::Rehearsal || is_unfinished(folder, subdir)? =>
        {
            None
        }
        Err(error) => return Err(error),
    };
    let files: Vec<_> = files(&path)?
        .into_iter()
        .filter_map(|file| {
            DistArchiveIdentifier::try_from_filename(&file.name).map(|id| (file, id.archive_type))
        })
        .collect();

    let no_records = BTreeMap::new();
    let records = repodata.as_ref().map_or(&no_records, Repodata::records);
    let mut stale = repodata.is_none()
        || records.len() != files.len()
        // Clients prefer the compressed form.
        || disk::open(&path.join(COMPRESSED))?.is_none()
        || is_unfinished(folder, subdir)?;
    let mut force = false;
    for (file, kind) in &files {
        let attestations = attestations(folder, &file.path)?;
        match records.get(&file.name) {
            Some(record) => {
                force |= !is_of(record, file, folder, subdir)?;
                stale |= !advertises(record, attestations);
            }
            None => {
                check_indexable(file, *kind)?;
                stale = true;
            }
        }
    }
    if force {
        for (file, kind) in &files {
            check_indexable(file, *kind)?;
        }
    }
    Ok((stale || force).then_some(Stale { subdir, force }))
}

/// Writes the repodata of a subdir.
pub(super) async fn write(folder: &Folder, stale: &Stale) -> Result<(), Error> {
    let Stale { subdir, force } = *stale;
    let path = folder.subdir(subdir);
    let failed = |source| Error::Index {
        path: path.clone(),
        source,
    };
    let platform: rattler_conda_types::Subdir = subdir
        .as_str()
        .parse()
        .map_err(|error| failed(Box::from(error)))?;
    // Several files are written one after another; this tells the next run that they may not agree.
    let unfinished = unfinished(folder, subdir);
    folder.scratch.write(b"", &unfinished)?.replace()?;
    let config = IndexFsConfig {
        channel: folder.root.clone(),
        target_platform: Some(platform),
        repodata_patch: None,
        write_zst: true,
        // Clients prefer shards where there are any, so another tool's must not go stale.
        write_shards: path.join("repodata_shards.msgpack.zst").exists(),
        repodata_revisions: Vec::new(),
        package_revision_assignment: Default::default(),
        force,
        // Each reads a whole archive into memory.
        max_parallel: available_parallelism().map_or(1, NonZeroUsize::get).min(4),
        multi_progress: None,
    };
    index_fs(config)
        .await
        .map_err(|error| failed(error.into()))?;
    disk::remove(&unfinished)?;
    disk::sync_folder(&path)
}

/// Makes sure that there is a `noarch/repodata.json`, which CEP-26 asks of every channel.
pub(super) fn write_empty(folder: &Folder) -> Result<(), Error> {
    const EMPTY: &str = r#"{"info":{"subdir":"noarch"},"packages":{},"packages.conda":{},"removed":[],"repodata_version":1,"v3":{}}"#;
    let noarch = folder.subdir(Subdir::NOARCH);
    disk::create_folder(&noarch)?;
    let path = noarch.join(REPODATA);
    if disk::open(&path)?.is_none() {
        folder.scratch.write(EMPTY.as_bytes(), &path)?.create()?;
        disk::sync_folder(&noarch)?;
    }
    Ok(())
}

/// Whether a record is of the bytes of its file.
///
/// A mirror's files are replaced, so each is hashed; a target's never are, so there the size and the hashes known
/// anyway are enough.
fn is_of(record: &Record, file: &Found, folder: &Folder, subdir: Subdir) -> Result<bool, Error> {
    if record.size != Some(file.size) {
        return Ok(false);
    }
    let package = file
        .name
        .parse()
        .ok()
        .map(|file| PackageKey { subdir, file });
    let known = package.and_then(|package| folder.hashed().get(&package).copied());
    let sha256 = match (known, folder.kind) {
        (Some(known), _) => Some(known),
        (None, Kind::Rehearsal) => disk::hash(&file.path)?,
        (None, Kind::Target(_)) => return Ok(true),
    };
    Ok(record.sha256 == sha256.map(|sha256| sha256.to_string()))
}

fn advertises(record: &Record, attestations: Option<Sha256>) -> bool {
    match (&record.attestations_sha256, attestations) {
        (None, None) => true,
        (Some(value), Some(sha256)) => value.as_str() == Some(&sha256.to_string()),
        _ => false,
    }
}

/// The hash of a package's mutable sidecar, once its hashed copy is known to be there.
fn attestations(folder: &Folder, package: &Path) -> Result<Option<Sha256>, Error> {
    let mutable = sidecar_of(package);
    let Some(sidecar) = read_sidecar(&mutable)? else {
        return Ok(None);
    };
    let sha256 = sidecar.sha256();
    let hashed = hashed_name(&mutable, sha256);
    match disk::hash(&hashed)? {
        Some(found) if found == sha256 => {}
        Some(found) => {
            let reason = format!("its content has the sha256 {found}");
            return Err(Error::Sidecar {
                path: hashed,
                reason,
            });
        }
        // A tool that knows nothing of CEP-50's second name wrote the sidecar.
        None => folder
            .scratch
            .write(sidecar.as_bytes(), &hashed)?
            .replace()?,
    }
    Ok(Some(sha256))
}

/// Refuses an archive that indexing would fail on, or even panic.
fn check_indexable(file: &Found, kind: DistArchiveType) -> Result<(), Error> {
    let checked = match kind {
        DistArchiveType::Conda(kind @ (CondaArchiveType::Conda | CondaArchiveType::TarBz2)) => {
            archive::index_json(&file.path, kind)?.map(drop)
        }
        DistArchiveType::Wheel(_) => Err("it is a wheel".to_owned()),
    };
    checked.map_err(|reason| Error::Unindexable {
        path: file.path.clone(),
        reason,
    })
}

fn is_unfinished(folder: &Folder, subdir: Subdir) -> Result<bool, Error> {
    disk::open(&unfinished(folder, subdir)).map(|marker| marker.is_some())
}

fn unfinished(folder: &Folder, subdir: Subdir) -> PathBuf {
    folder.root.join(OWN).join(format!("indexing-{subdir}"))
}
