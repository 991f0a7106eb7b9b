//! A client of the sandbox that is made of the real client crates.

use std::sync::Arc;

use sigstore_bundle::BundleV03;
use sigstore_crypto::KeyPair;
use sigstore_fulcio::FulcioClient;
use sigstore_rekor::{DsseEntry, HashedRekordV2, RekorClient, RekorV2Client, RekorV2KeyDetails};
use sigstore_sandbox::{AUDIENCE, Sandbox};
use sigstore_sign::oidc::IdentityToken;
use sigstore_trust_root::TrustedRoot;
use sigstore_tsa::TimestampClient;
use sigstore_types::{
    Bundle, DerCertificate, DsseEnvelope, DsseSignature, KeyId, KindVersion, PayloadBytes,
    Sha256Hash, SignatureBytes, pae,
};
use sigstore_verify::{VerificationPolicy, Verifier};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// The JSON of one of the sandbox's files.
pub(crate) fn json(path: impl AsRef<std::path::Path>) -> serde_json::Value {
    serde_json::from_slice(&fs_err::read(path.as_ref()).unwrap()).unwrap()
}

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
    pub(crate) rekor_v1: RekorClient,
    tsa: Option<TimestampClient>,
}

impl Session {
    pub(crate) async fn open(sandbox: &Sandbox) -> Result<Self> {
        Self::open_with(sandbox, &token(sandbox, AUDIENCE).await?).await
    }

    pub(crate) async fn open_with(sandbox: &Sandbox, token: &str) -> Result<Self> {
        let config = json(sandbox.signing_config());
        let url = |services: &str| config[services][0]["url"].as_str();
        let rekor = url("rekorTlogUrls").ok_or("expected a log")?;
        let key = KeyPair::generate_ecdsa_p256()?;
        let fulcio = FulcioClient::new(url("caUrls").ok_or("expected an authority")?)?;
        let certificate = fulcio
            .create_signing_certificate(&IdentityToken::from_jwt(token)?, &key)
            .await?;
        Ok(Self {
            key,
            certificate: certificate.leaf_certificate().clone(),
            rekor: RekorV2Client::new(rekor)?,
            rekor_v1: RekorClient::new(rekor)?,
            tsa: url("tsaUrls").map(TimestampClient::new).transpose()?,
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
        let tsa = self.tsa.as_ref().ok_or("expected a timestamp authority")?;
        let timestamp = tsa.timestamp_signature(&signature).await?;
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

    /// Signs a statement for Rekor v1.
    pub(crate) fn envelope(&self, statement: Vec<u8>) -> Result<DsseEnvelope> {
        let signature = self.key.sign(&pae(IN_TOTO, &statement))?;
        let signature = DsseSignature::new(signature, KeyId::default());
        Ok(DsseEnvelope::new(
            IN_TOTO.to_owned(),
            PayloadBytes::new(statement),
            signature,
        ))
    }

    /// Signs with Rekor v1, whose promise is the only source of time.
    pub(crate) async fn sign_v1(&self, statement: Vec<u8>) -> Result<Bundle> {
        let envelope = self.envelope(statement)?;
        let entry = DsseEntry::new(&envelope, &self.certificate)?;
        let logged = self.rekor_v1.create_dsse_entry(entry).await?;
        Ok(
            BundleV03::with_certificate_and_dsse(self.certificate.clone(), envelope)
                .with_tlog_entry(logged.to_bundle_entry(KindVersion::DsseV001)?)
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
