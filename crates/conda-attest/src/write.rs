use std::io::Write as _;
use std::path::Path;

use crate::Error;

/// Writes a file so that a reader, or a machine that loses power, sees it whole or not at all.
///
/// A link in its place is replaced, not followed.
pub(crate) fn atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = || Error::io("write", path);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bundle-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // As any other file: a bundle is public, and the umask has the last word.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(failed())?;
    file.write_all(bytes).map_err(failed())?;
    file.as_file().sync_all().map_err(failed())?;
    file.persist(path).map_err(|error| failed()(error.error))?;
    #[cfg(unix)]
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed())?;
    Ok(())
}
