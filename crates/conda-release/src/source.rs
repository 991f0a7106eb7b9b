//! Where the recipes come from: the repository, its commit, and its time.

use std::path::Path;

use release_manifest::Source;
use url::Url;

use crate::{
    error::Error,
    git::{git, git_answer, git_bytes, repository_above},
};

/// What git says of a folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checkout {
    /// Repository, commit and whether files differ from it.
    pub(crate) source: Source,
    /// The full reference of the current branch, if there is one.
    pub(crate) git_ref: Option<String>,
    /// When the commit was made, in seconds since 1970.
    pub(crate) commit_time: Option<i64>,
}

impl Checkout {
    /// Asks git about `root`. A folder outside of any repository, or in one without a commit, has no source.
    ///
    /// What lies in `output` is no change of the source, whether or not git is told to ignore it.
    ///
    /// # Errors
    /// git cannot read the repository, which would otherwise pass for a folder without a source.
    pub(crate) fn of(root: &Path, output: &Path) -> Result<Self, Error> {
        if repository_above(root)?.is_none() {
            return Ok(Self::default());
        }
        let Some(commit) = git(root, &["rev-parse", "--verify", "--quiet", "HEAD"])? else {
            return Ok(Self::default());
        };
        // Untracked files one by one: a folder that holds the output besides says nothing.
        let mut status = vec!["status", "--porcelain", "--untracked-files=all", "--", ":/"];
        let output = output
            .strip_prefix(root)
            .ok()
            .and_then(Path::to_str)
            .map(|output| format!(":(exclude,literal){output}"));
        status.extend(output.as_deref());
        let changes = git_bytes(root, &status)?;
        let time = git_answer(root, &["log", "-1", "--format=%ct"])?;
        Ok(Self {
            source: Source {
                repository: origin(root)?.and_then(|url| repository(&url)),
                commit: Some(commit),
                dirty: changes.is_none_or(|changes| !changes.is_empty()),
            },
            git_ref: git(root, &["symbolic-ref", "--quiet", "HEAD"])?,
            commit_time: time.parse().ok(),
        })
    }
}

/// The URL of the remote `origin`, if there is one.
///
/// # Errors
/// git cannot read the repository.
pub(crate) fn origin(root: &Path) -> Result<Option<String>, Error> {
    let remotes = git_answer(root, &["remote"])?;
    match remotes.lines().any(|remote| remote == "origin") {
        true => git_answer(root, &["remote", "get-url", "origin"]).map(Some),
        false => Ok(None),
    }
}

/// A remote as the URL of its web page: `https://host/owner/name`, without credentials or `.git`.
///
/// Remotes that lead to no host (folders, `file:`) are nobody's repository URL.
pub(crate) fn repository(remote: &str) -> Option<String> {
    let (host, path) = match Url::parse(remote) {
        Ok(url) if matches!(url.scheme(), "http" | "https" | "ssh" | "git") => {
            (url.host_str()?.to_owned(), url.path().to_owned())
        }
        Ok(_) => return None,
        // scp-like: user@host:owner/name
        Err(_) => {
            let (host, path) = remote.split_once(':')?;
            let host = host.rsplit('@').next()?;
            (host.to_owned(), path.to_owned())
        }
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && !path.is_empty() && !host.contains('/'))
        .then(|| format!("https://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn remotes_become_urls_without_credentials() {
        for (remote, url) in [
            (
                "https://github.com/acme/pkgs.git",
                Some("https://github.com/acme/pkgs"),
            ),
            (
                "https://user:secret@github.com/acme/pkgs",
                Some("https://github.com/acme/pkgs"),
            ),
            (
                "git@github.com:acme/pkgs.git",
                Some("https://github.com/acme/pkgs"),
            ),
            (
                "ssh://git@github.com/acme/pkgs.git",
                Some("https://github.com/acme/pkgs"),
            ),
            ("/srv/git/pkgs.git", None),
            ("file:///srv/git/pkgs.git", None),
            ("../pkgs", None),
        ] {
            assert_eq!(repository(remote).as_deref(), url, "{remote}");
        }
    }
}
