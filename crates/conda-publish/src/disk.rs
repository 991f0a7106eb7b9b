//! File operations with the two promises of a channel: nothing is opened through a link, and nothing gets its
//! name before it is whole and on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use cep27::Sha256;
use sha2::Digest;
use tempfile::TempPath;

use crate::Error;

/// Large enough that hashing, not system calls, takes the time.
const CHUNK: usize = 256 * 1024;

/// Says what was tried with which path when the operating system refuses.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

/// Opens a regular file for reading; `None` where there is nothing under that name.
///
/// A link is refused, not followed, and a pipe is refused, not waited for.
pub(crate) fn open(path: &Path) -> Result<Option<File>, Error> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) if is_link(path) => {
            return Err(Error::Link {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(error).at("read", path),
    };
    // Only where opening can't refuse links by itself does this look at the path again.
    if cfg!(not(unix)) && is_link(path) {
        return Err(Error::Link {
            path: path.to_owned(),
        });
    }
    if !file.metadata().at("read", path)?.is_file() {
        return Err(Error::NotAFile {
            path: path.to_owned(),
        });
    }
    Ok(Some(file))
}

/// Opens a regular file that must be there.
pub(crate) fn open_existing(path: &Path) -> Result<File, Error> {
    open(path)?
        .ok_or_else(|| io::Error::from(ErrorKind::NotFound))
        .at("read", path)
}

/// Reads a regular file of at most `limit` bytes; `None` where there is nothing under that name.
///
/// The limit holds while reading: a file that is longer gives `limit + 1` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(Some(bytes))
}

/// Reads a regular file that must be there; the limit holds as in [`read`].
pub(crate) fn read_existing(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    read(path, limit)?
        .ok_or_else(|| io::Error::from(ErrorKind::NotFound))
        .at("read", path)
}

/// The SHA-256 of a regular file; `None` where there is nothing under that name.
pub(crate) fn hash(path: &Path) -> Result<Option<Sha256>, Error> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    for_each_chunk(file, path, |_| Ok(())).map(Some)
}

/// The SHA-256 of bytes.
pub(crate) fn hash_of(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// Returns true if nothing is at a path.
///
/// A link to nowhere, and a path that this user may not look at, are not missing: reading them fails, and says why.
pub(crate) fn is_missing(path: &Path) -> bool {
    let missing = [ErrorKind::NotFound, ErrorKind::NotADirectory];
    fs::symlink_metadata(path).is_err_and(|error| missing.contains(&error.kind()))
}

/// Removes a file; says whether there was one.
pub(crate) fn remove(path: &Path) -> Result<bool, Error> {
    step();
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("remove", path),
    }
}

/// Makes a folder and those above it. One that is there already must not be a link.
pub(crate) fn create_folder(path: &Path) -> Result<(), Error> {
    step();
    fs::create_dir_all(path).at("create", path)?;
    folder(path).map(|_| ())
}

/// Whether a folder of that name is there. A link to a folder is refused.
pub(crate) fn folder(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Ok(true),
        Ok(found) if found.is_symlink() => Err(Error::Link {
            path: path.to_owned(),
        }),
        Ok(_) => Err(Error::NotAFolder {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("read", path),
    }
}

/// Makes names given and taken in a folder survive a power failure.
pub(crate) fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(unix) {
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .at("write", path)?;
    }
    Ok(())
}

/// The folder in which files wait until they are whole.
///
/// It is in the channel itself, so that giving a file its name is one step within a file system.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// A file of these bytes, for this name.
    pub(crate) fn write<'a>(&self, bytes: &[u8], name: &'a Path) -> Result<Whole<'a>, Error> {
        let (mut file, path) = self.temporary(name)?;
        file.write_all(bytes).at("write", name)?;
        file.sync_all().at("write", name)?;
        Ok(Whole { path, name })
    }

    /// A copy of a file for this name, hashed as it was read: the hash is that of the copy's bytes whatever
    /// happens to the source meanwhile.
    pub(crate) fn copy<'a>(
        &self,
        source: &Path,
        name: &'a Path,
    ) -> Result<(Whole<'a>, Sha256), Error> {
        let from = open_existing(source)?;
        let (mut file, path) = self.temporary(name)?;
        let sha256 = for_each_chunk(from, source, |chunk| {
            file.write_all(chunk).at("write", name)
        })?;
        file.sync_all().at("write", name)?;
        Ok((Whole { path, name }, sha256))
    }

    fn temporary(&self, name: &Path) -> Result<(File, TempPath), Error> {
        step();
        let mut builder = tempfile::Builder::new();
        // Published files are for everybody the umask allows, other than temporary ones.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        Ok(builder
            .tempfile_in(&self.folder)
            .at("write", name)?
            .into_parts())
    }
}

/// A file that is whole and on the disk, but doesn't have its name yet. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Whole<'a> {
    path: TempPath,
    name: &'a Path,
}

impl Whole<'_> {
    /// Where its bytes can be read meanwhile.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, taking it from another file if need be.
    pub(crate) fn replace(self) -> Result<(), Error> {
        step();
        self.path
            .persist(self.name)
            .map_err(|error| error.error)
            .at("write", self.name)
    }

    /// Gives it its name if no other file has it; `false` if one has.
    pub(crate) fn create(self) -> Result<bool, Error> {
        step();
        match self.path.persist_noclobber(self.name) {
            Ok(()) => Ok(true),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error).at("write", self.name),
        }
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

fn for_each_chunk(
    mut file: File,
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Sha256, Error> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Sha256::from_bytes(hasher.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).at("read", path),
        };
        let chunk = &buffer[..read];
        hasher.update(chunk);
        take(chunk)?;
    }
}

/// A moment between two changes to the disk: where the crash tests kill the process.
fn step() {
    #[cfg(all(test, unix))]
    crate::file::crash::step();
}
