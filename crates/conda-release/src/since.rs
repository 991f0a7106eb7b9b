//! What changed in the repository since a git reference.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use conda_recipes::{BuildOptions, Changed};
use fs_err as fs;

use crate::{
    config,
    error::Error,
    git::{git, git_answer, git_bytes, repository_above},
    workspace::Workspace,
};

/// What changed since a git reference.
#[derive(Clone, Debug)]
pub(crate) enum Since {
    /// These files.
    Files(Changed),
    /// Something that decides about every output, which is named.
    Everything(String),
}

/// Compares the working tree, with what is not committed, with the commit at which HEAD left `reference`: what a pull request
/// changes, whatever was merged there meanwhile.
///
/// A changed configuration, or a changed variant file that it or the command line names, is everything.
///
/// # Errors
/// No repository, a reference that git doesn't know, or one that has no commit in common with HEAD.
pub(crate) fn since(
    workspace: &Workspace,
    reference: &str,
    options: &BuildOptions,
) -> Result<Since, Error> {
    let root = workspace.root();
    let unknown = |reason| Error::Reference {
        reference: reference.to_owned(),
        reason,
    };
    repository_above(root)?.ok_or_else(|| unknown("the workspace is in no git repository"))?;
    let top = git_answer(root, &["rev-parse", "--show-toplevel"])?;
    let top = fs::canonicalize(&top).map_err(Error::output("read", &top))?;
    let named = format!("{reference}^{{commit}}");
    let verify = ["rev-parse", "--verify", "--quiet", "--end-of-options"];
    let commit = git(root, &[&verify[..], &[&named]].concat())?
        .ok_or_else(|| unknown("git knows no such commit, branch or tag"))?;
    let base = git(root, &["merge-base", &commit, "HEAD"])?
        .ok_or_else(|| unknown("it has no commit in common with HEAD, as far as is known here"))?;
    let diff = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff"];
    let tracked = git_bytes(&top, &[&diff[..], &[&base, "--"]].concat())?;
    let untracked = git_bytes(&top, &["ls-files", "--others", "--exclude-standard", "-z"])?;
    // Builds read ignored files too. Of those git knows no earlier state; a folder of nothing else is one entry.
    let ignored = ["ls-files", "--others", "--ignored", "--exclude-standard"];
    let ignored = git_bytes(&top, &[&ignored[..], &["--directory", "-z"]].concat())?;
    let head = git(root, &["rev-parse", "--verify", "HEAD"])?;
    let (Some(tracked), Some(untracked), Some(ignored), Some(head)) =
        (tracked, untracked, ignored, head)
    else {
        return Err(unknown("git could not compare with it"));
    };
    let output = real(workspace.output());
    let changed: Changed = paths(&tracked)
        .chain(paths(&untracked))
        .map(|path| top.join(path))
        .filter(|path| !path.starts_with(&output))
        .collect();
    let changed = changed
        .with_ignored(paths(&ignored).map(|path| top.join(path)))
        .with_commits(head != base);

    let shown = |path: &Path| {
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let configured = workspace.config_file();
    let variants = options.variants.iter().map(|file| root.join(file));
    let decides = std::iter::once(configured)
        .chain(variants)
        .map(|path| real(&path))
        .find(|path| changed.contains(path));
    if let Some(path) = decides {
        return Ok(Since::Everything(shown(&path)));
    }
    let cargo = root.join(config::CARGO);
    if changed.contains(&cargo) {
        let before = match cargo.strip_prefix(&top) {
            Ok(path) => file_at(&top, &base, path)?,
            Err(_) => None,
        };
        let now = match fs::read_to_string(&cargo) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(Error::output("read", cargo)(error)),
        };
        // A file that is not TOML says nothing, so it may have said anything.
        match (
            configuration(before.as_deref()),
            configuration(now.as_deref()),
        ) {
            (Ok(before), Ok(now)) if before == now => {}
            _ => return Ok(Since::Everything(shown(&cargo))),
        }
    }
    Ok(Since::Files(changed))
}

/// The text of a file in a commit; `None` where the commit does not have it.
fn file_at(top: &Path, commit: &str, path: &Path) -> Result<Option<String>, Error> {
    let path = path.to_string_lossy().replace('\\', "/");
    let listed = git_answer(top, &["ls-tree", "-z", "--name-only", commit, "--", &path])?;
    match listed.is_empty() {
        true => Ok(None),
        false => git_answer(top, &["show", &format!("{commit}:{path}")]).map(Some),
    }
}

/// The configuration in the text of a `Cargo.toml`; `None` where it has none.
///
/// # Errors
/// The text is not TOML.
fn configuration(text: Option<&str>) -> Result<Option<toml::Value>, toml::de::Error> {
    let manifest: toml::Table = text.unwrap_or_default().parse()?;
    let metadata = manifest.get("workspace");
    let metadata = metadata.and_then(|workspace| workspace.get("metadata"));
    Ok(metadata
        .and_then(|metadata| metadata.get(config::METADATA))
        .cloned())
}

/// Paths as git writes them with `-z`. One that is not UTF-8 still lies in the folder that it lies in.
fn paths(list: &[u8]) -> impl Iterator<Item = String> {
    list.split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8_lossy(path).into_owned())
}

/// The path without links, whether it is there or was.
fn real(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let whole = path.canonicalize().ok();
    let folder = || Some(path.parent()?.canonicalize().ok()?.join(name));
    whole.or_else(folder).unwrap_or_else(|| path.to_owned())
}
