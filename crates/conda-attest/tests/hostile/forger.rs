//! Signs whatever it is given, with the real services of a sandbox: what somebody with a valid
//! identity and bad intentions can do.

use cep27::DSSE_PAYLOAD_TYPE;
use conda_attest::PackageFile;
use serde_json::Value;
use sigstore_bundle::BundleV03;
use sigstore_crypto::{KeyPair, sha256};
use sigstore_fulcio::FulcioClient;
use sigstore_rekor::{DsseEntry, HashedRekordV2, RekorClient, RekorV2Client, RekorV2KeyDetails};
use sigstore_sandbox::{AUDIENCE, RekorVersions, Sandbox};
use sigstore_tsa::TimestampClient;
use sigstore_types::{
    DerCertificate, DsseEnvelope, DsseSignature, KeyId, KindVersion, PayloadBytes,
};

use crate::support::CHANNEL;

pub(crate) struct Forger<'a> {
    sandbox: &'a Sandbox,
    rekor: RekorVersions,
    key: KeyPair,
    certificate: DerCertificate,
}

impl<'a> Forger<'a> {
    /// With a certificate for the sandbox's identity.
    pub(crate) async fn new(sandbox: &'a Sandbox, rekor: RekorVersions) -> Self {
        let key = KeyPair::generate_ecdsa_p256().unwrap();
        let token = sandbox.token(AUDIENCE).unwrap();
        let token = sigstore_oidc::IdentityToken::from_jwt(&token).unwrap();
        let fulcio = FulcioClient::builder(sandbox.url()).build().unwrap();
        let certificate = fulcio
            .create_signing_certificate(&token, &key)
            .await
            .unwrap()
            .leaf_certificate()
            .clone();
        Self {
            sandbox,
            rekor,
            key,
            certificate,
        }
    }

    /// The publish attestation of a package, as it should be.
    pub(crate) async fn attest(&self, package: &PackageFile) -> Value {
        let channel = CHANNEL.parse().unwrap();
        let statement = cep27::Statement::new(&package.file, package.sha256, &channel).to_json();
        let bundle = self.sign_bytes(DSSE_PAYLOAD_TYPE, &statement).await;
        serde_json::from_slice(&bundle).unwrap()
    }

    /// A bundle that is good in every way but for what its statement says.
    pub(crate) async fn sign(&self, statement: &Value) -> Vec<u8> {
        let statement = serde_json::to_vec(statement).unwrap();
        self.sign_bytes(DSSE_PAYLOAD_TYPE, &statement).await
    }

    /// A bundle of any bytes, as any type.
    pub(crate) async fn sign_bytes(&self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        self.sign_and_log(payload_type, payload, |entry| entry)
            .await
    }

    /// A bundle of any bytes, as any type, whose entry for Rekor v1 is not sent as it was made.
    pub(crate) async fn sign_and_log(
        &self,
        payload_type: &str,
        payload: &[u8],
        change: impl FnOnce(Value) -> Value,
    ) -> Vec<u8> {
        let message = sigstore_types::pae(payload_type, payload);
        let signature = self.key.sign(&message).unwrap();
        let stamp = TimestampClient::builder(format!("{}/api/v1/timestamp", self.sandbox.url()))
            .build()
            .unwrap()
            .timestamp_signature(&signature)
            .await
            .unwrap();
        let signature = DsseSignature::new(signature, KeyId::default());
        let payload = PayloadBytes::from_bytes(payload);
        let envelope = DsseEnvelope::new(payload_type, payload, signature);
        let url = self.sandbox.url();
        let entry = match self.rekor {
            RekorVersions::V1 => {
                let rekor = RekorClient::builder(url).build().unwrap();
                let entry = DsseEntry::new(&envelope, &self.certificate).unwrap();
                let entry = change(serde_json::to_value(entry).unwrap());
                let entry = serde_json::from_value(entry).unwrap();
                let entry = rekor.create_dsse_entry(entry).await.unwrap();
                entry.to_bundle_entry(KindVersion::DsseV001).unwrap()
            }
            _ => {
                let entry = HashedRekordV2::new_with_certificate(
                    &sha256(&message),
                    &envelope.signature.sig,
                    &self.certificate,
                    RekorV2KeyDetails::PkixEcdsaP256Sha256,
                );
                let rekor = RekorV2Client::builder(url).build().unwrap();
                rekor.create_entry(entry).await.unwrap()
            }
        };
        BundleV03::with_certificate_and_dsse(self.certificate.clone(), envelope)
            .with_tlog_entry(entry)
            .with_rfc3161_timestamp(stamp)
            .into_bundle()
            .to_json()
            .unwrap()
            .into_bytes()
    }
}
