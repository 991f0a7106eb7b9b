//! `release`: everything, from recipes to a published channel.

use std::time::Instant;

use clap::Args;
use release_manifest::Progress;

use crate::{
    error::Error,
    exit::Status,
    pipeline::{self, PlanFlags},
    printer::{Printer, duration},
    rehearsal::{Rehearsal, show},
    workspace::Workspace,
};

/// Build, attest and publish recipes; a rehearsal unless --execute
///
/// A rehearsal runs all of it on this machine: a Sigstore on loopback instead of the public one, a
/// folder instead of the channel. It needs no account, no token and no network of its own. The same
/// command again continues where the last one ended, and does nothing twice.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release release                                     rehearse every recipe of the workspace
  conda-release release recipes/zlib                        rehearse one
  conda-release release --to https://prefix.dev/my-channel  rehearse for a channel
  conda-release release --output-format json                print the manifest")]
pub struct ReleaseArgs {
    /// After a failure, go on with what does not need the failed package
    #[arg(short, long)]
    keep_going: bool,

    /// What to release
    #[command(flatten)]
    plan: PlanFlags,
}

impl ReleaseArgs {
    /// Runs the whole pipeline.
    ///
    /// # Errors
    /// Whatever concerns the run as a whole; what concerns a package is in the manifest and in the status.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        invocation: &str,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let started = Instant::now();
        self.plan.only_rehearsal("release", workspace)?;
        let mut run = Rehearsal::begin(workspace, &self.plan, printer).await?;
        let channel = run.check(workspace, printer)?;
        let worker = pipeline::worker(workspace)?;
        pipeline::build(&mut run.release, &run.planning, &worker, printer).await?;
        let checkout = run.planning.checkout();
        pipeline::sign(
            &mut run.release,
            workspace,
            checkout,
            self.keep_going,
            printer,
        )
        .await?;
        pipeline::publish(&mut run.release, &channel, self.keep_going, printer).await?;
        run.release.compact()?;

        let release = &run.release;
        let status = pipeline::outcome(release, Progress::Published);
        show(release, workspace, printer)?;
        let ended = format!(
            "rehearsal in {}; manifest: {}",
            duration(started.elapsed()),
            workspace.shown(&release.folder().manifest())
        );
        match status {
            Status::Done => {
                printer.status("Finished", &ended);
                if let Some(steps) = pipeline::next_steps(release, invocation, workspace) {
                    printer.note(&format!("\n{steps}"));
                }
            }
            status => {
                // What did not fail waits for what did: it is released together.
                let others = match status == Status::Build && !self.keep_going {
                    true => "; --keep-going releases the others",
                    false => "",
                };
                let next = format!("{ended}; the same command continues{others}");
                printer.failure("Unfinished", &next);
            }
        }
        Ok(status)
    }
}
