//! One ephemeral key and its certificate.

use jiff::Timestamp;
use release_manifest::Source;
use sigstore_bundle::BundleV03;
use sigstore_crypto::{CertificateInfo, KeyPair, parse_certificate_info};
use sigstore_types::{
    DerCertificate, DsseEnvelope, DsseSignature, KeyId, PayloadBytes, SignatureBytes,
};
use std::time::Duration;

use crate::retry::Retry;
use crate::services::{Services, Testimony};
use crate::{Error, IdentityToken, http, source};

/// An ephemeral key with a certificate that says whose it is. The key lives in memory alone.
pub(crate) struct Certificate {
    key: KeyPair,
    der: DerCertificate,
    info: CertificateInfo,
}

impl Certificate {
    /// Has the certificate authority certify a new key for the owner of a token.
    pub(crate) async fn request(
        services: &Services,
        token: &IdentityToken,
        source: &Source,
        retry: &Retry<'_>,
    ) -> Result<Self, Error> {
        let key = KeyPair::generate_ecdsa_p256().map_err(|error| Error::Key {
            what: "with a new key".to_owned(),
            reason: error.to_string(),
        })?;
        let der = services.certify(token, &key, retry).await?;
        let info = parse_certificate_info(&der).map_err(|error| Error::Service {
            service: "certificate authority",
            url: http::shown(services.authority()),
            reason: error.to_string(),
            transient: false,
        })?;
        let certificate = Self { key, der, info };
        certificate.check(services.trust(), token, source)?;
        Ok(certificate)
    }

    /// Whether the certificate says what was asked for: before anything is logged under it.
    fn check(&self, trust: &str, token: &IdentityToken, source: &Source) -> Result<(), Error> {
        let wrong = |claim, expected: &str, found: &str| Error::Certificate {
            claim,
            expected: expected.to_owned(),
            found: cep27::printable(found),
        };
        let own_key = self.key.public_key_der().ok();
        if own_key.as_ref().map(|key| key.as_bytes()) != Some(self.info.public_key.as_bytes()) {
            return Err(wrong(
                "public key",
                "the one sent",
                &format!("another, from {trust}"),
            ));
        }
        // Nothing could be signed with it, and the next one would be the same.
        if self.not_after() <= Timestamp::now() {
            let ended = self.not_after().to_string();
            return Err(wrong("end", "a time to come", &ended));
        }
        if self.issuer() != token.issuer() {
            return Err(wrong("issuer", token.issuer(), self.issuer()));
        }
        let identity = self.identity();
        match token.workflow_ref() {
            Some(workflow)
                if identity
                    .strip_suffix(workflow)
                    .is_none_or(|url| !url.ends_with('/')) =>
            {
                return Err(wrong("identity", workflow, identity));
            }
            None if token.email().is_some_and(|email| email != identity) => {
                return Err(wrong("identity", token.subject(), identity));
            }
            _ => {}
        }
        source::check(source, &self.info.ci_claims).map_err(|refusal| Error::Source {
            reason: refusal.message,
        })
    }

    pub(crate) fn identity(&self) -> &str {
        self.info.identity.as_ref().map_or("", |name| name.as_str())
    }

    pub(crate) fn issuer(&self) -> &str {
        self.info.issuer.as_deref().unwrap_or_default()
    }

    /// What stands in it.
    pub(crate) fn info(&self) -> &CertificateInfo {
        &self.info
    }

    pub(crate) fn not_after(&self) -> Timestamp {
        self.info.not_after
    }

    /// Whether what is signed now will be logged and timestamped before the certificate ends.
    ///
    /// A certificate that lives less than five times the margin is used for four fifths of its
    /// life.
    pub(crate) fn is_fresh(&self, margin: Duration) -> bool {
        let life = self.info.not_after.duration_since(self.info.not_before);
        let left = self.info.not_after.duration_since(Timestamp::now());
        let margin = jiff::SignedDuration::try_from(margin).unwrap_or(jiff::SignedDuration::MAX);
        left > margin.min(life / 5)
    }

    /// Signs a statement and has the signature logged and timestamped; the bundle as JSON, or
    /// nothing when another signature is needed: the log has this one already, which may happen to
    /// a repeated request, or the certificate ended while requests were repeated.
    pub(crate) async fn sign(
        &self,
        services: &Services,
        statement: &[u8],
        retry: &Retry<'_>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let failed = |reason: String| Error::Key {
            what: "a statement".to_owned(),
            reason,
        };
        let message = sigstore_types::pae(cep27::DSSE_PAYLOAD_TYPE, statement);
        let signature: SignatureBytes = self
            .key
            .sign(&message)
            .map_err(|error| failed(error.to_string()))?;
        let envelope = DsseEnvelope::new(
            cep27::DSSE_PAYLOAD_TYPE,
            PayloadBytes::from_bytes(statement),
            DsseSignature::new(signature, KeyId::default()),
        );
        let valid = || Timestamp::now() < self.info.not_after;
        let testimony = services.witness(&envelope, &self.der, valid, retry);
        let Some(Testimony { entries, stamps }) = testimony.await? else {
            return Ok(None);
        };
        let mut bundle = BundleV03::with_certificate_and_dsse(self.der.clone(), envelope);
        for entry in entries {
            bundle = bundle.with_tlog_entry(entry);
        }
        for stamp in stamps {
            bundle = bundle.with_rfc3161_timestamp(stamp);
        }
        let json = bundle
            .into_bundle()
            .to_json()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Some(json.into_bytes()))
    }
}
