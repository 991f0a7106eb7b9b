//! The folder itself: its paths, its locks, and what is known of its files.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cep27::{Sha256, Subdir};
use release_manifest::PackageKey;
use tokio::sync::Semaphore;

use super::{Kind, index, marker};
use crate::Error;
use crate::disk::{self, At, Scratch};

/// The folder in a channel's folder that is ours and not the channel's.
pub(super) const OWN: &str = ".conda-release";

/// Copies that a disk can well take at a time.
pub(super) const WRITERS: usize = 8;

#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    pub(super) kind: Kind,
    pub(super) scratch: Scratch,
    /// The bytes that were hashed while this channel is open, so that they need not be again.
    hashed: Mutex<BTreeMap<PackageKey, Sha256>>,
    /// How many may write or wait for it.
    pub(super) turns: Semaphore,
    /// Says to others that somebody has the channel open.
    _presence: File,
}

impl Folder {
    pub(super) fn open(root: &Path, kind: Kind) -> Result<Self, Error> {
        if root.exists() && !root.is_dir() {
            return Err(Error::NotAFolder {
                path: root.to_owned(),
            });
        }
        fs::create_dir_all(root).at("create", root)?;
        let root = root.canonicalize().at("open", root)?;
        if root.to_str().is_none() {
            return Err(Error::NotUnicode { path: root });
        }
        // Before anything is written into what may be somebody else's folder.
        marker::examine(&root, kind)?;

        let temporaries = root.join(OWN).join("tmp");
        disk::create_folder(&root.join(OWN))?;
        disk::create_folder(&temporaries)?;
        let presence = come_in(&root, &temporaries)?;
        let folder = Self {
            root,
            kind,
            scratch: Scratch::new(temporaries),
            hashed: Mutex::default(),
            turns: Semaphore::new(WRITERS),
            _presence: presence,
        };

        let writing = folder.lock()?;
        if marker::examine(&folder.root, kind)? == marker::Found::Unmarked {
            marker::write(&folder)?;
        }
        index::write_empty(&folder)?;
        drop(writing);
        Ok(folder)
    }

    pub(super) fn lookup(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let path = self.path(package)?;
        let sha256 = disk::hash(&path)?;
        if let Some(sha256) = sha256 {
            self.hashed().insert(package.clone(), sha256);
        }
        Ok(sha256)
    }

    pub(super) fn subdir(&self, subdir: Subdir) -> PathBuf {
        self.root.join(subdir.as_str())
    }

    /// The subdirs that the channel has a folder for.
    pub(super) fn subdirs(&self) -> Result<Vec<Subdir>, Error> {
        let mut subdirs = Vec::new();
        for subdir in Subdir::ALL.iter().copied() {
            if disk::folder(&self.subdir(subdir))? {
                subdirs.push(subdir);
            }
        }
        Ok(subdirs)
    }

    /// The path of a package's file, which is beneath the root: its name is one, its folder no link.
    pub(super) fn path(&self, package: &PackageKey) -> Result<PathBuf, Error> {
        let folder = self.subdir(package.subdir);
        disk::folder(&folder)?;
        Ok(folder.join(package.file.as_str()))
    }

    pub(super) fn sidecar(&self, package: &PackageKey) -> Result<PathBuf, Error> {
        Ok(sidecar_of(&self.path(package)?))
    }

    /// Keeps other tasks and processes from writing until the file is dropped.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.root.join(OWN).join("write.lock");
        let file = open_lock(&path)?;
        file.lock().at("lock", &path)?;
        Ok(file)
    }

    pub(super) fn hashed(&self) -> MutexGuard<'_, BTreeMap<PackageKey, Sha256>> {
        // The map is whole between any two operations on it.
        self.hashed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins those who have the channel open; the first to come removes what killed runs left behind.
fn come_in(root: &Path, temporaries: &Path) -> Result<File, Error> {
    let path = root.join(OWN).join("users.lock");
    let file = open_lock(&path)?;
    match file.try_lock() {
        Ok(()) => {
            remove_files(temporaries)?;
            // The indexer's own folder for files that are not whole yet.
            remove_files(&root.join(".tmp"))?;
            file.unlock().at("lock", &path)?;
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error).at("lock", &path),
    }
    file.lock_shared().at("lock", &path)?;
    Ok(file)
}

fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .at("open", path)
}

fn remove_files(folder: &Path) -> Result<(), Error> {
    if disk::folder(folder)? {
        for file in index::files(folder)? {
            disk::remove(&file.path)?;
        }
    }
    Ok(())
}

/// The mutable sidecar of a package's file.
pub(super) fn sidecar_of(package: &Path) -> PathBuf {
    appended(package, ".sigs")
}

/// The hashed sidecar beside a mutable one.
pub(super) fn hashed_name(sidecar: &Path, sha256: Sha256) -> PathBuf {
    appended(sidecar, &format!(".{sha256}"))
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
