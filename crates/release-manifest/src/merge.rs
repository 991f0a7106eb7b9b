//! Joining what several build jobs made of one plan.

use std::collections::BTreeSet;

use crate::{
    Error, Isolation, Manifest, Package, PackageError, PackageKey, Plan, Progress, RelativePath,
    SchemaVersion, Times,
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
        let planned = Self::new(plan, None, Isolation::SeparateJob);
        let mut merged = planned.clone();
        let mut given: BTreeSet<&PackageKey> = BTreeSet::new();
        for Shard { packages, manifest } in shards {
            for key in packages {
                if !given.insert(key) {
                    return Err(Error::Duplicate {
                        package: key.clone(),
                    });
                }
            }
            for (position, package) in take_shard(&planned, packages, manifest)? {
                merged.packages[position] = package;
            }
        }
        Ok(merged)
    }

    /// What people are to see of a merged release: also why build jobs could not build what was theirs.
    ///
    /// Never to be stored: a shard's word on it decides nothing, and a later run knows nothing of it.
    #[must_use]
    pub fn with_reasons<'a>(&self, shards: impl IntoIterator<Item = Shard<'a>>) -> Self {
        let mut shown = self.clone();
        for Shard { packages, manifest } in shards {
            for key in packages {
                let (Some(position), Some(told)) = (self.position(key), manifest.package(key))
                else {
                    continue;
                };
                let package = &mut shown.packages[position];
                if package.progress >= Progress::Tested || package.skipped.is_some() {
                    continue;
                }
                package.error = told.error.clone().map(|error| PackageError {
                    log: error.log.filter(is_log),
                    ..error
                });
                let is_planned = |by: &&PackageKey| self.position(by).is_some();
                package.blocked_by = told.blocked_by.iter().filter(is_planned).cloned().collect();
            }
        }
        shown
    }
}

/// The packages of a shard with their positions in the planned manifest.
fn take_shard(
    planned: &Manifest,
    ours: &BTreeSet<PackageKey>,
    shard: &Manifest,
) -> Result<Vec<(usize, Package)>, Error> {
    let Manifest {
        schema_version: SchemaVersion,
        tool,
        mode,
        plan_digest,
        trust,
        source,
        timestamp,
        channel,
        target_channel,
        isolation: _,
        release,
        // Which packages are its to build is what the caller says.
        shard: _,
        sequence: _,
        packages,
    } = shard;
    if *plan_digest != planned.plan_digest {
        return Err(Error::ShardPlan {
            expected: planned.plan_digest,
            found: *plan_digest,
        });
    }
    let differing = [
        ("mode", *mode != planned.mode),
        ("tool", *tool != planned.tool),
        ("source", *source != planned.source),
        ("timestamp", *timestamp != planned.timestamp),
        ("channel", *channel != planned.channel),
        ("target_channel", *target_channel != planned.target_channel),
        ("trust", trust.is_some()),
        ("release", release.is_some()),
    ];
    if let Some((field, _)) = differing.into_iter().find(|(_, differs)| *differs) {
        return Err(Error::ShardField { field });
    }
    let mut taken = Vec::new();
    for told in packages {
        let key = told.key();
        let Some(position) = planned.position(&key) else {
            return Err(Error::UnknownPackage { package: key });
        };
        let package = &planned.packages[position];
        if ours.contains(&key) {
            taken.push((position, take_package(planned, package, told)?));
        } else if told != package {
            return Err(Error::ShardPackage {
                package: key,
                field: "it was not its to build",
            });
        }
    }
    Ok(taken)
}

/// The planned package with what the shard may tell about it.
fn take_package(manifest: &Manifest, planned: &Package, told: &Package) -> Result<Package, Error> {
    let Package {
        file,
        subdir,
        recipe,
        variant,
        depends_on,
        fingerprint,
        sources,
        progress,
        skipped,
        tests_skipped,
        // Why a package is missing changes nothing: see `Manifest::with_reasons`.
        blocked_by: _,
        error: _,
        source,
        timestamp,
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
    let is_built = *progress >= Progress::Built;
    let planned_source = is_built.then_some(&manifest.source);
    let planned_time = manifest.timestamp.filter(|_| is_built);
    let differing = [
        ("source", source.as_ref() != planned_source),
        ("timestamp", *timestamp != planned_time),
        ("recipe", *recipe != planned.recipe),
        ("variant", *variant != planned.variant),
        ("depends_on", *depends_on != planned.depends_on),
        ("fingerprint", *fingerprint != planned.fingerprint),
        ("sources", *sources != planned.sources),
        ("skipped", skipped.is_some()),
        ("progress", *progress > Progress::Tested),
        ("attestation", attestation.is_some() || attested.is_some()),
        ("published", published.is_some() || published_at.is_some()),
        ("log", !log.as_ref().is_none_or(is_log)),
    ];
    if let Some((field, _)) = differing.into_iter().find(|(_, differs)| *differs) {
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
        source: source.clone(),
        timestamp: *timestamp,
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

/// Whether a path leads to where logs are, and so to nothing that a release relies on.
fn is_log(path: &RelativePath) -> bool {
    path.as_str().starts_with("logs/")
}
