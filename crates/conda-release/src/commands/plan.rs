//! `plan`: what would be built, in order, and why.

use std::path::PathBuf;

use clap::Args;

use super::release::{Rehearsal, live_is_not_available};
use crate::{
    error::Error,
    exit::Status,
    pipeline::{self, BuildFlags},
    printer::Printer,
    workspace::Workspace,
};

/// Show what would be built, in order, and why
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release plan                       every recipe of the workspace
  conda-release plan recipes/zlib          one recipe
  conda-release plan --output-format json  the plan as JSON, see `schema plan`")]
pub struct PlanArgs {
    /// Recipe files, folders or globs; those of the configuration by default
    #[arg(value_name = "RECIPE")]
    recipes: Vec<PathBuf>,

    /// The channel that would be published to
    #[arg(long, value_name = "URL", env = "CONDA_RELEASE_CHANNEL")]
    to: Option<String>,

    /// Plan against the channel instead of for a rehearsal
    #[arg(short = 'x', long)]
    execute: bool,

    /// Write a matrix for this many CI jobs
    #[arg(long, value_name = "N")]
    shards: Option<u32>,

    /// How to build
    #[command(flatten)]
    build: BuildFlags,
}

impl PlanArgs {
    /// Plans, and changes nothing.
    ///
    /// # Errors
    /// What is wrong with configuration and recipes.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if self.execute {
            return Err(live_is_not_available(
                "plan --execute",
                self.to.as_deref(),
                workspace,
            ));
        }
        if self.shards.is_some() {
            return Err(Error::NotAvailable {
                what: "`--shards`".to_owned(),
                target: "this version".to_owned(),
                instead: "build on one machine",
            });
        }
        let (planned, changes) = Rehearsal::plan(
            workspace,
            &self.recipes,
            self.to.as_deref(),
            &self.build,
            printer,
        )
        .await?;
        let shown = pipeline::plan_table(&planned.plan, &changes)?;
        printer
            .result(&shown)
            .map_err(Error::output("write", "stdout"))?;
        printer
            .json(&planned.plan)
            .map_err(Error::output("write", "stdout"))?;
        Ok(Status::Done)
    }
}
