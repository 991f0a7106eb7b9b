//! The plan: everything that a release will do.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use cep27::{FileName, Subdir, TargetChannel};
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::schema::wire;
use crate::{
    Digest, Error, Mode, PackageKey, RelativePath, SchemaName, SchemaVersion, Source, SourceDigest,
    Tool, document, order, variant,
};

/// Everything that a release will do, complete before anything is built. Later phases decide
/// nothing.
///
/// A plan that was read is sorted and passes [`Plan::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of this document.
    pub schema_version: SchemaVersion,
    /// What made the plan.
    pub tool: Tool,
    /// Whether it is for a rehearsal.
    pub mode: Mode,
    /// The sources it was made from.
    pub source: Source,
    /// Where the packages will be published, if anywhere but in the local channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The channel that the attestations will name.
    #[schemars(with = "wire::TargetChannel")]
    pub target_channel: TargetChannel,
    /// The time that packages carry, in seconds since 1970: `SOURCE_DATE_EPOCH`.
    pub timestamp: i64,
    /// The digest of the build options that decide the outcome.
    pub configuration: Digest,
    /// What will be built, sorted by key.
    #[serde(deserialize_with = "read_packages")]
    #[schemars(with = "Vec<PlannedPackage>")]
    pub packages: Vec<PlannedPackage>,
    /// What will not be built, and why; sorted.
    #[serde(deserialize_with = "read_skipped")]
    #[schemars(with = "Vec<SkippedOutput>")]
    pub skipped: Vec<SkippedOutput>,
}

/// A package that will be built: one output of one recipe under one variant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedPackage {
    /// Its file name, known before it is built.
    #[schemars(with = "wire::FileName")]
    pub file: FileName,
    /// The platform it is for.
    #[schemars(with = "wire::Subdir")]
    pub subdir: Subdir,
    /// The recipe file, relative to the workspace.
    pub recipe: RelativePath,
    /// The variant keys that the output uses, with their values.
    #[serde(deserialize_with = "variant::read")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub variant: BTreeMap<String, String>,
    /// Its build number, which ends most build strings.
    pub build_number: u64,
    /// The platform it is built on.
    #[schemars(with = "wire::Subdir")]
    pub build_platform: Subdir,
    /// The digest of everything that goes into it, what it builds upon included. Equal
    /// fingerprint and a good package: not built again.
    pub fingerprint: Digest,
    /// Its sources besides folders, with the commits and hashes that it is built from; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceDigest>,
    /// Where it is built. Packages with the same build folder are built one after another.
    pub build_folder: String,
    /// Packages of this plan that must be built before it; sorted. Only these can form a cycle.
    pub builds_on: Vec<PackageKey>,
    /// Packages of this plan that must be built before its tests run; sorted.
    pub test_needs: Vec<PackageKey>,
    /// Packages of this plan that it needs when it is installed; sorted.
    pub runs_with: Vec<PackageKey>,
}

/// An output that will not be built.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SkippedOutput {
    /// The recipe file, relative to the workspace.
    pub recipe: RelativePath,
    /// The name of the output.
    pub output: String,
    /// The variant keys that the output uses, with their values.
    #[serde(deserialize_with = "variant::read")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub variant: BTreeMap<String, String>,
    /// Why, for people to read.
    pub reason: String,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// When the bytes are no plan of this schema version, or one that [`Plan::check`] refuses.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        document::read(SchemaName::Plan, json)
    }

    /// The plan as indented JSON with sorted arrays and a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        document::write(&self.sorted())
    }

    /// What identifies the plan: the digest over its canonical JSON, which is sorted (arrays and
    /// keys) and has no white space. Where something was written first doesn't matter.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&document::canonical(&self.sorted()))
    }

    /// The package of this key, if it is part of the plan.
    #[must_use]
    pub fn package(&self, key: &PackageKey) -> Option<&PlannedPackage> {
        let found = self.packages.binary_search_by(|package| {
            (package.subdir, &package.file).cmp(&(key.subdir, &key.file))
        });
        match found {
            Ok(position) => self.packages.get(position),
            // One that was put together elsewhere need not be sorted.
            Err(_) => self.packages.iter().find(|package| package.is(key)),
        }
    }

    /// Every package after all that it builds upon, and otherwise by key: the same plan gives
    /// the same order, however its packages are arranged.
    ///
    /// # Errors
    /// When packages build upon each other in a circle ([`Error::Cycle`]), or upon one that isn't
    /// part of the plan.
    pub fn build_order(&self) -> Result<Vec<PackageKey>, Error> {
        order::build_order(&self.packages)
    }

    /// Every package that cannot be finished without these: whatever builds upon one of them,
    /// needs one for its tests or runs with one, directly or through others. The given packages
    /// themselves are not part of it.
    #[must_use]
    pub fn dependents(&self, of: &BTreeSet<PackageKey>) -> BTreeSet<PackageKey> {
        order::dependents(&self.packages, of, PlannedPackage::edges)
    }

    /// Every package that cannot be used without these: whatever runs with one of them, directly
    /// or through others. The given packages themselves are not part of it.
    #[must_use]
    pub fn runtime_dependents(&self, of: &BTreeSet<PackageKey>) -> BTreeSet<PackageKey> {
        order::dependents(&self.packages, of, |package| &package.runs_with)
    }

    /// Everything that these need to be built, tested and installed, directly or through others: what their edges lead to. The
    /// given packages themselves are part of it only where another one needs them.
    #[must_use]
    pub fn needs(&self, of: &BTreeSet<PackageKey>) -> BTreeSet<PackageKey> {
        self.reached(of, |package| package.edges())
    }

    /// The packages that each package builds upon or runs with, without those that follow from that: where it needs a package that itself
    /// needs another one, only the first is named.
    #[must_use]
    pub fn direct_dependencies(&self) -> BTreeMap<PackageKey, BTreeSet<PackageKey>> {
        order::reduced(&self.packages, |package| {
            package.builds_on.iter().chain(&package.runs_with)
        })
    }

    /// As [`direct_dependencies`](Self::direct_dependencies), with what packages need for their tests.
    #[must_use]
    pub fn direct_needs(&self) -> BTreeMap<PackageKey, BTreeSet<PackageKey>> {
        order::reduced(&self.packages, PlannedPackage::edges)
    }

    /// Everything that is installed with these, directly or through others.
    #[must_use]
    pub fn runtime_needs(&self, of: &BTreeSet<PackageKey>) -> BTreeSet<PackageKey> {
        self.reached(of, |package| package.runs_with.iter())
    }

    fn reached<'a, E: Iterator<Item = &'a PackageKey>>(
        &'a self,
        from: &'a BTreeSet<PackageKey>,
        edges: impl Fn(&'a PlannedPackage) -> E,
    ) -> BTreeSet<PackageKey> {
        let mut found: BTreeSet<&PackageKey> = BTreeSet::new();
        let mut open: Vec<&PackageKey> = from.iter().collect();
        while let Some(next) = open.pop() {
            for edge in self.package(next).into_iter().flat_map(&edges) {
                if found.insert(edge) {
                    open.push(edge);
                }
            }
        }
        found.into_iter().cloned().collect()
    }

    /// The sources of each package that has any: the commits and hashes that it is built from.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<PackageKey, Vec<SourceDigest>> {
        self.packages
            .iter()
            .filter(|package| !package.sources.is_empty())
            .map(|package| (package.key(), package.sources.clone()))
            .collect()
    }

    /// Checks what the types cannot: no two packages whose keys differ in case alone, every edge
    /// leads to another package of the plan, no cycle.
    ///
    /// # Errors
    /// Names the packages at fault.
    pub fn check(&self) -> Result<(), Error> {
        check(&self.packages)
    }

    fn sorted(&self) -> Self {
        let mut plan = self.clone();
        sort(&mut plan.packages);
        plan.skipped.sort();
        plan
    }
}

impl PlannedPackage {
    /// What names this package.
    #[must_use]
    pub fn key(&self) -> PackageKey {
        PackageKey {
            subdir: self.subdir,
            file: self.file.clone(),
        }
    }

    fn is(&self, key: &PackageKey) -> bool {
        self.subdir == key.subdir && self.file == key.file
    }

    /// Every edge to another package.
    pub(crate) fn edges(&self) -> impl Iterator<Item = &PackageKey> {
        [&self.builds_on, &self.test_needs, &self.runs_with]
            .into_iter()
            .flatten()
    }
}

fn read_packages<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<PlannedPackage>, D::Error> {
    let mut packages = Vec::deserialize(deserializer)?;
    check(&packages).map_err(D::Error::custom)?;
    sort(&mut packages);
    Ok(packages)
}

fn read_skipped<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<SkippedOutput>, D::Error> {
    let mut skipped = Vec::deserialize(deserializer)?;
    skipped.sort();
    Ok(skipped)
}

fn check(packages: &[PlannedPackage]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for package in packages {
        let key = package.key();
        if !seen.insert(key.folded()) {
            return Err(Error::Duplicate { package: key });
        }
    }
    let keys: HashSet<PackageKey> = packages.iter().map(PlannedPackage::key).collect();
    for package in packages {
        if let Some(edge) = package.edges().find(|edge| !keys.contains(edge)) {
            return Err(Error::Edge {
                package: package.key(),
                edge: Box::new(edge.clone()),
            });
        }
    }
    order::build_order(packages).map(drop)
}

fn sort(packages: &mut [PlannedPackage]) {
    packages.sort_by_cached_key(PlannedPackage::key);
    for package in packages {
        package.sources.sort();
        package.sources.dedup();
        for edges in [
            &mut package.builds_on,
            &mut package.test_needs,
            &mut package.runs_with,
        ] {
            edges.sort();
            edges.dedup();
        }
    }
}
