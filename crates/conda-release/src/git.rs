//! Questions to git, whose failure is never taken for "no".

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use fs_err as fs;

use crate::{error::Error, tool::tool};

/// The repository that a folder lies in: the folder with its `.git`. `None` outside of any repository.
///
/// git itself answers "not a git repository" also for a repository that it refuses or cannot read. So the file system
/// decides, and git must then be able to read what is there.
///
/// # Errors
/// A folder above cannot be read.
pub(crate) fn repository_above(folder: &Path) -> Result<Option<PathBuf>, Error> {
    // The user names a repository elsewhere.
    if std::env::var_os("GIT_DIR").is_some() {
        return Ok(Some(folder.to_owned()));
    }
    for above in folder.ancestors() {
        let git = above.join(".git");
        let is_repository = match fs::symlink_metadata(&git) {
            // An empty folder of this name is none for git either.
            Ok(found) if found.is_dir() => is_there(&git.join("HEAD"))?,
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::output("read", git)(error)),
        };
        if is_repository {
            return Ok(Some(above.to_owned()));
        }
    }
    Ok(None)
}

fn is_there(path: &Path) -> Result<bool, Error> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::output("read", path)(error)),
    }
}

/// The trimmed output of a git command; `None` where it exits with status 1, which is git's "no".
///
/// # Errors
/// As [`git_bytes`], or the output is not UTF-8.
pub(crate) fn git(folder: &Path, args: &[&str]) -> Result<Option<String>, Error> {
    let Some(bytes) = git_bytes(folder, args)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes);
    let text = text.map_err(|error| failed(folder, args, error.to_string()))?;
    Ok(Some(text.trim().to_owned()))
}

/// The trimmed output of a git command that has an answer in every repository.
///
/// # Errors
/// As [`git`], or it exits with status 1.
pub(crate) fn git_answer(folder: &Path, args: &[&str]) -> Result<String, Error> {
    git(folder, args)?.ok_or_else(|| failed(folder, args, "git printed nothing".to_owned()))
}

/// The output of a git command; `None` where it exits with status 1, which is git's "no".
///
/// # Errors
/// git cannot be run, or fails in another way: the repository is damaged, or belongs to another user.
pub(crate) fn git_bytes(folder: &Path, args: &[&str]) -> Result<Option<Vec<u8>>, Error> {
    let output = tool("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        // A read must not write: a refreshed index would race with the user's own git.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| failed(folder, args, error.to_string()))?;
    match output.status.code() {
        Some(0) => Ok(Some(output.stdout)),
        Some(1) => Ok(None),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty());
            let said = said.map_or_else(|| output.status.to_string(), str::to_owned);
            Err(failed(folder, args, said))
        }
    }
}

fn failed(folder: &Path, args: &[&str], reason: String) -> Error {
    Error::Git {
        folder: folder.to_owned(),
        command: args.first().copied().unwrap_or_default().to_owned(),
        reason,
    }
}
