//! `build`: plan and build, without any identity.

use std::path::PathBuf;

use clap::Args;
use release_manifest::{Mode, Progress};

use crate::{
    error::Error,
    exit::Status,
    guard::GuardArgs,
    pipeline::{self, PlanFlags},
    printer::Printer,
    run::{Run, show},
    workspace::Workspace,
};

/// Plan and build; needs no identity
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release build                every recipe of the workspace
  conda-release build recipes/zlib   one recipe
  conda-release build --test skip    without package tests")]
pub struct BuildArgs {
    /// Build the packages of this plan
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,

    /// What to build
    #[command(flatten)]
    recipes: PlanFlags,

    /// What a live release may start from
    #[command(flatten)]
    guard: GuardArgs,
}

impl BuildArgs {
    /// Builds and tests what is not built yet.
    ///
    /// # Errors
    /// Whatever concerns the run as a whole; what concerns a package is in the manifest and in the status.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if self.plan.is_some() {
            return Err(Error::NotAvailable {
                what: "`--plan`".to_owned(),
                target: "this version".to_owned(),
                instead: "build what the recipes say, on one machine",
            });
        }
        let mut run = Run::begin(workspace, &self.recipes, &self.guard, printer).await?;
        match self.recipes.mode() {
            Mode::Rehearsal => run.check_rehearsal(workspace, printer).map(drop)?,
            Mode::Live => run.check_built(printer)?,
        }
        pipeline::build(
            &mut run.release,
            &run.planning,
            &pipeline::worker(workspace)?,
            printer,
        )
        .await?;
        run.release.compact()?;
        show(&run.release, workspace, printer)?;
        Ok(pipeline::outcome(&run.release, Progress::Tested))
    }
}
