//! `plan`: what would be built, in order, and why.

use clap::Args;

use crate::{
    error::Error,
    exit::Status,
    pipeline::{self, PlanFlags},
    printer::Printer,
    run::Run,
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
    /// Write a matrix for this many CI jobs
    #[arg(long, value_name = "N")]
    shards: Option<u32>,

    /// What to plan
    #[command(flatten)]
    recipes: PlanFlags,
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
        if self.shards.is_some() {
            return Err(Error::NotAvailable {
                what: "`--shards`".to_owned(),
                target: "this version".to_owned(),
                instead: "build on one machine",
            });
        }
        let (planned, changes) = Run::plan(workspace, &self.recipes, printer).await?;
        let shown = pipeline::plan_table(&planned.plan, &changes)?;
        printer.result(&shown)?;
        printer.json(&planned.plan)?;
        Ok(Status::Done)
    }
}
