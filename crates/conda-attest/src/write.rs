//! Writing a file whole or not at all.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        atomically(&path, b"first").unwrap();
        atomically(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(atomically(&folder.path().join("missing/bundle"), b"").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_its_place_is_replaced_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "untouched").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        atomically(&link, b"bundle").unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
        assert!(!link.is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_bundle_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (plain, bundle) = (folder.path().join("plain"), folder.path().join("bundle"));
        std::fs::write(&plain, "").unwrap();
        atomically(&bundle, b"").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&bundle), mode(&plain));
    }
}
