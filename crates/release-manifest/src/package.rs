//! A package of a release: its progress, and the evidence for it.

use std::collections::BTreeMap;

use cep27::{FileName, Sha256, Subdir};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::wire;
use crate::{
    Digest, PackageKey, PlannedPackage, RelativePath, Source, SourceDigest, Timestamp, variant,
};

/// How far a package has come, and everything known about it.
///
/// Progress and error are separate: a signed package whose upload failed is still signed. What
/// goes with which [`Progress`] is stated at the fields; a manifest never holds anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its file name.
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
    /// Packages of this release that it builds upon or runs with, without those that follow from others; sorted.
    /// Manifests of version 1 name all of them.
    pub depends_on: Vec<PackageKey>,
    /// The digest of everything that goes into it.
    pub fingerprint: Digest,
    /// Its sources besides folders, with the commits and hashes that it is built from; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceDigest>,
    /// The last step that succeeded.
    pub progress: Progress,
    /// Why it is left out of this release. Then it stays where it is, and is not published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
    /// Why its tests were not run. Then it counts as [`Progress::Tested`] without a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests_skipped: Option<Skipped>,
    /// The packages whose failure keeps its next step from being tried; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<PackageKey>,
    /// Why its next step failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<PackageError>,
    /// The source that it was built from, once it is built. Its attestations are judged against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The time that its files carry, in seconds since 1970, once it is built. Manifests of version 1 do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
    /// The digest of its file, once it is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<wire::Sha256>")]
    pub sha256: Option<Sha256>,
    /// The size of its file in bytes, once it is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When each step ended and how long it took.
    #[serde(default, skip_serializing_if = "Times::is_empty")]
    pub times: Times,
    /// Its attestation, once it is attested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
    /// Where it was published, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// The log of its build, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<RelativePath>,
}

/// The steps of a package, in their order. Each one includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Nothing was done yet.
    Planned,
    /// The file is there.
    Built,
    /// Its tests passed, or were skipped for a stated reason.
    Tested,
    /// It has an attestation, which was verified.
    Attested,
    /// It is in the channel.
    Published,
}

/// What was being done when something failed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Deciding what to do.
    Plan,
    /// Building a package.
    Build,
    /// Running its tests.
    Test,
    /// Attesting it.
    Sign,
    /// Verifying it and its attestation.
    Verify,
    /// Bringing it to the channel.
    Publish,
}

/// Why something was left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// For people to read.
    pub reason: String,
    /// The channel's package of the same name, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_channel: Option<ChannelPackage>,
}

/// A package that a channel had under a planned name before the release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelPackage {
    /// The digest of its file, where the channel states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<wire::Sha256>")]
    pub sha256: Option<Sha256>,
    /// The digest of what went into it, where an earlier run or a release manifest in the channel states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// True if its recipe is known to have changed since it was published: the build number was not raised.
    #[serde(default)]
    pub changed: bool,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageError {
    /// What was being done.
    pub phase: Phase,
    /// For programs: stable, in `snake_case`.
    pub code: String,
    /// For people.
    pub message: String,
    /// The log to look into, relative to the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<RelativePath>,
}

/// When each step of a package ended. A step that it went back behind has no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Building.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built: Option<Taken>,
    /// Running the tests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Taken>,
    /// Signing and verifying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Taken>,
    /// Publishing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Taken>,
}

impl Times {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When a step ended and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taken {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub milliseconds: u64,
}

/// The attestation of a package. What it says is the bundle's to prove; this is for finding it
/// and for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// The Sigstore bundle, relative to the manifest.
    pub bundle: RelativePath,
    /// The digest of the bundle's file.
    #[schemars(with = "wire::Sha256")]
    pub bundle_sha256: Sha256,
    /// Who signed: the subject alternative name of the certificate.
    pub identity: String,
    /// Who vouched for that identity.
    pub issuer: String,
    /// The index of its entry in the transparency log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
    /// When it was signed, as the timestamp authority or the log has it.
    pub signed_at: Timestamp,
    /// When the certificate ended.
    pub certificate_not_after: Timestamp,
    /// How many requests of its making had to be repeated.
    #[serde(default)]
    pub retries: u32,
    /// The provenance beside it, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<ProvenanceRecord>,
}

/// The SLSA provenance of a package, signed as its attestation is and published beside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvenanceRecord {
    /// The Sigstore bundle, relative to the manifest.
    pub bundle: RelativePath,
    /// The digest of the bundle's file.
    #[schemars(with = "wire::Sha256")]
    pub bundle_sha256: Sha256,
    /// The index of its entry in the transparency log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
}

/// Where a package was published.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Where the package can be fetched.
    pub url: String,
    /// The digest of the sidecar that holds its attestations (CEP-50).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<wire::Sha256>")]
    pub sidecar_sha256: Option<Sha256>,
    /// When.
    pub at: Timestamp,
    /// What the channel made of it.
    pub result: PublishResult,
    /// When it was there for clients of the channel, as they see it; nothing until somebody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Timestamp>,
}

/// What a channel made of a package that was to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublishResult {
    /// It is new there.
    Uploaded,
    /// The very same bytes were there already.
    Identical,
    /// A package of that name was there already.
    Exists,
}

impl Skipped {
    /// The reason of a package that the command line did not select.
    pub const NOT_SELECTED: &str = "it was not selected";

    /// The skip of something for a reason that is not about the channel.
    #[must_use]
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            in_channel: None,
        }
    }

    /// Returns true if the recipe is known to have changed since the channel's package was published.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.in_channel.is_some_and(|package| package.changed)
    }

    /// Whether the command line did not select it.
    #[must_use]
    pub fn is_unselected(&self) -> bool {
        self.reason == Self::NOT_SELECTED
    }
}

impl Package {
    /// A package of which nothing but the plan is known.
    pub(crate) fn new(planned: &PlannedPackage, depends_on: Vec<PackageKey>) -> Self {
        Self {
            file: planned.file.clone(),
            subdir: planned.subdir,
            recipe: planned.recipe.clone(),
            variant: planned.variant.clone(),
            depends_on,
            fingerprint: planned.fingerprint,
            sources: planned.sources.clone(),
            progress: Progress::Planned,
            skipped: None,
            tests_skipped: None,
            blocked_by: Vec::new(),
            error: None,
            source: None,
            timestamp: None,
            sha256: None,
            size: None,
            times: Times::default(),
            attestation: None,
            published: None,
            log: None,
        }
    }

    /// What names this package.
    #[must_use]
    pub fn key(&self) -> PackageKey {
        PackageKey {
            subdir: self.subdir,
            file: self.file.clone(),
        }
    }

    /// What contradicts its progress, if anything: a claim without evidence, evidence of what it
    /// doesn't claim, or trouble with another step than the next one.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let Self {
            file: _,
            subdir: _,
            recipe: _,
            variant: _,
            depends_on: _,
            fingerprint: _,
            sources: _,
            progress,
            skipped,
            tests_skipped,
            blocked_by,
            error,
            source,
            timestamp,
            sha256,
            size,
            times,
            attestation,
            published,
            log,
        } = self;
        let evidence = [
            ("sha256", sha256.is_some(), Progress::Built),
            ("size", size.is_some(), Progress::Built),
            ("times.built", times.built.is_some(), Progress::Built),
            (
                "times.tested` or `tests_skipped",
                times.tested.is_some() || tests_skipped.is_some(),
                Progress::Tested,
            ),
            ("attestation", attestation.is_some(), Progress::Attested),
            (
                "times.attested",
                times.attested.is_some(),
                Progress::Attested,
            ),
            ("published", published.is_some(), Progress::Published),
            (
                "times.published",
                times.published.is_some(),
                Progress::Published,
            ),
        ];
        for (field, is_there, from) in evidence {
            match (is_there, *progress >= from) {
                (false, true) => return Some(format!("has no `{field}`")),
                (true, false) => {
                    return Some(format!("has `{field}`, which only comes with {from}"));
                }
                _ => {}
            }
        }
        let trouble = [skipped.is_some(), error.is_some(), !blocked_by.is_empty()];
        let contradictions = [
            (
                log.is_some() && *progress < Progress::Built,
                "has `log`, which only comes with built",
            ),
            (
                (source.is_some() || timestamp.is_some()) && *progress < Progress::Built,
                "has `source` or `timestamp`, which only come with built",
            ),
            (
                times.tested.is_some() && tests_skipped.is_some(),
                "has both `times.tested` and `tests_skipped`",
            ),
            (
                trouble.iter().filter(|is_there| **is_there).count() > 1,
                "has more than one of `skipped`, `error` and `blocked_by`",
            ),
            (
                skipped.is_some() && *progress == Progress::Published,
                "is skipped, although nothing is left to do",
            ),
            (
                !blocked_by.is_empty() && *progress == Progress::Published,
                "is blocked, although nothing is left to do",
            ),
            (blocked_by.contains(&self.key()), "is blocked by itself"),
            (
                error
                    .as_ref()
                    .is_some_and(|error| !error.phase.can_fail_at(*progress)),
                "has an error of another step than its next",
            ),
        ];
        contradictions
            .into_iter()
            .find_map(|(is_true, contradiction)| is_true.then(|| contradiction.to_owned()))
    }

    /// Takes everything back that was recorded after this step.
    pub(crate) fn go_back_to(&mut self, step: Progress) {
        self.progress = self.progress.min(step);
        self.skipped = None;
        self.error = None;
        self.blocked_by.clear();
        if step < Progress::Published {
            self.published = None;
            self.times.published = None;
        }
        if step < Progress::Attested {
            self.attestation = None;
            self.times.attested = None;
        }
        if step < Progress::Tested {
            self.tests_skipped = None;
            self.times.tested = None;
        }
        if step < Progress::Built {
            self.source = None;
            self.timestamp = None;
            self.sha256 = None;
            self.size = None;
            self.log = None;
            self.times.built = None;
        }
    }
}

impl Progress {
    /// The step as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Built => "built",
            Self::Tested => "tested",
            Self::Attested => "attested",
            Self::Published => "published",
        }
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Phase {
    /// The phase as it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Build => "build",
            Self::Test => "test",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Publish => "publish",
        }
    }

    /// Whether a package that has come this far can fail in this phase: it is the phase of its
    /// next step. Tests of what a package contains are run before it counts as built; a file and
    /// its attestation are verified more than once on the way.
    pub(crate) fn can_fail_at(self, progress: Progress) -> bool {
        match self {
            Self::Plan | Self::Build => progress == Progress::Planned,
            Self::Test => progress <= Progress::Built,
            Self::Sign => progress == Progress::Tested,
            Self::Verify => (Progress::Built..Progress::Published).contains(&progress),
            Self::Publish => progress == Progress::Attested,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
