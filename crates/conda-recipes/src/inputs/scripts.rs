//! The files that scripts are read from, by rattler-build's own rules (`Script::resolve_content`), and those that their text names.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rattler_build_script::{Script, ScriptContent};

use super::{content, links};
use crate::Error;

/// The variable by which scripts name the recipe's folder.
const RECIPE_DIR: &str = "RECIPE_DIR";

/// The part of a script that is searched for file names, in bytes.
const SEARCHED: u64 = 4 << 20;

/// The place where the scripts of a recipe are looked up.
pub(super) struct ScriptPlace<'a> {
    pub(super) recipe_dir: &'a Path,
    /// The extensions of scripts that are named without one, on the platform that builds.
    pub(super) extensions: &'static [&'static str],
}

/// A script, or something that one names.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum ScriptRead {
    /// A file, whether it exists or not.
    File(PathBuf),
    /// All files of a folder: scripts compute the names.
    Folder(PathBuf),
    /// The text of an inline script.
    Inline(String),
}

impl<'a> ScriptPlace<'a> {
    pub(super) fn new(recipe_dir: &'a Path, builds_on_windows: bool) -> Self {
        Self {
            recipe_dir,
            extensions: match builds_on_windows {
                true => &["bat", "ps1"],
                false => &["sh"],
            },
        }
    }

    /// Everything that is read for a script.
    ///
    /// # Errors
    /// A script cannot be read.
    pub(super) fn reads(&self, script: &Script) -> Result<Vec<ScriptRead>, Error> {
        let mut reads = Vec::new();
        match script.contents() {
            ScriptContent::Default => {
                self.find(Path::new("build"), &mut reads);
            }
            ScriptContent::Path(path) => {
                self.find(path, &mut reads);
            }
            ScriptContent::CommandOrPath(text) if !text.contains('\n') => {
                if !self.find(Path::new(text), &mut reads) {
                    reads.push(ScriptRead::Inline(text.clone()));
                }
            }
            ScriptContent::CommandOrPath(text) | ScriptContent::Command(text) => {
                reads.push(ScriptRead::Inline(text.clone()));
            }
            ScriptContent::Commands(lines) => {
                reads.extend(lines.iter().cloned().map(ScriptRead::Inline));
            }
        }
        // Scripts name files that name others.
        let mut next = 0;
        while let Some(read) = reads.get(next) {
            let mut all_named = Vec::new();
            match read {
                ScriptRead::Inline(text) => all_named = self.named_in(text),
                ScriptRead::File(path) => {
                    let start = Start::read(path).map_err(|source| Error::Read {
                        path: path.clone(),
                        source,
                    })?;
                    all_named = self.named_in(&start.text);
                    if !start.is_whole {
                        all_named.push(ScriptRead::Folder(self.recipe_dir.to_owned()));
                    }
                }
                ScriptRead::Folder(_) => {}
            }
            for named in all_named {
                if !reads.contains(&named) {
                    reads.push(named);
                }
            }
            next += 1;
        }
        Ok(reads)
    }

    /// Adds the places that are looked at for a script up to the one where it is, if it is at one of them.
    fn find(&self, path: &Path, reads: &mut Vec<ScriptRead>) -> bool {
        let path = self.recipe_dir.join(path);
        let places = match path.extension() {
            Some(_) => vec![path],
            None => {
                let extensions = self.extensions.iter();
                extensions.map(|it| path.with_extension(it)).collect()
            }
        };
        for place in places {
            let is_found = place.is_file();
            reads.push(ScriptRead::File(place));
            if is_found {
                return true;
            }
        }
        false
    }

    /// Returns the paths from the recipe's folder in a script's text: one that is written out is one file or folder; for one
    /// that the script computes, everything in the last folder that is written out.
    fn named_in(&self, text: &str) -> Vec<ScriptRead> {
        let mut named = Vec::new();
        for (at, _) in text.match_indices(RECIPE_DIR) {
            let (path, is_whole) = path_after(&text[at + RECIPE_DIR.len()..]);
            let path = self.recipe_dir.join(path);
            named.push(match is_whole && !path.is_dir() {
                true => ScriptRead::File(path),
                false => ScriptRead::Folder(path),
            });
        }
        named
    }
}

/// The path, relative to the variable, that follows the variable's name; and whether it is written out to its end.
fn path_after(rest: &str) -> (PathBuf, bool) {
    // $RECIPE_DIR/x  ${RECIPE_DIR}/x  "${RECIPE_DIR}"/x  %RECIPE_DIR%\x  ${{ RECIPE_DIR }}/x
    let closed = rest
        .strip_prefix(" }}")
        .or_else(|| rest.strip_prefix('}'))
        .or_else(|| rest.strip_prefix('%'))
        .unwrap_or(rest);
    let closed = closed.strip_prefix(['"', '\'']).unwrap_or(closed);
    let Some(path) = closed.strip_prefix(['/', '\\']) else {
        return (PathBuf::new(), false);
    };
    let is_end = |c: char| c.is_whitespace() || "\"';|&<>(),:=`".contains(c);
    let is_computed = |c: char| "$*?[{%!".contains(c);
    let end = path
        .find(|c| is_end(c) || is_computed(c))
        .unwrap_or(path.len());
    let (written, after) = path.split_at(end);
    // A quote may end the variable's own quotes and not the path, and a blank may be escaped.
    let goes_on = after.starts_with(is_computed)
        || written.ends_with('\\')
        || after
            .strip_prefix(['"', '\''])
            .is_some_and(|rest| rest.starts_with(|c: char| !c.is_whitespace() && !is_end(c)));
    match goes_on {
        false => (PathBuf::from(written.replace('\\', "/")), true),
        true => {
            let written = written.trim_end_matches('\\').replace('\\', "/");
            let folder = written.rfind('/').map_or("", |end| &written[..end]);
            (PathBuf::from(folder), false)
        }
    }
}

/// The start of a script, as far as it is searched.
struct Start {
    text: String,
    is_whole: bool,
}

impl Start {
    /// Reads a script; an empty one where no file is.
    fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let end = links::end(path);
        if content::kind_of(&end)?.is_some_and(|kind| kind.is_file()) {
            let file = fs_err::File::open(&end)?;
            file.take(SEARCHED + 1).read_to_end(&mut bytes)?;
        }
        let is_whole = bytes.len() as u64 <= SEARCHED;
        Ok(Self {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            is_whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_from_the_recipes_folder_are_found_in_scripts() {
        for (text, path, is_whole) in [
            ("/fix.patch && make", "fix.patch", true),
            ("}/../common/env.sh", "../common/env.sh", true),
            ("}\"/a.txt", "a.txt", true),
            ("%\\scripts\\a.bat", "scripts/a.bat", true),
            (" }}/LICENSE", "LICENSE", true),
            ("/a.sh\"", "a.sh", true),
            ("/data/$name.txt", "data", false),
            ("/*.sh", "", false),
            ("/with\\ blank", "", false),
            ("/a\"$b\"", "", false),
            ("\"]", "", false),
            ("", "", false),
            (" /etc/profile", "", false),
        ] {
            assert_eq!(path_after(text), (path.into(), is_whole), "{text}");
        }
    }
}
