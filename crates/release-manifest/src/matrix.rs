//! The jobs of shards, as a CI system takes them.

use std::collections::BTreeMap;

use cep27::Subdir;
use serde::Serialize;

use crate::{Plan, Shards, WAVES, document};

/// Most characters of all outputs of a job together: GitHub Actions allows a mebibyte, counted in
/// UTF-16, and something is left for the other outputs.
const OUTPUT_LIMIT: usize = 480 << 10;

/// One matrix of GitHub Actions a wave; that of a wave without jobs has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matrices(Vec<Matrix>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Matrix {
    include: Vec<MatrixJob>,
}

/// A job of a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MatrixJob {
    /// The number of the shard.
    pub shard: u32,
    /// The machine that builds it.
    pub runs_on: String,
    /// The platform it builds on.
    pub build_platform: Subdir,
    /// How many packages it builds.
    pub packages: usize,
    /// How long it is expected to take.
    pub minutes: u64,
    /// The shards of earlier waves whose packages it needs.
    pub from: Vec<u32>,
}

impl Matrices {
    /// The matrices of `shards`, each of which is expected to take so many `minutes`.
    pub(crate) fn new(
        plan: &Plan,
        shards: &Shards,
        minutes: &[u64],
        runner: impl Fn(Subdir) -> String,
    ) -> Self {
        let mut waves: BTreeMap<u8, Matrix> = BTreeMap::new();
        let needs = shards.all_needs(plan);
        for ((shard, needs), minutes) in shards.shards.iter().zip(needs).zip(minutes) {
            waves
                .entry(shard.wave)
                .or_default()
                .include
                .push(MatrixJob {
                    shard: shard.shard,
                    runs_on: runner(shard.build_platform),
                    build_platform: shard.build_platform,
                    packages: shard.packages.len(),
                    minutes: *minutes,
                    from: needs.into_keys().collect(),
                });
        }
        Self(
            (1..=WAVES)
                .map(|wave| waves.remove(&wave).unwrap_or_default())
                .collect(),
        )
    }

    /// The matrices on one line each, as a job's output takes them; the first is that of the first wave.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |matrix| String::from_utf8_lossy(&document::write_line(matrix)).into_owned();
        self.0
            .iter()
            .map(|matrix| line(matrix).trim_end().to_owned())
            .collect()
    }

    /// The jobs of all waves, in the order of their shards.
    pub fn jobs(&self) -> impl Iterator<Item = &MatrixJob> {
        self.0.iter().flat_map(|matrix| &matrix.include)
    }

    /// Whether they fit into the outputs of the job that plans.
    pub(crate) fn fit(&self) -> bool {
        self.lines().iter().map(String::len).sum::<usize>() <= OUTPUT_LIMIT
    }
}
