//! The manifest: how far a release has come.

use std::collections::{BTreeSet, HashSet};

use cep27::TargetChannel;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::schema::wire;
use crate::{
    Digest, Error, Isolation, Mode, Package, PackageKey, Plan, PlannedPackage, Progress,
    ReleaseRecord, SchemaName, SchemaVersion, Source, Tool, Trust, document,
};

/// The version of a manifest. Version 2 states from which source each package was built.
pub type ManifestVersion = SchemaVersion<2>;

/// How far a release has come: preview, state, result, and what one machine tells another.
///
/// Its packages are changed by journal entries alone ([`Manifest::apply`]), so that what they
/// claim always fits together. One that was read is checked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this document.
    pub schema_version: ManifestVersion,
    /// What wrote it.
    pub tool: Tool,
    /// Whether it is of a rehearsal.
    pub mode: Mode,
    /// The plan that it follows.
    pub plan_digest: Digest,
    /// The Sigstore instance of its attestations, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// The source that the plan was made from. Packages that an earlier run built may be from another one, see
    /// [`Package::source`].
    pub source: Source,
    /// The time that packages of the plan carry, in seconds since 1970. Manifests of version 1 do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// Where the packages are published, if anywhere but in the local channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The channel that the attestations name.
    #[schemars(with = "wire::TargetChannel")]
    pub target_channel: TargetChannel,
    /// What stood between the recipes and the signing identity.
    pub isolation: Isolation,
    /// The attestation of the release as a whole, once it is made; it is for the packages as they are attested now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRecord>,
    /// The number of the shard that it tells of; none where it tells of the whole plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    /// How many journal entries went into it, see [`JournalEntry::sequence`].
    ///
    /// [`JournalEntry::sequence`]: crate::JournalEntry::sequence
    pub(crate) sequence: u64,
    #[serde(deserialize_with = "read_packages")]
    #[schemars(with = "Vec<Package>", description = "The packages, sorted by key.")]
    pub(crate) packages: Vec<Package>,
}

impl Manifest {
    /// The manifest of a plan of which nothing was done yet.
    #[must_use]
    pub fn new(plan: &Plan, trust: Option<Trust>, isolation: Isolation) -> Self {
        let mut direct = plan.direct_dependencies();
        let mut packages: Vec<Package> = plan
            .packages
            .iter()
            .map(|planned| {
                let depends_on = direct.remove(&planned.key()).unwrap_or_default();
                Package::new(planned, depends_on.into_iter().collect())
            })
            .collect();
        packages.sort_by_cached_key(Package::key);
        Self {
            schema_version: SchemaVersion,
            tool: plan.tool.clone(),
            mode: plan.mode,
            plan_digest: plan.digest(),
            trust,
            source: plan.source.clone(),
            timestamp: Some(plan.timestamp),
            channel: plan.channel.clone(),
            target_channel: plan.target_channel.clone(),
            isolation,
            release: None,
            shard: None,
            sequence: 0,
            packages,
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When the bytes are no manifest of this schema version, two of its packages have keys that
    /// differ in case alone, one names a package that isn't there, or one claims progress
    /// without what goes with it.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let mut manifest: Self = document::read(SchemaName::Manifest, json)?;
        for package in &mut manifest.packages {
            // Version 1 attested packages again whenever the source changed, so that all of them were of its source.
            if package.progress >= Progress::Built && package.source.is_none() {
                package.source = Some(manifest.source.clone());
            }
        }
        Ok(manifest)
    }

    /// The manifest as indented JSON with sorted arrays and a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        document::write(self)
    }

    /// The packages, sorted by key.
    #[must_use]
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The package of this key, if it is part of the release.
    #[must_use]
    pub fn package(&self, key: &PackageKey) -> Option<&Package> {
        self.position(key).map(|position| &self.packages[position])
    }

    /// Takes over from an older manifest of the same folder what is still good: the progress of
    /// packages whose key and fingerprint are the same, without their errors and what blocked
    /// them, which are to be tried again.
    ///
    /// Nothing comes from another mode, no attestation from another trust or for another target
    /// channel, no publication in another channel. A live package of another source comes only with its attestation, since
    /// an attestation that is made now would name this source. The attestation of the release as a whole stays with its
    /// plan. That the files are still there and unchanged is the caller's to check.
    ///
    /// Call it on a new manifest. The journal goes on where the old one was; a trust that isn't
    /// known yet is the old one's.
    pub fn carry_over(&mut self, old: &Self) {
        self.sequence = self.sequence.max(old.sequence);
        if self.trust.is_none() && self.mode == old.mode {
            self.trust.clone_from(&old.trust);
        }
        let terms = self.terms();
        let Some(furthest) = terms.furthest_of(old) else {
            return;
        };
        let progress =
            |package: &Package| terms.progress_of(old, &package.key(), package.fingerprint);
        let kept: Vec<Progress> = self.packages.iter().map(progress).collect();
        if self.plan_digest == old.plan_digest && furthest >= Progress::Attested {
            self.release.clone_from(&old.release);
        }
        for (package, progress) in self.packages.iter_mut().zip(kept) {
            if progress > Progress::Planned
                && let Some(known) = old.package(&package.key())
            {
                take_over(package, known);
                package.go_back_to(progress);
            }
        }
    }

    /// The progress that [`carry_over`](Self::carry_over) from this manifest gives a package of a new plan, whose trust is this
    /// one's.
    #[must_use]
    pub fn progress_in(&self, plan: &Plan, package: &PlannedPackage) -> Progress {
        let terms = Terms {
            mode: plan.mode,
            source: &plan.source,
            trust: self.trust.as_ref(),
            target_channel: &plan.target_channel,
            channel: plan.channel.as_deref(),
        };
        terms.progress_of(self, &package.key(), package.fingerprint)
    }

    /// The manifest of these packages alone, with the dependencies between them. It says nothing of the release as a whole.
    #[must_use]
    pub fn only(&self, keys: &BTreeSet<PackageKey>) -> Self {
        let mut manifest = Self {
            release: None,
            ..self.clone()
        };
        manifest.packages.retain(|it| keys.contains(&it.key()));
        for package in &mut manifest.packages {
            package.depends_on.retain(|key| keys.contains(key));
            package.blocked_by.retain(|key| keys.contains(key));
        }
        manifest
    }

    /// Takes over from what an earlier merge of the same plan led to how far packages have come
    /// that are still the same bytes. The journal goes on where that one was.
    pub fn keep_progress(&mut self, old: &Self) {
        self.sequence = self.sequence.max(old.sequence);
        if old.plan_digest != self.plan_digest {
            return;
        }
        self.trust.clone_from(&old.trust);
        for package in &mut self.packages {
            let Some(known) = old.package(&package.key()) else {
                continue;
            };
            let is_same = known.sha256.is_some() && known.sha256 == package.sha256;
            if is_same && known.progress > package.progress {
                take_over(package, known);
            }
        }
        // The attestation of the release as a whole is for these very packages.
        if self.packages == old.packages {
            self.release.clone_from(&old.release);
        }
    }

    fn terms(&self) -> Terms<'_> {
        Terms {
            mode: self.mode,
            source: &self.source,
            trust: self.trust.as_ref(),
            target_channel: &self.target_channel,
            channel: self.channel.as_deref(),
        }
    }

    pub(crate) fn position(&self, key: &PackageKey) -> Option<usize> {
        self.packages
            .binary_search_by(|package| {
                (package.subdir, &package.file).cmp(&(key.subdir, &key.file))
            })
            .ok()
    }
}

/// The terms that decide the progress of an older manifest's packages in a new one.
struct Terms<'a> {
    mode: Mode,
    source: &'a Source,
    trust: Option<&'a Trust>,
    target_channel: &'a TargetChannel,
    channel: Option<&'a str>,
}

impl Terms<'_> {
    /// The last step that any package can keep; `None` where nothing is kept.
    fn furthest_of(&self, old: &Manifest) -> Option<Progress> {
        if old.mode != self.mode {
            None
        } else if old.trust.as_ref() != self.trust || old.target_channel != *self.target_channel {
            Some(Progress::Tested)
        } else if old.channel.as_deref() != self.channel {
            Some(Progress::Attested)
        } else {
            Some(Progress::Published)
        }
    }

    /// The last step that this package keeps.
    fn progress_of(&self, old: &Manifest, key: &PackageKey, fingerprint: Digest) -> Progress {
        let known = old.package(key).filter(|it| it.fingerprint == fingerprint);
        let (Some(known), Some(furthest)) = (known, self.furthest_of(old)) else {
            return Progress::Planned;
        };
        let progress = known.progress.min(furthest);
        // The certificate of a live attestation names the commit of the job that signs.
        let needs_this_source = self.mode == Mode::Live && progress < Progress::Attested;
        match needs_this_source && known.source.as_ref() != Some(self.source) {
            true => Progress::Planned,
            false => progress,
        }
    }
}

/// Copies how far a package has come. What the plan says about it stays the new plan's.
fn take_over(package: &mut Package, known: &Package) {
    let Package {
        file: _,
        subdir: _,
        recipe: _,
        variant: _,
        depends_on: _,
        fingerprint: _,
        sources: _,
        progress,
        skipped: _,
        tests_skipped,
        blocked_by: _,
        error: _,
        source,
        timestamp,
        sha256,
        size,
        times,
        attestation,
        published,
        log,
    } = known.clone();
    package.progress = progress;
    package.tests_skipped = tests_skipped;
    package.source = source;
    package.timestamp = timestamp;
    package.sha256 = sha256;
    package.size = size;
    package.times = times;
    package.attestation = attestation;
    package.published = published;
    package.log = log;
}

fn read_packages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Package>, D::Error> {
    let mut packages: Vec<Package> = Vec::deserialize(deserializer)?;
    check(&packages).map_err(D::Error::custom)?;
    packages.sort_by_cached_key(Package::key);
    for package in &mut packages {
        for keys in [&mut package.depends_on, &mut package.blocked_by] {
            keys.sort();
            keys.dedup();
        }
        package.sources.sort();
        package.sources.dedup();
    }
    Ok(packages)
}

fn check(packages: &[Package]) -> Result<(), Error> {
    let mut folded = HashSet::new();
    for package in packages {
        let key = package.key();
        if !folded.insert(key.folded()) {
            return Err(Error::Duplicate { package: key });
        }
        if let Some(contradiction) = package.contradiction() {
            return Err(Error::Contradiction {
                package: key,
                progress: package.progress,
                contradiction,
            });
        }
    }
    let keys: HashSet<PackageKey> = packages.iter().map(Package::key).collect();
    for package in packages {
        let mut named = package.depends_on.iter().chain(&package.blocked_by);
        if let Some(edge) = named.find(|edge| !keys.contains(edge)) {
            return Err(Error::Edge {
                package: package.key(),
                edge: Box::new(edge.clone()),
            });
        }
    }
    Ok(())
}
