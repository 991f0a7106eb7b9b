//! The order in which a plan's packages are built, and who needs whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Error, PackageKey, PlannedPackage};

/// See [`Plan::build_order`](crate::Plan::build_order). Kahn's algorithm, the smallest key first.
pub(crate) fn build_order(packages: &[PlannedPackage]) -> Result<Vec<PackageKey>, Error> {
    let keys: BTreeSet<PackageKey> = packages.iter().map(PlannedPackage::key).collect();
    let mut waits_for = BTreeMap::new();
    let mut waited_for_by: BTreeMap<&PackageKey, Vec<PackageKey>> = BTreeMap::new();
    for package in packages {
        let key = package.key();
        let edges: BTreeSet<&PackageKey> = package.builds_on.iter().collect();
        for edge in &edges {
            if !keys.contains(edge) {
                return Err(Error::Edge {
                    package: key,
                    edge: Box::new((*edge).clone()),
                });
            }
            waited_for_by.entry(edge).or_default().push(key.clone());
        }
        waits_for.insert(key, edges);
    }

    let mut ready: BTreeSet<PackageKey> = waits_for
        .iter()
        .filter(|(_, edges)| edges.is_empty())
        .map(|(key, _)| key.clone())
        .collect();
    let mut order = Vec::with_capacity(packages.len());
    while let Some(next) = ready.pop_first() {
        waits_for.remove(&next);
        for dependent in waited_for_by.remove(&next).unwrap_or_default() {
            if let Some(edges) = waits_for.get_mut(&dependent) {
                edges.remove(&next);
                if edges.is_empty() {
                    ready.insert(dependent);
                }
            }
        }
        order.push(next);
    }
    match cycle(&waits_for) {
        None => Ok(order),
        Some(packages) => Err(Error::Cycle { packages }),
    }
}

/// Whatever leads to one of the packages along `edges`, directly or through others; see
/// [`Plan::dependents`](crate::Plan::dependents).
pub(crate) fn dependents<'a, E: IntoIterator<Item = &'a PackageKey>>(
    packages: &'a [PlannedPackage],
    of: &BTreeSet<PackageKey>,
    edges: impl Fn(&'a PlannedPackage) -> E,
) -> BTreeSet<PackageKey> {
    let mut needed_by: BTreeMap<&PackageKey, Vec<PackageKey>> = BTreeMap::new();
    for package in packages {
        for edge in edges(package) {
            needed_by.entry(edge).or_default().push(package.key());
        }
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<PackageKey> = of.iter().cloned().collect();
    while let Some(next) = open.pop() {
        for dependent in needed_by.remove(&next).unwrap_or_default() {
            if !of.contains(&dependent) && found.insert(dependent.clone()) {
                open.push(dependent);
            }
        }
    }
    found
}

/// One cycle among packages that all wait for another one of them: its packages in the order of
/// their edges, beginning with its smallest key, which is repeated at the end.
fn cycle(waits_for: &BTreeMap<PackageKey, BTreeSet<&PackageKey>>) -> Option<Vec<PackageKey>> {
    let mut walked: Vec<&PackageKey> = Vec::new();
    let mut positions: BTreeMap<&PackageKey, usize> = BTreeMap::new();
    let mut next = waits_for.keys().next()?;
    let start = loop {
        if let Some(start) = positions.insert(next, walked.len()) {
            break start;
        }
        walked.push(next);
        next = waits_for.get(next)?.first()?;
    };
    let mut cycle: Vec<PackageKey> = walked[start..].iter().map(|key| (*key).clone()).collect();
    let smallest = cycle.iter().enumerate().min_by_key(|(_, key)| *key)?.0;
    cycle.rotate_left(smallest);
    cycle.push(cycle.first()?.clone());
    Some(cycle)
}
