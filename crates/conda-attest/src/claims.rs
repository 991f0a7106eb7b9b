//! What an attestation says it is about, before anything of it is believed.

use cep27::Sha256;
use serde::Deserialize;

use crate::bundle::Parsed;
use crate::{Error, Predicate};

/// What an attestation says it is about, read but not verified: enough to find the packages that
/// it is to be judged for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What kind of statement it is.
    pub predicate: Predicate,
    /// The predicate type as it stands there.
    pub predicate_type: String,
    /// Its subjects; any number, of whatever statement.
    pub subjects: Vec<Subject>,
}

/// Something that a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Its SHA-256, where it has a valid one.
    pub sha256: Option<Sha256>,
}

impl Claims {
    /// Reads what a bundle says it is about.
    ///
    /// # Errors
    /// When it is no bundle of a signed in-toto statement.
    pub fn of(bundle: &[u8]) -> Result<Self, Error> {
        let parsed = Parsed::from_json(bundle).map_err(|refusal| Error::Bundle {
            reason: refusal.message,
        })?;
        let statement: Statement =
            serde_json::from_slice(parsed.statement()).map_err(|error| Error::Bundle {
                reason: format!("it carries no in-toto statement: {error}"),
            })?;
        let subjects = statement.subject.into_iter().map(|subject| Subject {
            name: subject.name,
            sha256: subject.digest.sha256.and_then(|hash| hash.parse().ok()),
        });
        Ok(Self {
            predicate: Predicate::of(parsed.statement()),
            predicate_type: statement.predicate_type,
            subjects: subjects.collect(),
        })
    }
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: Option<String>,
    #[serde(default)]
    digest: Digests,
}

#[derive(Default, Deserialize)]
struct Digests {
    sha256: Option<String>,
}
