//! Files that are either whole or not there.

use std::{
    io::{self, Write as _},
    path::Path,
};

/// How the names of files begin that are still being written.
const UNFINISHED: &str = ".unfinished-";

/// Removes the files that a killed process did not finish. No one else may be writing here.
pub(crate) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the folder, for its owner alone: it holds private keys.
pub(crate) fn create_private_folder(folder: &Path) -> io::Result<()> {
    fs_err::create_dir_all(folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Replaces `path` by a file with these bytes, mode 0600, in one step that survives a crash.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// Makes a created or renamed entry of the folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        fs_err::File::open(folder)?.sync_all()?;
    }
    Ok(())
}
