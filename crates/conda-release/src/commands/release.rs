//! `release`: everything, from recipes to a published channel.

use std::time::Instant;

use clap::Args;
use release_manifest::{Mode, Progress};

use super::trust::TrustArgs;
use crate::{
    error::Error,
    exit::Status,
    guard::GuardArgs,
    identity::IdentityArgs,
    live::{Live, PublishingArgs},
    pipeline::{self, PlanFlags, SourceTrust},
    printer::{Printer, count, duration},
    run::{EarlierArgs, Run, leave, show},
    target::Target,
    workspace::Workspace,
};

/// Build, attest and publish recipes; a rehearsal unless --execute
///
/// A rehearsal runs all of it on this machine: a Sigstore on loopback instead of the public one, a
/// folder instead of the channel. It needs no account, no token and no network of its own. With
/// --execute, what the channel does not have yet is built, attested as who the CI system says you
/// are, uploaded, and looked for as a client does. The same command again continues where the last
/// one ended, and does nothing twice.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release release                                     rehearse every recipe of the workspace
  conda-release release recipes/zlib                        rehearse one, with what it needs
  conda-release release --to https://prefix.dev/my-channel  rehearse for a channel
  conda-release release ./recipe.yaml --to https://prefix.dev/my-channel -x
  conda-release release --output-format json                print the manifest")]
pub struct ReleaseArgs {
    /// What to release
    #[command(flatten)]
    plan: PlanFlags,

    /// What a live release may start from
    #[command(flatten)]
    guard: GuardArgs,

    /// Options for the work of earlier runs
    #[command(flatten)]
    earlier: EarlierArgs,

    /// How it is published
    #[command(flatten)]
    publishing: PublishingArgs,

    /// Who signs
    #[command(flatten)]
    identity: IdentityArgs,

    /// Under whose trust
    #[command(flatten)]
    trust: TrustArgs,
}

impl ReleaseArgs {
    /// Whether it is for real.
    pub(crate) fn mode(&self) -> Mode {
        self.plan.mode()
    }

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
        let mut run =
            Run::begin(workspace, &self.plan, (&self.guard, &self.earlier), printer).await?;
        let result = match run.target.clone() {
            None => self.rehearse(&mut run, workspace, printer).await,
            Some(target) => self.execute(&mut run, &target, workspace, printer).await,
        };
        let status = match result {
            Ok(status) => status,
            Err(error) => {
                // What was done before is reported; the error that ended it is told by itself, and first.
                let _left = leave(&run.release, workspace, printer);
                return Err(error);
            }
        };
        let status = status.and(run.planned);
        run.release.compact()?;
        show(&run.release, workspace, printer)?;
        self.end(&run, status, started, workspace, invocation, printer);
        Ok(status)
    }

    fn source_trust<'a>(&'a self, workspace: &'a Workspace) -> SourceTrust<'a> {
        SourceTrust {
            trust: &self.trust,
            workspace,
        }
    }

    async fn rehearse(
        &self,
        run: &mut Run,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let channel = run.check_rehearsal(workspace, printer)?;
        let worker = pipeline::worker(workspace)?;
        let (release, planning) = (&mut run.release, &run.planning);
        let trust = self.source_trust(workspace);
        pipeline::build(release, planning, &worker, &trust, printer).await?;
        let checkout = planning.checkout();
        pipeline::sign(
            release,
            workspace,
            checkout,
            self.plan.keep_going(),
            printer,
        )
        .await?;
        pipeline::publish(
            release,
            &channel,
            workspace,
            self.plan.keep_going(),
            printer,
        )
        .await?;
        Ok(pipeline::outcome(release, Progress::Published))
    }

    async fn execute(
        &self,
        run: &mut Run,
        target: &Target,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let who = (&self.trust, &self.identity);
        let live = Live::prepare(workspace, target, who, true, &self.publishing, printer).await?;
        live.attester.check(&mut run.release, Some(&run.existing))?;
        live.warn_of_unattested(&run.release, &run.existing);
        let worker = pipeline::worker(workspace)?;
        let (release, planning) = (&mut run.release, &run.planning);
        let trust = self.source_trust(workspace);
        pipeline::build(release, planning, &worker, &trust, printer).await?;
        live.attester.sign(release, self.plan.keep_going()).await?;
        live.publish(release, self.plan.keep_going()).await
    }

    /// Says how it ended, and what does what is left.
    fn end(
        &self,
        run: &Run,
        status: Status,
        started: Instant,
        workspace: &Workspace,
        invocation: &str,
        printer: &Printer,
    ) {
        let release = &run.release;
        let what = match &run.target {
            None => "rehearsal".to_owned(),
            Some(target) => format!("release to {}", target.name()),
        };
        let ended = format!(
            "{what} in {}; manifest: {}",
            duration(started.elapsed()),
            workspace.shown(&release.folder().manifest())
        );
        let report = workspace.shown(&release.folder().report());
        printer.status("Report", &report);
        match status {
            Status::Done => {
                printer.status("Finished", &ended);
                let steps = match &run.target {
                    None => pipeline::next_steps(release, invocation, workspace),
                    Some(target) => pipeline::next_steps_live(release, invocation, target),
                };
                if let Some(steps) = steps {
                    printer.note(&format!("\n{steps}"));
                }
            }
            status => {
                let packages = release.manifest().packages().iter();
                let ended = match packages.filter(|it| !it.blocked_by.is_empty()).count() {
                    0 => ended,
                    blocked => {
                        let waiting = count(blocked, "package");
                        format!("{ended}; {waiting} blocked by what failed")
                    }
                };
                let next = match status {
                    Status::Preflight => "the recipes that cannot be planned are no part of it",
                    // What did not fail waits for what did: it is released together.
                    Status::Build if !self.plan.keep_going() => {
                        "the same command continues; --keep-going releases the others"
                    }
                    _ => "the same command continues",
                };
                printer.failure("Unfinished", &format!("{ended}; {next}"));
            }
        }
    }
}
