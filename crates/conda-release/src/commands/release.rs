//! `release`: everything, from recipes to a published channel.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use clap::Args;
use conda_publish::{FileChannel, Kind};
use release_manifest::{Mode, PackageKey, Plan, Progress};

use crate::{
    error::Error,
    exit::Status,
    output::OutputLock,
    pipeline::{self, BuildFlags, Change, Planning},
    printer::{Printer, duration},
    release::{Release, Stored},
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
    /// Recipe files, folders or globs; those of the configuration by default
    #[arg(value_name = "RECIPE")]
    recipes: Vec<PathBuf>,

    /// The channel to publish to
    #[arg(long, value_name = "URL", env = "CONDA_RELEASE_CHANNEL")]
    to: Option<String>,

    /// Publish for real instead of rehearsing
    #[arg(short = 'x', long)]
    execute: bool,

    /// After a failure, go on with what does not need the failed package
    #[arg(short, long)]
    keep_going: bool,

    /// How to build
    #[command(flatten)]
    build: BuildFlags,
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
        if self.execute {
            return Err(live_is_not_available(
                "release --execute",
                self.to.as_deref(),
                workspace,
            ));
        }
        let mut run = Rehearsal::begin(
            workspace,
            &self.recipes,
            self.to.as_deref(),
            &self.build,
            printer,
        )
        .await?;
        let channel = run.check(printer)?;
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
                if let Some(steps) = pipeline::next_steps(release, invocation, workspace.current())
                {
                    printer.note(&format!("\n{steps}"));
                }
            }
            _ => printer.failure(
                "Unfinished",
                &format!("{ended}; the same command continues"),
            ),
        }
        Ok(status)
    }
}

/// A rehearsal under way: its lock, its plan and its state.
pub(crate) struct Rehearsal {
    /// What was planned.
    pub(crate) planning: Planning,
    /// How far it is.
    pub(crate) release: Release,
    _lock: OutputLock,
}

/// A plan, and what it was made from.
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: Plan,
    planning: Planning,
    stored: Option<Stored>,
    lock: OutputLock,
}

impl Rehearsal {
    /// Takes the lock and plans; nothing is changed yet.
    pub(crate) async fn plan(
        workspace: &Workspace,
        recipes: &[PathBuf],
        to: Option<&str>,
        flags: &BuildFlags,
        printer: &Printer,
    ) -> Result<(Planned, BTreeMap<PackageKey, Change>), Error> {
        let lock = OutputLock::take(workspace.output())?;
        conda_recipes::worker::guard_parent().map_err(Error::output("guard", "this process"))?;
        let folder = workspace.folder(Mode::Rehearsal);
        let mut planning = Planning::new(workspace, recipes, to, flags, Mode::Rehearsal)?;
        let stored = Stored::read(&folder)?;
        if let Some(stored) = &stored {
            stored.belongs_to(&folder, Mode::Rehearsal, pipeline::REHEARSAL_TRUST)?;
        }
        let worker = pipeline::worker(workspace)?;
        let plan = planning
            .plan(&worker, stored.as_ref().map(|stored| &stored.plan), printer)
            .await?;
        let changes = Change::of(&plan, stored.as_ref());
        Ok((
            Planned {
                plan,
                planning,
                stored,
                lock,
            },
            changes,
        ))
    }

    /// Plans, shows what is new, and joins the plan with what an earlier run left.
    pub(crate) async fn begin(
        workspace: &Workspace,
        recipes: &[PathBuf],
        to: Option<&str>,
        flags: &BuildFlags,
        printer: &Printer,
    ) -> Result<Self, Error> {
        let (planned, changes) = Self::plan(workspace, recipes, to, flags, printer).await?;
        let Planned {
            plan,
            planning,
            stored,
            lock,
        } = planned;
        if changes.values().any(|change| *change != Change::Unchanged) {
            printer.note(&pipeline::plan_table(&plan, &changes)?);
        }
        let trust = stored
            .as_ref()
            .and_then(|stored| stored.manifest.trust.clone());
        let release = Release::begin(workspace.folder(Mode::Rehearsal), plan, trust, stored)?;
        Ok(Self {
            planning,
            release,
            _lock: lock,
        })
    }

    /// Takes the release of an earlier run as it stands, without planning.
    ///
    /// # Errors
    /// There is none, or its manifest is not of its plan.
    pub(crate) fn resume(workspace: &Workspace) -> Result<(Release, OutputLock), Error> {
        let lock = OutputLock::take(workspace.output())?;
        let folder = workspace.folder(Mode::Rehearsal);
        let stored = Stored::read(&folder)?.ok_or_else(|| Error::NoRelease(folder.manifest()))?;
        stored.belongs_to(&folder, Mode::Rehearsal, pipeline::REHEARSAL_TRUST)?;
        let (found, expected) = (stored.manifest.plan_digest, stored.plan.digest());
        if found != expected {
            return Err(Error::OtherRelease {
                path: folder.manifest(),
                what: "plan",
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
        let trust = stored.manifest.trust.clone();
        let plan = stored.plan.clone();
        Ok((Release::begin(folder, plan, trust, Some(stored))?, lock))
    }

    /// Takes back what no longer holds of what an earlier run recorded.
    pub(crate) fn check(&mut self, printer: &Printer) -> Result<FileChannel, Error> {
        check(&mut self.release, printer)
    }
}

/// Takes back what no longer holds of a release, and opens its channel.
pub(crate) fn check(release: &mut Release, printer: &Printer) -> Result<FileChannel, Error> {
    let channel = FileChannel::open(&release.folder().channel(), Kind::Rehearsal)?;
    let trust = pipeline::rehearsal_trust(release.folder())?;
    pipeline::check(release, trust.as_ref(), Some(&channel), printer)?;
    Ok(channel)
}

/// Shows how far a release is: the table for a person, the manifest for a script.
pub(crate) fn show(
    release: &Release,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    printer
        .result(&pipeline::packages_table(release, workspace.current()))
        .map_err(Error::output("write", "stdout"))?;
    printer
        .json(release.manifest())
        .map_err(Error::output("write", "stdout"))
}

/// Ends a command that does one phase of a release: where something is left, says what does it.
pub(crate) fn ended(status: Status, printer: &Printer) -> Status {
    if status != Status::Done {
        printer.failure("Unfinished", "`release` does what is left");
    }
    status
}

/// What `--execute` answers in this version.
pub(crate) fn live_is_not_available(what: &str, to: Option<&str>, workspace: &Workspace) -> Error {
    Error::NotAvailable {
        what: format!("`{what}`"),
        target: workspace
            .channel(to)
            .unwrap_or_else(|| "this version".to_owned()),
        instead: "leave --execute out for a rehearsal, which does all of it on this machine",
    }
}
