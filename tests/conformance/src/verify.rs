//! `verify-bundle`: may this file be trusted because of this bundle?

use std::path::PathBuf;

use clap::Args;
use conda_attest::{Policy, Purpose, Trust, TrustOptions, TrustSource, Verifier};
use fs_err as fs;
use sigstore_types::{Bundle, DerPublicKey, bundle::MediaType};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy};

use crate::{Result, artifact::Subject};

/// Verify a bundle
#[derive(Args, Debug)]
pub(crate) struct VerifyBundle {
    /// By the trusted root of the staging instance, not the public-good one's
    #[arg(long)]
    staging: bool,

    /// The bundle
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,

    /// The subject of the certificate
    #[arg(long, value_name = "IDENTITY", requires = "certificate_oidc_issuer")]
    certificate_identity: Option<String>,

    /// Who vouches for it
    #[arg(long, value_name = "URL", requires = "certificate_identity")]
    certificate_oidc_issuer: Option<String>,

    /// The public key, for a bundle without a certificate
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "certificate_identity",
        required_unless_present = "certificate_identity"
    )]
    key: Option<PathBuf>,

    /// By this trusted root
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,

    /// What was signed, or its digest: `sha256:HEX`
    #[arg(value_name = "FILE_OR_DIGEST")]
    subject: String,
}

/// Whether the protocol accepts what conda-release refuses for this reason.
fn is_laxer(reason: &str, bundle: &Bundle) -> bool {
    match reason {
        // Bundles of the first version may have the log's promise alone.
        "no_inclusion_proof" | "no_checkpoint" => bundle.media_type() == MediaType::Bundle0_1,
        // Entries of the kind hashedrekord 0.0.1 may be about statements, too.
        "entry_kind" => true,
        // A package is known by its SHA-256 alone, other files by what the statement has of them.
        "artifact_mismatch" => true,
        _ => false,
    }
}

impl VerifyBundle {
    /// Judges as the library under conda-release does, and as conda-release does.
    pub(crate) async fn run(self) -> Result<()> {
        let trust = trust(self.staging, self.trusted_root, None, Purpose::Verify).await?;
        let verifier = Verifier::new(&trust)?;
        let json = fs::read(&self.bundle)?;
        let bundle = Bundle::from_json(std::str::from_utf8(&json)?)?;
        let subject = Subject::read(&self.subject)?;
        if let Some(key) = self.key {
            let key = DerPublicKey::from_pem(&fs::read_to_string(key)?)?;
            let policy = PublicKeyVerificationPolicy::new(key);
            verifier
                .library()
                .verify(subject.artifact(), &bundle, &policy)?;
            return Ok(());
        }
        let identity = self.certificate_identity.unwrap_or_default();
        let issuer = self.certificate_oidc_issuer.unwrap_or_default();
        let policy = VerificationPolicy::new(identity.as_str(), issuer.as_str());
        verifier
            .library()
            .verify(subject.artifact(), &bundle, &policy)?;
        let policy = Policy::exactly(identity, issuer);
        match verifier.verify_artifact(subject.sha256(), &json, &policy) {
            Err(refusal) if !is_laxer(refusal.reason(), &bundle) => Err(refusal.into()),
            Err(refusal) => {
                eprintln!("accepted by the protocol, though conda-release says: {refusal}");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// The trust material that the options name, by the code that conda-release has it from.
pub(crate) async fn trust(
    staging: bool,
    trusted_root: Option<PathBuf>,
    signing_config: Option<PathBuf>,
    purpose: Purpose,
) -> Result<Trust> {
    let source = match trusted_root {
        Some(path) => TrustSource::File {
            path,
            signing_config,
        },
        None if staging => TrustSource::Staging,
        None => TrustSource::PublicGood,
    };
    Ok(Trust::load(&source, &TrustOptions::new(purpose)).await?)
}
