//! Copying what another job handed over: by its hash, never through a link.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use cep27::Sha256;
use fs_err as fs;
use sha2::Digest as _;

/// How much is read, hashed and written at a time.
const CHUNK: usize = 256 * 1024;

/// What a file must be.
pub(super) enum Content {
    /// Exactly these bytes.
    Known {
        /// Their digest.
        sha256: Sha256,
        /// How many.
        size: u64,
    },
    /// Whatever it says, up to this many bytes.
    AtMost(u64),
}

/// Copies the file of this path beneath `folder`; the copy gets its name when it is whole and right.
pub(super) fn copy(folder: &Path, path: &Path, to: &Path, content: &Content) -> io::Result<()> {
    let mut from = open(folder, path)?;
    let limit = match content {
        Content::Known { size, .. } => *size,
        Content::AtMost(limit) => *limit,
    };
    let beside = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(beside)?;
    let mut builder = tempfile::Builder::new();
    // As rattler-build's own unfinished files: a later build removes what a killed run left.
    builder.prefix(".tmp");
    // For everybody the umask allows.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut copy = builder.tempfile_in(beside)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut copied: u64 = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        copied += read as u64;
        if copied > limit {
            return Err(io::Error::other(format!(
                "expected at most {limit} bytes, found more"
            )));
        }
        hasher.update(&buffer[..read]);
        copy.write_all(&buffer[..read])?;
    }
    if let Content::Known { sha256, size } = content {
        let found = Sha256::from_bytes(hasher.finalize().into());
        if found != *sha256 || copied != *size {
            return Err(io::Error::other(format!(
                "expected {size} bytes with sha256 {sha256}, found {copied} with {found}"
            )));
        }
    }
    copy.as_file().sync_all()?;
    copy.persist(to)?;
    Ok(())
}

/// Reads the file of this path beneath `folder`, of at most `limit` bytes; one more if it is longer.
pub(super) fn read(folder: &Path, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    crate::input::read_from(open(folder, path)?, limit)
}

/// Opens a regular file beneath `folder`. No link is followed on the way there, nothing special is waited for.
fn open(folder: &Path, path: &Path) -> io::Result<File> {
    let mut whole = PathBuf::from(folder);
    let link = || io::Error::other("expected a file, found a link on the way to it");
    for part in path.parent().into_iter().flat_map(Path::components) {
        whole.push(part);
        if !std::fs::symlink_metadata(&whole)?.is_dir() {
            return Err(link());
        }
    }
    let whole = folder.join(path);
    if std::fs::symlink_metadata(&whole)?.is_symlink() {
        return Err(link());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    let file = options.open(&whole)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("expected a regular file")),
    }
}
