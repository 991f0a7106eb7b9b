//! The files of a folder that rattler-build copies, by its own rules (`source/copy_dir.rs`).

use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use rattler_build_types::GlobVec;

use crate::{Error, own_output::OwnOutput};

/// The folder in which git keeps a repository, or the file that leads to it.
const GIT: &str = ".git";

/// A folder of which files are read.
#[derive(Clone, Debug)]
pub(super) struct CopiedTree {
    pub(super) folder: PathBuf,
    pub(super) rules: IgnoreRules,
    pub(super) filter: Option<GlobVec>,
}

/// The rules by which files of a folder are left out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum IgnoreRules {
    /// Those of rattler-build for a source without `use_gitignore`: `.condapackageignore` files in the folder.
    Package,
    /// Those of rattler-build by default: also the `.gitignore` files in the folder, if it belongs to a repository. It never
    /// reads those above the folder.
    PackageAndGit,
    /// The rules of git, including the `.gitignore` files above the folder. For the folders of Cargo's packages, which builds
    /// fill with files of their own.
    Git,
}

/// An entry that is copied.
#[derive(Clone, Debug)]
pub(super) struct TreeEntry {
    pub(super) path: PathBuf,
    pub(super) kind: EntryKind,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum EntryKind {
    /// A file, or a folder without entries.
    Plain,
    /// A link, which is copied as a link.
    Link,
    /// The folder `.git`, or the file of this name in a worktree or submodule.
    Repository,
}

impl CopiedTree {
    /// The entries that are copied, without what this program writes; sorted.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub(super) fn entries(&self, own: &OwnOutput) -> Result<Vec<TreeEntry>, Error> {
        let failed = |source: std::io::Error| Error::Read {
            path: self.folder.clone(),
            source,
        };
        let mut entries = Vec::new();
        for entry in self.walk(own).build() {
            let entry = entry.map_err(|error| failed(std::io::Error::other(error)))?;
            let inside = entry
                .path()
                .strip_prefix(&self.folder)
                .unwrap_or(entry.path());
            let kind = entry.file_type();
            let is_folder = kind.is_some_and(|kind| kind.is_dir());
            if entry.depth() > 0 && entry.file_name() == GIT {
                if self.is_wanted(&inside.join("HEAD")) || self.is_wanted(inside) {
                    entries.push(TreeEntry {
                        path: entry.into_path(),
                        kind: EntryKind::Repository,
                    });
                }
                continue;
            }
            // A folder with entries comes with them; one without is made only where no glob selects files.
            let is_empty_folder = || -> std::io::Result<bool> {
                let has_globs = self.filter.as_ref();
                let has_globs = has_globs.is_some_and(|it| !it.include_globs().is_empty());
                Ok(!has_globs && fs_err::read_dir(entry.path())?.next().is_none())
            };
            if !self.is_wanted(inside) || is_folder && !is_empty_folder().map_err(failed)? {
                continue;
            }
            let is_link = kind.is_some_and(|kind| kind.is_symlink());
            entries.push(TreeEntry {
                path: entry.into_path(),
                kind: if is_link {
                    EntryKind::Link
                } else {
                    EntryKind::Plain
                },
            });
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    /// Returns whether the filter selects a path, relative to the folder.
    pub(super) fn is_wanted(&self, inside: &Path) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.is_empty() || filter.is_match(inside))
    }

    fn walk(&self, own: &OwnOutput) -> WalkBuilder {
        let own = own.clone();
        let mut walk = WalkBuilder::new(&self.folder);
        walk.git_global(false)
            .ignore(false)
            .hidden(false)
            .parents(self.rules == IgnoreRules::Git)
            .require_git(self.rules != IgnoreRules::Git)
            .git_ignore(self.rules != IgnoreRules::Package)
            .add_custom_ignore_filename(".condapackageignore")
            .filter_entry(move |entry| {
                // The content of `.git` changes with every command of git: its commit stands for it.
                let is_in_git = entry.depth() > 1
                    && entry.path().parent().and_then(Path::file_name) == Some(GIT.as_ref());
                !is_in_git && !own.contains(entry.path()) && !own.is_unused(entry.path())
            });
        walk
    }
}
