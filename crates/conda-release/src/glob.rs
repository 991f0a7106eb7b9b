//! Globs on the command line, where the shell did not expand them.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

use crate::error::Error;

/// Replaces every glob by the files that it matches, each file once and in the order of their paths. `*`, `?`,
/// `[…]` and `{…}` stay within one part of a path, `**` stands for any folders; as in a shell, none of them matches
/// a leading dot. What exists under its very name is no glob.
///
/// # Errors
/// A glob that matches no file, cannot be meant, or leads through a folder that cannot be read.
pub(crate) fn expand(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for argument in arguments {
        if !is_glob(argument.as_os_str()) || argument.symlink_metadata().is_ok() {
            files.push(argument.clone());
            continue;
        }
        let parts = argument
            .components()
            .map(|part| Part::read(part, argument))
            .collect::<Result<Vec<_>, _>>()?;
        let mut found = Vec::new();
        walk(Path::new(""), &parts, &mut found)?;
        if found.is_empty() {
            return Err(Error::Usage(format!(
                "no file matches `{}`",
                argument.display()
            )));
        }
        found.sort();
        files.extend(found);
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.clone()));
    Ok(files)
}

/// One part of a path.
enum Part<'a> {
    Name(&'a OsStr),
    Glob {
        matcher: Box<GlobMatcher>,
        hidden: bool,
    },
    /// `**`
    Folders,
}

impl<'a> Part<'a> {
    fn read(part: Component<'a>, argument: &Path) -> Result<Self, Error> {
        let name = part.as_os_str();
        if name == "**" {
            return Ok(Self::Folders);
        }
        if !is_glob(name) {
            return Ok(Self::Name(name));
        }
        let refused = |reason: String| {
            Error::Usage(format!(
                "`{}` is not a usable glob: {reason}",
                argument.display()
            ))
        };
        let text = name
            .to_str()
            .ok_or_else(|| refused("it is not UTF-8".to_owned()))?;
        let glob = GlobBuilder::new(text)
            .build()
            .map_err(|error| refused(error.kind().to_string()))?;
        Ok(Self::Glob {
            matcher: Box::new(glob.compile_matcher()),
            hidden: text.starts_with('.'),
        })
    }
}

fn is_glob(text: &OsStr) -> bool {
    text.to_string_lossy().contains(['*', '?', '[', '{'])
}

fn walk(folder: &Path, parts: &[Part<'_>], found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let Some((part, rest)) = parts.split_first() else {
        if !folder.is_dir() && folder.symlink_metadata().is_ok() {
            found.push(folder.to_owned());
        }
        return Ok(());
    };
    match part {
        Part::Name(name) => walk(&folder.join(name), rest, found),
        Part::Glob { matcher, hidden } => {
            for path in entries(folder, *hidden)? {
                if path.file_name().is_some_and(|name| matcher.is_match(name)) {
                    walk(&path, rest, found)?;
                }
            }
            Ok(())
        }
        Part::Folders => {
            walk(folder, rest, found)?;
            for path in entries(folder, false)? {
                // A link to a folder above would have no end.
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, parts, found)?;
                }
            }
            Ok(())
        }
    }
}

/// What is in a folder; nothing, if it is none.
fn entries(folder: &Path, hidden: bool) -> Result<Vec<PathBuf>, Error> {
    let shown = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    if !shown.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(shown).map_err(Error::output("read", shown))? {
        let name = entry.map_err(Error::output("read", shown))?.file_name();
        if hidden || !name.to_string_lossy().starts_with('.') {
            paths.push(folder.join(name));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "a.json",
            "b.json",
            "c.txt",
            ".d.json",
            "[x].json",
            "noarch/e.json",
            "noarch/deep/f.json",
            ".hidden/g.json",
        ] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    fn matched(folder: &Path, globs: &[&str]) -> Result<Vec<String>, Error> {
        let globs: Vec<PathBuf> = globs.iter().map(|glob| folder.join(glob)).collect();
        let shown = |path: &PathBuf| {
            let path = path.strip_prefix(folder).unwrap();
            path.to_string_lossy().replace('\\', "/")
        };
        Ok(expand(&globs)?.iter().map(shown).collect())
    }

    #[test]
    fn globs_match_as_in_a_shell() {
        let folder = folder();
        for (globs, expected) in [
            (&["*.json"][..], &["[x].json", "a.json", "b.json"][..]),
            (&["?.*"], &["a.json", "b.json", "c.txt"]),
            (&["[ab].json"], &["a.json", "b.json"]),
            (&["{b,a}.json"], &["a.json", "b.json"]),
            (&[".*.json"], &[".d.json"]),
            (&["*/*.json"], &["noarch/e.json"]),
            (
                &["**/*.json"],
                &[
                    "[x].json",
                    "a.json",
                    "b.json",
                    "noarch/deep/f.json",
                    "noarch/e.json",
                ],
            ),
            (&["**/f.json"], &["noarch/deep/f.json"]),
            // Named twice, it is there once; what exists is no glob.
            (&["b.json", "*.json"], &["b.json", "[x].json", "a.json"]),
            (&["[x].json"], &["[x].json"]),
            // Whether it exists is found out by who reads it.
            (&["missing.json"], &["missing.json"]),
        ] {
            assert_eq!(
                matched(folder.path(), globs).unwrap(),
                expected,
                "{globs:?}"
            );
        }
    }

    #[test]
    fn a_glob_that_matches_nothing_or_means_nothing_is_named() {
        let folder = folder();
        for (glob, expected) in [
            ("*.jsonl", "no file matches `"),
            ("nowhere/*.json", "no file matches `"),
            ("*arc?", "no file matches `"),
            ("[a.json", "is not a usable glob: "),
        ] {
            let error = matched(folder.path(), &["*.json", glob]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(expected) && text.contains(glob), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_above_has_an_end() {
        let folder = folder();
        std::os::unix::fs::symlink("..", folder.path().join("noarch/up")).unwrap();
        let found = matched(folder.path(), &["**/f.json"]).unwrap();
        assert_eq!(found, ["noarch/deep/f.json"]);
    }
}
