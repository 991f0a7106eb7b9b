//! Removing what somebody's scripts wrote.

use std::{io, path::Path};

/// Removes a folder, if it is there, with all that is in it: also where a script has taken away the right to do so, as Go does with
/// its module cache.
pub(crate) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(folder)?;
            fs_err::remove_dir_all(folder)
        }
        ended => ended,
    }
}

/// Lets the owner change this folder and every one beneath it. Links are not followed.
fn make_writable(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn folders_that_cannot_be_written_go_and_what_links_lead_to_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let temporary = tempfile::tempdir().unwrap();
        let (home, outside) = (
            temporary.path().join("home"),
            temporary.path().join("outside"),
        );
        let cache = home.join("go/pkg/mod");
        fs_err::create_dir_all(&cache).unwrap();
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(cache.join("go.mod"), "").unwrap();
        std::os::unix::fs::symlink(&outside, home.join("link")).unwrap();
        let read_only = std::fs::Permissions::from_mode(0o555);
        for folder in [&outside, &cache, &home.join("go"), &home] {
            fs_err::set_permissions(folder, read_only.clone()).unwrap();
        }
        remove_folder(&home).unwrap();
        assert!(!home.exists());
        assert_eq!(
            fs_err::metadata(&outside).unwrap().permissions().mode() & 0o777,
            0o555
        );
        remove_folder(&home).unwrap();
    }
}
