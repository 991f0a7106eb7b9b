//! `build`: plan and build, without any identity.

mod shard;

use std::path::PathBuf;

use clap::Args;
use release_manifest::{Mode, Progress};

use self::shard::ShardBuild;
use super::trust::TrustArgs;
use crate::{
    error::Error,
    exit::Status,
    guard::GuardArgs,
    pipeline::{self, PlanFlags, SourceTrust},
    printer::Printer,
    run::{EarlierArgs, Run, show},
    shards::DigestArgs,
    workspace::Workspace,
};

/// Plan and build; needs no identity
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release build                every recipe of the workspace
  conda-release build recipes/zlib   one recipe, with what it needs
  conda-release build --test skip    without package tests
  conda-release build --plan shards/plan.json --shard 3 --from built/
                                     what a plan for many machines gives job 3, upon what earlier jobs built")]
pub struct BuildArgs {
    /// What to build
    #[command(flatten)]
    recipes: PlanFlags,

    /// Build a shard of this plan, which brings its own mode, channel and recipes; `shards.json` is beside it
    #[arg(
        long,
        value_name = "FILE",
        requires = "shard",
        conflicts_with_all = ["execute", "recipes"],
        help_heading = "Many machines"
    )]
    plan: Option<PathBuf>,

    /// Which one
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "plan",
        help_heading = "Many machines"
    )]
    shard: Option<u32>,

    /// What shards of earlier waves handed over: folders with a manifest, or folders of such folders
    #[arg(
        long,
        value_name = "DIR",
        requires = "plan",
        num_args = 1..,
        help_heading = "Many machines"
    )]
    from: Vec<PathBuf>,

    /// What other jobs said
    #[command(flatten)]
    digests: DigestArgs,

    /// What a live release may start from
    #[command(flatten)]
    guard: GuardArgs,

    /// The trust for attestations of sources
    #[command(flatten)]
    trust: TrustArgs,

    /// Options for the work of earlier runs
    #[command(flatten)]
    earlier: EarlierArgs,
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
        if let (Some(plan), Some(shard)) = (self.plan, self.shard) {
            let build = ShardBuild {
                plan,
                shard,
                from: self.from,
                digests: self.digests,
                flags: &self.recipes,
                guard: &self.guard,
                trust: &self.trust,
            };
            return build.run(workspace, printer).await;
        }
        let mut run = Run::begin(
            workspace,
            &self.recipes,
            (&self.guard, &self.earlier),
            printer,
        )
        .await?;
        match self.recipes.mode() {
            Mode::Rehearsal => run.check_rehearsal(workspace, printer).map(drop)?,
            Mode::Live => run.check_built(printer)?,
        }
        pipeline::build(
            &mut run.release,
            &run.planning,
            &pipeline::worker(workspace)?,
            &SourceTrust {
                trust: &self.trust,
                workspace,
            },
            printer,
        )
        .await?;
        run.release.compact()?;
        show(&run.release, workspace, printer)?;
        Ok(pipeline::outcome(&run.release, Progress::Tested).and(run.planned))
    }
}
