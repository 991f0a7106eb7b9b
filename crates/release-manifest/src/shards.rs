//! Which job builds which packages of a plan.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cep27::Subdir;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::wire;
use crate::{Digest, Error, PackageKey, Plan, SchemaName, SchemaVersion, Skipped, document};

/// Most waves of jobs that follow each other.
pub const WAVES: u8 = 4;

/// Which job builds which packages of a plan, and in which wave.
///
/// It is made once, beside the plan, and followed by every job. Since it holds the plan's digest,
/// [`Shards::digest`] stands for plan and assignment together: who has that digest from the job
/// that planned needs to believe nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shards {
    /// The version of this document.
    pub schema_version: SchemaVersion,
    /// The plan whose packages they are.
    pub plan_digest: Digest,
    /// Packages of the plan that no job builds, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Skipped>")]
    pub left_out: BTreeMap<PackageKey, Skipped>,
    /// The jobs. The first one is number 1, and none is of an earlier wave than the one before it.
    pub shards: Vec<PlannedShard>,
}

/// What one job builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedShard {
    /// Its number, from 1.
    pub shard: u32,
    /// When it runs: after every job of the waves before. From 1 to [`WAVES`].
    pub wave: u8,
    /// The platform it builds on.
    #[schemars(with = "wire::Subdir")]
    pub build_platform: Subdir,
    /// What it builds; sorted.
    pub packages: BTreeSet<PackageKey>,
}

impl Shards {
    /// Reads which job builds what, of this plan.
    ///
    /// # Errors
    /// When the bytes are no such document of this schema version, or one that [`Shards::check`] refuses.
    pub fn from_json(json: &[u8], plan: &Plan) -> Result<Self, Error> {
        let shards: Self = document::read(SchemaName::Shards, json)?;
        shards.check(plan)?;
        Ok(shards)
    }

    /// The document as indented JSON with sorted arrays and a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        document::write(self)
    }

    /// What identifies plan and assignment: the digest over the canonical JSON.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&document::canonical(self))
    }

    /// The shard of this number.
    ///
    /// # Errors
    /// There is none.
    pub fn shard(&self, number: u32) -> Result<&PlannedShard, Error> {
        self.shards
            .iter()
            .find(|shard| shard.shard == number)
            .ok_or(Error::UnknownShard {
                shard: number,
                count: self.shards.len(),
            })
    }

    /// What the packages of a shard are built upon or tested with and other shards build, by the
    /// number of that shard.
    #[must_use]
    pub fn needs(&self, plan: &Plan, shard: &PlannedShard) -> BTreeMap<u32, BTreeSet<PackageKey>> {
        let place = self.shards.iter().position(|it| it.shard == shard.shard);
        place
            .map(|place| self.all_needs(plan).swap_remove(place))
            .unwrap_or_default()
    }

    /// [`Shards::needs`] of every shard.
    pub(crate) fn all_needs(&self, plan: &Plan) -> Vec<BTreeMap<u32, BTreeSet<PackageKey>>> {
        let built_by = self.built_by();
        let places: HashMap<u32, usize> = (0..)
            .zip(&self.shards)
            .map(|(place, shard)| (shard.shard, place))
            .collect();
        let mut needs = vec![BTreeMap::new(); self.shards.len()];
        for package in &plan.packages {
            let Some(shard) = built_by.get(&package.key()) else {
                continue;
            };
            let needs: &mut BTreeMap<u32, BTreeSet<PackageKey>> = &mut needs[places[&shard.shard]];
            for needed in package.builds_on.iter().chain(&package.test_needs) {
                if let Some(builder) = built_by.get(needed)
                    && builder.shard != shard.shard
                {
                    let from = needs.entry(builder.shard).or_default();
                    from.insert(needed.clone());
                }
            }
        }
        needs
    }

    /// Checks that it is a way to build the plan: every package is built by one job or left out,
    /// on its build platform, and every edge leads to the same job or an earlier wave.
    ///
    /// # Errors
    /// Names the package, or the shard, at fault.
    pub fn check(&self, plan: &Plan) -> Result<(), Error> {
        let expected = plan.digest();
        if self.plan_digest != expected {
            return Err(Error::ShardPlan {
                expected,
                found: self.plan_digest,
            });
        }
        let wrong = |reason: String| Err(Error::Shards { reason });
        let mut wave = 1;
        for (index, shard) in self.shards.iter().enumerate() {
            let number = index + 1;
            if usize::try_from(shard.shard) != Ok(number) {
                return wrong(format!("expected shard {number}, found {}", shard.shard));
            }
            if shard.wave < wave || shard.wave > WAVES {
                return wrong(format!(
                    "expected shard {number} in one of the waves {wave} to {WAVES}, found wave {}",
                    shard.wave
                ));
            }
            wave = shard.wave;
        }
        let built_by = self.built_by();
        let given: usize = self.shards.iter().map(|shard| shard.packages.len()).sum();
        if given != built_by.len() {
            return wrong("expected every package in one shard, found one in two".to_owned());
        }
        let planned: HashSet<PackageKey> = plan.packages.iter().map(|it| it.key()).collect();
        let mut named = built_by.keys().copied().chain(self.left_out.keys());
        if let Some(package) = named.find(|package| !planned.contains(package)) {
            return Err(Error::UnknownPackage {
                package: package.clone(),
            });
        }
        for package in &plan.packages {
            let key = package.key();
            let shard = match (built_by.get(&key), self.left_out.contains_key(&key)) {
                (Some(shard), false) => shard,
                (None, true) => continue,
                (Some(_), true) => return wrong(format!("`{key}` is built and left out")),
                (None, false) => return wrong(format!("`{key}` is in none of them")),
            };
            if shard.build_platform != package.build_platform {
                return wrong(format!(
                    "`{key}` is built on {}, and shard {} on {}",
                    package.build_platform, shard.shard, shard.build_platform
                ));
            }
            let late = package.edges().find(|edge| {
                built_by
                    .get(edge)
                    .is_some_and(|other| other.shard != shard.shard && other.wave >= shard.wave)
            });
            if let Some(edge) = late {
                return wrong(format!(
                    "`{key}` needs `{edge}`, which no earlier wave builds"
                ));
            }
        }
        Ok(())
    }

    fn built_by(&self) -> HashMap<&PackageKey, &PlannedShard> {
        self.shards
            .iter()
            .flat_map(|shard| shard.packages.iter().map(move |package| (package, shard)))
            .collect()
    }
}
