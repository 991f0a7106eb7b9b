//! The worker: the process in which recipes are rendered, built and tested.
//!
//! Recipes are somebody's code, and rattler-build reads the environment of its process on their behalf (`script.secrets`,
//! `env.get`). So the release executes itself again with an allow-listed environment and a private HOME. The parent sends one
//! [`Request`] as a line of JSON on the worker's stdin and gets events as lines of JSON from its stdout; stdin stays open as
//! long as the parent lives, and when it ends the worker kills all that it started, and itself.
//!
//! This is hygiene, not a security boundary: a recipe runs as the same user.
//!
//! On Linux no process of a recipe outlives the release, whatever it does to its group, session or parent, and none that a
//! script leaves behind with its output open holds the build up for more than a few seconds. Elsewhere there is
//! no such promise: on other Unix systems processes that stay in the worker's session's group end with it, on Windows only the
//! worker itself does, and [`end_leftovers`] finds nothing.

#[cfg(target_os = "linux")]
mod background;
mod environment;
#[cfg_attr(not(target_os = "linux"), path = "worker/family_elsewhere.rs")]
mod family;
mod lock;
mod parent;
mod serve;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{BuildEvent, BuildRequest, Error, Failure, PlanRequest};

pub use environment::{WorkerEnvironment, is_credential};
pub use family::{end_leftovers, guard_parent};
pub use parent::Worker;
pub use serve::serve;

/// Waits until no worker is at work in `output`: that of a release which was killed may still be ending its scripts. Calls
/// `wait` once if there is one.
///
/// # Errors
/// It does not end within a minute, or the folder cannot be written.
pub fn wait_for_end(output: &Path, wait: impl FnOnce()) -> Result<(), Error> {
    lock::WorkerLock::take(output, wait)?;
    Ok(())
}

/// What a worker does.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Plan: the answer is the plan.
    Plan(PlanRequest),
    /// Build and test: the answers are events.
    Build {
        /// The packages to build, with their plan.
        request: BuildRequest,
        /// The user's cache of remote packages; a private one without it.
        shared_cache: Option<PathBuf>,
    },
}

impl Request {
    /// The request to plan, first or again.
    fn plan(&self) -> &PlanRequest {
        match self {
            Self::Plan(plan) => plan,
            Self::Build { request, .. } => &request.plan,
        }
    }
}

/// The cache folder that rattler finds in the environment of the worker: nothing of another run, or of the user, is in it.
fn private_cache(output: &Path) -> PathBuf {
    output.join("cache")
}

/// A process that a recipe left running.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Leftover {
    /// Its process id, which is free again.
    pub pid: u32,
    /// Its command line, or its name where it had none. Foreign text.
    pub command: String,
}

/// What goes wrong with the worker itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The worker could not be started or spoken to.
    #[error("cannot run the worker `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The worker ended without an answer: it crashed, or was killed.
    #[error("the worker ended without an answer ({status}){}", said(stderr))]
    Died {
        /// Exit status or signal.
        status: String,
        /// The last lines it wrote to stderr.
        stderr: Vec<String>,
    },
    /// The worker wrote something that is no message, or one that is no answer to the request.
    #[error("the worker does not speak our language: {reason}")]
    Protocol {
        /// What was expected and what was found.
        reason: String,
    },
    /// The worker could not do what it was told.
    #[error(transparent)]
    Refused(Box<Failure>),
    /// Another worker is at work in the same output folder.
    #[error("another worker has held `{path}` for {seconds} seconds")]
    Busy {
        /// The lock file.
        path: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The lock or the private home could not be made.
    #[error("cannot set up the worker in `{path}`")]
    Setup {
        /// The file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// `pass-env` names a variable that must never reach a recipe.
    #[error("`pass-env` names `{name}`: {reason}")]
    ForbiddenVariable {
        /// The variable.
        name: String,
        /// Why.
        reason: &'static str,
    },
}

impl WorkerError {
    /// Stable `snake_case` name of what went wrong.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "worker_start",
            Self::Died { .. } => "worker_died",
            Self::Protocol { .. } => "worker_protocol",
            Self::Refused(_) => "worker_refused",
            Self::Busy { .. } => "worker_busy",
            Self::Setup { .. } => "worker_setup",
            Self::ForbiddenVariable { .. } => "forbidden_variable",
        }
    }

    /// What to do about it, where there is one thing to do.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Refused(failure) => failure.help.clone(),
            Self::Busy { .. } => {
                Some("wait for the other run, or end the process that holds the file".to_owned())
            }
            Self::Setup { .. } => {
                Some("check that the `output` folder is writable and its disk has room".to_owned())
            }
            Self::ForbiddenVariable { .. } => Some(
                "remove it from `pass-env`: credentials belong in the jobs that sign and publish"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// One line from the worker.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Message {
    Event(Box<BuildEvent>),
    Planned(Box<crate::Planned>),
    Built,
    Failed(Box<Failure>),
}

fn said(stderr: &[String]) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; it said:\n{}", stderr.join("\n"))
    }
}
