//! The version of the documents.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of a document, which is written as `NEWEST`. Older versions are read as well.
///
/// A document of another version is refused, never half understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SchemaVersion<const NEWEST: u64 = 1>;

impl<const NEWEST: u64> SchemaVersion<NEWEST> {
    /// The version that this crate writes.
    pub const NUMBER: u64 = NEWEST;
}

impl<const NEWEST: u64> fmt::Display for SchemaVersion<NEWEST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NEWEST.fmt(f)
    }
}

impl<const NEWEST: u64> Serialize for SchemaVersion<NEWEST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(NEWEST)
    }
}

impl<'de, const NEWEST: u64> Deserialize<'de> for SchemaVersion<NEWEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            found if (1..=NEWEST).contains(&found) => Ok(Self),
            found => Err(D::Error::custom(format_args!(
                "expected schema_version {Self}, found {found}"
            ))),
        }
    }
}
