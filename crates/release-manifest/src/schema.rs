//! The JSON schemas of the documents.

use std::fmt;

use crate::{Decisions, JournalEntry, Manifest, ManifestVersion, Plan, SchemaVersion, Shards};

/// A document of this crate that has a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SchemaName {
    /// `plan.json`.
    Plan,
    /// What `plan` prints.
    Decisions,
    /// `release-manifest.json`.
    Manifest,
    /// One line of `journal.jsonl`.
    Journal,
    /// `shards.json`.
    Shards,
}

impl SchemaName {
    /// Every document with a schema.
    pub const ALL: &[Self] = &[
        Self::Plan,
        Self::Decisions,
        Self::Manifest,
        Self::Journal,
        Self::Shards,
    ];

    /// The version in which it is written. Older ones are read as well.
    #[must_use]
    pub fn version(self) -> u64 {
        match self {
            Self::Manifest => ManifestVersion::NUMBER,
            Self::Plan | Self::Decisions | Self::Journal | Self::Shards => <SchemaVersion>::NUMBER,
        }
    }

    /// The name, also that of its file `schema/<name>.schema.json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Decisions => "decisions",
            Self::Manifest => "manifest",
            Self::Journal => "journal",
            Self::Shards => "shards",
        }
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The JSON schema (draft 2020-12) of a document. Its keys are sorted.
///
/// It covers the form of a document; what only reading it tells, such as an edge to a package that
/// isn't there, is refused by `from_json`.
#[must_use]
pub fn schema(name: SchemaName) -> serde_json::Value {
    let mut schema = match name {
        SchemaName::Plan => schemars::schema_for!(Plan),
        SchemaName::Decisions => schemars::schema_for!(Decisions),
        SchemaName::Manifest => schemars::schema_for!(Manifest),
        SchemaName::Journal => schemars::schema_for!(JournalEntry),
        SchemaName::Shards => schemars::schema_for!(Shards),
    }
    .to_value();
    schema.sort_all_objects();
    schema
}

/// How the names of `cep27`, a crate that knows nothing of schemars, look in a schema.
pub(crate) mod wire {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use crate::{Digest, PackageKey, RelativePath, SchemaVersion, Timestamp};

    pub(crate) struct FileName;
    pub(crate) struct Subdir;
    pub(crate) struct Sha256;
    pub(crate) struct TargetChannel;

    macro_rules! schema {
        ($type:ident, $($json:tt)+) => {
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ $($json)+ })
                }
            }
        };
    }

    schema!(FileName,
        "description": "The full file name of a conda package (CEP-26).",
        "type": "string",
        "maxLength": 211,
        "pattern": r"^[a-z0-9_][a-z0-9._-]*-[a-z0-9._+!]+-[A-Za-z0-9._+]+\.(conda|tar\.bz2)$"
    );
    schema!(Subdir,
        "description": "A platform that conda knows, or `noarch`.",
        "type": "string",
        "enum": cep27::Subdir::ALL
    );
    schema!(Sha256,
        "description": "A SHA-256 digest.",
        "type": "string",
        "pattern": "^[0-9a-f]{64}$"
    );
    schema!(TargetChannel,
        "description": "The URL of a channel as conda clients read it: no credentials, query, fragment or trailing slash.",
        "type": "string",
        "format": "uri",
        "maxLength": 2083,
        "pattern": "^https?://[^?#]*[^?#/]$"
    );
    impl<const NEWEST: u64> JsonSchema for SchemaVersion<NEWEST> {
        fn schema_name() -> Cow<'static, str> {
            "SchemaVersion".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "description": "The version of this schema.",
                "const": NEWEST
            })
        }
    }
    schema!(Digest,
        "description": "The digest of something that is not a package.",
        "type": "string",
        "pattern": "^sha256:[0-9a-f]{64}$"
    );
    schema!(PackageKey,
        "description": "A package within a channel: subdir, slash, file name.",
        "type": "string",
        "pattern": r"^[a-z0-9-]+/[a-z0-9_][a-z0-9._-]*-[a-z0-9._+!]+-[A-Za-z0-9._+]+\.(conda|tar\.bz2)$"
    );
    schema!(RelativePath,
        "description": "A path beneath the folder it is relative to, with `/` between its components, none of them empty, `.` or `..`.",
        "type": "string",
        "minLength": 1,
        "maxLength": 4096,
        "pattern": r"^[^/\\\u0000-\u001f\u007f-\u009f]+(/[^/\\\u0000-\u001f\u007f-\u009f]+)*$"
    );
    schema!(Timestamp,
        "description": "A moment in UTC, to the second.",
        "type": "string",
        "format": "date-time",
        "pattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"
    );
}
