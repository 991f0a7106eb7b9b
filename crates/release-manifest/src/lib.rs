//! Wire types of conda-release: the [`Plan`], the [`Manifest`] and the journal between them.
//!
//! Pure: no I/O, no clock, no async. Everything here is a value or a function from values to
//! values, so that what a release is allowed to do is decided, and tested, in one place:
//!
//! - A [`Plan`] says what will be built, signed and published, before anything is.
//! - [`Decisions`] say of every output of a plan whether it will be built now, or why not.
//! - A [`Manifest`] says how far each package of a plan has come. It changes by [`JournalEntry`]s
//!   alone, see [`Manifest::apply`]; steps that make no sense are errors.
//! - [`Shards`] say which of many jobs builds what of a plan, see [`Shards::cut`] and [`Manifest::merge`].
//! - What is read was written by others: unknown fields, duplicates, other schema versions, paths
//!   that lead elsewhere and claims without evidence are refused, with the place in the document.
//!
//! The JSON schemas of all of them are in `schema/` of the repository and come from [`schema`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod decisions;
mod digest;
mod document;
mod error;
mod journal;
mod manifest;
mod matrix;
mod merge;
mod order;
mod origin;
mod package;
mod package_key;
mod plan;
mod relative_path;
mod release_record;
mod release_statement;
mod schema;
mod schema_version;
mod sharding;
mod shards;
mod source_digest;
mod timestamp;
mod transition;
mod variant;

pub use decisions::{Decision, Decisions, UnplannedRecipe, Verdict};
pub use digest::Digest;
pub use document::DOCUMENT_LIMIT;
pub use error::Error;
pub use journal::{Event, JOURNAL_LIMIT, JournalEntry, Torn, read_journal};
pub use manifest::{Manifest, ManifestVersion};
pub use matrix::{Matrices, MatrixJob};
pub use merge::Shard;
pub use origin::{Isolation, Mode, Source, Tool, Trust};
pub use package::{
    Attestation, ChannelPackage, Package, PackageError, Phase, Progress, ProvenanceRecord,
    PublishResult, Published, Skipped, Taken, Times,
};
pub use package_key::PackageKey;
pub use plan::{Plan, PlannedPackage, SkippedOutput};
pub use relative_path::RelativePath;
pub use release_record::ReleaseRecord;
pub use release_statement::{
    Difference, MANIFEST_NAME, RELEASE_BUNDLE_NAME, RELEASE_TYPE, ReleaseStatement,
};
pub use schema::{SchemaName, schema};
pub use schema_version::SchemaVersion;
pub use sharding::{MATRIX_LIMIT, Sharding};
pub use shards::{PlannedShard, Shards, WAVES};
pub use source_digest::{SourceAnnotations, SourceAttestation, SourceDigest};
pub use timestamp::Timestamp;
