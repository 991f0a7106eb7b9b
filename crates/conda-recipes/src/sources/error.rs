//! Sources that cannot be resolved.

use thiserror::Error;

/// The reason why a source cannot be resolved.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// git could not be run.
    #[error("cannot run git: {reason}")]
    Git {
        /// Why.
        reason: String,
    },
    /// The repository could not be read.
    #[error("cannot read the repository: {reason}")]
    Repository {
        /// The first line of git's error message.
        reason: String,
    },
    /// git did not answer in time.
    #[error("git did not answer within {seconds} seconds")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// The repository has no such tag or branch.
    #[error("the repository has no tag or branch `{reference}`")]
    NoReference {
        /// The tag, branch or commit, as the recipe has it.
        reference: String,
    },
    /// The recipe expects a commit that is not a full one.
    #[error(
        "`expected_commit` is `{commit}`: expected a full commit of 40 or 64 hexadecimal digits"
    )]
    ShortCommit {
        /// The value in the recipe.
        commit: String,
    },
    /// An archive or local file could not be read.
    #[error("cannot read `{place}`: {reason}")]
    Unreadable {
        /// Its URL without credentials, or its path.
        place: String,
        /// Why.
        reason: String,
    },
    /// An archive is larger than planning downloads.
    #[error("`{url}` is larger than {limit} bytes, the limit for hashing a download")]
    TooLarge {
        /// Its URL without credentials.
        url: String,
        /// The limit.
        limit: u64,
    },
}

impl SourceError {
    /// The remedy, where there is one.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::NoReference { .. } => Some(
                "use the full commit hash: short ones cannot be looked up in remote repositories",
            ),
            Self::ShortCommit { .. } => Some("write the full commit hash in the recipe"),
            Self::TooLarge { .. } => Some("give its `sha256` in the recipe"),
            Self::Repository { .. } | Self::Timeout { .. } => Some(
                "pin a full commit in `rev` or `expected_commit` to plan without contacting the repository",
            ),
            Self::Unreadable { .. } => Some(
                "check that it exists; an archive with `sha256` in the recipe is not downloaded to plan",
            ),
            Self::Git { .. } => Some("install git, or add it to PATH"),
        }
    }
}
