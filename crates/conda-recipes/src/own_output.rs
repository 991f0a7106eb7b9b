//! The folders that releases write, which are never part of what is built.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use release_manifest::Mode;

use crate::Error;

/// The file by which rattler-build leaves out entries of a folder that it copies, with the patterns of `.gitignore`.
const IGNORE_FILE: &str = ".condapackageignore";

/// The pattern that matches everything in the folder of an ignore file, also the file itself.
pub const EVERYTHING: &str = "*";

/// Makes rattler-build leave out what `patterns` match in `folder` when it copies sources, recipe folders, test files and
/// licenses from there or from a folder above.
///
/// A file that is there already is kept if it has the patterns.
///
/// # Errors
/// [`Error::Unprotected`] for a file without the patterns; the folder cannot be written.
pub fn keep_out_of_packages(folder: &Path, patterns: &[&str]) -> Result<(), Error> {
    let path = folder.join(IGNORE_FILE);
    let failed = |source| Error::Write {
        path: path.clone(),
        source,
    };
    let text: String = patterns.iter().map(|line| format!("{line}\n")).collect();
    let present = match fs_err::read_to_string(&path) {
        Ok(present) => present,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_new(&path, &text).map_err(failed);
        }
        Err(error) => return Err(failed(error)),
    };
    // Also an empty file, or one that a killed run left half-written.
    if text.starts_with(&present) {
        return match present == text {
            true => Ok(()),
            false => fs_err::write(&path, text).map_err(failed),
        };
    }
    let has = |pattern: &str| {
        let mut lines = present.lines().map(str::trim_end);
        lines.any(|line| line == pattern || line == EVERYTHING)
    };
    match patterns.iter().find(|pattern| !has(pattern)) {
        None => Ok(()),
        Some(missing) => Err(Error::Unprotected {
            path,
            missing: (*missing).to_owned(),
        }),
    }
}

/// The folders that releases write.
#[derive(Clone, Debug)]
pub(crate) struct OwnOutput {
    /// `OUTPUT/<mode>`, of this mode first.
    folders: Vec<PathBuf>,
    /// `OUTPUT`.
    parent: PathBuf,
}

impl OwnOutput {
    /// The folders of a release in `output`, which is `OUTPUT/<mode>`.
    pub(crate) fn new(output: &Path) -> Self {
        let parent = output.parent().unwrap_or(output).to_owned();
        let other = [Mode::Rehearsal, Mode::Live]
            .into_iter()
            .map(|mode| parent.join(mode.as_str()))
            .filter(|folder| folder != output);
        Self {
            folders: std::iter::once(output.to_owned()).chain(other).collect(),
            parent,
        }
    }

    /// Returns whether a path is one of these folders or in one.
    pub(crate) fn contains(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }

    /// Returns whether a path is the output folder and has nothing in it yet, so that it will be the release's alone.
    pub(crate) fn is_unused(&self, path: &Path) -> bool {
        path == self.parent
            && fs_err::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    }

    /// Returns whether the whole output folder is left out of what is copied: nothing but releases wrote there.
    pub(crate) fn is_left_out(&self, path: &Path) -> bool {
        path == self.parent
            && fs_err::read_to_string(path.join(IGNORE_FILE))
                .is_ok_and(|text| text.lines().any(|line| line == EVERYTHING))
    }

    /// Keeps these folders out of packages: that of this mode, which is made where it is missing, and that of the other mode
    /// where a release made it.
    ///
    /// # Errors
    /// A folder cannot be written.
    pub(crate) fn protect(&self) -> Result<(), Error> {
        for (index, folder) in self.folders.iter().enumerate() {
            if index == 0 {
                fs_err::create_dir_all(folder).map_err(|source| Error::Write {
                    path: folder.clone(),
                    source,
                })?;
            } else if !folder.join("packages").is_dir() && !folder.join("sandbox").is_dir() {
                continue;
            }
            keep_out_of_packages(folder, &[EVERYTHING])?;
        }
        self.end_git_rules()
    }

    /// Ends the ignore rules above the folder: build tools that look upwards for a `.gitignore` (hatchling) would leave out all
    /// of a source that is built beneath one with `*`.
    fn end_git_rules(&self) -> Result<(), Error> {
        let Some(folder) = self.folders.first() else {
            return Ok(());
        };
        let path = folder.join(".gitignore");
        let text = "# Without patterns: builds beneath this folder end their search for ignore rules here.\n";
        match write_new(&path, text) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            written => written.map_err(|source| Error::Write { path, source }),
        }
    }
}

/// Writes a file where nothing is, not even a link.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs_err::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignore_file_of_the_user_is_kept_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let path = folder.join(IGNORE_FILE);
        let text = || fs_err::read_to_string(&path).unwrap();
        keep_out_of_packages(folder, &["/live/", "/.lock"]).unwrap();
        assert_eq!(text(), "/live/\n/.lock\n");

        fs_err::write(&path, "/liv").unwrap();
        keep_out_of_packages(folder, &["/live/", "/.lock"]).unwrap();
        assert_eq!(text(), "/live/\n/.lock\n");

        fs_err::write(&path, "*.o\n/.lock\n").unwrap();
        let error = keep_out_of_packages(folder, &["/live/", "/.lock"]).unwrap_err();
        assert!(matches!(error, Error::Unprotected { missing, .. } if missing == "/live/"));
        assert_eq!(text(), "*.o\n/.lock\n");

        fs_err::write(&path, "*.o\n*\n").unwrap();
        keep_out_of_packages(folder, &["/live/", "/.lock"]).unwrap();
        assert_eq!(text(), "*.o\n*\n");
    }

    #[cfg(unix)]
    #[test]
    fn nothing_is_written_through_dangling_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let target = root.join("target");
        let own = OwnOutput::new(&root.join("out/rehearsal"));
        fs_err::create_dir_all(root.join("out/rehearsal")).unwrap();
        let link = |name: &str| root.join("out/rehearsal").join(name);
        std::os::unix::fs::symlink(&target, link(".gitignore")).unwrap();
        own.protect().unwrap();
        assert!(!target.exists());

        fs_err::remove_file(link(IGNORE_FILE)).unwrap();
        std::os::unix::fs::symlink(&target, link(IGNORE_FILE)).unwrap();
        let error = own.protect().unwrap_err();
        assert_eq!(error.code(), "unwritable");
        assert!(!target.exists());
    }
}
