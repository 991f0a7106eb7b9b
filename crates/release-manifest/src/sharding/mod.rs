//! Cutting a plan into shards.
//!
//! Packages that need each other, or share a build folder, are one unit; units that hang together
//! stay together. What hangs together and would keep one machine busy for longer than the others
//! is cut into waves, each of which needs only what earlier ones built. Machines never build for
//! two platforms. Within these rules, work is spread by its estimated cost.
//!
//! The same input gives the same shards.

mod cost;
mod group;
mod pack;
mod unit;
mod wave;

use std::collections::BTreeMap;

use crate::{
    Error, Manifest, Matrices, PackageKey, Plan, PlannedShard, SchemaVersion, Shards, Skipped,
};

use self::{cost::Costs, group::Groups, pack::pack, unit::units};

/// Most jobs of a matrix (GitHub Actions: "A matrix will generate a maximum of 256 jobs per workflow run").
pub const MATRIX_LIMIT: usize = 256;

/// How a plan is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    /// For at most this many machines at the same time, equally busy. Where there are more build
    /// platforms than machines, each platform has one.
    Cost(usize),
    /// One job a recipe and build platform, as far as recipes don't need each other within a wave;
    /// at most this many jobs at the same time.
    Recipe(usize),
    /// One job a build platform, and further waves only where one platform needs what another builds.
    Platform,
}

impl Sharding {
    /// Most jobs at the same time.
    fn jobs(self) -> usize {
        match self {
            Self::Cost(jobs) | Self::Recipe(jobs) => jobs.clamp(1, MATRIX_LIMIT),
            Self::Platform => 1,
        }
    }

    /// The same with half as many jobs, if there can be fewer.
    fn halved(self) -> Option<Self> {
        match self {
            Self::Cost(jobs) if jobs > 1 => Some(Self::Cost(jobs / 2)),
            Self::Recipe(jobs) if jobs > 1 => Some(Self::Recipe(jobs / 2)),
            _ => None,
        }
    }
}

impl Shards {
    /// Cuts a plan, without the packages that are `left_out`; with the matrices of its jobs.
    ///
    /// How long packages took to be built and tested is taken from `history`, the manifest of an
    /// earlier release: of the same file, else of the same name, else the mean of all. `runner`
    /// names the machine that builds on a platform.
    ///
    /// No more jobs are made than there is room for in the outputs of the job that plans.
    ///
    /// # Errors
    /// When packages that need each other are built on several platforms, or platforms need each
    /// other's packages back and forth more often than there are waves.
    pub fn cut(
        plan: &Plan,
        left_out: BTreeMap<PackageKey, Skipped>,
        sharding: Sharding,
        history: Option<&Manifest>,
        runner: impl Fn(cep27::Subdir) -> String,
    ) -> Result<(Self, Matrices), Error> {
        let costs = Costs::new(plan, history);
        let is_recipe = matches!(sharding, Sharding::Recipe(_));
        let units = units(plan, &left_out, &costs, is_recipe)?;
        let mut sharding = sharding;
        loop {
            let jobs = sharding.jobs();
            let waves = wave::waves(plan, &units, sharding)?;
            let mut shards = Self {
                schema_version: SchemaVersion,
                plan_digest: plan.digest(),
                left_out: left_out.clone(),
                shards: Vec::new(),
            };
            let mut minutes = Vec::new();
            let used = waves.iter().copied().max().map_or(0, |last| last + 1);
            for wave in 0..used {
                for bin in pack(&units, &waves, wave, jobs, sharding) {
                    minutes.push(bin.cost.div_ceil(60_000));
                    let packages = bin.units.iter().flat_map(|&unit| &units[unit].packages);
                    shards.shards.push(PlannedShard {
                        shard: u32::try_from(shards.shards.len() + 1).unwrap_or(u32::MAX),
                        wave: wave + 1,
                        build_platform: bin.platform,
                        packages: packages.map(|&at| plan.packages[at].key()).collect(),
                    });
                }
            }
            let matrices = Matrices::new(plan, &shards, &minutes, &runner);
            match sharding.halved() {
                Some(fewer) if !matrices.fit() => sharding = fewer,
                _ => return Ok((shards, matrices)),
            }
        }
    }
}
