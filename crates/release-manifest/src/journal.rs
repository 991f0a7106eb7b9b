//! The journal: what happened, one line an entry.

use cep27::Sha256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::wire;
use crate::{
    Attestation, ChannelPackage, Digest, Error, PackageError, PackageKey, Progress, Published,
    RelativePath, SchemaName, SchemaVersion, Timestamp, document,
};

/// Something that happened to a package, as one line of the journal.
///
/// Appended and brought to disk before anything builds upon it, so that a killed run loses
/// nothing that it was told. [`Manifest::entry`](crate::Manifest::entry) makes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// The version of this document.
    pub schema_version: SchemaVersion,
    /// The number of the entry, counted from 1 through the life of an output folder. The manifest
    /// knows how many it contains: a run that is killed between writing the manifest and emptying
    /// the journal leaves entries behind that must not count twice.
    pub sequence: u64,
    /// When it happened.
    pub at: Timestamp,
    /// The plan that was being followed.
    pub plan_digest: Digest,
    /// The package it happened to.
    pub package: PackageKey,
    /// What happened.
    pub event: Event,
}

/// What can happen to a package. See [`Manifest::apply`](crate::Manifest::apply) for when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// Its file was made.
    Built {
        /// The digest of the file.
        #[schemars(with = "wire::Sha256")]
        sha256: Sha256,
        /// The size of the file in bytes.
        size: u64,
        /// How long it took.
        milliseconds: u64,
        /// The log, relative to the manifest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<RelativePath>,
    },
    /// Its tests passed.
    Tested {
        /// How long they took.
        milliseconds: u64,
    },
    /// Its tests will not be run.
    TestsSkipped {
        /// Why.
        reason: String,
    },
    /// It was signed, and the bundle verified.
    Attested {
        /// The attestation.
        attestation: Attestation,
        /// How long it took.
        milliseconds: u64,
    },
    /// It is in the channel.
    Published {
        /// Where.
        published: Published,
        /// How long it took.
        milliseconds: u64,
    },
    /// It is there for clients of the channel.
    Seen,
    /// It is left out of this release.
    Skipped {
        /// Why.
        reason: String,
        /// The channel's package of the same name, where that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_channel: Option<ChannelPackage>,
    },
    /// Its next step failed.
    Failed {
        /// How.
        error: PackageError,
    },
    /// Its next step will not be tried, since others failed.
    Blocked {
        /// The packages that failed.
        by: Vec<PackageKey>,
    },
    /// What was recorded proved wrong, and is to be done again.
    Returned {
        /// The last step that still holds.
        to: Progress,
        /// What was found.
        reason: String,
    },
}

/// What a killed run left of the last line of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Torn {
    /// How many bytes. They end the journal and must be cut off before it is written to again.
    pub bytes: usize,
}

impl Torn {
    /// Whether the journal ends in a torn line.
    #[must_use]
    pub fn is_torn(self) -> bool {
        self.bytes > 0
    }
}

impl JournalEntry {
    /// The entry as one line of JSON, with the newline that makes it count.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        document::write_line(self)
    }
}

/// Most bytes of a journal: some two hundred thousand entries.
pub const JOURNAL_LIMIT: usize = 256 << 20;

/// Reads a journal. What follows the last newline is what a killed run was about to write: it is
/// reported, and otherwise ignored.
///
/// # Errors
/// When any whole line is no entry of this schema version: names its number, counted from 1.
pub fn read_journal(bytes: &[u8]) -> Result<(Vec<JournalEntry>, Torn), Error> {
    if bytes.len() > JOURNAL_LIMIT {
        return Err(Error::Size {
            document: SchemaName::Journal,
            limit: JOURNAL_LIMIT,
            found: bytes.len(),
        });
    }
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let (lines, torn) = bytes.split_at(whole);
    let entries = lines
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .map(|(index, line)| {
            document::read(SchemaName::Journal, line).map_err(|source| Error::JournalLine {
                number: index + 1,
                source: Box::new(source),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((entries, Torn { bytes: torn.len() }))
}
