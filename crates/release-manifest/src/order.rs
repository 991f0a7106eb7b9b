//! The order in which a plan's packages are built, and who needs whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};

use crate::{Error, PackageKey, PlannedPackage};

/// See [`Plan::build_order`](crate::Plan::build_order). Kahn's algorithm, the smallest key first.
///
/// Over the ranks of the keys: a large plan has many more edges than packages, and numbers are compared faster than names.
pub(crate) fn build_order(packages: &[PlannedPackage]) -> Result<Vec<PackageKey>, Error> {
    let mut keys: Vec<PackageKey> = packages.iter().map(PlannedPackage::key).collect();
    keys.sort();
    keys.dedup();
    let ranks: HashMap<&PackageKey, usize> = keys.iter().zip(0..).collect();
    let mut waits_for = vec![BTreeSet::new(); keys.len()];
    let mut waited_for_by = vec![Vec::new(); keys.len()];
    for package in packages {
        let key = package.key();
        for edge in &package.builds_on {
            let (Some(&own), Some(&needed)) = (ranks.get(&key), ranks.get(edge)) else {
                return Err(Error::Edge {
                    package: key,
                    edge: Box::new(edge.clone()),
                });
            };
            if waits_for[own].insert(needed) {
                waited_for_by[needed].push(own);
            }
        }
    }

    let mut ready: BTreeSet<usize> = (0..keys.len())
        .filter(|&rank| waits_for[rank].is_empty())
        .collect();
    let mut order = Vec::with_capacity(keys.len());
    while let Some(next) = ready.pop_first() {
        for &dependent in &waited_for_by[next] {
            waits_for[dependent].remove(&next);
            if waits_for[dependent].is_empty() {
                ready.insert(dependent);
            }
        }
        order.push(keys[next].clone());
    }
    match cycle(&waits_for) {
        None => Ok(order),
        Some(ranks) => Err(Error::Cycle {
            packages: ranks.into_iter().map(|rank| keys[rank].clone()).collect(),
        }),
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

/// The edges of each package without those that follow from others: where a package leads to another one through a third, its
/// own edge to it is left out. What can be reached stays the same.
///
/// Packages that run with each other form cycles. Between the packages of a cycle every edge is kept, as each of them would
/// follow from the others.
pub(crate) fn reduced<'a, E: IntoIterator<Item = &'a PackageKey>>(
    packages: &'a [PlannedPackage],
    edges: impl Fn(&'a PlannedPackage) -> E,
) -> BTreeMap<PackageKey, BTreeSet<PackageKey>> {
    let keys: Vec<PackageKey> = packages.iter().map(PlannedPackage::key).collect();
    let places: HashMap<&PackageKey, usize> = keys.iter().zip(0..).collect();
    let mut graph = DiGraphMap::<usize, ()>::new();
    for (from, package) in packages.iter().enumerate() {
        graph.add_node(from);
        for edge in edges(package) {
            if let Some(&to) = places.get(edge)
                && to != from
            {
                graph.add_edge(from, to, ());
            }
        }
    }
    // Each cycle, and each package without one, comes after all that it leads to. This search does not recurse.
    let groups = kosaraju_scc(&graph);
    let mut group_of = vec![0; packages.len()];
    for (group, members) in groups.iter().enumerate() {
        for &member in members {
            group_of[member] = group;
        }
    }
    // What a group reaches beyond itself, a bit each.
    let mut reached: Vec<Vec<u64>> = Vec::with_capacity(groups.len());
    for (group, members) in groups.iter().enumerate() {
        let mut bits = vec![0; groups.len().div_ceil(64)];
        for next in members.iter().flat_map(|&member| graph.neighbors(member)) {
            let next = group_of[next];
            if next != group {
                bits[next / 64] |= 1 << (next % 64);
                add(&mut bits, &reached[next]);
            }
        }
        reached.push(bits);
    }
    let direct = |from: usize| {
        let mut indirect = vec![0; groups.len().div_ceil(64)];
        for next in graph.neighbors(from) {
            if group_of[next] != group_of[from] {
                add(&mut indirect, &reached[group_of[next]]);
            }
        }
        let follows = |to: usize| indirect[group_of[to] / 64] & (1 << (group_of[to] % 64)) != 0;
        let edges = graph.neighbors(from).filter(|&to| !follows(to));
        edges.map(|to| keys[to].clone()).collect()
    };
    (0..packages.len())
        .map(|from| (keys[from].clone(), direct(from)))
        .collect()
}

fn add(bits: &mut [u64], more: &[u64]) {
    for (bits, more) in bits.iter_mut().zip(more) {
        *bits |= more;
    }
}

/// One cycle among packages, those of which that still wait for something wait for another one of them: the ranks of its packages
/// in the order of their edges, beginning with the smallest, which is repeated at the end.
fn cycle(waits_for: &[BTreeSet<usize>]) -> Option<Vec<usize>> {
    let mut walked: Vec<usize> = Vec::new();
    let mut positions: BTreeMap<usize, usize> = BTreeMap::new();
    let mut next = waits_for.iter().position(|edges| !edges.is_empty())?;
    let start = loop {
        if let Some(start) = positions.insert(next, walked.len()) {
            break start;
        }
        walked.push(next);
        next = *waits_for.get(next)?.first()?;
    };
    let mut cycle = walked.split_off(start);
    let smallest = cycle.iter().enumerate().min_by_key(|(_, rank)| **rank)?.0;
    cycle.rotate_left(smallest);
    cycle.push(*cycle.first()?);
    Some(cycle)
}
