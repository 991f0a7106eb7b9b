//! Statements about artifacts of any kind: what is left when there is no conda package.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use cep27::Sha256;
use release_manifest::Source;
use serde::Deserialize;

use crate::bundle::Parsed;
use crate::certificate::Certificate;
use crate::retry::{Deadline, Retry};
use crate::services::Services;
use crate::verdict::{CheckName, Refusal};
use crate::{Error, Evidence, IdentitySource, Policy, Reporter, Trust, Verifier};

/// How long one request may take: Rekor v2 answers when a checkpoint covers the entry.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(25);

/// Why a bundle is refused.
#[derive(Clone, Debug)]
pub struct Refused {
    check: CheckName,
    refusal: Refusal,
}

impl Refused {
    /// The check that failed.
    #[must_use]
    pub fn check(&self) -> CheckName {
        self.check
    }

    /// A stable, machine-readable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.refusal.reason
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check.code(), self.refusal.message)
    }
}

impl std::error::Error for Refused {}

impl Verifier {
    /// Judges a bundle about an artifact of any kind by the rules of Sigstore and the policy alone:
    /// an in-toto statement about that digest, or a signature over it, logged, by one who may.
    ///
    /// It says nothing about a conda package: [`verify`](Self::verify) does.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify_artifact(
        &self,
        sha256: Sha256,
        bundle: &[u8],
        policy: &Policy,
    ) -> Result<Evidence, Refused> {
        let refused = |check| move |refusal| Refused { check, refusal };
        let parsed = Parsed::any(bundle).map_err(refused(CheckName::Bundle))?;
        let proved = self
            .prove(&parsed, sha256)
            .map_err(|(check, refusal)| Refused { check, refusal })?;
        policy
            .check(&proved.certificate)
            .map_err(refused(CheckName::Identity))?;
        Ok(self.evidence(&parsed, &proved, None))
    }
}

/// Signs an in-toto statement about an artifact of any kind, under a certificate for it alone, has
/// it logged, and verifies the bundle as anybody else would. The bundle, as JSON.
///
/// It is [`sign`](crate::sign) that knows how to attest packages, many at once.
///
/// # Errors
/// When the statement has no subject with a SHA-256, there is no identity or no certificate, the
/// services do not answer before the `deadline`, or the bundle does not verify.
pub async fn sign_statement(
    trust: &Trust,
    identity: &dyn IdentitySource,
    statement: &[u8],
    deadline: Duration,
    reporter: &dyn Reporter,
) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Key {
        what: "a statement".to_owned(),
        reason,
    };
    let subject = subject_of(statement)
        .ok_or_else(|| failed("expected an in-toto statement about a SHA-256".to_owned()))?;
    let services = Services::new(trust, NonZeroUsize::MIN, REQUEST_TIMEOUT)?;
    let verifier = Verifier::new(trust)?;
    let token = identity.token().await?;
    token.check(trust.audience())?;
    let retry = Retry::new(Deadline::after(deadline), reporter);
    let unknown = Source {
        repository: None,
        commit: None,
        dirty: false,
    };
    let certificate = Certificate::request(&services, &token, &unknown, &retry).await?;
    let bundle = certificate
        .sign(&services, statement, &retry)
        .await?
        .ok_or_else(|| failed("the transparency log has a new signature already".to_owned()))?;
    let policy = Policy::exactly(certificate.identity(), certificate.issuer());
    verifier
        .verify_artifact(subject, &bundle, &policy)
        .map_err(|refused| failed(refused.to_string()))?;
    Ok(bundle)
}

/// The SHA-256 of a statement's first subject.
fn subject_of(statement: &[u8]) -> Option<Sha256> {
    #[derive(Deserialize)]
    struct Statement {
        subject: Vec<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: Digest,
    }
    #[derive(Deserialize)]
    struct Digest {
        sha256: Sha256,
    }
    let statement: Statement = serde_json::from_slice(statement).ok()?;
    Some(statement.subject.first()?.digest.sha256)
}
