//! What came out of verifying: every check by its name.

use std::fmt;

use release_manifest::{RELEASE_TYPE, Timestamp};
use serde::{Deserialize, Serialize};

use crate::provenance::PROVENANCE_TYPE;

/// What came out of verifying one attestation of one package, or of one release.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What kind of statement it is about.
    pub predicate: Predicate,
    /// Every check, in the order in which they are listed by [`CheckName`].
    pub checks: Vec<Check>,
    /// What the attestation proves; absent unless it is intact and logged.
    pub signed: Option<Evidence>,
    /// The rules of CEP-27 that the statement breaks.
    pub violations: Vec<cep27::Violation>,
}

impl Verdict {
    /// Whether every check passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks
            .iter()
            .all(|check| matches!(check.result, Outcome::Passed))
    }

    /// Whether the package is verified by it: every check passed, and it is a publish attestation.
    /// Provenance says how a package was built, and not that anybody published it.
    #[must_use]
    pub fn verifies_package(&self) -> bool {
        self.predicate == Predicate::Publish && self.passed()
    }

    /// The first check that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Check> {
        self.checks
            .iter()
            .find(|check| matches!(check.result, Outcome::Failed { .. }))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure() {
            None => f.write_str("verified"),
            Some(Check {
                name,
                result: Outcome::Failed { message, .. },
                ..
            }) => {
                write!(f, "{name}: {message}")
            }
            Some(check) => f.write_str(check.name),
        }
    }
}

/// What a statement says about its package, by its predicate type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Predicate {
    /// Who publishes it where: CEP-27.
    Publish,
    /// How it was built: SLSA provenance v1.
    Provenance,
    /// Which packages a release is made of: in-toto's release predicate.
    Release,
    /// Anything else, which CEP-27 rule 2 refuses; also what cannot be read.
    Other,
}

impl Predicate {
    /// The predicate of a statement as it was signed.
    pub(crate) fn of(statement: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Typed {
            #[serde(rename = "predicateType")]
            predicate_type: String,
        }
        match serde_json::from_slice::<Typed>(statement) {
            Ok(typed) if typed.predicate_type == cep27::PREDICATE_TYPE => Self::Publish,
            Ok(typed) if typed.predicate_type == PROVENANCE_TYPE => Self::Provenance,
            Ok(typed) if typed.predicate_type == RELEASE_TYPE => Self::Release,
            _ => Self::Other,
        }
    }
}

/// One named check of a verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// A stable, machine-readable name.
    pub code: &'static str,
    /// The name for people.
    pub name: &'static str,
    /// How it went.
    pub result: Outcome,
}

/// How a check went.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed {
        /// A stable, machine-readable reason.
        reason: &'static str,
        /// What was expected and what was found.
        message: String,
    },
    /// It could not be judged, since another check failed.
    Skipped,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckName {
    /// The file can be read and has the hash that was recorded.
    Package,
    /// The bundle is one, in every detail.
    Bundle,
    /// A trusted clock says when it was signed.
    Time,
    /// The certificate comes from a trusted authority, was logged, and was valid at that time.
    Certificate,
    /// Every log entry is proved to be in a trusted log, and is about this signature.
    Log,
    /// The signature over the statement verifies.
    Signature,
    /// The signer is one that the policy accepts.
    Identity,
    /// The certificate names the repository and commit that were built.
    Source,
    /// The statement keeps the rules of its predicate type and is about this package: for CEP-27
    /// also about this channel, for provenance about the run that its certificate names.
    Statement,
    /// `info/index.json` inside the package says the same as its file name and folder.
    Index,
    /// The manifest of a release has the bytes that were attested.
    Manifest,
}

impl CheckName {
    /// The check's stable, machine-readable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Bundle => "bundle",
            Self::Time => "time",
            Self::Certificate => "certificate",
            Self::Log => "log",
            Self::Signature => "signature",
            Self::Identity => "identity",
            Self::Source => "source",
            Self::Statement => "statement",
            Self::Index => "index",
            Self::Manifest => "manifest",
        }
    }

    /// The check with how it went; nothing when it could not be judged.
    pub(crate) fn judged(self, result: Option<Result<(), Refusal>>) -> Check {
        let result = match result {
            Some(Ok(())) => Outcome::Passed,
            Some(Err(Refusal { reason, message })) => Outcome::Failed { reason, message },
            None => Outcome::Skipped,
        };
        let name = match self {
            Self::Package => "package file",
            Self::Bundle => "bundle",
            Self::Time => "signing time",
            Self::Certificate => "certificate",
            Self::Log => "transparency log",
            Self::Signature => "signature",
            Self::Identity => "identity",
            Self::Source => "source",
            Self::Statement => "statement",
            Self::Index => "index.json",
            Self::Manifest => "release manifest",
        };
        Check {
            code: self.code(),
            name,
            result,
        }
    }
}

/// What an attestation proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The trust material that it was judged by.
    pub trust: String,
    /// Who signed: the subject alternative name of the certificate.
    pub identity: String,
    /// Who vouches for the identity.
    pub issuer: String,
    /// The source repository (.12), where the certificate names one.
    pub repository: Option<String>,
    /// Its commit (.13).
    pub commit: Option<String>,
    /// Its full ref (.14).
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    /// The workflow that was started (.18).
    pub workflow: Option<String>,
    /// The run of it that signed (.21).
    pub run: Option<String>,
    /// Whether it is in a transparency log. GitHub's own instance has none, and what nobody can see
    /// is not published.
    pub logged: bool,
    /// The index of the entry in its log, where it is authenticated.
    pub log_index: Option<u64>,
    /// When, by the earliest trusted clock.
    pub signed_at: Timestamp,
    /// The end of the certificate.
    pub certificate_not_after: Timestamp,
    /// The channel that the package was attested for.
    pub target_channel: Option<String>,
}

/// Why a check failed.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl From<&crate::Error> for Refusal {
    fn from(error: &crate::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}
