//! Who gives out identity tokens, and how it is recognized.

use std::collections::BTreeMap;
use std::fmt;

/// Where an identity token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// A file that was named.
    File,
    /// The standard input.
    Stdin,
    /// The environment variable `SIGSTORE_ID_TOKEN`.
    Variable,
    /// GitHub Actions, which makes a token for each request.
    GithubActions,
    /// GitLab CI, which puts a token into a variable when a job starts.
    Gitlab,
    /// Buildkite, through its agent.
    Buildkite,
    /// CircleCI, through its command line.
    CircleCi,
    /// A person, who logs in with a browser.
    Interactive,
    /// The identity provider of a rehearsal's sandbox.
    Sandbox,
}

impl Provider {
    /// A stable, machine-readable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdin => "stdin",
            Self::Variable => "variable",
            Self::GithubActions => "github_actions",
            Self::Gitlab => "gitlab",
            Self::Buildkite => "buildkite",
            Self::CircleCi => "circleci",
            Self::Interactive => "interactive",
            Self::Sandbox => "sandbox",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "token file",
            Self::Stdin => "standard input",
            Self::Variable => "SIGSTORE_ID_TOKEN",
            Self::GithubActions => "GitHub Actions",
            Self::Gitlab => "GitLab CI",
            Self::Buildkite => "Buildkite",
            Self::CircleCi => "CircleCI",
            Self::Interactive => "login in the browser",
            Self::Sandbox => "the sandbox",
        })
    }
}

/// Where variables are looked up: the environment of this process, or in tests a map.
pub trait Environment: Send + Sync {
    /// The value of a variable; nothing when it is not set, or is no text.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}
