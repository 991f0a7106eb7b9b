//! A channel in a folder.
//!
//! ```text
//! <root>/<subdir>/<package>                 the packages
//!                 <package>.sigs            their attestations, growing (CEP-50)
//!                 <package>.sigs.<sha256>   the same, under a name whose bytes never change
//!                 repodata.json             written last
//!        .conda-release/channel.json        what the folder is for: the marker
//!                       users.lock          shared by those who have the channel open
//!                       write.lock          held while names are given and taken
//!                       tmp/                files that are not whole yet
//!                       indexing-<subdir>   an index that was begun and not ended
//! ```

#[cfg(all(test, unix))]
pub(crate) mod crash;
mod index;
mod marker;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cep27::{Sha256, Subdir};
use release_manifest::{Mode, PackageKey, PublishResult};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::channel::{Bundle, Channel, Placed, Upload};
use crate::disk::{self, At, Scratch, Whole};
use crate::reader::ChannelReader;
use crate::sidecar::{BundleText, SIDECAR_LIMIT, Sidecar};
use crate::{Error, archive};

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
            let result = index::prune(&folder);
            drop(writing);
            result
        })
        .await
    }

    /// The attestations that clients find for a package. See [`ChannelReader::sidecar`].
    pub fn sidecar(&self, package: &PackageKey) -> Result<Option<Sidecar>, Error> {
        ChannelReader::open(&self.folder.root)?.sidecar(package)
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
    async fn lookup(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let (folder, package) = (self.folder.clone(), package.clone());
        blocking(move || folder.lookup(&package)).await
    }

    async fn put(&self, upload: &Upload) -> Result<Placed, Error> {
        Self::put(self, upload).await
    }

    async fn retain(&self, packages: &BTreeSet<PackageKey>) -> Result<(), Error> {
        let (folder, packages) = (self.folder.clone(), packages.clone());
        blocking(move || folder.retain(&packages)).await
    }

    async fn finish(&self) -> Result<(), Error> {
        Self::finish(self).await
    }
}

/// The folder in a channel's folder that is ours and not the channel's.
const OWN: &str = ".conda-release";

/// Copies that a disk can well take at a time.
const WRITERS: usize = 8;

#[derive(Debug)]
struct Folder {
    root: PathBuf,
    kind: Kind,
    scratch: Scratch,
    /// The bytes that were hashed while this channel is open, so that they need not be again.
    hashed: Mutex<BTreeMap<PackageKey, Sha256>>,
    /// How many may write or wait for it.
    turns: Semaphore,
    /// Says to others that somebody has the channel open.
    _presence: File,
}

impl Folder {
    fn open(root: &Path, kind: Kind) -> Result<Self, Error> {
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

    fn lookup(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let path = self.path(package)?;
        let sha256 = disk::hash(&path)?;
        if let Some(sha256) = sha256 {
            self.hashed().insert(package.clone(), sha256);
        }
        Ok(sha256)
    }

    fn put(&self, upload: &Upload) -> Result<Placed, Error> {
        let Upload {
            package, bundles, ..
        } = upload;
        let path = self.path(package)?;
        let bundles = bundles
            .iter()
            .map(|bundle| read_bundle(bundle, package))
            .collect::<Result<_, _>>()?;
        // Copying takes the time: others may write meanwhile.
        let copy = if self.has(upload)? {
            None
        } else {
            Some(self.copy(upload, &path)?)
        };

        let writing = self.lock()?;
        // Known to be writable before the package appears.
        let sidecar = self.next_sidecar(package, bundles)?;
        disk::create_folder(&self.subdir(package.subdir))?;
        let result = match copy {
            Some(copy) if !self.has(upload)? => self.place(copy, upload)?,
            Some(_) | None => PublishResult::Identical,
        };
        self.write_sidecar(package, sidecar.as_ref())?;
        disk::sync_folder(&self.subdir(package.subdir))?;
        drop(writing);

        Ok(Placed {
            url: url::Url::from_file_path(&path)
                .map_or_else(|()| path.display().to_string(), String::from),
            sidecar_sha256: sidecar.map(|sidecar| sidecar.sha256()),
            result,
        })
    }

    fn retain(&self, packages: &BTreeSet<PackageKey>) -> Result<(), Error> {
        if self.kind != Kind::Rehearsal {
            return Err(Error::NotAMirror {
                path: self.root.clone(),
            });
        }
        let writing = self.lock()?;
        for subdir in self.subdirs()? {
            for file in index::files(&self.subdir(subdir))? {
                let Some(owner) = index::owner(&file.name) else {
                    continue;
                };
                let kept = owner
                    .parse()
                    .is_ok_and(|file| packages.contains(&PackageKey { subdir, file }));
                if !kept {
                    disk::remove(&file.path)?;
                }
            }
        }
        self.hashed()
            .retain(|package, _| packages.contains(package));
        drop(writing);
        Ok(())
    }

    /// Whether the channel has this package already, with these bytes. Other bytes in a target are an error.
    fn has(&self, upload: &Upload) -> Result<bool, Error> {
        match (self.lookup(&upload.package)?, self.kind) {
            (Some(there), _) if there == upload.sha256 => Ok(true),
            (None, _) | (Some(_), Kind::Rehearsal) => Ok(false),
            (Some(there), Kind::Target(_)) => Err(Error::Conflict {
                package: Box::new(upload.package.clone()),
                there,
                here: upload.sha256,
            }),
        }
    }

    fn copy<'a>(
        &self,
        Upload {
            source,
            package,
            sha256,
            ..
        }: &Upload,
        name: &'a Path,
    ) -> Result<Whole<'a>, Error> {
        let (copy, found) = self.scratch.copy(source, name)?;
        if found != *sha256 {
            let (package, path) = (Box::new(package.clone()), source.clone());
            return Err(Error::PackageChanged {
                package,
                path,
                expected: *sha256,
                found,
            });
        }
        archive::check(copy.path(), source, package)?;
        Ok(copy)
    }

    fn place(&self, copy: Whole<'_>, upload: &Upload) -> Result<PublishResult, Error> {
        match self.kind {
            Kind::Rehearsal => copy.replace()?,
            Kind::Target(_) => {
                if !copy.create()? {
                    // Another program that doesn't know our lock took the name just now.
                    return Err(std::io::ErrorKind::AlreadyExists.into())
                        .at("write", &self.path(&upload.package)?);
                }
            }
        }
        self.hashed().insert(upload.package.clone(), upload.sha256);
        Ok(PublishResult::Uploaded)
    }

    /// The sidecar that a package is to have: what there is and what is new; in a mirror, exactly what is given.
    fn next_sidecar(
        &self,
        package: &PackageKey,
        bundles: Vec<BundleText>,
    ) -> Result<Option<Sidecar>, Error> {
        let there = match self.kind {
            Kind::Rehearsal => None,
            Kind::Target(_) => read_sidecar(&self.sidecar(package)?)?,
        };
        let sidecar = Sidecar::with(there, bundles);
        match sidecar
            .as_ref()
            .map(|sidecar| sidecar.as_bytes().len() as u64)
        {
            Some(size) if size > SIDECAR_LIMIT => Err(Error::SidecarFull {
                package: Box::new(package.clone()),
                size,
            }),
            _ => Ok(sidecar),
        }
    }

    /// The hashed sidecar first, then the mutable one (CEP-50). What is right already is left alone.
    fn write_sidecar(&self, package: &PackageKey, sidecar: Option<&Sidecar>) -> Result<(), Error> {
        let mutable = self.sidecar(package)?;
        let Some(sidecar) = sidecar else {
            if self.kind == Kind::Rehearsal {
                disk::remove(&mutable)?;
            }
            return Ok(());
        };
        let hashed = hashed_name(&mutable, sidecar.sha256());
        match disk::hash(&hashed)? {
            Some(found) if found == sidecar.sha256() => {}
            Some(found) if self.kind != Kind::Rehearsal => {
                return Err(Error::Sidecar {
                    path: hashed,
                    reason: format!("its content has the sha256 {found}"),
                });
            }
            Some(_) | None => self.scratch.write(sidecar.as_bytes(), &hashed)?.replace()?,
        }
        if disk::hash(&mutable)? != Some(sidecar.sha256()) {
            self.scratch
                .write(sidecar.as_bytes(), &mutable)?
                .replace()?;
        }
        Ok(())
    }

    fn subdir(&self, subdir: Subdir) -> PathBuf {
        self.root.join(subdir.as_str())
    }

    /// The subdirs that the channel has a folder for.
    fn subdirs(&self) -> Result<Vec<Subdir>, Error> {
        let mut subdirs = Vec::new();
        for subdir in Subdir::ALL.iter().copied() {
            if disk::folder(&self.subdir(subdir))? {
                subdirs.push(subdir);
            }
        }
        Ok(subdirs)
    }

    /// The path of a package's file, which is beneath the root: its name is one, its folder no link.
    fn path(&self, package: &PackageKey) -> Result<PathBuf, Error> {
        let folder = self.subdir(package.subdir);
        disk::folder(&folder)?;
        Ok(folder.join(package.file.as_str()))
    }

    fn sidecar(&self, package: &PackageKey) -> Result<PathBuf, Error> {
        Ok(sidecar_of(&self.path(package)?))
    }

    /// Keeps other tasks and processes from writing until the file is dropped.
    fn lock(&self) -> Result<File, Error> {
        let path = self.root.join(OWN).join("write.lock");
        let file = open_lock(&path)?;
        file.lock().at("lock", &path)?;
        Ok(file)
    }

    fn hashed(&self) -> MutexGuard<'_, BTreeMap<PackageKey, Sha256>> {
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

fn read_bundle(bundle: &Bundle, package: &PackageKey) -> Result<BundleText, Error> {
    let path = &bundle.path;
    let bytes = disk::read(path, SIDECAR_LIMIT)?
        .ok_or_else(|| std::io::ErrorKind::NotFound.into())
        .at("read", path)?;
    let found = disk::hash_of(&bytes);
    if found != bundle.sha256 {
        let (package, path) = (Box::new(package.clone()), path.clone());
        return Err(Error::BundleChanged {
            package,
            path,
            expected: bundle.sha256,
            found,
        });
    }
    BundleText::parse(&bytes).map_err(|reason| Error::Bundle {
        package: Box::new(package.clone()),
        path: path.clone(),
        reason,
    })
}

/// Reads a mutable sidecar; `None` where there is none.
fn read_sidecar(path: &Path) -> Result<Option<Sidecar>, Error> {
    let Some(bytes) = disk::read(path, SIDECAR_LIMIT)? else {
        return Ok(None);
    };
    Sidecar::parse(&bytes)
        .map(Some)
        .map_err(|reason| Error::Sidecar {
            path: path.to_owned(),
            reason,
        })
}

/// The mutable sidecar of a package's file.
fn sidecar_of(package: &Path) -> PathBuf {
    appended(package, ".sigs")
}

/// The hashed sidecar beside a mutable one.
fn hashed_name(sidecar: &Path, sha256: Sha256) -> PathBuf {
    appended(sidecar, &format!(".{sha256}"))
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Does what takes the disk's time where it doesn't hold up other tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_) => Err(Error::Stopped),
        },
    }
}
