//! What keeps a document from being one, or a step from being taken.

use thiserror::Error;

use crate::{Digest, PackageKey, Progress, SchemaName};

/// Why something is no document of this crate, or cannot happen to one.
///
/// Messages are safe to print: what they quote of foreign text went through
/// [`cep27::printable`], except for the text of a JSON error, which is its source.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The document is larger than any that this tool writes.
    #[error("expected a {document} of at most {limit} bytes, found {found}")]
    Size {
        /// What was read.
        document: SchemaName,
        /// Bytes allowed.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// The document was written by a newer (or another) tool.
    #[error(
        "expected a {document} of schema version {supported}, which this tool supports, found version {found}",
        supported = .document.version()
    )]
    SchemaVersion {
        /// What was read.
        document: SchemaName,
        /// Its version.
        found: String,
    },
    /// The bytes are not the JSON of such a document.
    #[error("cannot read the {document}")]
    Json {
        /// What was read.
        document: SchemaName,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// A line of the journal is no entry.
    #[error("cannot read line {number} of the journal")]
    JournalLine {
        /// The line, counted from 1.
        number: usize,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// The text is no digest.
    #[error(
        "expected a digest, `sha256:` and 64 lower-case hexadecimal characters, found `{found}`"
    )]
    Digest {
        /// The text.
        found: String,
    },
    /// The text names no package.
    #[error("expected a package such as `linux-64/foo-1.0-0.conda`, found `{found}`: {source}")]
    PackageKey {
        /// The text.
        found: String,
        /// Which part is wrong.
        source: cep27::NameError,
    },
    /// The text is no path that stays beneath its folder.
    #[error("expected a path beneath its folder, found `{found}`, which {fault}")]
    RelativePath {
        /// The text.
        found: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// The text is no moment.
    #[error("expected a time such as `2026-11-23T09:30:00Z`, found `{found}`")]
    Timestamp {
        /// The text.
        found: String,
    },
    /// Two packages would be one file, at least where file names ignore case.
    #[error("expected every package once, found `{package}` twice (upper and lower case are one)")]
    Duplicate {
        /// The second one.
        package: PackageKey,
    },
    /// A package names another that isn't there.
    #[error("`{package}` names `{edge}`, which is not part of it")]
    Edge {
        /// The package.
        package: PackageKey,
        /// What it names.
        edge: Box<PackageKey>,
    },
    /// Packages build upon each other in a circle.
    #[error("packages build upon each other in a cycle: {}", arrows(.packages))]
    Cycle {
        /// The packages, each building upon the next; the first is repeated at the end.
        packages: Vec<PackageKey>,
    },
    /// A package claims progress that the rest of what it says contradicts.
    #[error("`{package}` claims to be {progress}, but it {contradiction}")]
    Contradiction {
        /// The package.
        package: PackageKey,
        /// What it claims.
        progress: Progress,
        /// What contradicts it.
        contradiction: String,
    },
    /// An entry is not the next one of the journal.
    #[error("expected journal entry {expected}, found {found} (of `{package}`)")]
    Sequence {
        /// The package of the entry.
        package: PackageKey,
        /// The next number.
        expected: u64,
        /// The number of the entry.
        found: u64,
    },
    /// An entry is of another plan.
    #[error("expected a journal entry of plan {expected}, found one of {found} (of `{package}`)")]
    OtherPlan {
        /// The package of the entry.
        package: Box<PackageKey>,
        /// The manifest's plan.
        expected: Digest,
        /// The entry's plan.
        found: Digest,
    },
    /// The package isn't part of the release.
    #[error("`{package}` is not part of this release")]
    UnknownPackage {
        /// The package.
        package: PackageKey,
    },
    /// A step that the package cannot take.
    #[error("`{package}` is {from}: it cannot become {event}")]
    Transition {
        /// The package.
        package: PackageKey,
        /// How far it has come.
        from: Progress,
        /// What was to happen.
        event: String,
    },
    /// The bytes are no statement about a release.
    #[error("not a release statement: {reason}")]
    ReleaseStatement {
        /// What is wrong with it.
        reason: String,
    },
    /// A shard followed another plan.
    #[error("expected a shard of plan {expected}, found one of {found}")]
    ShardPlan {
        /// The plan to merge.
        expected: Digest,
        /// The shard's plan.
        found: Digest,
    },
    /// A shard says something about the release that isn't in the plan.
    #[error("the shard's `{field}` is not the plan's")]
    ShardField {
        /// The field of the manifest.
        field: &'static str,
    },
    /// A shard says something about a package that it may not say.
    #[error("the shard may not tell of `{package}`: {field}")]
    ShardPackage {
        /// The package.
        package: PackageKey,
        /// The field of the package.
        field: &'static str,
    },
    /// What says which job builds what is not a way to build the plan.
    #[error("the shards are not those of the plan: {reason}")]
    Shards {
        /// What was expected and found.
        reason: String,
    },
    /// No job has this number.
    #[error("there is no shard {shard}: expected one of the {count} of the plan")]
    UnknownShard {
        /// The number.
        shard: u32,
        /// How many there are.
        count: usize,
    },
    /// Packages that one job would have to build are built on several platforms.
    #[error(
        "`{package}` and `{other}` need each other and are built on different platforms: no job can build both"
    )]
    ShardPlatforms {
        /// The first one.
        package: PackageKey,
        /// One that is built elsewhere.
        other: Box<PackageKey>,
    },
    /// Platforms need each other's packages too often.
    #[error(
        "`{package}` needs packages that platforms build for each other in more than {waves} waves"
    )]
    ShardWaves {
        /// The package.
        package: PackageKey,
        /// How many waves there are.
        waves: u8,
    },
}

fn arrows(packages: &[PackageKey]) -> String {
    let names: Vec<String> = packages.iter().map(ToString::to_string).collect();
    names.join(" → ")
}
