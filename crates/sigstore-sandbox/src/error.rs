//! What goes wrong with a sandbox.

use std::path::PathBuf;

/// Why a sandbox could not start, or stop in good order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sandbox's folder could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),

    /// Another sandbox, of this process or another, uses the folder.
    #[error("the sandbox folder {} is in use by another sandbox", .0.display())]
    InUse(PathBuf),

    /// The stored keys cannot be read. A folder without them gets new ones.
    #[error("expected the sandbox's keys in {}: {problem}", .path.display())]
    Keys {
        /// The file of keys.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The stored log is not the one that its last checkpoint signs.
    #[error("the log {} is not the one its checkpoint signs: {problem}", .path.display())]
    Log {
        /// The file of log entries.
        path: PathBuf,
        /// Expected and found.
        problem: String,
    },

    /// The repository of [`Claims`](crate::Claims) is not of the form `https://host/owner/name`.
    #[error("expected a repository such as https://host/owner/name, found `{0}`")]
    Repository(String),

    /// The issuer of [`Claims`](crate::Claims) could be somebody's.
    #[error("expected an issuer such as https://actions.invalid, found `{0}`")]
    Issuer(String),

    /// A certificate, key or timestamp could not be encoded.
    #[error("cannot encode a certificate, key or timestamp")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The log stopped, for example because its disk is full.
    #[error("the log takes no entries: {0}")]
    LogStopped(String),
}

impl Error {
    pub(crate) fn encode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Encode(error.into())
    }
}

impl From<der::Error> for Error {
    fn from(error: der::Error) -> Self {
        Self::encode(error)
    }
}

impl From<p256::ecdsa::Error> for Error {
    fn from(error: p256::ecdsa::Error) -> Self {
        Self::encode(error)
    }
}
