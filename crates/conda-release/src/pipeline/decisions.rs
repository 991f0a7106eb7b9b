//! What is done about each output: built, or why not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use conda_recipes::Planned;
use release_manifest::{
    Decision, Mode, PackageKey, Plan, PlannedPackage, Progress, Skipped, SkippedOutput,
    UnplannedRecipe, Verdict,
};

use super::Selection;
use crate::{error::Error, release::Stored};

/// What is done about a package of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It is built.
    Build {
        /// What it is built for.
        why: Why,
        /// The selected package that needs it, where it was not selected itself.
        needed_by: Option<PackageKey>,
    },
    /// It was built before, and is as it was.
    Unchanged,
    /// The channel has a package of its name.
    Existing,
    /// The command line did not select it.
    NotSelected,
}

/// Why a package is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// No package of this name was planned before.
    New,
    /// Its recipe, sources, variant or what it builds upon changed.
    Changed,
    /// It was planned before, and not built.
    Unbuilt,
    /// It was built from another commit, which an attestation that is made now would not name.
    OtherCommit,
}

/// What is there besides the plan.
pub(crate) struct There<'a> {
    /// What an earlier run left.
    pub(crate) stored: Option<&'a Stored>,
    /// What the channel has under the names of the plan. A rehearsal doesn't ask.
    pub(crate) existing: &'a BTreeSet<PackageKey>,
    /// Whether what the channel has is not built again.
    pub(crate) skips_existing: bool,
}

/// What is done about each package of a plan.
///
/// What a package that is built needs is built too, or was, or is in the channel. Where no names rule it out, it is added to a
/// selection by changes.
///
/// # Errors
/// [`Error::NeedsUnselected`] for packages that need what the names rule out and is nowhere.
pub(crate) fn decide(
    plan: &Plan,
    there: &There<'_>,
    selection: &Selection,
) -> Result<BTreeMap<PackageKey, Action>, Error> {
    let mut actions: BTreeMap<PackageKey, Action> = plan
        .packages
        .iter()
        .map(|package| {
            let key = package.key();
            let action = match selection.has(&key) {
                true => there.action(plan, package, &key, None),
                false => Action::NotSelected,
            };
            (key, action)
        })
        .collect();
    if selection.is_everything() {
        return Ok(actions);
    }
    // What is not selected stays where it is.
    let mut open: VecDeque<PackageKey> = actions
        .iter()
        .filter(|(_, action)| matches!(action, Action::Build { .. } | Action::Unchanged))
        .map(|(key, _)| key.clone())
        .collect();
    let mut missing: BTreeMap<PackageKey, BTreeSet<PackageKey>> = BTreeMap::new();
    while let Some(key) = open.pop_front() {
        let Some(package) = plan.package(&key) else {
            continue;
        };
        let installed = match plan.mode {
            Mode::Live => plan.runtime_needs(&BTreeSet::from([key.clone()])),
            Mode::Rehearsal => BTreeSet::new(),
        };
        // Of what was built before, only what it is installed with is still to come: it is published with it.
        let needs: BTreeSet<&PackageKey> = match actions.get(&key) {
            Some(Action::Unchanged) if there.progress_of(plan, package) == Progress::Published => {
                continue;
            }
            Some(Action::Unchanged) => installed.iter().collect(),
            _ => package
                .builds_on
                .iter()
                .chain(&package.test_needs)
                .collect(),
        };
        for need in needs {
            let Some(needed) = plan.package(need) else {
                continue;
            };
            let is_left_out = actions.get(need) == Some(&Action::NotSelected);
            if !is_left_out || there.has(plan, needed, installed.contains(need)) {
                continue;
            }
            if selection.allows(need) {
                actions.insert(need.clone(), there.action(plan, needed, need, Some(&key)));
                open.push_back(need.clone());
            } else {
                missing.entry(key.clone()).or_default().insert(need.clone());
            }
        }
    }
    match missing.is_empty() {
        true => Ok(actions),
        false => Err(Error::NeedsUnselected {
            needs: missing,
            is_live: plan.mode == Mode::Live,
        }),
    }
}

impl There<'_> {
    /// What is done about a package that the run is about.
    fn action(
        &self,
        plan: &Plan,
        package: &PlannedPackage,
        key: &PackageKey,
        needed_by: Option<&PackageKey>,
    ) -> Action {
        let old = self.stored.and_then(|stored| stored.manifest.package(key));
        let same = old.filter(|old| old.fingerprint == package.fingerprint);
        let why = match (old, same) {
            _ if self.progress_of(plan, package) > Progress::Planned => return Action::Unchanged,
            _ if self.skips_existing && self.existing.contains(key) => return Action::Existing,
            (_, Some(same)) if same.progress > Progress::Planned => Why::OtherCommit,
            (_, Some(_)) => Why::Unbuilt,
            (None, None) => Why::New,
            (Some(_), None) => Why::Changed,
        };
        Action::Build {
            why,
            needed_by: needed_by.cloned(),
        }
    }

    /// Whether others can be built with a package that is not built now; for who is installed with it for real, whether the
    /// channel has it.
    fn has(&self, plan: &Plan, package: &PlannedPackage, must_be_published: bool) -> bool {
        let least = match must_be_published {
            true => Progress::Published,
            false => Progress::Built,
        };
        self.progress_of(plan, package) >= least || self.existing.contains(&package.key())
    }

    /// Returns the progress of a package in an earlier run.
    fn progress_of(&self, plan: &Plan, package: &PlannedPackage) -> Progress {
        let manifest = self.stored.map(|stored| &stored.manifest);
        manifest.map_or(Progress::Planned, |it| it.progress_in(plan, package))
    }
}

impl Action {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Build { .. } => Verdict::Build,
            Self::Unchanged => Verdict::Unchanged,
            Self::Existing => Verdict::InChannel,
            Self::NotSelected => Verdict::NotSelected,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Build { why, needed_by } => {
                let why = match why {
                    Why::New => "new",
                    Why::Changed => "changed",
                    Why::Unbuilt => "not built yet",
                    Why::OtherCommit => "built from another commit",
                };
                match needed_by {
                    None => why.to_owned(),
                    Some(package) => format!("{why}, needed by {}", package.file.name()),
                }
            }
            Self::Unchanged => "it was built before, from the same".to_owned(),
            Self::Existing => "the channel has a package of this name".to_owned(),
            Self::NotSelected => Skipped::NOT_SELECTED.to_owned(),
        }
    }
}

/// The decisions as `plan` prints them: packages in the order of building, then what recipes skip.
///
/// # Errors
/// The plan has no order.
pub(crate) fn listed(
    planned: &Planned,
    actions: &BTreeMap<PackageKey, Action>,
) -> Result<Vec<Decision>, Error> {
    let plan = &planned.plan;
    let order = plan.build_order()?;
    let packages = order.into_iter().filter_map(|key| {
        let (package, action) = (plan.package(&key)?, actions.get(&key)?);
        Some(Decision {
            output: package.file.name().to_owned(),
            recipe: package.recipe.clone(),
            variant: package.variant.clone(),
            build_platform: Some(package.build_platform),
            verdict: action.verdict(),
            reason: action.reason(),
            tests_deferred: planned.deferred.get(&key).cloned(),
            package: Some(key),
            in_channel: None,
        })
    });
    Ok(packages.chain(plan.skipped.iter().map(skipped)).collect())
}

fn skipped(skipped: &SkippedOutput) -> Decision {
    Decision {
        output: skipped.output.clone(),
        package: None,
        recipe: skipped.recipe.clone(),
        variant: skipped.variant.clone(),
        build_platform: None,
        verdict: Verdict::Skipped,
        reason: skipped.reason.clone(),
        tests_deferred: None,
        in_channel: None,
    }
}

/// What could not be planned, as `plan` prints it.
pub(crate) fn unplanned(planned: &Planned) -> Vec<UnplannedRecipe> {
    let unplanned = planned.unplanned.iter();
    unplanned
        .map(|unplanned| UnplannedRecipe {
            recipe: unplanned.recipe.clone(),
            output: unplanned.output.clone(),
            code: unplanned.failure.code.clone(),
            message: unplanned.failure.message.clone(),
        })
        .collect()
}
