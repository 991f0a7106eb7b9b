//! Paths and the links on their way.

use std::{
    collections::VecDeque,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

/// The links that are followed before a path counts as a loop: Linux' own limit.
const MOST_LINKS: usize = 40;

/// Returns every link that an absolute path passes, and last the place where it ends, whether that exists or not.
pub(super) fn trail(path: &Path) -> Vec<PathBuf> {
    let mut passed = Vec::new();
    let mut current = PathBuf::new();
    let mut open: VecDeque<OsString> = parts(path);
    while let Some(part) = open.pop_front() {
        if part == ".." {
            let _had_one = current.pop();
            continue;
        }
        let next = current.join(&part);
        match fs_err::read_link(&next) {
            Ok(target) if passed.len() < MOST_LINKS => {
                passed.push(next);
                for part in parts(&target).into_iter().rev() {
                    open.push_front(part);
                }
                if target.has_root() {
                    current = PathBuf::new();
                }
            }
            _ => current = next,
        }
    }
    passed.push(current);
    passed
}

/// Returns the place where a path ends, without links, whether it exists or not.
pub(super) fn end(path: &Path) -> PathBuf {
    trail(path).pop().unwrap_or_default()
}

/// Returns `path` as seen from `root`, with `..` where it lies outside: the same on every machine that has the same layout.
pub(super) fn seen_from(root: &Path, path: &Path) -> PathBuf {
    let mut seen = PathBuf::new();
    for ancestor in root.ancestors() {
        if let Ok(rest) = path.strip_prefix(ancestor) {
            return seen.join(rest);
        }
        seen.push("..");
    }
    path.to_owned()
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_trail_names_each_link_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs_err::create_dir_all(root.join("shared/deep")).unwrap();
        symlink("shared", root.join("alias")).unwrap();
        symlink("../deep/script", root.join("shared/link")).unwrap();
        symlink(root.join("alias/deep"), root.join("absolute")).unwrap();
        let trail = |path: &str| -> Vec<String> {
            trail(&root.join(path))
                .iter()
                .map(|it| it.strip_prefix(&root).unwrap().display().to_string())
                .collect()
        };
        assert_eq!(trail("shared/deep/x"), ["shared/deep/x"]);
        assert_eq!(trail("alias/../shared/./y"), ["alias", "shared/y"]);
        assert_eq!(trail("alias/link"), ["alias", "shared/link", "deep/script"]);
        assert_eq!(trail("absolute/z"), ["absolute", "alias", "shared/deep/z"]);
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        assert_eq!(trail(&folder.path().join("loop")).len(), MOST_LINKS + 1);
    }

    #[test]
    fn what_lies_outside_is_seen_from_the_root() {
        let seen = |path: &str| seen_from(Path::new("/w/root"), Path::new(path));
        assert_eq!(seen("/w/root/a/b"), Path::new("a/b"));
        assert_eq!(seen("/w/shared/x"), Path::new("../shared/x"));
        assert_eq!(seen("/y"), Path::new("../../y"));
    }
}
