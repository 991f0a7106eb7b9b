//! The content of a file, link or folder, as a fingerprint states it.

use std::{
    fs::{FileType, Metadata},
    io::{self, ErrorKind},
    path::Path,
};

use cep27::Sha256;
use sha2::Digest as _;

use crate::is_missing;

/// Returns the kind of an entry, also of a link itself; nothing where no entry is.
pub(super) fn kind_of(path: &Path) -> io::Result<Option<FileType>> {
    match fs_err::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.file_type())),
        Err(_) if is_missing(path) => Ok(None),
        // Commands are looked for as files too, and may be too long or have characters that no name has.
        Err(error) => match error.kind() {
            ErrorKind::InvalidFilename | ErrorKind::InvalidInput => Ok(None),
            _ => Err(error),
        },
    }
}

/// Returns the kind and content of the entry itself: of a link, its target's path.
pub(super) fn of_entry(path: &Path) -> io::Result<String> {
    let metadata = fs_err::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(format!("link {:?}", fs_err::read_link(path)?));
    }
    if metadata.is_dir() {
        return Ok("folder".to_owned());
    }
    if !metadata.is_file() {
        return Ok("special".to_owned());
    }
    let mut hasher = sha2::Sha256::new();
    io::copy(&mut fs_err::File::open(path)?, &mut hasher)?;
    let kind = if is_executable(&metadata) {
        "executable"
    } else {
        "file"
    };
    Ok(format!(
        "{kind} {}",
        Sha256::from_bytes(hasher.finalize().into())
    ))
}

/// Reads the owner's bit alone, as git and package archives do: the others follow the umask.
#[cfg(unix)]
fn is_executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &Metadata) -> bool {
    false
}
