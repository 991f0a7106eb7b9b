//! The files that differ from what a plan is compared with.

use std::{
    collections::BTreeSet,
    ops::Bound,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Files that changed, were added or were removed: absolute, without links.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Changed {
    files: BTreeSet<PathBuf>,
    /// Files and whole folders of which no earlier state is known: git ignores them.
    #[serde(default)]
    ignored: BTreeSet<PathBuf>,
    /// Set if there are newer commits, even ones that change no file: recipes and sources may read them.
    #[serde(default)]
    pub(crate) has_commits: bool,
}

impl Changed {
    /// Adds files and whole folders of which no earlier state is known.
    #[must_use]
    pub fn with_ignored(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.ignored.extend(paths);
        self
    }

    /// Says whether there are commits since.
    #[must_use]
    pub fn with_commits(mut self, has_commits: bool) -> Self {
        self.has_commits = has_commits;
        self
    }

    /// Returns whether the file changed or has no earlier state.
    pub fn contains(&self, file: &Path) -> bool {
        self.files.contains(file) || self.is_ignored(file)
    }

    /// Returns whether anything changed.
    pub(crate) fn is_any(&self) -> bool {
        self.has_commits || !self.files.is_empty()
    }

    /// Returns whether a changed file is at `path`, beneath it or above it: the one above was or became a file, or is a submodule.
    pub(crate) fn reaches(&self, path: &Path) -> bool {
        self.reaches_in(path, |_| true) || self.is_ignored(path)
    }

    /// Returns whether a changed file is in `folder` and its path from there is wanted, or whether the folder is, or is beneath,
    /// a changed file.
    pub(crate) fn reaches_in(&self, folder: &Path, is_wanted: impl Fn(&Path) -> bool) -> bool {
        // Paths sort by their parts, so that all beneath a folder follow it.
        let from = (Bound::Included(folder), Bound::Unbounded);
        self.files
            .range::<Path, _>(from)
            .map_while(|file| file.strip_prefix(folder).ok())
            .any(|inside| inside.as_os_str().is_empty() || is_wanted(inside))
            || folder
                .ancestors()
                .skip(1)
                .any(|ancestor| self.files.contains(ancestor))
    }

    fn is_ignored(&self, path: &Path) -> bool {
        let mut paths = path.ancestors();
        !self.ignored.is_empty() && paths.any(|path| self.ignored.contains(path))
    }
}

impl FromIterator<PathBuf> for Changed {
    fn from_iter<T: IntoIterator<Item = PathBuf>>(files: T) -> Self {
        Self {
            files: files.into_iter().collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_at_beneath_or_above_is_reached_and_what_is_named_alike_is_not() {
        let changed: Changed = ["/w/a/x.c", "/w/a/deep/y.h", "/w/a-b/z", "/w/module"]
            .map(PathBuf::from)
            .into_iter()
            .collect();
        let reaches = |path: &str| changed.reaches(Path::new(path));
        for path in [
            "/w",
            "/w/a",
            "/w/a/x.c",
            "/w/a/deep",
            "/w/a-b",
            "/w/module/inside",
        ] {
            assert!(reaches(path), "{path}");
        }
        for path in ["/w/a/x", "/w/b", "/w/a-", "/w/a/deeper", "/elsewhere"] {
            assert!(!reaches(path), "{path}");
        }
        let is_source = |inside: &Path| inside.extension().is_some_and(|it| it == "c");
        assert!(changed.reaches_in(Path::new("/w/a"), is_source));
        assert!(!changed.reaches_in(Path::new("/w/a/deep"), is_source));
    }

    #[test]
    fn what_git_ignores_counts_where_it_is_read() {
        let changed =
            Changed::default().with_ignored(["/w/target/", "/w/x.gen"].map(PathBuf::from));
        assert!(changed.contains(Path::new("/w/target/deep/file")));
        assert!(changed.reaches(Path::new("/w/x.gen")));
        assert!(!changed.contains(Path::new("/w/a")));
        assert!(!changed.reaches(Path::new("/w")));
        assert!(!changed.is_any());
    }
}
