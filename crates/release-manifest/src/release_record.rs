//! What the manifest keeps of the attestation of the release as a whole.

use cep27::Sha256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::wire;
use crate::{RelativePath, Timestamp};

/// The attestation of a release as a whole: of its packages, and of the manifest as it stood once they were attested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRecord {
    /// The manifest that was attested, relative to this one. It doesn't change any more.
    pub manifest: RelativePath,
    /// The digest of that file.
    #[schemars(with = "wire::Sha256")]
    pub manifest_sha256: Sha256,
    /// The bundle with the attestation, relative to this manifest.
    pub bundle: RelativePath,
    /// The digest of the bundle's file.
    #[schemars(with = "wire::Sha256")]
    pub bundle_sha256: Sha256,
    /// The index of its entry in the transparency log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_index: Option<u64>,
    /// When, by the timestamp authority or the log.
    pub signed_at: Timestamp,
    /// Where the manifest that was attested is published, once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
