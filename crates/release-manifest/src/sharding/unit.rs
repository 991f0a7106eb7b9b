//! What can only be built by one job.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cep27::Subdir;
use petgraph::{algo::kosaraju_scc, graphmap::DiGraphMap};

use super::{Costs, Groups};
use crate::{Error, PackageKey, Plan, Skipped};

/// Packages that one job must build: they need each other, or share a build folder.
pub(super) struct Unit {
    /// Their places in the plan.
    pub(super) packages: Vec<usize>,
    pub(super) platform: Subdir,
    /// In milliseconds.
    pub(super) cost: u64,
    /// The units that it needs, all of which come before it; sorted.
    pub(super) needs: Vec<usize>,
}

/// The units of a plan, each after all that it needs.
///
/// # Errors
/// When packages of several build platforms need each other.
pub(super) fn units(
    plan: &Plan,
    left_out: &BTreeMap<PackageKey, Skipped>,
    costs: &Costs,
    by_recipe: bool,
) -> Result<Vec<Unit>, Error> {
    let places: HashMap<PackageKey, usize> = plan
        .packages
        .iter()
        .enumerate()
        .map(|(place, package)| (package.key(), place))
        .filter(|(key, _)| !left_out.contains_key(key))
        .collect();
    let tied = tied(plan, by_recipe);
    let mut needs = vec![BTreeSet::new(); plan.packages.len()];
    for &place in places.values() {
        let edges = plan.packages[place].edges();
        let needed = edges
            .filter_map(|edge| places.get(edge))
            .map(|&at| tied[at]);
        needs[tied[place]].extend(needed);
    }
    let mut inside: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut ordered: Vec<usize> = places.values().copied().collect();
    ordered.sort_unstable();
    for place in ordered {
        inside.entry(tied[place]).or_default().push(place);
    }
    let circles = circles(&inside, &needs);
    let mut unit_of = HashMap::new();
    for (unit, circle) in circles.iter().enumerate() {
        unit_of.extend(circle.iter().map(|&tie| (tie, unit)));
    }
    let unit = |(number, circle): (usize, &Vec<usize>)| {
        let mut packages: Vec<usize> = circle
            .iter()
            .filter_map(|tie| inside.get(tie))
            .flatten()
            .copied()
            .collect();
        packages.sort_unstable();
        let first = &plan.packages[packages[0]];
        let elsewhere = packages
            .iter()
            .map(|&at| &plan.packages[at])
            .find(|package| package.build_platform != first.build_platform);
        if let Some(other) = elsewhere {
            return Err(Error::ShardPlatforms {
                package: first.key(),
                other: Box::new(other.key()),
            });
        }
        let mut needed: BTreeSet<usize> = circle
            .iter()
            .flat_map(|&tie| &needs[tie])
            .map(|tie| unit_of[tie])
            .collect();
        needed.remove(&number);
        Ok(Unit {
            platform: first.build_platform,
            cost: packages.iter().map(|&at| costs.of(at)).sum(),
            needs: Vec::from_iter(needed),
            packages,
        })
    };
    circles.iter().enumerate().map(unit).collect()
}

/// For each package of the plan, the first one that must be built by the same job whatever they need.
fn tied(plan: &Plan, by_recipe: bool) -> Vec<usize> {
    let mut first = HashMap::new();
    let mut groups = Groups::new(plan.packages.len());
    for (place, package) in plan.packages.iter().enumerate() {
        let platform = package.build_platform;
        let folder = (package.build_folder.as_str(), "folder", platform);
        let recipe = (package.recipe.as_str(), "recipe", platform);
        let ties = [Some(folder), by_recipe.then_some(recipe)];
        for tie in ties.into_iter().flatten() {
            let with = *first.entry(tie).or_insert(place);
            groups.join(with, place);
        }
    }
    (0..plan.packages.len())
        .map(|place| groups.of(place))
        .collect()
}

/// What needs each other, each circle after all that it needs.
fn circles(nodes: &BTreeMap<usize, Vec<usize>>, needs: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut graph = DiGraphMap::<usize, ()>::new();
    // The last first: of what needs nothing of each other, the first comes first then.
    for &node in nodes.keys().rev() {
        graph.add_node(node);
        for &needed in &needs[node] {
            graph.add_edge(node, needed, ());
        }
    }
    // Which doesn't recurse: a chain may be as long as the plan.
    kosaraju_scc(&graph)
}
