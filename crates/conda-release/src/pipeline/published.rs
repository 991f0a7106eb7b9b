//! The channel's packages under the names of a plan, compared with what the plan would build.
//!
//! A package that the channel has is not built again. Where its recipe changed since it was published, nobody would
//! notice that the build number was not raised. Three sources tell: the state of an earlier run, the release manifests
//! that the channel keeps, and the files that changed since a git reference. A package is identified by the digest of its
//! bytes, never by its name: a record of other bytes says nothing about the channel's package.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use conda_publish::Present;
use conda_recipes::Planned;
use release_manifest::{
    ChannelPackage, Decision, Digest, Manifest, PackageKey, Plan, PlannedPackage, Timestamp,
};

use super::Action;
use crate::{
    config::OnChanged, error::Error, printer::Printer, release::Stored, target::Target,
    workspace::Workspace,
};

/// At most so many release manifests of a channel are read, the newest ones: a package that none of them contains
/// would otherwise cost a request for every release there ever was.
const MOST_RELEASES: usize = 100;

/// A plan, and everything that tells how the channel's packages were made.
pub(crate) struct Published<'a> {
    /// The plan, with the packages that changed files go into.
    pub(crate) planned: &'a Planned,
    /// The action for each package.
    pub(crate) actions: &'a BTreeMap<PackageKey, Action>,
    /// The channel's packages with names of the plan.
    pub(crate) existing: &'a BTreeMap<PackageKey, Present>,
    /// The state of an earlier run.
    pub(crate) stored: Option<&'a Stored>,
}

/// The record of a published package: its fingerprint, and whether it is known to be made from other inputs.
#[derive(Clone, Copy)]
struct Record {
    fingerprint: Digest,
    changed: bool,
}

impl Published<'_> {
    /// Compares each package that the channel has, and that is therefore not built.
    ///
    /// # Errors
    /// The channel's releases cannot be read, where `on_changed` makes a change an error. Otherwise that is a warning.
    pub(crate) async fn compare(
        &self,
        target: Option<&Target>,
        on_changed: OnChanged,
        printer: &Printer,
    ) -> Result<BTreeMap<PackageKey, ChannelPackage>, Error> {
        let mut records = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for (key, package, present) in self.packages() {
            match self.stored_record(key, package, present) {
                Some(record) => drop(records.insert(key.clone(), record)),
                None => drop(unknown.insert(key.clone())),
            }
        }
        if let Some(target) = target.filter(|_| !unknown.is_empty()) {
            let read = self.kept_records(target, unknown, &mut records).await;
            match (read, on_changed) {
                (Ok(()), _) => {}
                (Err(error), OnChanged::Error) => return Err(error),
                (Err(error), OnChanged::Warn) => printer.warning(&format!(
                    "the channel's release manifests cannot be read, so recipes that changed since they were published may go unnoticed: {}",
                    crate::error::with_causes(&error)
                )),
            }
        }
        let compared = self.packages().map(|(key, _, present)| {
            let record = records.get(key);
            let package = ChannelPackage {
                sha256: present.sha256,
                fingerprint: record.map(|record| record.fingerprint),
                changed: match record {
                    Some(record) => record.changed,
                    None => self.is_touched(key, present),
                },
            };
            (key.clone(), package)
        });
        Ok(compared.collect())
    }

    /// The packages that are not built since the channel has them.
    fn packages(&self) -> impl Iterator<Item = (&PackageKey, &PlannedPackage, &Present)> {
        self.actions.iter().filter_map(|(key, action)| {
            let present = self.existing.get(key)?;
            let package = self.planned.plan.package(key)?;
            (*action == Action::Existing).then_some((key, package, present))
        })
    }

    /// The record of a package in the state of an earlier run.
    fn stored_record(
        &self,
        key: &PackageKey,
        package: &PlannedPackage,
        present: &Present,
    ) -> Option<Record> {
        let manifest = &self.stored?.manifest;
        let old = manifest.package(key)?;
        let present_digest = present.sha256?;
        if old.sha256 == Some(present_digest) {
            return self.judge(manifest, package, old.fingerprint);
        }
        // An earlier run skipped it too, and recorded what it knew of the channel's package.
        let known = old.skipped.as_ref()?.in_channel?;
        let fingerprint = known
            .fingerprint
            .filter(|_| known.sha256 == Some(present_digest))?;
        let changed = match (package.fingerprint, known.changed) {
            (now, _) if now == fingerprint => false,
            (now, changed) if now == old.fingerprint => changed,
            (_, true) => true,
            _ => self.judge(manifest, package, old.fingerprint)?.changed,
        };
        Some(Record {
            fingerprint,
            changed,
        })
    }

    /// Adds the records of these packages that the channel's releases have.
    async fn kept_records(
        &self,
        target: &Target,
        mut unknown: BTreeSet<PackageKey>,
        records: &mut BTreeMap<PackageKey, Record>,
    ) -> Result<(), Error> {
        let releases = target.kept_releases(MOST_RELEASES, |manifest| {
            unknown.retain(|key| match self.kept_record(&manifest, key) {
                Some(record) => {
                    records.insert(key.clone(), record);
                    false
                }
                None => true,
            });
            match unknown.is_empty() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        releases.await
    }

    fn kept_record(&self, manifest: &Manifest, key: &PackageKey) -> Option<Record> {
        let kept = manifest.package(key)?;
        let is_it = kept.sha256.is_some() && kept.sha256 == self.existing.get(key)?.sha256;
        let package = self.planned.plan.package(key)?;
        is_it
            .then(|| self.judge(manifest, package, kept.fingerprint))
            .flatten()
    }

    /// Compares a package with the release that it was published by; `None` where they cannot be compared.
    ///
    /// A fingerprint covers the tool and the packages that a package builds on. A difference that may come from there is no
    /// change of the recipe.
    fn judge(
        &self,
        manifest: &Manifest,
        package: &PlannedPackage,
        fingerprint: Digest,
    ) -> Option<Record> {
        let plan = &self.planned.plan;
        let is_same = package.fingerprint == fingerprint;
        if !is_same && manifest.tool != plan.tool {
            return None;
        }
        let fingerprint_of = |key| plan.package(key).map(|needed| needed.fingerprint);
        let builds_on_the_same = package.builds_on.iter().all(|key| {
            manifest.package(key).map(|needed| needed.fingerprint) == fingerprint_of(key)
        });
        Some(Record {
            fingerprint,
            changed: !is_same && builds_on_the_same,
        })
    }

    /// Checks whether a changed file goes into a package whose inputs are not recorded anywhere.
    ///
    /// A package whose time is that of the plan was built from the same commit, by an earlier attempt of the same job.
    fn is_touched(&self, key: &PackageKey, present: &Present) -> bool {
        let now = Timestamp::from_unix(self.planned.plan.timestamp);
        self.planned.touched.contains(key) && present.claimed != Some(now)
    }
}

/// Warns of packages that changed since they were published, each at its recipe, or refuses to continue.
///
/// # Errors
/// [`Error::ChangedSincePublished`], where the configuration says so.
pub(crate) fn report_changed(
    plan: &Plan,
    published: &BTreeMap<PackageKey, ChannelPackage>,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    let changed = published.iter().filter(|(_, package)| package.changed);
    let changed: BTreeSet<PackageKey> = changed.map(|(key, _)| key.clone()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    if let Some(actions) = printer.actions() {
        for package in changed.iter().filter_map(|key| plan.package(key)) {
            actions.annotate_changed(package, workspace, printer);
        }
    }
    match workspace.config().publish.changed {
        OnChanged::Error => Err(Error::ChangedSincePublished(changed)),
        OnChanged::Warn => {
            for key in &changed {
                printer.warning(&format!(
                    "`{key}` changed since it was published: raise the build number"
                ));
            }
            Ok(())
        }
    }
}

/// Adds the channel's packages to the decisions about a plan.
pub(crate) fn add_published(
    decisions: &mut [Decision],
    published: &BTreeMap<PackageKey, ChannelPackage>,
) {
    for decision in decisions {
        let package = decision.package.as_ref();
        decision.in_channel = package.and_then(|key| published.get(key).copied());
    }
}
