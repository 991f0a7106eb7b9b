//! A rehearsal under way: what the commands that work on one have in common.

use std::collections::BTreeMap;

use conda_publish::{FileChannel, Kind};
use release_manifest::{Mode, PackageKey, Plan};

use crate::{
    error::Error,
    exit::Status,
    output::OutputLock,
    pipeline::{self, Change, PlanFlags, Planning},
    printer::Printer,
    release::{Release, Stored},
    workspace::Workspace,
};

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
        flags: &PlanFlags,
        printer: &Printer,
    ) -> Result<(Planned, BTreeMap<PackageKey, Change>), Error> {
        let lock = OutputLock::take(workspace.output())?;
        conda_recipes::worker::guard_parent().map_err(Error::output("guard", "this process"))?;
        let folder = workspace.folder(Mode::Rehearsal);
        let mut planning = Planning::new(workspace, flags, Mode::Rehearsal)?;
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
        flags: &PlanFlags,
        printer: &Printer,
    ) -> Result<Self, Error> {
        let (planned, changes) = Self::plan(workspace, flags, printer).await?;
        let Planned {
            plan,
            planning,
            stored,
            lock,
        } = planned;
        if changes.values().any(|change| *change != Change::Unchanged) {
            printer.note(&pipeline::plan_table(&plan, &changes)?);
        }
        let release = Release::begin(workspace.folder(Mode::Rehearsal), plan, stored)?;
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
    pub(crate) fn resume(
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<(Release, OutputLock), Error> {
        let lock = OutputLock::take(workspace.output())?;
        conda_recipes::worker::guard_parent().map_err(Error::output("guard", "this process"))?;
        let folder = workspace.folder(Mode::Rehearsal);
        // The worker of a run that was killed may still be ending its scripts.
        conda_recipes::worker::wait_for_end(folder.path(), || {
            printer.status("Waiting", "for the builds of an earlier run to end");
        })?;
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
        let plan = stored.plan.clone();
        Ok((Release::begin(folder, plan, Some(stored))?, lock))
    }

    /// Takes back what no longer holds of what an earlier run recorded.
    pub(crate) fn check(
        &mut self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<FileChannel, Error> {
        check(&mut self.release, workspace, printer)
    }
}

/// Takes back what no longer holds of a release, and opens its channel.
pub(crate) fn check(
    release: &mut Release,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<FileChannel, Error> {
    let channel = FileChannel::open(&release.folder().channel(), Kind::Rehearsal)?;
    let trust = pipeline::rehearsal_trust(release.folder())?;
    let asks_for_provenance = workspace.config().sign.provenance;
    pipeline::check(
        release,
        trust.as_ref(),
        &channel,
        asks_for_provenance,
        printer,
    )?;
    Ok(channel)
}

/// Shows how far a release is: the table for a person, the manifest for a script.
pub(crate) fn show(
    release: &Release,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    printer.result(&pipeline::packages_table(release, workspace.current()))?;
    printer.json(release.manifest())
}

/// Ends a command that does one phase of a release: where something is left, says what does it.
pub(crate) fn ended(status: Status, printer: &Printer) -> Status {
    if status != Status::Done {
        printer.failure("Unfinished", "`release` does what is left");
    }
    status
}
