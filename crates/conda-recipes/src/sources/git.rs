//! Commits that references of Git repositories stand for.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rattler_build_recipe::stage1::source::GitUrl;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::SourceError;

/// The time limit for a repository's answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The part of its answer that is read, in bytes: each reference has one line.
const ANSWER: u64 = 1 << 20;

/// A Git repository that a recipe names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Repository {
    /// A folder on this machine.
    Local(PathBuf),
    /// Anything else that git takes.
    Remote(String),
}

impl Repository {
    /// The repository of a source of the recipe in `folder`.
    pub(super) fn new(url: &GitUrl, folder: &Path) -> Self {
        match url {
            GitUrl::Path(path) => Self::local(folder.join(path)),
            GitUrl::Url(url) => match super::local_file(url) {
                Some(path) => Self::local(path),
                None => Self::Remote(url.to_string()),
            },
            GitUrl::Ssh(remote) => Self::Remote(remote.clone()),
        }
    }

    fn local(path: PathBuf) -> Self {
        Self::Local(path.canonicalize().unwrap_or(path))
    }

    fn location(&self) -> &OsStr {
        match self {
            Self::Local(path) => path.as_os_str(),
            Self::Remote(remote) => remote.as_ref(),
        }
    }
}

/// SHA-1 or SHA-256, written out: nothing shorter names one commit for good.
pub(super) fn is_full_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && is_hexadecimal(revision)
}

/// The commit that `reference` stands for now: `HEAD`, `refs/heads/…`, `refs/tags/…`, or what `rev` has in a recipe: the name of
/// a tag, else of a branch, which is rattler-build's order. A short commit is found in local repositories only.
pub(super) async fn commit(
    repository: &Repository,
    reference: &str,
) -> Result<String, SourceError> {
    let names = match reference.starts_with("refs/") || reference == "HEAD" {
        true => vec![format!("{reference}^{{}}"), reference.to_owned()],
        false => vec![
            format!("refs/tags/{reference}^{{}}"),
            format!("refs/tags/{reference}"),
            format!("refs/heads/{reference}"),
        ],
    };
    let mut arguments = vec![
        OsStr::new("ls-remote"),
        OsStr::new("--"),
        repository.location(),
    ];
    arguments.extend(names.iter().map(OsStr::new));
    let answer = run(&arguments, repository).await?;
    // Patterns also match longer names that end in them.
    let lines: Vec<(&str, &str)> = answer
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let found = names.iter().find_map(|name| {
        let (commit, _) = lines.iter().find(|(_, found)| found == name)?;
        is_full_commit(commit).then(|| (*commit).to_owned())
    });
    match (found, repository) {
        (Some(commit), _) => Ok(commit),
        (None, Repository::Local(path)) if is_short_commit(reference) => {
            abbreviated(path, repository, reference).await
        }
        (None, _) => Err(no_reference(reference)),
    }
}

/// The commit that a short one stands for in a local repository.
async fn abbreviated(
    path: &Path,
    repository: &Repository,
    commit: &str,
) -> Result<String, SourceError> {
    let revision = format!("{commit}^{{commit}}");
    let arguments = ["rev-parse", "--verify", "--end-of-options", &revision];
    let mut all = vec![OsStr::new("-C"), path.as_os_str()];
    all.extend(arguments.iter().map(OsStr::new));
    let answer = run(&all, repository).await;
    match answer.as_deref().map(str::trim) {
        Ok(found) if is_full_commit(found) => Ok(found.to_owned()),
        Ok(_) | Err(SourceError::Repository { .. }) => Err(no_reference(commit)),
        Err(error) => Err(error.clone()),
    }
}

/// Runs git and returns its output.
async fn run(arguments: &[&OsStr], repository: &Repository) -> Result<String, SourceError> {
    let not_run = |error: std::io::Error| SourceError::Git {
        reason: error.to_string(),
    };
    let mut child = Command::new("git")
        .args(arguments)
        .env_remove("GIT_DIR")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(not_run)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let work = async {
        let read_out = async {
            match stdout {
                Some(pipe) => pipe.take(ANSWER).read_to_end(&mut out).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match stderr {
                Some(pipe) => pipe.take(ANSWER).read_to_end(&mut err).await,
                None => Ok(0),
            }
        };
        let (read_out, read_err) = futures::join!(read_out, read_err);
        read_out.and(read_err)?;
        child.wait().await
    };
    let status = timeout(PATIENCE, work)
        .await
        .map_err(|_| SourceError::Timeout {
            seconds: PATIENCE.as_secs(),
        })?
        .map_err(not_run)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&out).into_owned());
    }
    // Where the URL has credentials, git repeats them.
    let place = repository.location().to_string_lossy();
    let said = String::from_utf8_lossy(&err).replace(&*place, "…");
    let reason = said.lines().map(str::trim).find(|line| !line.is_empty());
    Err(SourceError::Repository {
        reason: reason.unwrap_or("git printed no error message").to_owned(),
    })
}

fn no_reference(reference: &str) -> SourceError {
    SourceError::NoReference {
        reference: reference.to_owned(),
    }
}

fn is_short_commit(revision: &str) -> bool {
    (4..40).contains(&revision.len()) && is_hexadecimal(revision)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
