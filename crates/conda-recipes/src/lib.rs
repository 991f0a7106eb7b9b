//! Find, render, order and build conda recipes through rattler-build as a library.
//!
//! Two halves that meet in [`Plan`]: planning ([`find()`], [`cargo_context`], [`plan()`]) decides every output, variant, build string
//! and edge before anything is built; building ([`Worker::build`]) walks that plan and decides nothing. Both run foreign code
//! (Jinja reads the process environment, scripts run), so a release runs them in the [`worker`] process; [`find()`] and
//! [`cargo_context`] run no recipe code and belong to the parent.
//!
//! [`Plan`]: release_manifest::Plan
//! [`Worker::build`]: worker::Worker::build

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod build;
mod build_number;
mod build_phase;
mod cargo;
mod changed;
mod cycle;
mod duplicates;
mod error;
mod event;
mod failure;
mod find;
mod fingerprint;
mod graph;
mod inputs;
mod job_channel;
mod local_channel;
mod log;
mod network;
mod options;
mod own_output;
mod package_caches;
mod package_format;
mod package_record;
mod plan;
mod presence;
mod remove;
mod render;
mod schedule;
mod skip;
mod sources;
mod targets;
mod test_phase;
mod tested_package;
mod unplanned;
mod variants;
pub mod worker;

pub use build::BuildRequest;
pub use build_number::{BuildNumber, Highest, InvalidBuildNumber, build_numbers};
pub use cargo::{CargoContext, Member, PackageLink, cargo_context};
pub use changed::Changed;
pub use error::{Error, Excerpt, Failure};
pub use event::{BuildEvent, Reporter};
pub use find::find;
pub use options::{
    BuildOptions, ChannelPriority, EnvironmentIsolation, Platform, Sandbox, SkipExisting, TestMode,
};
pub use own_output::{EVERYTHING, keep_out_of_packages};
pub use package_format::{InvalidPackageFormat, PackageFormat};
pub use plan::{PlanRequest, Planned, plan};
pub use presence::is_missing;
pub use sources::SourceError;
pub use unplanned::Unplanned;
