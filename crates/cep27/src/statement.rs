//! The statement that we write, and its one serialisation.

use serde::Serialize;

use crate::{FileName, Sha256, TargetChannel};

/// The type of an in-toto Statement v1 (CEP-27 rule 1).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The type of the conda publish predicate (CEP-27 rule 2).
pub const PREDICATE_TYPE: &str = "https://schemas.conda.org/attestations-publish-1.schema.json";
/// The JSON schema of the conda publish predicate, as CEP-27 specifies it.
///
/// It is weaker than the rules: it lets a trailing slash pass, and `format: uri` is only an
/// annotation to most validators. [`validate_predicate`](crate::validate_predicate) is exact.
pub const PREDICATE_SCHEMA: &str = include_str!("../schema/attestations-publish-1.schema.json");
/// The payload type of a DSSE envelope around an in-toto statement.
pub const DSSE_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// The statement that a package is published to a channel, as we write it.
///
/// ```
/// let statement = cep27::Statement::new(
///     &"libgreet-1.0.0-h123_0.conda".parse()?,
///     cep27::Sha256::from_bytes([0xab; 32]),
///     &"https://prefix.dev/my-channel".parse()?,
/// );
/// assert!(cep27::validate_statement(&statement.to_json()).is_ok());
/// # Ok::<(), cep27::NameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: [Subject; 1],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate,
}

/// What a publish attestation says about its subject: where it is published to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// The channel, by the URL that clients read.
    pub target_channel: TargetChannel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Subject {
    name: FileName,
    digest: DigestSet,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct DigestSet {
    sha256: Sha256,
}

impl Statement {
    /// States that the package of this file name and digest is published to this channel.
    #[must_use]
    pub fn new(file: &FileName, sha256: Sha256, channel: &TargetChannel) -> Self {
        Self {
            statement_type: STATEMENT_TYPE,
            subject: [Subject {
                name: file.clone(),
                digest: DigestSet { sha256 },
            }],
            predicate_type: PREDICATE_TYPE,
            predicate: Predicate {
                target_channel: channel.clone(),
            },
        }
    }

    /// The package's file name.
    #[must_use]
    pub fn file(&self) -> &FileName {
        let [subject] = &self.subject;
        &subject.name
    }

    /// The package's digest.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        let [subject] = &self.subject;
        subject.digest.sha256
    }

    /// The predicate.
    #[must_use]
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    /// The statement's one serialisation, the bytes to sign: compact JSON, members in the order
    /// of the CEP.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

impl Predicate {
    /// The predicate's one serialisation: compact JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

#[expect(clippy::expect_used, reason = "strings in structs always serialise")]
fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings in structs")
}
