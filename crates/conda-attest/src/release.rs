//! The attestation of a whole release, signed with its packages.

use std::path::{Path, PathBuf};

use cep27::Sha256;
use release_manifest::{Difference, ReleaseStatement, Timestamp};

use crate::bundle::Parsed;
use crate::sign::{Subject, write};
use crate::verdict::{CheckName, Predicate, Refusal};
use crate::verify::{CRYPTOGRAPHIC, entry_for_statement, library_on};
use crate::{Error, Policy, Session, Verdict, Verifier};

/// An attestation of a release that was made, verified and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRelease {
    /// The bundle's file.
    pub bundle: PathBuf,
    /// The hash of that file.
    pub bundle_sha256: Sha256,
    /// Who signed: the subject alternative name of the certificate.
    pub identity: String,
    /// Who vouches for the identity.
    pub issuer: String,
    /// The index of its entry in the transparency log.
    pub log_index: Option<u64>,
    /// When, by the timestamp authority or the log.
    pub signed_at: Timestamp,
}

impl Session<'_> {
    /// Attests a release under the certificate of its packages, which are signed by now: has its
    /// statement logged, verifies the bundle, and writes it to `bundle`, whole or not at all.
    ///
    /// # Errors
    /// When there is no identity or no certificate any more, the services do not answer before the
    /// deadline, the bundle does not verify or cannot be written.
    pub async fn sign_release(
        &self,
        release: &ReleaseStatement,
        bundle: &Path,
    ) -> Result<SignedRelease, Error> {
        self.require_certificate().await?;
        let made = self.make(Subject::Release(release), &self.retry()).await?;
        write(bundle, made.bundle).await?;
        Ok(SignedRelease {
            bundle: bundle.to_owned(),
            bundle_sha256: made.sha256,
            identity: made.evidence.identity,
            issuer: made.evidence.issuer,
            log_index: made.evidence.log_index,
            signed_at: made.evidence.signed_at,
        })
    }
}

impl Verifier {
    /// Judges a bundle about a release by the rules of Sigstore, by the policy, and by what the
    /// release's manifest says now: its own bytes and the packages that it has attested, no fewer
    /// and no more.
    ///
    /// That the manifest has changed since is a check of its own, [`CheckName::Manifest`]: where it
    /// alone fails, the statement is genuine and about these packages. Of the packages' own
    /// attestations it says nothing: [`verify`](Self::verify) does.
    pub fn verify_release(
        &self,
        release: &ReleaseStatement,
        bundle: &[u8],
        policy: &Policy,
    ) -> Verdict {
        let parsed = Parsed::from_json(bundle);
        let parsed_ok = parsed.as_ref().ok();
        let statement = parsed_ok.map(|parsed| ReleaseStatement::from_json(parsed.statement()));
        let attested = match &statement {
            Some(Ok(statement)) => statement,
            _ => release,
        };
        let difference = release.difference(attested);
        let is_changed = matches!(difference, Some(Difference::Manifest { .. }));
        let by_rules = statement
            .as_ref()
            .map(|statement| match (statement, &difference) {
                (Err(error), _) => Err(Refusal::new("release_malformed", error.to_string())),
                (Ok(_), Some(difference)) if !is_changed => {
                    Err(Refusal::new("release_mismatch", difference.to_string()))
                }
                (Ok(_), _) => Ok(()),
            });
        let by_bytes = matches!(by_rules, Some(Ok(()))).then(|| match &difference {
            Some(difference) => Err(Refusal::new("manifest_changed", difference.to_string())),
            None => Ok(()),
        });

        let proof = parsed_ok.map(|parsed| {
            let proof = self.prove(parsed, attested.manifest());
            entry_for_statement(proof, matches!(statement, Some(Ok(_))))
        });
        let proved = proof.as_ref().and_then(|proof| proof.as_ref().ok());
        let certificate = proved.map(|proved| &proved.certificate);
        let mut checks =
            vec![CheckName::Bundle.judged(Some(parsed.as_ref().map(drop).map_err(Clone::clone)))];
        checks.extend(CRYPTOGRAPHIC.map(|check| check.judged(library_on(check, proof.as_ref()))));
        let by_policy = certificate.map(|certificate| policy.check(certificate));
        checks.push(CheckName::Identity.judged(by_policy));
        checks.extend(self.check_source(certificate));
        checks.push(CheckName::Statement.judged(by_rules));
        checks.push(CheckName::Manifest.judged(by_bytes));
        Verdict {
            predicate: parsed_ok
                .map_or(Predicate::Other, |parsed| Predicate::of(parsed.statement())),
            checks,
            signed: parsed_ok
                .zip(proved)
                .map(|(parsed, proved)| self.evidence(parsed, proved, None)),
            violations: Vec::new(),
        }
    }
}
