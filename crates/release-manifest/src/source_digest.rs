//! The sources of a package, and the digests that identify them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::variant;

/// A source of a package: a repository, an archive or a local file. A ResourceDescriptor of in-toto,
/// as SLSA provenance lists it under `resolvedDependencies`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SourceDigest {
    /// Where it comes from, as the recipe names it, without credentials: a URL, or
    /// `git+https://…@revision` (SPDX). A path is relative to the workspace: `file:dist/x.tar.gz`.
    pub uri: String,
    /// What it is, by algorithm: `sha256`, `gitCommit`, and `md5` where the recipe has one. From
    /// the recipe, or resolved when the release was planned.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "variant::read"
    )]
    #[schemars(with = "BTreeMap<String, String>")]
    pub digest: BTreeMap<String, String>,
    /// What else is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<SourceAnnotations>,
}

/// Annotations of a [`SourceDigest`].
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SourceAnnotations {
    /// The attestation that the recipe requires. It is verified before the package is built.
    pub attestation: SourceAttestation,
}

/// The attestation that a recipe requires of a source.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SourceAttestation {
    /// The URL of the Sigstore bundle, without credentials; missing where the recipe names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// The repositories that must have signed, each of them: `github:owner/repository`, with
    /// `@refs/…` where the recipe names a ref.
    pub publishers: Vec<String>,
}

impl SourceDigest {
    /// The attestation that the recipe requires, if it requires one.
    #[must_use]
    pub fn attestation(&self) -> Option<&SourceAttestation> {
        let annotations = self.annotations.as_ref();
        annotations.map(|annotations| &annotations.attestation)
    }
}
