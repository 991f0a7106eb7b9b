//! Judging attestations by one trusted root.

use std::sync::Arc;

use cep27::{Expected, Sha256};
use release_manifest::{Source, Timestamp};
use sigstore_bundle::Error as Shape;
use sigstore_crypto::CertificateInfo;
use sigstore_types::Sha256Hash;
use sigstore_verify::{
    CertificateError, Error as Sigstore, TimestampError, TransparencyLogError, VerificationPolicy,
};

use crate::bundle::Parsed;
use crate::package::Contents;
use crate::trust::list;
use crate::verdict::{Check, CheckName, Evidence, Predicate, Refusal};
use crate::{Error, Package, Policy, Trust, Verdict, provenance_rules, source};

/// Judges attestations by one trusted root.
///
/// Its trust material is prepared once; a verifier can be shared between threads and judges a
/// bundle in a millisecond or two, and a package in the time it takes to hash it.
#[derive(Clone)]
pub struct Verifier {
    inner: Arc<sigstore_verify::Verifier>,
    trust: Arc<Trust>,
    source: Option<Source>,
}

/// The checks that are sigstore-verify's, in its order.
pub(crate) const CRYPTOGRAPHIC: [CheckName; 4] = [
    CheckName::Time,
    CheckName::Certificate,
    CheckName::Log,
    CheckName::Signature,
];

impl Verifier {
    /// Prepares the keys and certificates of a trusted root.
    ///
    /// # Errors
    /// When one of them is unusable.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        let inner = sigstore_verify::Verifier::new(trust.root()).map_err(|error| Error::Trust {
            path: trust.name().into(),
            what: "trusted root",
            reason: error.to_string(),
        })?;
        Ok(Self {
            inner: Arc::new(inner),
            trust: Arc::new(trust.clone()),
            source: None,
        })
    }

    /// Also checks that a certificate which names its source (.12, .13) names this one.
    #[must_use]
    pub fn with_source(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// The library's own verifier with the same trust, for bundles that are no attestations.
    #[must_use]
    pub fn library(&self) -> &sigstore_verify::Verifier {
        &self.inner
    }

    /// Judges one bundle for one package.
    ///
    /// Without `channel` the attested channel is not compared with anything. Every check that can
    /// be judged is, also after another has failed.
    pub fn verify(
        &self,
        package: impl Into<Package>,
        bundle: &[u8],
        policy: &Policy,
        channel: Option<&str>,
    ) -> Verdict {
        let package = package.into();
        let contents = Contents::read(&package.path, package.file.format());
        self.judge(&package, contents.as_ref(), bundle, policy, channel)
    }

    /// Judges several bundles for one package, which is read once; a verdict for each, in order.
    ///
    /// Any one that [verifies the package](Verdict::verifies_package) is enough.
    pub fn verify_all<B: AsRef<[u8]>>(
        &self,
        package: impl Into<Package>,
        bundles: &[B],
        policy: &Policy,
        channel: Option<&str>,
    ) -> Vec<Verdict> {
        let package = package.into();
        let contents = Contents::read(&package.path, package.file.format());
        let judge = |bundle: &B| {
            let bundle = bundle.as_ref();
            self.judge(&package, contents.as_ref(), bundle, policy, channel)
        };
        bundles.iter().map(judge).collect()
    }

    /// Judges one bundle for a package that has been read already.
    pub(crate) fn judge(
        &self,
        package: &Package,
        contents: Result<&Contents, &Error>,
        bundle: &[u8],
        policy: &Policy,
        channel: Option<&str>,
    ) -> Verdict {
        let parsed = Parsed::from_json(bundle);
        let parsed_ok = parsed.as_ref().ok();
        let material = parsed_ok.zip(contents.ok());
        let predicate =
            parsed_ok.map_or(Predicate::Other, |parsed| Predicate::of(parsed.statement()));
        let proof = material.map(|(parsed, contents)| self.prove(parsed, contents.sha256));
        // Claims of a certificate that is not proved to be genuine are not worth a comparison.
        let certificate = match &proof {
            Some(Ok(proved)) => Some(&proved.certificate),
            _ => None,
        };
        let statement = material.map(|(parsed, contents)| match predicate {
            Predicate::Provenance => {
                let (file, sha256) = (&package.file, contents.sha256);
                provenance_rules::check(parsed.statement(), file, sha256, certificate)
                    .map(|()| None)
                    .map_err(|refusal| (refusal, Vec::new()))
            }
            Predicate::Publish | Predicate::Release | Predicate::Other => {
                let expected = Expected {
                    file: &package.file,
                    sha256: contents.sha256,
                    channel,
                    subdir: package.subdir,
                };
                cep27::validate_against(parsed.statement(), &expected)
                    .map(|statement| statement.target_channel)
                    .map_err(|found| (Refusal::new("cep27_violation", list(&found)), found))
            }
        });

        let proof = proof.map(|proof| entry_for_statement(proof, matches!(statement, Some(Ok(_)))));
        let proved = proof.as_ref().and_then(|proof| proof.as_ref().ok());
        let certificate = proved.map(|proved| &proved.certificate);
        let by_library = |check| library_on(check, proof.as_ref());
        let by_rules = statement.as_ref().map(|statement| match statement {
            Err((refusal, _)) => Err(refusal.clone()),
            Ok(_) => by_library(CheckName::Statement).unwrap_or(Ok(())),
        });
        let by_index = contents.ok().map(|contents| {
            contents
                .check_index(&package.file, package.subdir)
                .map_err(|error| Refusal::from(&error))
        });

        let mut checks = vec![
            CheckName::Package.judged(Some(check_package(package, contents))),
            CheckName::Bundle.judged(Some(parsed.as_ref().map(drop).map_err(Clone::clone))),
        ];
        checks.extend(CRYPTOGRAPHIC.map(|check| check.judged(by_library(check))));
        let by_policy = certificate.map(|certificate| policy.check(certificate));
        checks.push(CheckName::Identity.judged(by_policy));
        checks.extend(self.check_source(certificate));
        checks.push(CheckName::Statement.judged(by_rules));
        checks.push(CheckName::Index.judged(by_index));

        let (target_channel, violations) = match statement {
            Some(Ok(target_channel)) => (target_channel, Vec::new()),
            Some(Err((_, violations))) => (None, violations),
            None => (None, Vec::new()),
        };
        let signed = parsed_ok
            .zip(proved)
            .map(|(parsed, proved)| self.evidence(parsed, proved, target_channel));
        Verdict {
            predicate,
            checks,
            signed,
            violations,
        }
    }

    /// Whether the certificate is of the source that was given, if one was.
    pub(crate) fn check_source(&self, certificate: Option<&CertificateInfo>) -> Option<Check> {
        let source = self.source.as_ref()?;
        let judged = certificate.map(|certificate| source::check(source, &certificate.ci_claims));
        Some(CheckName::Source.judged(judged))
    }

    /// What a proved bundle says of its making.
    pub(crate) fn evidence(
        &self,
        parsed: &Parsed,
        proved: &Proved,
        target_channel: Option<String>,
    ) -> Evidence {
        let certificate = &proved.certificate;
        let identity = certificate.identity.as_ref().map(ToString::to_string);
        let claims = &certificate.ci_claims;
        Evidence {
            trust: self.trust.name().to_owned(),
            identity: identity.unwrap_or_default(),
            issuer: certificate.issuer.clone().unwrap_or_default(),
            repository: claims.source_repository_uri.clone(),
            commit: claims.source_repository_digest.clone(),
            git_ref: claims.source_repository_ref.clone(),
            workflow: claims.build_config_uri.clone(),
            run: claims.run_invocation_uri.clone(),
            logged: proved.logged,
            log_index: parsed.log_index(),
            signed_at: proved.signed_at,
            certificate_not_after: Timestamp::from_unix(certificate.not_after.as_second()),
            target_channel,
        }
    }

    /// Whether a genuine certificate signed and logged this statement about this artifact, while it
    /// was valid.
    pub(crate) fn prove(&self, parsed: &Parsed, sha256: Sha256) -> Proof {
        let logged = !parsed.is_github();
        if logged {
            parsed
                .check_log(self.trust.root())
                .map_err(|refusal| (CheckName::Log, refusal))?;
        } else if !self.trust.is_github() {
            let message = "GitHub's own instance signed it, for a private repository and without \
                           a public log; only `--trust github` verifies that";
            let refusal = Refusal::new("github_instance", message);
            return Err((CheckName::Certificate, refusal));
        }
        // Who signed is judged by our policy, which knows more than identity and issuer.
        let policy = match logged {
            true => VerificationPolicy::any_identity(),
            false => unlogged(),
        };
        let digest = Sha256Hash::from(*sha256.as_bytes());
        let proof = self
            .inner
            .verify(digest, &parsed.bundle, &policy)
            .map_err(|error| blame(&error))?;
        parsed
            .check_envelope_hashes()
            .map_err(|refusal| (CheckName::Log, refusal))?;
        // The policy above asks for all of it; this holds against a change of the library's mind.
        let in_logs = proof.sct_verified() && proof.tlog_verified();
        let complete = proof.certificate_verified() && (in_logs || !logged);
        let earliest = proof.verified_timestamps().iter().min();
        let verified = earliest.zip(proof.certificate()).filter(|_| complete);
        let (signed_at, certificate) = verified.ok_or_else(|| {
            let message = "the library verified less than it was asked for";
            (
                CheckName::Time,
                Refusal::new("incomplete_verification", message),
            )
        })?;
        Ok(Proved {
            certificate: certificate.clone(),
            signed_at: Timestamp::from_unix(signed_at.as_second()),
            logged,
        })
    }
}

/// What is asked of GitHub's own instance: its certificates are in no CT log, its signatures in no
/// transparency log, and the time is that of its timestamp authority.
#[expect(
    clippy::disallowed_methods,
    reason = "GitHub's own instance has no logs; it is trusted only when asked for by name"
)]
fn unlogged() -> VerificationPolicy {
    VerificationPolicy::any_identity()
        .skip_sct()
        .skip_tlog_unsafe()
}

/// What came of [`Verifier::prove`].
pub(crate) type Proof = Result<Proved, (CheckName, Refusal)>;

/// Where the statement is good, it is a log entry that is about something else.
pub(crate) fn entry_for_statement(proof: Proof, is_good_statement: bool) -> Proof {
    proof.map_err(|(blamed, refusal)| match blamed {
        CheckName::Statement if is_good_statement => {
            let refusal = Refusal::new("entry_mismatch", refusal.message);
            (CheckName::Log, refusal)
        }
        _ => (blamed, refusal),
    })
}

/// What the library found about a check. It stops at its first error: what else it would have
/// found is not known.
pub(crate) fn library_on(check: CheckName, proof: Option<&Proof>) -> Option<Result<(), Refusal>> {
    match proof {
        Some(Ok(_)) => Some(Ok(())),
        Some(Err((blamed, refusal))) if *blamed == check => Some(Err(refusal.clone())),
        _ => None,
    }
}

/// A certificate that is genuine, and when it signed.
pub(crate) struct Proved {
    pub(crate) certificate: CertificateInfo,
    signed_at: Timestamp,
    logged: bool,
}

fn check_package(package: &Package, contents: Result<&Contents, &Error>) -> Result<(), Refusal> {
    let contents = contents.map_err(Refusal::from)?;
    match package.sha256 {
        Some(expected) if expected != contents.sha256 => {
            let error = Error::Changed {
                file: package.file.clone(),
                expected,
                found: contents.sha256,
            };
            Err(Refusal::from(&error))
        }
        _ => Ok(()),
    }
}

/// Which of our checks an error of the library belongs to.
fn blame(error: &Sigstore) -> (CheckName, Refusal) {
    let (check, reason) = match error {
        Sigstore::Certificate(error) => (
            CheckName::Certificate,
            match error {
                CertificateError::Malformed(_) => "malformed_certificate",
                CertificateError::NoValidAuthority { .. } => "no_valid_authority",
                CertificateError::NotYetValid { .. } => "certificate_not_yet_valid",
                CertificateError::Expired { .. } => CERTIFICATE_EXPIRED,
                // The chain is checked first, and the text is all that the library tells of it.
                CertificateError::ChainInvalid(text) if text.contains("CertExpired") => {
                    CERTIFICATE_EXPIRED
                }
                CertificateError::ChainInvalid(text) if text.contains("CertNotValidYet") => {
                    "certificate_not_yet_valid"
                }
                CertificateError::Sct(_) => "sct",
                _ => "untrusted_certificate",
            },
        ),
        Sigstore::TransparencyLog(error) => (
            CheckName::Log,
            match error {
                TransparencyLogError::UnknownLog { .. } => "unknown_log",
                TransparencyLogError::InclusionProof(_) => "inclusion_proof",
                TransparencyLogError::Checkpoint(_) => "checkpoint",
                TransparencyLogError::InclusionPromise(_) => "inclusion_promise",
                TransparencyLogError::EntryMismatch(_) => "entry_mismatch",
                TransparencyLogError::IntegratedTime(_) => "integrated_time",
                _ => "log_entry",
            },
        ),
        Sigstore::Timestamp(error) => (
            CheckName::Time,
            match error {
                TimestampError::NoVerifiedTimestamp(_) => "no_verified_time",
                TimestampError::OutsideAuthorityValidity { .. } => "timestamp_authority_window",
                _ => "invalid_timestamp",
            },
        ),
        Sigstore::ArtifactMismatch(_) => (CheckName::Statement, "artifact_mismatch"),
        Sigstore::Bundle(Shape::MissingSigningTimeEvidence | Shape::MissingTimestamp) => {
            (CheckName::Time, "no_verified_time")
        }
        // What else a bundle of its version needs is about its log entries.
        Sigstore::Bundle(_) => (CheckName::Log, "log_entry"),
        // The shape of the bundle is known to be right: it is what it holds.
        Sigstore::InvalidBundle(_) | Sigstore::UnsupportedBundle(_) => {
            (CheckName::Statement, "unusable_statement")
        }
        // All else is about the key and the signature.
        _ => (CheckName::Signature, "invalid_signature"),
    };
    (check, Refusal::new(reason, error.to_string()))
}

/// The reason given when a timestamp is later than the end of the certificate.
pub(crate) const CERTIFICATE_EXPIRED: &str = "certificate_expired";
