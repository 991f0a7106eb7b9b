//! What building reports while it runs.

use cep27::Sha256;
use release_manifest::{PackageKey, Phase, RelativePath};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Takes what a build reports, as it happens.
pub trait Reporter: Send + Sync {
    /// Called from one task at a time, in the order of the events; must not block for long.
    fn report(&self, event: BuildEvent);
}

/// Something that happened to a package of the plan. Paths are relative to `OUTPUT/<mode>`.
///
/// A package to build ends with `Built`, `Failed` or `Blocked`, once; a built one, or one to test, with `Tested`,
/// `TestsSkipped`, `Failed` or `Blocked`, once.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum BuildEvent {
    /// Recipes are read and rendered, or something is waited for.
    Planning {
        /// What is being done.
        message: String,
    },
    /// A package is being built or tested.
    Started {
        /// The package.
        package: PackageKey,
        /// [`Phase::Build`] or [`Phase::Test`].
        phase: Phase,
        /// Where its lines go.
        log: RelativePath,
    },
    /// A package is in `packages/<subdir>/`.
    Built {
        /// The package.
        package: PackageKey,
        /// The hash of its bytes, as they were read back from disk.
        sha256: Sha256,
        /// Its size in bytes.
        size: u64,
        /// How long the build took.
        milliseconds: u64,
        /// Where its lines are.
        log: RelativePath,
    },
    /// A package has passed its tests.
    Tested {
        /// The package.
        package: PackageKey,
        /// How long the tests took.
        milliseconds: u64,
    },
    /// A package has no tests, or they do not run here.
    TestsSkipped {
        /// The package.
        package: PackageKey,
        /// Why.
        reason: String,
    },
    /// A build or a test went wrong. A package that was made all the same is in `broken/<subdir>/`. Tests of package contents
    /// are part of the build.
    Failed {
        /// The package.
        package: PackageKey,
        /// [`Phase::Build`] or [`Phase::Test`].
        phase: Phase,
        /// What went wrong.
        failure: Failure,
        /// Where its lines are.
        log: Option<RelativePath>,
        /// The last lines, at most 30, of the script that failed. Foreign text.
        tail: Vec<String>,
    },
    /// A package is not built or tested, because others failed.
    Blocked {
        /// The package.
        package: PackageKey,
        /// The packages that failed.
        by: Vec<PackageKey>,
    },
    /// Something a person should know that stops nothing.
    Warning {
        /// The package it is about.
        package: Option<PackageKey>,
        /// What it is.
        message: String,
    },
}
