use std::collections::BTreeSet;

use crate::{
    Digest, Error, Isolation, Manifest, Package, PackageKey, Plan, Progress, SchemaVersion, Times,
};

/// What a build job hands to the job that merges: its manifest, and which packages of the plan
/// were its to build.
#[derive(Debug, Clone, Copy)]
pub struct Shard<'a> {
    /// The packages that the plan gives to this shard. Never taken from the shard itself.
    pub packages: &'a BTreeSet<PackageKey>,
    /// What the shard says.
    pub manifest: &'a Manifest,
}

impl Manifest {
    /// Joins what build jobs made of one plan.
    ///
    /// A shard may tell file, size, SHA-256, times and logs of the packages that were its to
    /// build; everything else comes from the plan. Packages of no shard, and those that a shard
    /// couldn't build, stay as far behind as they are. There is no trust yet: nothing is signed.
    ///
    /// # Errors
    /// When a shard follows another plan, tells of other packages, has them attested, published
    /// or left out, or describes them otherwise than the plan; when two shards were given one package.
    pub fn merge<'a>(
        plan: &Plan,
        shards: impl IntoIterator<Item = Shard<'a>>,
    ) -> Result<Self, Error> {
        let mut merged = Self::new(plan, None, Isolation::SeparateJob);
        let mut given: BTreeSet<&PackageKey> = BTreeSet::new();
        for Shard { packages, manifest } in shards {
            for key in packages {
                if !given.insert(key) {
                    return Err(Error::Duplicate {
                        package: key.clone(),
                    });
                }
            }
            merged.take_shard(packages, manifest)?;
        }
        Ok(merged)
    }

    fn take_shard(&mut self, ours: &BTreeSet<PackageKey>, shard: &Self) -> Result<(), Error> {
        let Self {
            schema_version: SchemaVersion,
            tool,
            mode,
            plan_digest,
            trust,
            source,
            channel,
            target_channel,
            isolation: _,
            sequence: _,
            packages,
        } = shard;
        let differs = if *mode != self.mode {
            Some("mode")
        } else if *tool != self.tool {
            Some("tool")
        } else if *source != self.source {
            Some("source")
        } else if *channel != self.channel {
            Some("channel")
        } else if *target_channel != self.target_channel {
            Some("target_channel")
        } else if trust.is_some() {
            Some("trust")
        } else {
            None
        };
        check_digest(self.plan_digest, *plan_digest)?;
        if let Some(field) = differs {
            return Err(Error::ShardField { field });
        }
        for package in packages {
            let key = package.key();
            let position = self.position(&key).ok_or_else(|| Error::UnknownPackage {
                package: key.clone(),
            })?;
            if ours.contains(&key) {
                self.packages[position] = take_package(&self.packages[position], package)?;
            } else if package.progress > Progress::Planned {
                return Err(Error::ShardPackage {
                    package: key,
                    field: "progress of a package that was not its to build",
                });
            }
        }
        Ok(())
    }
}

/// The planned package with what the shard may tell about it.
fn take_package(planned: &Package, told: &Package) -> Result<Package, Error> {
    let Package {
        file,
        subdir,
        recipe,
        variant,
        depends_on,
        fingerprint,
        progress,
        skipped,
        tests_skipped,
        // Why a package is missing is to be read in the job that failed to build it.
        blocked_by: _,
        error: _,
        sha256,
        size,
        times:
            Times {
                built,
                tested,
                attested,
                published: published_at,
            },
        attestation,
        published,
        log,
    } = told;
    let refused = if *recipe != planned.recipe {
        Some("recipe")
    } else if *variant != planned.variant {
        Some("variant")
    } else if *depends_on != planned.depends_on {
        Some("depends_on")
    } else if *fingerprint != planned.fingerprint {
        Some("fingerprint")
    } else if skipped.is_some() {
        Some("skipped")
    } else if *progress > Progress::Tested {
        Some("progress")
    } else if attestation.is_some() || attested.is_some() {
        Some("attestation")
    } else if published.is_some() || published_at.is_some() {
        Some("published")
    } else {
        None
    };
    if let Some(field) = refused {
        return Err(Error::ShardPackage {
            package: planned.key(),
            field,
        });
    }
    Ok(Package {
        file: file.clone(),
        subdir: *subdir,
        progress: *progress,
        tests_skipped: tests_skipped.clone(),
        sha256: *sha256,
        size: *size,
        times: Times {
            built: *built,
            tested: *tested,
            attested: None,
            published: None,
        },
        log: log.clone(),
        ..planned.clone()
    })
}

fn check_digest(expected: Digest, found: Digest) -> Result<(), Error> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::ShardPlan { expected, found })
    }
}
