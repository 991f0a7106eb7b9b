//! What a package is made from beyond the repository, and how it is known again.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::variant;

/// A source that is fetched for a build: a ResourceDescriptor of in-toto, as SLSA provenance lists
/// it under `resolvedDependencies`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct SourceDigest {
    /// Where it comes from, without credentials: a URL, or `git+https://…@revision` (SPDX).
    pub uri: String,
    /// What the recipe demands of it, by algorithm: `sha256`, `md5`, `gitCommit`. Empty where the
    /// recipe takes a tag or a branch at its word.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "variant::read"
    )]
    #[schemars(with = "BTreeMap<String, String>")]
    pub digest: BTreeMap<String, String>,
}
