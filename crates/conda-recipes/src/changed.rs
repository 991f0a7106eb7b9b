//! The files that differ from what a plan is compared with.

use std::{
    collections::BTreeSet,
    ops::Bound,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Files that changed, were added or were removed: absolute, without links.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Changed(BTreeSet<PathBuf>);

impl Changed {
    /// Whether the file is one of them.
    pub fn contains(&self, file: &Path) -> bool {
        self.0.contains(file)
    }

    /// Whether one of them is at `path` or beneath it, and wanted as its path from there says; or whether `path` lies beneath
    /// one: then that was or became a file, or is a submodule.
    pub(crate) fn reaches(&self, path: &Path, is_wanted: impl Fn(&Path) -> bool) -> bool {
        // Paths sort by their parts, so that all beneath a folder follow it.
        let from = (Bound::Included(path), Bound::Unbounded);
        self.0
            .range::<Path, _>(from)
            .map_while(|file| file.strip_prefix(path).ok())
            .any(|inside| inside.as_os_str().is_empty() || is_wanted(inside))
            || path
                .ancestors()
                .skip(1)
                .any(|ancestor| self.0.contains(ancestor))
    }
}

impl FromIterator<PathBuf> for Changed {
    fn from_iter<T: IntoIterator<Item = PathBuf>>(files: T) -> Self {
        Self(files.into_iter().collect())
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
        let reaches = |path: &str| changed.reaches(Path::new(path), |_| true);
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
        assert!(changed.reaches(Path::new("/w/a"), is_source));
        assert!(!changed.reaches(Path::new("/w/a/deep"), is_source));
    }
}
