#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod document;
mod error;
mod file_name;
mod json;
mod package_match;
mod rule;
mod sha256;
mod statement;
mod statement_rules;
mod subdir;
mod target_channel;
mod text;
mod validate;
mod violation;

pub use document::{Document, DocumentKind, validate_document};
pub use error::NameError;
pub use file_name::{FileName, Format};
pub use json::{JSON_LIMIT, KEY_LIMIT, NESTING_LIMIT, check_json};
pub use rule::Rule;
pub use sha256::Sha256;
pub use statement::{
    DSSE_PAYLOAD_TYPE, PREDICATE_SCHEMA, PREDICATE_TYPE, Predicate, STATEMENT_TYPE, Statement,
};
pub use subdir::Subdir;
pub use target_channel::TargetChannel;
pub use text::{ascii_json, is_invisible, printable};
pub use validate::{
    Expected, STATEMENT_LIMIT, ValidStatement, validate_against, validate_predicate,
    validate_statement,
};
pub use violation::Violation;
