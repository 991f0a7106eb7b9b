//! `init`: what a repository needs to release its packages.

mod change;
mod github;
mod gitlab;
mod proposal;
mod recipe;
mod report;
mod repository;
mod xtask;
mod yaml;

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};

use self::{
    proposal::{Proposal, Wishes},
    repository::Repository,
};
use crate::{
    cli::GlobalArgs, config::Config, error::Error, exit::Status, printer::Printer,
    workspace::Workspace,
};

/// Write configuration, xtask, starter recipes and a workflow
///
/// Looks at the workspace, shows what it would write, and asks. What exists stays as it is: recipes, configuration and xtask are
/// yours from the first day; an alias is added beside yours. Only the workflow is compared with what it would be today.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release init                                     show what would be written, and ask
  conda-release init --yes                               write it
  conda-release init --to https://prefix.dev/my-channel  with a job that publishes there
  conda-release init --check                             what is missing or differs, with exit status 3")]
pub struct InitArgs {
    /// Write without asking
    #[arg(short, long)]
    yes: bool,

    /// Write nothing: say what is missing or differs, with exit status 3 if anything does
    #[arg(long, conflicts_with_all = ["yes", "force"])]
    check: bool,

    /// Replace the workflow where it differs
    #[arg(long)]
    force: bool,

    /// The channel that live releases publish to, for configuration and workflow
    #[arg(long, value_name = "URL")]
    to: Option<String>,

    /// The URL that clients read that channel at, where it is another one
    #[arg(long, value_name = "URL", requires = "to")]
    target_channel: Option<String>,

    /// The CI system that a workflow is written for; by default that of the git remote
    #[arg(long, value_enum, value_name = "SYSTEM")]
    ci: Option<Ci>,

    /// Write an xtask; the default in a Cargo workspace that has none
    #[arg(long, conflicts_with = "no_xtask")]
    xtask: bool,

    /// Write no xtask: the workflow installs cargo-conda-release
    #[arg(long)]
    no_xtask: bool,
}

/// A CI system that runs releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ci {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
    /// No workflow
    None,
}

impl InitArgs {
    /// Looks, shows, asks and writes.
    ///
    /// # Errors
    /// A workspace that cannot be understood, a channel that is none, nobody to ask, or a file that cannot be written.
    pub(crate) fn run(
        self,
        workspace: &Workspace,
        global: &GlobalArgs,
        invocation: &str,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let config = Config::find(workspace.root(), global.config.as_deref())?;
        let repository = Repository::look(workspace)?;
        let wishes = Wishes {
            channel: self.to,
            target_channel: self.target_channel,
            ci: self.ci,
            xtask: match (self.xtask, self.no_xtask) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
        };
        let mut proposal = Proposal::new(&repository, config.as_ref(), &wishes)?;
        let shown = report::differences(&proposal.changes, workspace);
        if self.check {
            printer.result(&shown)?;
            report::finish(&proposal, workspace, printer)?;
            return Ok(match proposal.is_current() {
                true => Status::Done,
                false => Status::Preflight,
            });
        }
        if proposal.has_work(self.force) {
            if !self.yes {
                confirm(&shown, printer)?;
            } else {
                printer.note(&shown);
            }
            proposal.write(&repository, self.force)?;
        }
        report::finish(&proposal, workspace, printer)?;
        report::next_steps(&proposal, invocation, printer);
        Ok(Status::Done)
    }
}

/// Shows what would be written, and asks whether it should be.
///
/// # Errors
/// Nobody is there to ask, or the answer is no.
fn confirm(shown: &str, printer: &Printer) -> Result<(), Error> {
    let is_there = io::stdin().is_terminal() && io::stderr().is_terminal();
    // However quiet: nobody could answer what they are not shown.
    printer.error(shown);
    if !is_there {
        return Err(Error::Usage(
            "nothing was written: this is no terminal to ask on, and --yes was not given"
                .to_owned(),
        ));
    }
    printer.error("Write this? [y/N]");
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Error::output("read", "stdin"))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Usage("nothing was written".to_owned())),
    }
}
