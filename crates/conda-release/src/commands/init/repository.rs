//! What a repository is made of, as far as releasing it is concerned.

use std::path::{Path, PathBuf};

use conda_recipes::CargoContext;
use fs_err as fs;

use super::Ci;
use crate::{
    error::Error,
    git::{git, git_answer, git_bytes, repository_above},
    source::{origin, repository},
    workspace::Workspace,
};

/// What was found.
pub(super) struct Repository {
    /// The workspace that is released.
    pub(super) root: PathBuf,
    /// Where CI systems look for their workflows: the top of the git repository.
    pub(super) top: PathBuf,
    /// The CI system of the place that the git remote leads to; GitHub's where there is no remote.
    pub(super) ci: Ci,
    /// The branch that others are merged into.
    pub(super) branch: String,
    /// Whether there is a `Cargo.toml`.
    pub(super) is_cargo: bool,
    /// The members of the Cargo workspace, and those that recipes package.
    pub(super) cargo: CargoContext,
    /// Whether git leaves out what the tool writes.
    pub(super) ignores_output: bool,
    /// Whether a build may insist on the lockfile: git keeps it.
    pub(super) keeps_lockfile: bool,
}

impl Repository {
    /// Looks at the repository of a workspace.
    ///
    /// # Errors
    /// Cargo does not understand the workspace, or a recipe that is named does not exist.
    pub(super) fn look(workspace: &Workspace) -> Result<Self, Error> {
        let root = workspace.root().to_owned();
        let top = match repository_above(&root)? {
            None => None,
            Some(_) => Some(git_answer(&root, &["rev-parse", "--show-toplevel"])?),
        };
        let top = top
            .map(|top| fs::canonicalize(&top).map_err(Error::output("read", &top)))
            .transpose()?
            .filter(|top| root.starts_with(top));
        let is_ignored = |path: &str| match top {
            None => Ok(true),
            Some(_) => git_bytes(&root, &["check-ignore", "--quiet", "--", path])
                .map(|ignored| ignored.is_some()),
        };
        let output = workspace.output().strip_prefix(&root).ok();
        let output = output.and_then(Path::to_str);
        let recipes = recipes(workspace)?;
        // Of a repository without a commit too.
        let remote = match top {
            None => None,
            Some(_) => origin(&root)?,
        };
        Ok(Self {
            ci: ci(remote.and_then(|url| repository(&url)).as_deref()),
            branch: match top {
                None => DEFAULT_BRANCH.to_owned(),
                Some(_) => default_branch(&root)?,
            },
            is_cargo: root.join("Cargo.toml").is_file(),
            cargo: conda_recipes::cargo_context(&root, &workspace.config().package, &recipes)?,
            ignores_output: output.map_or(Ok(true), is_ignored)?,
            keeps_lockfile: top.is_none() || !is_ignored("Cargo.lock")?,
            top: top.unwrap_or_else(|| root.clone()),
            root,
        })
    }
}

/// The recipes that the configuration names; a glob may name none yet.
fn recipes(workspace: &Workspace) -> Result<Vec<PathBuf>, Error> {
    let mut recipes = Vec::new();
    for pattern in workspace.recipe_patterns(&[]) {
        match conda_recipes::find(workspace.root(), &[pattern]) {
            Ok(found) => recipes.extend(found),
            Err(conda_recipes::Error::MissingRecipe { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(recipes)
}

/// The CI system behind a repository's URL.
fn ci(url: Option<&str>) -> Ci {
    let host = url
        .and_then(|url| url.strip_prefix("https://"))
        .and_then(|url| url.split('/').next());
    match host {
        None => Ci::Github,
        Some(host) if host.contains("github") => Ci::Github,
        Some(host) if host.contains("gitlab") => Ci::Gitlab,
        Some(_) => Ci::None,
    }
}

const DEFAULT_BRANCH: &str = "main";

/// The branch that the remote names as its own, else the current one.
fn default_branch(root: &Path) -> Result<String, Error> {
    for (name, prefix) in [
        ("refs/remotes/origin/HEAD", "refs/remotes/origin/"),
        ("HEAD", "refs/heads/"),
    ] {
        let name = git(root, &["symbolic-ref", "--quiet", name])?;
        if let Some(branch) = name.as_deref().and_then(|name| name.strip_prefix(prefix)) {
            return Ok(branch.to_owned());
        }
    }
    Ok(DEFAULT_BRANCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remote_tells_the_ci_system() {
        for (repository, expected) in [
            (None, Ci::Github),
            (Some("https://github.com/acme/pkgs"), Ci::Github),
            (Some("https://github.acme.invalid/pkgs"), Ci::Github),
            (Some("https://gitlab.com/github/pkgs"), Ci::Gitlab),
            (Some("https://gitlab.acme.invalid:8443/pkgs"), Ci::Gitlab),
            (Some("https://codeberg.org/acme/github"), Ci::None),
        ] {
            assert_eq!(ci(repository), expected, "{repository:?}");
        }
    }
}
