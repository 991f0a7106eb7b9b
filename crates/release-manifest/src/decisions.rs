//! What planning decided about every output: what `plan` prints.

use std::collections::BTreeMap;

use cep27::Subdir;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::wire;
use crate::{ChannelPackage, Digest, PackageKey, Plan, RelativePath, SchemaVersion, variant};

/// A plan, and what was decided about every output: whether it will be built, or why not.
///
/// The plan has every output; the decisions say which of them a run with the same selection would build now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
    /// The version of this document.
    pub schema_version: SchemaVersion,
    /// What identifies the plan.
    pub plan_digest: Digest,
    /// The plan.
    pub plan: Plan,
    /// One for each output: packages in the order of building, then what recipes skip.
    pub decisions: Vec<Decision>,
    /// What could not be planned, where the plan goes on without it.
    pub unplanned: Vec<UnplannedRecipe>,
}

/// What was decided about an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The name of the output.
    pub output: String,
    /// The package that it becomes; none for an output that its recipe skips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageKey>,
    /// The recipe file, relative to the workspace.
    pub recipe: RelativePath,
    /// The variant keys that the output uses, with their values.
    #[serde(deserialize_with = "variant::read")]
    #[schemars(with = "BTreeMap<String, String>")]
    pub variant: BTreeMap<String, String>,
    /// The platform it is built on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<wire::Subdir>")]
    pub build_platform: Option<Subdir>,
    /// What is done about it.
    pub verdict: Verdict,
    /// Why, for people to read.
    pub reason: String,
    /// Why its tests do not run on the machine that builds it, where another one has to run them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests_deferred: Option<String>,
    /// The channel's package of the same name, where the verdict is `in_channel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_channel: Option<ChannelPackage>,
}

/// What is done about an output.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is built.
    Build,
    /// It was built before, from the same recipe and sources.
    Unchanged,
    /// The channel has a package of its name.
    InChannel,
    /// Its recipe skips it.
    Skipped,
    /// The command line did not select it.
    NotSelected,
}

impl Verdict {
    /// The verdict as a person reads it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Unchanged => "unchanged",
            Self::InChannel => "in the channel",
            Self::Skipped => "skipped",
            Self::NotSelected => "not selected",
        }
    }
}

/// A recipe that cannot be planned, or an output that needs one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnplannedRecipe {
    /// The recipe file, relative to the workspace.
    pub recipe: String,
    /// The output, where the recipe's others are planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// For programs: stable, in `snake_case`.
    pub code: String,
    /// For people.
    pub message: String,
}
