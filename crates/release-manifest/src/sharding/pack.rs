//! Which job of a wave builds what.

use std::{cmp::Reverse, collections::BTreeMap};

use cep27::Subdir;

use super::{Groups, Sharding, unit::Unit};

/// What one job builds.
pub(super) struct Bin {
    pub(super) platform: Subdir,
    pub(super) units: Vec<usize>,
    /// In milliseconds.
    pub(super) cost: u64,
}

/// The jobs of a wave, at most `jobs` of them, or one a platform where that is more.
///
/// Units of the same wave that need each other's stay together. The largest pieces go first, each
/// to the job with the least to do (longest processing time first: no job gets more than 4/3 of
/// what the best packing would give it).
pub(super) fn pack(
    units: &[Unit],
    waves: &[u8],
    wave: u8,
    jobs: usize,
    sharding: Sharding,
) -> Vec<Bin> {
    let ours = || (0..units.len()).filter(|&at| waves[at] == wave);
    let mut groups = Groups::new(units.len());
    for at in ours() {
        for &needed in units[at].needs.iter().filter(|&&it| waves[it] == wave) {
            groups.join(at, needed);
        }
    }
    let mut pieces: BTreeMap<usize, Bin> = BTreeMap::new();
    for at in ours() {
        let piece = pieces.entry(groups.of(at)).or_insert_with(|| Bin {
            platform: units[at].platform,
            units: Vec::new(),
            cost: 0,
        });
        piece.units.push(at);
        piece.cost += units[at].cost;
    }
    let mut platforms: BTreeMap<Subdir, Vec<Bin>> = BTreeMap::new();
    for piece in pieces.into_values() {
        platforms.entry(piece.platform).or_default().push(piece);
    }
    let machines = match sharding {
        Sharding::Platform => vec![1; platforms.len()],
        _ => shared(jobs, &platforms),
    };
    let mut bins = Vec::new();
    for (mut pieces, machines) in platforms.into_values().zip(machines) {
        // Stable: equal pieces stay in their order.
        pieces.sort_by_key(|piece| Reverse(piece.cost));
        let mut filled: Vec<Bin> = Vec::with_capacity(machines);
        for piece in pieces {
            let is_room = filled.len() < machines;
            match filled.iter_mut().min_by_key(|bin| bin.cost) {
                Some(least) if !is_room => {
                    least.units.extend(piece.units);
                    least.cost += piece.cost;
                }
                _ => filled.push(piece),
            }
        }
        bins.append(&mut filled);
    }
    bins
}

/// How many of the machines build for each platform: at least one, no more than there is work for, and
/// otherwise so that they are equally busy.
fn shared(jobs: usize, platforms: &BTreeMap<Subdir, Vec<Bin>>) -> Vec<usize> {
    let work: Vec<(u64, usize)> = platforms
        .values()
        .map(|pieces| (pieces.iter().map(|piece| piece.cost).sum(), pieces.len()))
        .collect();
    let mut machines = vec![1; work.len()];
    for _ in work.len()..jobs {
        let busiest = (0..work.len())
            .filter(|&at| machines[at] < work[at].1)
            .max_by_key(|&at| (work[at].0 / machines[at] as u64, Reverse(at)));
        match busiest {
            Some(at) => machines[at] += 1,
            None => break,
        }
    }
    machines
}
