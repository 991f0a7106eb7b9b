//! The plan: every output of every recipe, in the order of its edges, before anything is built.

use std::path::PathBuf;

use cep27::TargetChannel;
use rattler_build_core::metadata::Output;
use release_manifest::{Mode, Plan, PlannedPackage, Source, Tool};
use serde::{Deserialize, Serialize};

use crate::{BuildOptions, CargoContext, Error};

/// What planning starts from. The same request gives the same plan while recipes, sources and passed environment are unchanged.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PlanRequest {
    /// The workspace, absolute. Recipes lie beneath it and are named relative to it.
    pub root: PathBuf,
    /// `OUTPUT/<mode>`, absolute. Packages are built beneath its `packages`.
    pub output: PathBuf,
    /// The recipe files, as [`find`](crate::find) returns them.
    pub recipes: Vec<PathBuf>,
    /// Rehearsal or live.
    pub mode: Mode,
    /// What is released.
    pub source: Source,
    /// Where it would be published.
    pub channel: Option<String>,
    /// What is attested.
    pub target_channel: TargetChannel,
    /// `SOURCE_DATE_EPOCH`, in seconds: the timestamp of every package.
    pub timestamp: i64,
    /// What `[build]` and the command line say.
    pub options: BuildOptions,
    /// What `cargo metadata` says.
    pub cargo: CargoContext,
    /// The tool that plans.
    pub tool: Tool,
}

impl PlanRequest {
    /// rattler-build's output folder, which is the local build channel: `packages/<subdir>/<file>`.
    pub(crate) fn packages(&self) -> PathBuf {
        self.output.join("packages")
    }
}

/// A planned package with what rattler-build needs to build it.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    /// The package as it stands in the plan.
    pub(crate) planned: PlannedPackage,
    /// What `run_build` takes.
    pub(crate) output: Output,
}

/// Renders every recipe and orders the outputs.
///
/// Runs the Jinja of recipes, which reads the environment of this process (`env.get`): a release calls it in the worker.
///
/// # Errors
///
/// A recipe or variant file that does not parse or render, a cycle of hard build edges, two outputs of the same file name, or
/// an output folder too long to build in.
pub async fn plan(request: &PlanRequest) -> Result<Plan, Error> {
    render(request).map(|(plan, _)| plan)
}

/// The plan, and what to build for each of its packages, in the plan's order.
pub(crate) fn render(_request: &PlanRequest) -> Result<(Plan, Vec<Rendered>), Error> {
    Err(Error::InvalidOption { option: "recipes", reason: "planning is under construction".to_owned() })
}
