//! A client of the sandbox that is made of the real client crates.

use std::sync::Arc;

use sigstore_bundle::BundleV03;
use sigstore_crypto::KeyPair;
use sigstore_fulcio::FulcioClient;
use sigstore_rekor::{HashedRekordV2, RekorV2Client, RekorV2KeyDetails};
use sigstore_sandbox::{AUDIENCE, Sandbox};
use sigstore_sign::oidc::IdentityToken;
use sigstore_trust_root::{SigningConfig, TrustedRoot};
use sigstore_tsa::TimestampClient;
use sigstore_types::{
    Bundle, DerCertificate, DsseEnvelope, DsseSignature, KeyId, PayloadBytes, Sha256Hash,
    SignatureBytes, pae,
};
use sigstore_verify::{VerificationPolicy, Verifier};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An identity token for an audience, fetched as on GitHub Actions.
pub(crate) async fn token(sandbox: &Sandbox, audience: &str) -> Result<String> {
    let endpoint = sandbox.token_endpoint();
    let answer: serde_json::Value = reqwest::Client::new()
        .get(format!("{}&audience={audience}", endpoint.url))
        .bearer_auth(endpoint.bearer)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    Ok(answer["value"]
        .as_str()
        .ok_or("expected a token")?
        .to_owned())
}

pub(crate) fn statement(name: &str, artifact: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": name, "digest": { "sha256": sigstore_crypto::sha256(artifact).to_hex() } }],
        "predicateType": "https://schemas.conda.org/attestations-publish-1.schema.json",
        "predicate": { "targetChannel": "https://prefix.dev/my-channel" },
    }))
    .unwrap()
}

/// One key and one certificate, and the clients that the signing config leads to.
pub(crate) struct Session {
    pub(crate) key: KeyPair,
    pub(crate) certificate: DerCertificate,
    pub(crate) rekor: RekorV2Client,
    tsa: TimestampClient,
}

impl Session {
    pub(crate) async fn open(sandbox: &Sandbox) -> Result<Self> {
        Self::open_with(sandbox, &token(sandbox, AUDIENCE).await?).await
    }

    pub(crate) async fn open_with(sandbox: &Sandbox, token: &str) -> Result<Self> {
        let config = SigningConfig::from_file(sandbox.signing_config())?;
        let services = sigstore_sign::SigningServices::from_signing_config(&config)?;
        let key = KeyPair::generate_ecdsa_p256()?;
        let fulcio = FulcioClient::new(services.fulcio_url())?;
        let certificate = fulcio
            .create_signing_certificate(&IdentityToken::from_jwt(token)?, &key)
            .await?;
        Ok(Self {
            key,
            certificate: certificate.leaf_certificate().clone(),
            rekor: RekorV2Client::builder(services.rekor_url()).build()?,
            tsa: TimestampClient::new(services.tsa_url().ok_or("expected a timestamp authority")?)?,
        })
    }

    /// Signs a DSSE envelope's bytes: the signature and the log entry that goes with it.
    pub(crate) fn entry(&self, statement: &[u8]) -> Result<(SignatureBytes, HashedRekordV2)> {
        let pae = pae(IN_TOTO, statement);
        let signature = self.key.sign(&pae)?;
        let entry = HashedRekordV2::new_with_certificate(
            &sigstore_crypto::sha256(&pae),
            &signature,
            &self.certificate,
            RekorV2KeyDetails::PkixEcdsaP256Sha256,
        );
        Ok((signature, entry))
    }

    pub(crate) async fn sign(&self, statement: Vec<u8>) -> Result<Bundle> {
        let (signature, entry) = self.entry(&statement)?;
        let logged = self.rekor.create_entry(entry).await?;
        let timestamp = self.tsa.timestamp_signature(&signature).await?;
        let signature = DsseSignature::new(signature, KeyId::default());
        let envelope =
            DsseEnvelope::new(IN_TOTO.to_owned(), PayloadBytes::new(statement), signature);
        Ok(
            BundleV03::with_certificate_and_dsse(self.certificate.clone(), envelope)
                .with_tlog_entry(logged)
                .with_rfc3161_timestamp(timestamp)
                .into_bundle(),
        )
    }
}

/// Signs this many statements at once under one certificate.
pub(crate) async fn sign_many(sandbox: &Sandbox, count: usize) -> Result<Vec<(Vec<u8>, Bundle)>> {
    let session = Arc::new(Session::open(sandbox).await?);
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let session = Arc::clone(&session);
            let artifact = format!("package {number}").into_bytes();
            tokio::spawn(async move {
                let bundle = session
                    .sign(statement(&format!("p-{number}-0.conda"), &artifact))
                    .await?;
                Result::Ok((artifact, bundle))
            })
        })
        .collect();
    let mut signed = Vec::new();
    for task in tasks {
        signed.push(task.await??);
    }
    Ok(signed)
}

/// Verifies offline, with the trusted root alone.
pub(crate) fn verify(
    trusted_root: &std::path::Path,
    artifact: &[u8],
    bundle: &Bundle,
) -> Result<()> {
    let verifier = Verifier::new(&TrustedRoot::from_file(trusted_root)?)?;
    let policy = VerificationPolicy::new(sigstore_sandbox::IDENTITY, sigstore_sandbox::ISSUER);
    let digest: Sha256Hash = sigstore_crypto::sha256(artifact);
    verifier.verify(digest, bundle, &policy)?;
    Ok(())
}
