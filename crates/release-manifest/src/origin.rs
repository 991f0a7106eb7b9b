//! Where a release comes from: mode, tool, source, isolation and trust.

use cep27::Sha256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::wire;

/// Whether a release is rehearsed or goes live. The two never share a folder or a package.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything but the outside world: a Sigstore and a channel of its own on this machine.
    Rehearsal,
    /// Real identities, real logs, real channels.
    Live,
}

impl Mode {
    /// The mode as it is written, also as the name of its folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rehearsal => "rehearsal",
            Self::Live => "live",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What stood between the code of the recipes and the identity that signed their packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A process of its own on the same machine: hygiene, not a security boundary.
    Worker,
    /// A separate CI job, which had no identity.
    SeparateJob,
}

/// The program that wrote a document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// The sources that a release was made from, as far as git knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The repository, as `https://host/owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The commit that is checked out, in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether files differ from that commit.
    pub dirty: bool,
}

/// The Sigstore instance whose signatures a release carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// What it is called: `sandbox`, `public-good`, …
    pub name: String,
    /// The SHA-256 of its `trusted_root.json`.
    #[schemars(with = "wire::Sha256")]
    pub root_sha256: Sha256,
}
