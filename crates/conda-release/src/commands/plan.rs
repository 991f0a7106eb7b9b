//! `plan`: what would be built, in order, and why.

use clap::Args;

use crate::{
    error::Error,
    exit::Status,
    pipeline::{self, PlanFlags},
    printer::Printer,
    run::Run,
    shards::PlanningArgs,
    workspace::Workspace,
};

/// Show what would be built, in order, and why
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release plan                       every recipe of the workspace
  conda-release plan recipes/zlib          one recipe
  conda-release plan --output-format json  the plan as JSON, see `schema plan`
  conda-release plan -x --shards 16        for real, cut for 16 jobs at the same time")]
pub struct PlanArgs {
    /// What to plan
    #[command(flatten)]
    recipes: PlanFlags,

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
        let sharding = self.machines.sharding()?;
        let (planned, changes) = Run::plan(workspace, &self.recipes, printer).await?;
        let shown = pipeline::plan_table(&planned.plan, &changes)?;
        if let Some(sharding) = sharding {
            printer.note(&shown);
            let folder = workspace.folder(self.recipes.mode()).shards();
            let what = (&planned.plan, planned.left_out(&changes));
            let last = planned.last();
            let machines = &self.machines;
            machines.write(sharding, what, last, &folder, workspace, printer)?;
            return Ok(Status::Done);
        }
        printer.result(&shown)?;
        printer.json(&planned.plan)?;
        Ok(Status::Done)
    }
}
