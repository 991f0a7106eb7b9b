//! SLSA provenance: what a package was built from, beside who published it.

use std::collections::BTreeMap;

use cep27::Subdir;
use serde::{Deserialize, Serialize};

/// What a package was built from, for its provenance: the part of it that the build knows. Who
/// built it, and in which run, is taken from the signing certificate alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildDefinition {
    /// The recipe file, relative to the root of the repository.
    pub recipe: String,
    /// The variant keys that the package uses, with their values.
    pub variant: BTreeMap<String, String>,
    /// The platform it was built on.
    pub build_platform: Subdir,
    /// The time that its files carry, in seconds since 1970: `SOURCE_DATE_EPOCH`.
    pub timestamp: i64,
    /// What the recipe downloads, as pinned in it.
    pub sources: Vec<SourceDigest>,
}

/// A source with its digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDigest {
    /// Where it comes from, as the recipe has it.
    pub uri: String,
    /// An algorithm of in-toto's digest sets: `sha256`, `gitCommit`, …
    pub algorithm: String,
    /// The digest in lower-case hexadecimal digits.
    pub digest: String,
}
