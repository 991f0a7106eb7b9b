//! The rules of CEP-27 by number.

use std::fmt;

use serde::{Serialize, Serializer};

/// A rule of CEP-27, by the number this crate's documentation and messages give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// 0: the text is one JSON document of a known kind. Not a rule of the CEP's own, but what
    /// its words stand on.
    Document = 0,
    /// 1: `_type` is the in-toto Statement v1.
    StatementType = 1,
    /// 2: `predicateType` is the conda publish predicate.
    PredicateType = 2,
    /// 3: `subject` is a single resource descriptor.
    SingleSubject = 3,
    /// 4: the subject's name is the package's full file name.
    SubjectName = 4,
    /// 5: the subject's digest is a digest set of one entry, `sha256`.
    SubjectDigest = 5,
    /// 6: the predicate is absent, null, or an object with `targetChannel`.
    Predicate = 6,
    /// 7: `targetChannel` is a valid URL without trailing slash.
    TargetChannel = 7,
    /// 8: type, name and digest match the package, and the channel where it came from.
    Match = 8,
    /// 9: servers verify as clients do. Nothing in a document can break it: clients and servers
    /// call the same [`validate_against`](crate::validate_against).
    SameForServers = 9,
    /// 10: a broken MUST is an error. Nothing in a document can break it: every
    /// [`Violation`](crate::Violation) is an error, and there are no warnings to overlook.
    MustIsAnError = 10,
}

impl Rule {
    /// Every rule, by number.
    pub const ALL: [Self; 11] = [
        Self::Document,
        Self::StatementType,
        Self::PredicateType,
        Self::SingleSubject,
        Self::SubjectName,
        Self::SubjectDigest,
        Self::Predicate,
        Self::TargetChannel,
        Self::Match,
        Self::SameForServers,
        Self::MustIsAnError,
    ];

    /// The rule's number, 0 to 10.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The rule in one sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Document => {
                "the document is one JSON text of a known kind, without duplicate keys"
            }
            Self::StatementType => "`_type` MUST be `https://in-toto.io/Statement/v1`",
            Self::PredicateType => {
                "`predicateType` MUST be `https://schemas.conda.org/attestations-publish-1.schema.json`"
            }
            Self::SingleSubject => "`subject` MUST be a single ResourceDescriptor",
            Self::SubjectName => {
                "`subject[0].name` MUST be the full file name, as in repodata.json and on the server"
            }
            Self::SubjectDigest => {
                "`subject[0].digest` MUST be a DigestSet with a single entry, `sha256`"
            }
            Self::Predicate => {
                "`predicate` MAY be absent or null; else it MUST be an object with `targetChannel`"
            }
            Self::TargetChannel => "`targetChannel` MUST be a valid URL with no trailing slash",
            Self::Match => {
                "predicateType, name and digest MUST match the package, `targetChannel` SHOULD match its channel"
            }
            Self::SameForServers => "servers MUST verify as clients do",
            Self::MustIsAnError => "a broken MUST is an error",
        }
    }
}

impl fmt::Display for Rule {
    /// `CEP-27 rule 5`, or `document` for what comes before the rules.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("document"),
            rule => write!(f, "CEP-27 rule {}", rule.number()),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}
