//! A release under way: what the commands that work on one have in common.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use conda_attest::{Policy, Trust};
use conda_publish::{FileChannel, Kind, Present};
use conda_recipes::{Planned, SkipExisting};
use release_manifest::{
    ChannelPackage, Decision, Manifest, Mode, PackageKey, Progress, Skipped, Verdict,
};

use crate::{
    error::Error,
    exit::Status,
    guard::GuardArgs,
    kept_packages,
    output::{OutputFolder, OutputLock},
    pipeline::{self, Action, Known, PlanFlags, Planning, Selection, There},
    printer::{Printer, count},
    release::{Release, Stored},
    report,
    shown::Shown,
    target::Target,
    workspace::Workspace,
};

/// Options for the work of earlier runs.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Earlier work")]
pub(crate) struct EarlierArgs {
    /// Remove attested packages that the plan no longer has, instead of keeping them
    #[arg(long)]
    prune: bool,
}

/// A release under way: its lock, its plan and its state.
pub(crate) struct Run {
    /// What was planned.
    pub(crate) planning: Planning,
    /// How far it is.
    pub(crate) release: Release,
    /// Where it goes; a rehearsal goes nowhere.
    pub(crate) target: Option<Target>,
    /// What the channel has under the names of the plan.
    pub(crate) existing: BTreeMap<PackageKey, Present>,
    /// How planning ended, where it went on without what could not be planned.
    pub(crate) planned: Status,
    _lock: OutputLock,
}

/// A plan, and what it was made from.
pub(crate) struct Prepared {
    /// The plan, and what else planning found out.
    pub(crate) planned: Planned,
    planning: Planning,
    stored: Option<Stored>,
    target: Option<Target>,
    existing: BTreeMap<PackageKey, Present>,
    published: BTreeMap<PackageKey, ChannelPackage>,
    selection: Selection,
    lock: OutputLock,
}

impl Prepared {
    /// How planning ended: something may have been left out that could not be planned.
    pub(crate) fn status(&self) -> Status {
        match self.planned.unplanned.is_empty() {
            true => Status::Done,
            false => Status::Preflight,
        }
    }

    /// The decisions about the plan, with the channel's packages.
    ///
    /// # Errors
    /// The plan has no order.
    pub(crate) fn decisions(
        &self,
        actions: &BTreeMap<PackageKey, Action>,
    ) -> Result<Vec<Decision>, Error> {
        let mut decisions = pipeline::listed(&self.planned, actions)?;
        pipeline::add_published(&mut decisions, &self.published);
        Ok(decisions)
    }

    /// What an earlier run made here, if anything.
    pub(crate) fn last(&self) -> Option<&Manifest> {
        self.stored.as_ref().map(|stored| &stored.manifest)
    }

    /// The attested packages of an earlier run that this plan no longer has.
    pub(crate) fn lost(&self, actions: &BTreeMap<PackageKey, Action>) -> BTreeSet<PackageKey> {
        self.last().map_or_else(BTreeSet::new, |manifest| {
            kept_packages::lost(manifest, &self.planned.plan, is_built(actions))
        })
    }

    /// What other machines leave out, which have nothing of what was built here, and why.
    ///
    /// # Errors
    /// What is selected needs what was built here alone.
    pub(crate) fn left_out_elsewhere(
        &self,
        workspace: &Workspace,
    ) -> Result<BTreeMap<PackageKey, Skipped>, Error> {
        let there = There {
            stored: None,
            existing: &self.existing.keys().cloned().collect(),
            skips_existing: skips_existing(workspace),
        };
        let actions = pipeline::decide(&self.planned.plan, &there, &self.selection)?;
        Ok(left_out(actions, &self.existing, &self.published).collect())
    }
}

/// Takes the lock of the output folder, and keeps others from looking into this process.
fn lock(workspace: &Workspace) -> Result<OutputLock, Error> {
    workspace.check_output()?;
    let lock = OutputLock::take(workspace.output())?;
    conda_recipes::worker::guard_parent().map_err(Error::output("guard", "this process"))?;
    Ok(lock)
}

/// What an earlier run of this mode left.
fn stored(folder: &OutputFolder, mode: Mode) -> Result<Option<Stored>, Error> {
    let stored = Stored::read(folder)?;
    if let Some(stored) = &stored {
        stored.belongs_to(folder, mode)?;
    }
    Ok(stored)
}

/// Whether what the channel has under its name is not built again.
fn skips_existing(workspace: &Workspace) -> bool {
    workspace.config().build.skip_existing == SkipExisting::Name
}

/// What is not built and not there either, and why.
fn left_out(
    actions: BTreeMap<PackageKey, Action>,
    existing: &BTreeMap<PackageKey, Present>,
    published: &BTreeMap<PackageKey, ChannelPackage>,
) -> impl Iterator<Item = (PackageKey, Skipped)> {
    actions.into_iter().filter_map(|(package, action)| {
        let in_channel = published.get(&package).copied();
        let reason = match action {
            Action::Build { .. } | Action::Unchanged => return None,
            Action::NotSelected => Skipped::NOT_SELECTED.to_owned(),
            Action::Existing => {
                let there = existing.get(&package).and_then(|present| present.sha256);
                let there = there.map_or(String::new(), |sha256| format!(" with sha256 {sha256}"));
                let changed = match in_channel.is_some_and(|package| package.changed) {
                    true => ", but the recipe changed since it was published",
                    false => "",
                };
                format!("the channel has a package of this name{there}{changed}")
            }
        };
        Some((package, Skipped { reason, in_channel }))
    })
}

impl Run {
    /// Takes the lock and plans, and decides what is done about each package; nothing is changed yet. Live, the channel is
    /// asked for what it has.
    ///
    /// # Errors
    /// What is wrong with configuration, recipes, selection and channel.
    pub(crate) async fn plan(
        workspace: &Workspace,
        flags: &PlanFlags,
        printer: &Printer,
    ) -> Result<(Prepared, BTreeMap<PackageKey, Action>), Error> {
        let lock = lock(workspace)?;
        let target = flags.target(workspace)?;
        let folder = workspace.folder(flags.mode());
        let mut planning = Planning::new(workspace, flags, target.as_ref()).await?;
        let stored = stored(&folder, flags.mode())?;
        let worker = pipeline::worker(workspace)?;
        let planned = planning
            .plan(&worker, stored.as_ref(), target.as_ref(), printer)
            .await?;
        for unplanned in &planned.unplanned {
            printer.failure("Unplanned", &unplanned.recipe);
            let failure = Shown::failure(&unplanned.failure);
            printer.error(&failure.render());
            if let Some(actions) = printer.actions() {
                actions.annotate(&failure, printer);
            }
        }
        let selection = planning.selection(&planned)?;
        let existing = match &target {
            Some(target) => target.existing(&planned.plan).await?,
            None => BTreeMap::new(),
        };
        let there = There {
            stored: stored.as_ref(),
            existing: &existing.keys().cloned().collect(),
            skips_existing: skips_existing(workspace),
        };
        let actions = pipeline::decide(&planned.plan, &there, &selection)?;
        let published = pipeline::Published {
            planned: &planned,
            actions: &actions,
            existing: &existing,
            stored: stored.as_ref(),
        };
        let on_changed = workspace.config().publish.changed;
        let published = published
            .compare(target.as_ref(), on_changed, printer)
            .await?;
        pipeline::report_changed(&planned.plan, &published, workspace, printer)?;
        let prepared = Prepared {
            planned,
            planning,
            stored,
            target,
            existing,
            published,
            selection,
            lock,
        };
        Ok((prepared, actions))
    }

    /// Plans, shows what is new, and joins the plan with what an earlier run left. What was not selected is left out; live,
    /// also what the channel has under its name already.
    ///
    /// # Errors
    /// As [`plan`](Self::plan); live, also a source that nothing is released from.
    pub(crate) async fn begin(
        workspace: &Workspace,
        flags: &PlanFlags,
        (guard, earlier): (&GuardArgs, &EarlierArgs),
        printer: &Printer,
    ) -> Result<Self, Error> {
        if flags.mode() == Mode::Live {
            guard.check(&workspace.checkout()?.source)?;
        }
        let (prepared, actions) = Self::plan(workspace, flags, printer).await?;
        let status = prepared.status();
        let listed = prepared.decisions(&actions)?;
        let Prepared {
            planned,
            planning,
            stored,
            target,
            existing,
            published,
            selection: _,
            lock,
        } = prepared;
        let is_nothing =
            |action: &Action| matches!(action, Action::Unchanged | Action::NotSelected);
        if !actions.values().all(is_nothing) {
            let shown = listed
                .iter()
                .filter(|decision| decision.verdict != Verdict::NotSelected);
            printer.note(&pipeline::plan_table(&planned.plan, shown, &[]));
        }
        let folder = workspace.folder(flags.mode());
        if let Some(stored) = &stored {
            let lost = kept_packages::lost(&stored.manifest, &planned.plan, is_built(&actions));
            keep(&folder, &stored.manifest, &lost, workspace, printer)?;
        }
        let left_out = left_out(actions, &existing, &published);
        if earlier.prune {
            let pruned = count(kept_packages::prune(&folder)?, "package");
            printer.status("Removed", &format!("{pruned} of earlier plans"));
        }
        let release = Release::begin(folder, planned.plan, stored, left_out)?;
        Ok(Self {
            planning,
            release,
            target,
            existing,
            planned: status,
            _lock: lock,
        })
    }

    /// Takes the release of an earlier run as it stands, without planning.
    ///
    /// # Errors
    /// There is none, or its manifest is not of its plan.
    pub(crate) fn resume(
        workspace: &Workspace,
        mode: Mode,
        printer: &Printer,
    ) -> Result<(Release, OutputLock), Error> {
        let (folder, lock, stored) = Self::hold(workspace, mode, printer)?;
        let stored = stored.ok_or_else(|| Error::NoRelease(folder.manifest()))?;
        stored.follows(&folder, &stored.plan, None)?;
        Ok((Release::resume(folder, stored)?, lock))
    }

    /// Takes the lock, waits for builds of an earlier run to end, and reads what that run left.
    ///
    /// # Errors
    /// Another run is at work, or what lies there is of another mode.
    pub(crate) fn hold(
        workspace: &Workspace,
        mode: Mode,
        printer: &Printer,
    ) -> Result<(OutputFolder, OutputLock, Option<Stored>), Error> {
        let lock = lock(workspace)?;
        let folder = workspace.folder(mode);
        // The worker of a run that was killed may still be ending its scripts.
        conda_recipes::worker::wait_for_end(folder.path(), || {
            printer.status("Waiting", "for the builds of an earlier run to end");
        })?;
        let stored = stored(&folder, mode)?;
        Ok((folder, lock, stored))
    }

    /// Takes back what no longer holds of what an earlier rehearsal recorded, and opens its channel.
    ///
    /// # Errors
    /// The channel or the journal cannot be written.
    pub(crate) fn check_rehearsal(
        &mut self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<FileChannel, Error> {
        check_rehearsal(&mut self.release, workspace, printer)
    }

    /// Takes back what was built and is no longer there as it was built.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(crate) fn check_built(&mut self, printer: &Printer) -> Result<(), Error> {
        pipeline::check(&mut self.release, &Known::built(), printer)
    }
}

/// Returns a predicate for the packages that are built now.
fn is_built(actions: &BTreeMap<PackageKey, Action>) -> impl Fn(&PackageKey) -> bool {
    |package| matches!(actions.get(package), Some(Action::Build { .. }))
}

/// Says which attested packages a plan no longer has, and keeps them.
fn keep(
    folder: &OutputFolder,
    manifest: &Manifest,
    lost: &BTreeSet<PackageKey>,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    if lost.is_empty() {
        return Ok(());
    }
    let path = kept_packages::keep(folder, manifest, lost)?;
    printer.warning(&format!(
        "the plan no longer has {}: {}; moved with their attestations and records to {}; --prune deletes all kept packages",
        count(lost.len(), "attested package"),
        names(lost),
        workspace.shown(&path),
    ));
    Ok(())
}

/// The first of these packages by name.
fn names(packages: &BTreeSet<PackageKey>) -> String {
    const MOST: usize = 5;
    let first: Vec<String> = packages
        .iter()
        .take(MOST)
        .map(ToString::to_string)
        .collect();
    let first = first.join(", ");
    match packages.len().checked_sub(MOST) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}

/// Takes back what no longer holds of a rehearsal, and opens its channel.
pub(crate) fn check_rehearsal(
    release: &mut Release,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<FileChannel, Error> {
    let channel = FileChannel::open(&release.folder().channel(), Kind::Rehearsal)?;
    let trust = pipeline::rehearsal_trust(release.folder())?;
    let served = pipeline::served_from(channel.clone());
    let known = Known {
        trust: trust.as_ref(),
        policy: pipeline::rehearsal_identity(),
        signed_by: &|_| true,
        asks_for_provenance: workspace.config().sign.provenance,
        is_published: &served,
        last: Progress::Published,
    };
    pipeline::check(release, &known, printer)?;
    Ok(channel)
}

/// Takes back what no longer holds of a live release: its packages and attestations, and what `existing` says of the
/// channel.
///
/// # Errors
/// The journal cannot be written.
pub(crate) fn check_live(
    release: &mut Release,
    workspace: &Workspace,
    trust: &Trust,
    (policy, signed_by): (Policy, &(dyn Fn(&conda_attest::Evidence) -> bool + Sync)),
    existing: Option<&BTreeMap<PackageKey, Present>>,
    printer: &Printer,
) -> Result<(), Error> {
    let known = Known {
        trust: Some(trust),
        policy,
        signed_by,
        asks_for_provenance: workspace.config().sign.provenance,
        is_published: &|package| match existing.and_then(|it| it.get(&package.key())) {
            None => Err("the channel does not have it".to_owned()),
            Some(Present { sha256, .. }) if sha256.is_some() && *sha256 != package.sha256 => {
                Err("the channel does not serve the recorded bytes".to_owned())
            }
            Some(_) => Ok(()),
        },
        last: match existing {
            Some(_) => Progress::Published,
            None => Progress::Attested,
        },
    };
    pipeline::check(release, &known, printer)
}

/// Shows how far a release is: the page beside its manifest, the table for a person, the manifest for a script.
///
/// # Errors
/// The page or stdout cannot be written.
pub(crate) fn show(
    release: &Release,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    leave(release, workspace, printer)?;
    printer.result(&pipeline::packages_table(release, workspace.current()))?;
    printer.json(release.manifest())
}

/// Leaves the page of a release beside its manifest, and tells GitHub Actions of it.
///
/// # Errors
/// The page cannot be written.
pub(crate) fn leave(
    release: &Release,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    let (folder, plan, manifest) = (release.folder(), release.plan(), release.manifest());
    report::leave(folder, plan, manifest, workspace, printer)
}

/// Ends a command that does one phase of a release: where something is left, says what does it.
pub(crate) fn ended(status: Status, printer: &Printer) -> Status {
    if status != Status::Done {
        printer.failure("Unfinished", "`release` does what is left");
    }
    status
}
