//! `plan`: what would be built, in order, and why.

use clap::Args;
use release_manifest::{Decisions, Mode, SchemaVersion};

use crate::{
    error::Error,
    exit::Status,
    guard::EventArgs,
    pipeline::{self, PlanFlags},
    printer::{Printer, count},
    run::Run,
    shards::PlanningArgs,
    workspace::Workspace,
};

/// Show what would be built, in order, and why, and what would not
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release plan                             every recipe of the workspace
  conda-release plan recipes/zlib                one recipe, with what it needs
  conda-release plan --changed-since origin/main what a branch changes, and what depends on it
  conda-release plan --up-to zlib --exclude 'py-*'
  conda-release plan --output-format json        plan and decisions as JSON, see `schema decisions`
  conda-release plan -x --shards 16              for real, cut for 16 jobs at the same time")]
pub struct PlanArgs {
    /// What to plan
    #[command(flatten)]
    recipes: PlanFlags,

    /// What it may be for
    #[command(flatten)]
    event: EventArgs,

    /// For how many machines
    #[command(flatten)]
    machines: PlanningArgs,
}

impl PlanArgs {
    /// Plans, and changes nothing; for many machines, writes what they follow.
    ///
    /// # Errors
    /// What is wrong with configuration and recipes.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if self.recipes.mode() == Mode::Live {
            self.event.check()?;
        }
        let sharding = self.machines.sharding()?;
        let (plan, actions) = Run::plan(workspace, &self.recipes, printer).await?;
        let status = plan.status();
        let lost = plan.lost(&actions).len();
        if lost > 0 {
            printer.warning(&format!(
                "this plan no longer has {}; `build` and `release` will move them to `kept/`",
                count(lost, "attested package")
            ));
        }
        let decisions = plan.decisions(&actions)?;
        let unplanned = pipeline::unplanned(&plan.planned);
        let shown = pipeline::plan_table(&plan.planned.plan, &decisions, &unplanned);
        if let Some(sharding) = sharding {
            printer.note(&shown);
            let folder = workspace.folder(self.recipes.mode()).shards();
            let what = (&plan.planned.plan, plan.left_out_elsewhere(workspace)?);
            let machines = &self.machines;
            machines.write(sharding, what, plan.last(), &folder, workspace, printer)?;
            return Ok(status);
        }
        printer.result(&shown)?;
        printer.json(&Decisions {
            schema_version: SchemaVersion,
            plan_digest: plan.planned.plan.digest(),
            decisions,
            unplanned,
            plan: plan.planned.plan,
        })?;
        Ok(status)
    }
}
