//! What can only be built by one job.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cep27::Subdir;

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
    let circles = circles(inside.keys().copied(), &needs);
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

/// What needs each other, each circle after all that it needs: Tarjan's strongly connected
/// components, without recursion, since a chain may be as long as the plan.
fn circles(nodes: impl Iterator<Item = usize>, needs: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy)]
    struct Seen {
        number: usize,
        lowest: usize,
        is_open: bool,
    }
    let mut seen: HashMap<usize, Seen> = HashMap::new();
    let mut open = Vec::new();
    let mut found = Vec::new();
    for root in nodes {
        if seen.contains_key(&root) {
            continue;
        }
        let mut walk = vec![(root, needs[root].iter())];
        let mut enter = vec![root];
        while let Some((node, left)) = walk.last_mut() {
            let node = *node;
            if let Some(entered) = enter.pop() {
                let number = seen.len();
                let state = Seen {
                    number,
                    lowest: number,
                    is_open: true,
                };
                seen.insert(entered, state);
                open.push(entered);
            }
            if let Some(&next) = left.next() {
                match seen.get(&next).copied() {
                    None => {
                        walk.push((next, needs[next].iter()));
                        enter.push(next);
                    }
                    Some(reached) if reached.is_open => lower(&mut seen, node, reached.number),
                    Some(_) => {}
                }
                continue;
            }
            walk.pop();
            let state = seen[&node];
            if let Some((above, _)) = walk.last() {
                lower(&mut seen, *above, state.lowest);
            }
            if state.lowest == state.number {
                let begins = open.iter().rposition(|&it| it == node).unwrap_or_default();
                let circle = open.split_off(begins);
                for member in &circle {
                    if let Some(state) = seen.get_mut(member) {
                        state.is_open = false;
                    }
                }
                found.push(circle);
            }
        }
    }
    return found;

    fn lower(seen: &mut HashMap<usize, Seen>, node: usize, to: usize) {
        if let Some(state) = seen.get_mut(&node) {
            state.lowest = state.lowest.min(to);
        }
    }
}
