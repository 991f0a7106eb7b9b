//! What goes wrong, and the form of it that crosses the pipe between the worker and its parent.

use std::{
    io,
    path::{Path, PathBuf},
};

use miette::Diagnostic;
use release_manifest::{Digest, PackageKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{sources::SourceError, worker::WorkerError};

/// Everything that finding, rendering, ordering and building recipes can fail with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A pattern, folder or file of the configuration leads to no recipe.
    #[error("no recipe found for `{pattern}`: looked for {}", searched.join(", "))]
    MissingRecipe {
        /// As written in the configuration or on the command line.
        pattern: String,
        /// The places that were looked at.
        searched: Vec<String>,
    },
    /// A pattern that is no glob.
    #[error("invalid recipe pattern `{pattern}`")]
    InvalidPattern {
        /// As written.
        pattern: String,
        /// Why.
        source: globset::Error,
    },
    /// A file or folder could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An ignore file of the user's in the output folder, without what keeps that folder out of packages.
    #[error("`{}` does not keep the output folder out of packages: expected the line `{missing}`", path.display())]
    Unprotected {
        /// The ignore file.
        path: PathBuf,
        /// The missing line.
        missing: String,
    },
    /// A recipe that would package what releases write.
    #[error("recipe `{recipe}` reads `{}` from the output folder", path.display())]
    ReadsOutput {
        /// The recipe file, relative to the root.
        recipe: String,
        /// The source, patch or script.
        path: PathBuf,
    },
    /// A recipe outside the root, which the plan could not name.
    #[error("recipe `{}` lies outside of the workspace `{}`", recipe.display(), root.display())]
    OutsideRoot {
        /// The recipe file.
        recipe: PathBuf,
        /// The workspace.
        root: PathBuf,
    },
    /// `cargo metadata` failed.
    #[error("`cargo metadata` failed for `{}`", manifest.display())]
    CargoMetadata {
        /// The workspace manifest.
        manifest: PathBuf,
        /// What cargo said.
        source: Box<cargo_metadata::Error>,
    },
    /// A `[[package]]` that names an unknown workspace member.
    #[error("recipe `{recipe}` packages the workspace member `{member}`, which does not exist: expected one of {}", known.join(", "))]
    UnknownMember {
        /// The recipe, as configured.
        recipe: String,
        /// The member, as configured.
        member: String,
        /// The workspace's members.
        known: Vec<String>,
    },
    /// A recipe or variant file that does not parse or render.
    #[error(transparent)]
    Invalid(Box<Invalid>),
    /// Several recipes that cannot be planned.
    #[error("{} recipes cannot be planned", failures.len())]
    Recipes {
        /// What is wrong with each of them.
        failures: Vec<Failure>,
    },
    /// The threads that render recipes could not be started.
    #[error("cannot start threads to render recipes")]
    Threads {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Outputs that make no plan: they need each other before they can be built, or differ in case alone.
    #[error(transparent)]
    Graph(#[from] release_manifest::Error),
    /// Outputs of one recipe that need each other before they can be built.
    #[error("outputs of `{recipe}` build upon each other in a circle: {cycle}")]
    RecipeCycle {
        /// The recipe file, relative to the root.
        recipe: String,
        /// The outputs, in the order of their edges.
        cycle: String,
    },
    /// Two outputs would become the same file.
    #[error("`{package}` would be built twice: by `{first}` and by `{second}`")]
    Duplicate {
        /// The package file with its subdir.
        package: String,
        /// The recipe that makes it first.
        first: String,
        /// The recipe that makes it again.
        second: String,
    },
    /// The output folder is so long that a host prefix of 255 bytes does not fit beneath it.
    #[error("the output folder `{}` is too long to build `{package}` in: its build folder has {length} bytes, at most {limit} fit", output.display())]
    PathTooLong {
        /// The output folder.
        output: PathBuf,
        /// The package.
        package: String,
        /// The length of the build folder's path in bytes.
        length: usize,
        /// The longest build folder that fits, in bytes.
        limit: usize,
    },
    /// An option has a value that does not work.
    #[error("invalid value for `{option}`: {reason}")]
    InvalidOption {
        /// The key in `[build]`.
        option: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// The recipes give another plan than the one that was shown.
    #[error(
        "the recipes changed since they were planned: expected the plan {expected}, found {found}"
    )]
    PlanChanged {
        /// The digest of the plan that was shown.
        expected: Digest,
        /// The digest of the plan that the recipes give now.
        found: Digest,
    },
    /// A source that could not be resolved to a commit or a hash.
    #[error("cannot resolve the source `{uri}` of `{recipe}`")]
    UnresolvedSource {
        /// The recipe file, relative to the root.
        recipe: String,
        /// The source without credentials.
        uri: String,
        /// Why.
        source: SourceError,
    },
    /// A local source that changed after it was planned.
    #[error(
        "the source `{uri}` of `{recipe}` changed after it was planned: expected {expected}, found {found}"
    )]
    SourceChanged {
        /// The recipe file, relative to the root.
        recipe: String,
        /// The source.
        uri: String,
        /// Its commit or hash in the plan.
        expected: String,
        /// Its commit or hash now.
        found: String,
    },
    /// A package to build that the plan doesn't have.
    #[error("`{package}` is not in the plan")]
    NotPlanned {
        /// The package.
        package: PackageKey,
    },
    /// The local build channel could not be read, written or indexed.
    #[error("cannot prepare the local build channel `{}`", path.display())]
    Channel {
        /// The folder `packages`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The credentials for source channels could not be read.
    #[error("cannot read the credentials for source channels")]
    Credentials {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// rattler's `config.toml`, which says where mirrors and credentials are, cannot be used.
    #[error("cannot use rattler's `config.toml`")]
    RattlerConfig {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The worker process failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// A recipe or variant file that does not parse or render, with the place in it.
#[derive(Debug, Error)]
#[error("`{file}` is not valid: {message}")]
pub struct Invalid {
    file: String,
    message: String,
    causes: Vec<String>,
    help: Option<String>,
    excerpt: Option<Excerpt>,
}

impl Invalid {
    /// An upstream error about `text`, the content of `file`. The message, help and place are upstream's.
    pub(crate) fn new(file: &str, text: &str, error: &dyn Diagnostic) -> Self {
        Self {
            file: file.to_owned(),
            message: error.to_string(),
            causes: causes(error.source()),
            help: error.help().map(|help| help.to_string()),
            excerpt: Excerpt::of(file, text, error),
        }
    }

    /// A finding of our own about `file`.
    pub(crate) fn plain(file: &str, message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            file: file.to_owned(),
            message: message.into(),
            causes: Vec::new(),
            help,
            excerpt: None,
        }
    }

    pub(crate) fn with_excerpt(
        mut self,
        text: &str,
        offset: usize,
        length: usize,
        label: &str,
    ) -> Self {
        self.excerpt = Some(Excerpt {
            file: self.file.clone(),
            text: text.to_owned(),
            offset,
            length,
            label: label.to_owned(),
        });
        self
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(Box::new(invalid))
    }
}

/// An error as it crosses a pipe and as it is shown.
#[derive(Clone, Debug, Deserialize, Eq, Error, PartialEq, Serialize)]
#[error("{message}")]
pub struct Failure {
    /// Stable `snake_case` name of what went wrong.
    pub code: String,
    /// What was expected, what was found, and where.
    pub message: String,
    /// The errors beneath it, outermost first.
    pub causes: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// The place in a file that it is about.
    pub excerpt: Option<Excerpt>,
    /// What it sums up, where it is several failures together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Failure>,
}

/// A place in a text file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Excerpt {
    /// The file, relative to the root.
    pub file: String,
    /// The whole text of the file.
    pub text: String,
    /// Where the place begins, in bytes.
    pub offset: usize,
    /// How long it is, in bytes.
    pub length: usize,
    /// What is said about it.
    pub label: String,
}

impl Excerpt {
    /// The first label of an upstream error, which counts characters where we count bytes, and often marks only the first of them.
    fn of(file: &str, text: &str, error: &dyn Diagnostic) -> Option<Self> {
        let label = error.labels()?.next()?;
        // An empty span at the very beginning is upstream's way of saying that it knows no place.
        if label.is_empty() && label.offset() == 0 {
            return None;
        }
        let byte = |character: usize| {
            text.char_indices()
                .nth(character)
                .map_or(text.len(), |(byte, _)| byte)
        };
        let offset = byte(label.offset());
        let length = byte(label.offset() + label.len()) - offset;
        Some(Self {
            file: file.to_owned(),
            text: text.to_owned(),
            offset,
            length: if label.len() <= 1 {
                token(&text[offset..])
            } else {
                length
            },
            label: label.label().unwrap_or_default().to_owned(),
        })
    }
}

/// The length in bytes of the template or YAML scalar that `text` begins with.
fn token(text: &str) -> usize {
    if text.starts_with("${{") {
        return text.find("}}").map_or(text.len(), |end| end + "}}".len());
    }
    let is_end =
        |character: char| character.is_whitespace() || matches!(character, ':' | ',' | '}' | ']');
    text.find(is_end).unwrap_or(text.len())
}

impl Error {
    /// Whether it is about one recipe, so that others can be planned without it.
    pub(crate) fn is_of_recipe(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_)
                | Self::Read { .. }
                | Self::ReadsOutput { .. }
                | Self::OutsideRoot { .. }
                | Self::RecipeCycle { .. }
                | Self::UnresolvedSource { .. }
        )
    }

    /// Stable `snake_case` name of what went wrong.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingRecipe { .. } => "missing_recipe",
            Self::InvalidPattern { .. } => "invalid_pattern",
            Self::Read { .. } => "unreadable",
            Self::Write { .. } => "unwritable",
            Self::Unprotected { .. } => "unprotected_output",
            Self::ReadsOutput { .. } => "reads_output",
            Self::OutsideRoot { .. } => "recipe_outside_root",
            Self::CargoMetadata { .. } => "cargo_metadata",
            Self::UnknownMember { .. } => "unknown_member",
            Self::Invalid(_) => "invalid_recipe",
            Self::Recipes { .. } => "invalid_recipes",
            Self::Threads { .. } => "threads",
            Self::Graph(release_manifest::Error::Cycle { .. }) | Self::RecipeCycle { .. } => {
                "dependency_cycle"
            }
            Self::Graph(_) => "invalid_plan",
            Self::Duplicate { .. } => "duplicate_output",
            Self::PathTooLong { .. } => "path_too_long",
            Self::InvalidOption { .. } => "invalid_option",
            Self::PlanChanged { .. } => "plan_changed",
            Self::UnresolvedSource { .. } => "unresolved_source",
            Self::SourceChanged { .. } => "source_changed",
            Self::NotPlanned { .. } => "not_planned",
            Self::Channel { .. } => "local_channel",
            Self::Credentials { .. } => "credentials",
            Self::RattlerConfig { .. } => "rattler_config",
            Self::Worker(error) => error.code(),
        }
    }

    /// What to do about it, where there is one thing to do.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Invalid(invalid) => invalid.help.clone(),
            Self::MissingRecipe { .. } => Some(
                "`recipes` takes folders with a recipe.yaml, recipe files, and globs of either, relative to the workspace".to_owned(),
            ),
            Self::Unprotected { missing, .. } => Some(format!(
                "add the line `{missing}` to the file, or name another folder with --output"
            )),
            Self::ReadsOutput { .. } => Some("move it out of the output folder, or choose another one with --output".to_owned()),
            Self::OutsideRoot { .. } => Some("move the recipe into the workspace, or choose another one with --root".to_owned()),
            Self::Duplicate { .. } => Some("give one of them another name, version or build number, or let a variant key tell them apart".to_owned()),
            Self::PathTooLong { length, limit, .. } => Some(format!(
                "choose an `output` folder that is at least {} bytes shorter",
                length.saturating_sub(*limit)
            )),
            Self::Graph(release_manifest::Error::Cycle { .. }) | Self::RecipeCycle { .. } => Some("break the cycle: build, host and exactly pinned requirements must not lead back to the package itself".to_owned()),
            Self::UnresolvedSource { source, .. } => source.help().map(str::to_owned),
            Self::SourceChanged { .. } => Some("run the same command again to plan with the new content".to_owned()),
            Self::PlanChanged { .. } => Some("run the same command again: it plans anew".to_owned()),
            Self::Channel { .. } => Some("check that the `output` folder is writable and its disk has room".to_owned()),
            Self::Worker(error) => error.help(),
            _ => None,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (causes, excerpt) = match error {
            Error::Worker(WorkerError::Refused(failure)) => return (**failure).clone(),
            Error::Invalid(invalid) => (invalid.causes.clone(), invalid.excerpt.clone()),
            other => (causes(std::error::Error::source(other)), None),
        };
        Self {
            code: error.code().to_owned(),
            message: error.to_string(),
            causes,
            help: error.help(),
            excerpt,
            related: match error {
                Error::Recipes { failures } => failures.clone(),
                _ => Vec::new(),
            },
        }
    }
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// The chain of errors from `error` on, outermost first.
pub(crate) fn causes(mut error: Option<&(dyn std::error::Error + 'static)>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(cause) = error {
        causes.push(cause.to_string());
        error = cause.source();
    }
    causes
}
