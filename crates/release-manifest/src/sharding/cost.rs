//! What a package is expected to take.

use std::collections::HashMap;

use crate::{Manifest, Package, Plan};

/// What a package is expected to take where nothing is known, in milliseconds.
const UNKNOWN: u64 = 60_000;
/// More than any job may take (GitHub Actions: six hours): a history is somebody else's.
const MOST: u64 = 6 * 3_600_000;

/// What building and testing each package of a plan is expected to take, in milliseconds, in the
/// plan's order. Never nothing.
pub(super) struct Costs(Vec<u64>);

impl Costs {
    pub(super) fn new(plan: &Plan, history: Option<&Manifest>) -> Self {
        let mut of_file = HashMap::new();
        let mut of_name: HashMap<_, u64> = HashMap::new();
        for package in history.map_or(&[][..], Manifest::packages) {
            let Some(taken) = taken(package) else {
                continue;
            };
            of_file.insert(package.key(), taken);
            // The slowest variant: an underestimate keeps everybody waiting.
            let named = of_name.entry((package.subdir, package.file.name().to_owned()));
            let slowest = named.or_default();
            *slowest = taken.max(*slowest);
        }
        let known = of_file.len() as u64;
        let mean = of_file.values().sum::<u64>().checked_div(known);
        let otherwise = mean.unwrap_or(UNKNOWN);
        let cost = |package: &crate::PlannedPackage| {
            let named = (package.subdir, package.file.name().to_owned());
            *of_file
                .get(&package.key())
                .or_else(|| of_name.get(&named))
                .unwrap_or(&otherwise)
        };
        Self(plan.packages.iter().map(cost).collect())
    }

    pub(super) fn of(&self, package: usize) -> u64 {
        self.0[package]
    }
}

/// What a package took, if it was built.
fn taken(package: &Package) -> Option<u64> {
    let built = package.times.built?.milliseconds;
    let tested = package.times.tested.map_or(0, |taken| taken.milliseconds);
    Some(built.saturating_add(tested).clamp(1, MOST))
}
