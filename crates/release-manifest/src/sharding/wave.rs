//! When each unit is built.

use std::collections::{BTreeMap, BTreeSet};

use super::{Groups, Sharding, unit::Unit};
use crate::{Error, Plan, WAVES};

/// What a further wave costs, in milliseconds: machines start, and fetch what was built.
const ANOTHER_WAVE: u64 = 60_000;
/// About how many places to cut at are tried of either kind, spread evenly over the work.
const CUTS: usize = 4;

/// The wave of each unit, from 0, without gaps: never before one that it needs, and after it where
/// that is built on another platform.
///
/// # Errors
/// When platforms need each other's packages more often than there are waves.
pub(super) fn waves(plan: &Plan, units: &[Unit], sharding: Sharding) -> Result<Vec<u8>, Error> {
    let bounds = Bounds::new(plan, units)?;
    let mut waves = bounds.earliest.clone();
    if sharding != Sharding::Platform {
        let total: u64 = units.iter().map(|unit| unit.cost).sum();
        let jobs = sharding.jobs() as u64;
        let (fair, another) = match sharding {
            Sharding::Recipe(_) => (0, 0),
            _ => (total.div_ceil(jobs), ANOTHER_WAVE),
        };
        for component in components(units) {
            let whole = Cut::new(units, &component, waves.clone(), jobs, another);
            if whole.largest <= fair {
                continue;
            }
            let best = choices(&bounds.places(units, &component))
                .into_iter()
                .map(|places| {
                    let cut = bounds.cut(units, &component, &waves, &places);
                    Cut::new(units, &component, cut, jobs, another)
                })
                .chain([whole])
                .min_by_key(|cut| (cut.takes, usize::MAX - cut.pieces, cut.waves_used));
            if let Some(best) = best {
                waves = best.waves;
            }
        }
    }
    let used: BTreeSet<u8> = waves.iter().copied().collect();
    let renumbered: BTreeMap<u8, u8> = used.into_iter().zip(0..).collect();
    Ok(waves.iter().map(|wave| renumbered[wave]).collect())
}

/// Between which waves a unit can be, and when it could begin.
struct Bounds {
    earliest: Vec<u8>,
    latest: Vec<u8>,
    /// When it could begin if there were machines without end, as soon and as late as possible, in
    /// milliseconds. Both are later than for anything that it needs.
    begins: [Vec<u64>; 2],
}

/// Where a component is cut: what begins at this moment or later, as soon or as late as possible,
/// is a wave later.
#[derive(Clone, Copy)]
struct Place {
    clock: usize,
    moment: u64,
}

impl Bounds {
    fn new(plan: &Plan, units: &[Unit]) -> Result<Self, Error> {
        let last = WAVES - 1;
        let mut earliest: Vec<u8> = vec![0; units.len()];
        let mut soonest: Vec<u64> = vec![0; units.len()];
        for (at, unit) in units.iter().enumerate() {
            for &needed in &unit.needs {
                let wave = earliest[needed] + crossing(unit, &units[needed]);
                earliest[at] = earliest[at].max(wave);
                soonest[at] = soonest[at].max(soonest[needed].saturating_add(units[needed].cost));
            }
            if earliest[at] > last {
                return Err(Error::ShardWaves {
                    package: plan.packages[unit.packages[0]].key(),
                    waves: WAVES,
                });
            }
        }
        let mut latest = vec![last; units.len()];
        // How long it takes from the beginning of a unit until all that needs it is built.
        let mut left: Vec<u64> = vec![0; units.len()];
        for (at, unit) in units.iter().enumerate().rev() {
            left[at] = left[at].saturating_add(unit.cost);
            for &needed in &unit.needs {
                let wave = latest[at] - crossing(unit, &units[needed]);
                latest[needed] = latest[needed].min(wave);
                left[needed] = left[needed].max(left[at]);
            }
        }
        let whole = left.iter().copied().max().unwrap_or(0);
        let latest_begin = left.iter().map(|left| whole - left).collect();
        Ok(Self {
            earliest,
            latest,
            begins: [soonest, latest_begin],
        })
    }

    /// Places to cut a component at, about as much work between them.
    fn places(&self, units: &[Unit], component: &[usize]) -> Vec<Place> {
        let mut places = Vec::new();
        for (clock, begins) in self.begins.iter().enumerate() {
            let mut work: BTreeMap<u64, u64> = BTreeMap::new();
            for &at in component {
                *work.entry(begins[at]).or_default() += units[at].cost;
            }
            let share = work.values().sum::<u64>() / (CUTS as u64 + 1);
            let last = work.keys().next_back().copied();
            let mut before = 0;
            let mut cuts = 0;
            for (moment, cost) in work {
                // The first and the last that there is, whatever lies between: what needs nothing, and
                // what nothing needs, is in pieces then.
                let is_edge = before > 0 && cuts == 0 || Some(moment) == last;
                if before > 0 && (is_edge || before >= share * (cuts + 1)) {
                    places.push(Place { clock, moment });
                    cuts += 1;
                }
                before += cost;
            }
        }
        places
    }

    /// `waves`, with this component cut, as far as the platforms allow.
    fn cut(&self, units: &[Unit], component: &[usize], waves: &[u8], places: &[Place]) -> Vec<u8> {
        let mut waves = waves.to_vec();
        for &at in component {
            let is_later = |place: &&Place| self.begins[place.clock][at] >= place.moment;
            let wanted = places.iter().filter(is_later).count();
            let needed = units[at].needs.iter();
            let after = needed
                .map(|&needed| waves[needed] + crossing(&units[at], &units[needed]))
                .max()
                .unwrap_or(0);
            let wanted = u8::try_from(wanted).unwrap_or(u8::MAX);
            waves[at] = wanted.max(after).min(self.latest[at]);
        }
        waves
    }
}

/// How many waves later a unit is than what it needs, at least.
fn crossing(unit: &Unit, needed: &Unit) -> u8 {
    u8::from(unit.platform != needed.platform)
}

/// The units that hang together, in their order.
fn components(units: &[Unit]) -> Vec<Vec<usize>> {
    let mut groups = Groups::new(units.len());
    for (at, unit) in units.iter().enumerate() {
        for &needed in &unit.needs {
            groups.join(at, needed);
        }
    }
    let mut components: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..units.len() {
        components.entry(groups.of(at)).or_default().push(at);
    }
    components.into_values().collect()
}

/// Every choice of one cut or more, as many as there are waves for.
fn choices(places: &[Place]) -> Vec<Vec<Place>> {
    let mut choices: Vec<Vec<Place>> = vec![Vec::new()];
    for &place in places {
        let more: Vec<Vec<Place>> = choices
            .iter()
            .filter(|chosen| chosen.len() + 1 < usize::from(WAVES))
            .map(|chosen| [chosen.as_slice(), &[place]].concat())
            .collect();
        choices.extend(more);
    }
    choices.retain(|chosen| !chosen.is_empty());
    choices
}

/// A component in waves, and how good that is.
struct Cut {
    waves: Vec<u8>,
    /// The estimated time to build it on all machines, in milliseconds.
    takes: u64,
    /// The largest part that one job must build, in milliseconds.
    largest: u64,
    pieces: usize,
    waves_used: usize,
}

impl Cut {
    fn new(units: &[Unit], component: &[usize], waves: Vec<u8>, jobs: u64, another: u64) -> Self {
        let mut groups = Groups::new(units.len());
        for &at in component {
            for &needed in &units[at].needs {
                if waves[at] == waves[needed] {
                    groups.join(at, needed);
                }
            }
        }
        let mut pieces = vec![0; units.len()];
        for &at in component {
            pieces[groups.of(at)] += units[at].cost;
        }
        let mut of_wave: BTreeMap<u8, (u64, u64)> = BTreeMap::new();
        let mut count = 0;
        for &at in component {
            // The first unit of a piece stands for it. None costs nothing.
            if pieces[at] > 0 {
                let (largest, sum) = of_wave.entry(waves[at]).or_default();
                *largest = pieces[at].max(*largest);
                *sum += pieces[at];
                count += 1;
            }
        }
        let busy: u64 = of_wave
            .values()
            .map(|&(largest, sum)| largest.max(sum.div_ceil(jobs)))
            .sum();
        Self {
            takes: busy + another * (of_wave.len() as u64 - 1),
            largest: of_wave.values().map(|it| it.0).max().unwrap_or(0),
            pieces: count,
            waves_used: of_wave.len(),
            waves,
        }
    }
}
