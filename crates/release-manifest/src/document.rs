//! Reading and writing the documents of this crate.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, SchemaName};

/// Most bytes of a plan or a manifest: room for some twenty thousand packages.
pub const DOCUMENT_LIMIT: usize = 64 << 20;

/// Reads a document that somebody else wrote.
///
/// Its types refuse unknown fields, duplicate fields and wrong values; `serde_json` refuses what
/// follows the document and more than 128 levels of nesting.
pub(crate) fn read<T: DeserializeOwned>(document: SchemaName, json: &[u8]) -> Result<T, Error> {
    if json.len() > DOCUMENT_LIMIT {
        return Err(Error::Size {
            document,
            limit: DOCUMENT_LIMIT,
            found: json.len(),
        });
    }
    check_version(document, json)?;
    serde_json::from_slice(json).map_err(|source| Error::Json { document, source })
}

/// A document of another version has fields that this version doesn't know. It is told by its
/// version before they are looked at.
pub(crate) fn check_version(document: SchemaName, json: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Versioned {
        schema_version: Value,
    }
    match serde_json::from_slice(json) {
        Ok(Versioned {
            schema_version: Value::Number(found),
        }) if !found
            .as_u64()
            .is_some_and(|found| (1..=document.version()).contains(&found)) =>
        {
            Err(Error::SchemaVersion {
                document,
                found: found.to_string(),
            })
        }
        // Anything else that is wrong is found, with its place, when the document is read.
        _ => Ok(()),
    }
}

/// Indented, with a newline at the end.
pub(crate) fn write(document: &impl Serialize) -> Vec<u8> {
    let mut json = expect_json(serde_json::to_vec_pretty(document));
    json.push(b'\n');
    json
}

/// On one line, with a newline at the end.
pub(crate) fn write_line(document: &impl Serialize) -> Vec<u8> {
    let mut json = expect_json(serde_json::to_vec(document));
    json.push(b'\n');
    json
}

/// Keys sorted, no white space.
pub(crate) fn canonical(document: &impl Serialize) -> Vec<u8> {
    let mut value = expect_json(serde_json::to_value(document));
    value.sort_all_objects();
    expect_json(serde_json::to_vec(&value))
}

#[expect(
    clippy::expect_used,
    reason = "our types have string keys only and no Serialize of theirs fails"
)]
fn expect_json<T>(result: serde_json::Result<T>) -> T {
    result.expect("a document that can be written")
}
