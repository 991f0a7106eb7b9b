//! One ephemeral key and its certificate, and the services that vouch for what it signs.

use jiff::Timestamp;
use release_manifest::Source;
use sigstore_bundle::BundleV03;
use sigstore_crypto::{CertificateInfo, KeyPair, parse_certificate_info, sha256};
use sigstore_fulcio::FulcioClient;
use sigstore_rekor::{DsseEntry, HashedRekordV2, RekorClient, RekorV2Client, RekorV2KeyDetails};
use sigstore_tsa::TimestampClient;
use sigstore_types::{
    DerCertificate, DsseEnvelope, DsseSignature, KeyId, KindVersion, PayloadBytes, SignatureBytes,
    TimestampToken, TransparencyLogEntry,
};
use std::time::Duration;
use url::Url;

use crate::retry::Retry;
use crate::trust::RekorVersion;
use crate::{Error, IdentityToken, Trust, http, source};

/// The services of one Sigstore instance.
pub(crate) struct Services {
    trust: String,
    fulcio: (Url, FulcioClient),
    rekor: (Url, Rekor),
    tsa: Option<(Url, TimestampClient)>,
}

enum Rekor {
    V1(RekorClient),
    V2(RekorV2Client),
}

impl Services {
    /// Clients for the services that the trust names for this moment.
    pub(crate) fn new(trust: &Trust) -> Result<Self, Error> {
        let selection = trust.services()?;
        let missing = |service| Error::NoService {
            trust: trust.name().to_owned(),
            service,
        };
        let fulcio_url = selection.fulcio;
        let fulcio = FulcioClient::builder(fulcio_url.as_str())
            .with_http_client(http::client(&fulcio_url)?)
            .build()
            .map_err(|error| service("certificate authority", &fulcio_url, &error, false))?;
        let log = selection.rekor.into_iter().next();
        let log = log.ok_or_else(|| missing("transparency log"))?;
        let client = http::client(&log.url)?;
        let rekor = match log.version {
            RekorVersion::V2 => RekorV2Client::builder(log.url.as_str())
                .with_http_client(client)
                .build()
                .map(Rekor::V2),
            RekorVersion::V1 => RekorClient::builder(log.url.as_str())
                .with_http_client(client)
                .build()
                .map(Rekor::V1),
        }
        .map_err(|error| rekor_error(&log.url, &error))?;
        let tsa = match selection.tsa.into_iter().next() {
            Some(url) => {
                let client = TimestampClient::builder(url.as_str())
                    .with_http_client(http::client(&url)?)
                    .build()
                    .map_err(|error| tsa_error(&url, &error))?;
                Some((url, client))
            }
            None => None,
        };
        Ok(Self {
            trust: trust.name().to_owned(),
            fulcio: (fulcio_url, fulcio),
            rekor: (log.url, rekor),
            tsa,
        })
    }

    /// Logs and timestamps a signature, both at the same time.
    async fn witness(
        &self,
        envelope: &DsseEnvelope,
        certificate: &DerCertificate,
        retry: Retry<'_>,
    ) -> Result<Witnessed, Error> {
        let entry = retry.run("transparency log", || self.log(envelope, certificate));
        let stamp = async {
            match &self.tsa {
                Some((url, tsa)) => {
                    let signature = &envelope.signature.sig;
                    let stamp = || async {
                        tsa.timestamp_signature(signature)
                            .await
                            .map_err(|error| tsa_error(url, &error))
                    };
                    retry.run("timestamp authority", stamp).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let (entry, stamp) = tokio::try_join!(entry, stamp)?;
        Ok(match entry {
            Some(entry) => Witnessed::Logged(Box::new(entry), stamp),
            None => Witnessed::Known,
        })
    }

    /// Nothing when the log has this very signature already.
    async fn log(
        &self,
        envelope: &DsseEnvelope,
        certificate: &DerCertificate,
    ) -> Result<Option<TransparencyLogEntry>, Error> {
        let (url, rekor) = &self.rekor;
        let entry = match rekor {
            Rekor::V1(client) => match DsseEntry::new(envelope, certificate) {
                Ok(entry) => client.create_dsse_entry(entry).await.and_then(|entry| {
                    entry
                        .to_bundle_entry(KindVersion::DsseV001)
                        .map_err(|error| sigstore_rekor::Error::InvalidResponse(error.to_string()))
                }),
                Err(error) => Err(error),
            },
            Rekor::V2(client) => {
                let digest = sha256(&envelope.pae());
                let entry = HashedRekordV2::new_with_certificate(
                    &digest,
                    &envelope.signature.sig,
                    certificate,
                    RekorV2KeyDetails::PkixEcdsaP256Sha256,
                );
                client.create_entry(entry).await
            }
        };
        match entry {
            Ok(entry) => Ok(Some(entry)),
            Err(sigstore_rekor::Error::Status { status: 409, .. }) => Ok(None),
            Err(error) => Err(rekor_error(url, &error)),
        }
    }
}

enum Witnessed {
    Logged(Box<TransparencyLogEntry>, Option<TimestampToken>),
    Known,
}

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
        retry: Retry<'_>,
    ) -> Result<Self, Error> {
        let (url, fulcio) = &services.fulcio;
        let key = KeyPair::generate_ecdsa_p256().map_err(|error| Error::Key {
            what: "with a new key".to_owned(),
            reason: error.to_string(),
        })?;
        let ask = || async {
            fulcio
                .create_signing_certificate(token.as_sigstore(), &key)
                .await
                .map_err(|error| fulcio_error(url, &error, token))
        };
        let der = retry
            .run("certificate authority", ask)
            .await?
            .leaf_certificate()
            .clone();
        let info = parse_certificate_info(&der).map_err(|error| Error::Service {
            service: "certificate authority",
            url: http::shown(url),
            reason: error.to_string(),
            transient: false,
        })?;
        let certificate = Self { key, der, info };
        certificate.check(&services.trust, token, source)?;
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

    pub(crate) fn not_after(&self) -> Timestamp {
        self.info.not_after
    }

    /// Whether what is signed now will be logged and timestamped before the certificate ends.
    ///
    /// A certificate shorter than twice the margin is used for half of its life.
    pub(crate) fn is_fresh(&self, margin: Duration) -> bool {
        let life = self.info.not_after.duration_since(self.info.not_before);
        let left = self.info.not_after.duration_since(Timestamp::now());
        let margin = jiff::SignedDuration::try_from(margin).unwrap_or(jiff::SignedDuration::MAX);
        left > margin.min(life / 2)
    }

    /// Signs a statement and has the signature logged and timestamped; the bundle as JSON, or
    /// nothing when the log has this signature already, which may happen to a repeated request: a
    /// new signature is a new entry.
    pub(crate) async fn sign(
        &self,
        services: &Services,
        statement: &[u8],
        retry: Retry<'_>,
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
        let (entry, stamp) = match services.witness(&envelope, &self.der, retry).await? {
            Witnessed::Logged(entry, stamp) => (*entry, stamp),
            Witnessed::Known => return Ok(None),
        };
        let mut bundle =
            BundleV03::with_certificate_and_dsse(self.der.clone(), envelope).with_tlog_entry(entry);
        if let Some(stamp) = stamp {
            bundle = bundle.with_rfc3161_timestamp(stamp);
        }
        let json = bundle
            .into_bundle()
            .to_json()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Some(json.into_bytes()))
    }
}

fn service(
    service: &'static str,
    url: &Url,
    error: &dyn std::fmt::Display,
    transient: bool,
) -> Error {
    Error::Service {
        service,
        url: http::shown(url),
        // A body of the server's choice may be part of it.
        reason: cep27::printable(&error.to_string()),
        transient,
    }
}

fn fulcio_error(url: &Url, error: &sigstore_fulcio::Error, token: &IdentityToken) -> Error {
    let transient = match error {
        sigstore_fulcio::Error::Http(_) => true,
        sigstore_fulcio::Error::Status { status, .. } => http::is_transient(*status),
        _ => false,
    };
    // The answer may quote the request, which has the token.
    let parts = token.as_sigstore().expose_secret().split('.');
    let reason = parts
        .filter(|part| !part.is_empty())
        .fold(error.to_string(), |text, part| {
            text.replace(part, "(token)")
        });
    service("certificate authority", url, &reason, transient)
}

fn rekor_error(url: &Url, error: &sigstore_rekor::Error) -> Error {
    let transient = match error {
        sigstore_rekor::Error::Http(_) => true,
        sigstore_rekor::Error::Status { status, .. } => http::is_transient(*status),
        _ => false,
    };
    service("transparency log", url, error, transient)
}

fn tsa_error(url: &Url, error: &sigstore_tsa::Error) -> Error {
    let transient = match error {
        sigstore_tsa::Error::Http(reason) => status_in(reason).is_none_or(http::is_transient),
        _ => false,
    };
    service("timestamp authority", url, error, transient)
}

/// The status in the text of a TSA error, which is all that the library tells.
fn status_in(reason: &str) -> Option<u16> {
    reason
        .strip_prefix("TSA returned status ")?
        .get(..3)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_asked_for_again_unless_the_request_is_at_fault() {
        let url = Url::parse("https://tsa.example").unwrap();
        let is_transient = |reason: &str| {
            tsa_error(&url, &sigstore_tsa::Error::Http(reason.to_owned())).is_transient()
        };
        for passing in [
            "TSA returned status 503 Service Unavailable",
            "TSA returned status 429 Too Many Requests",
            "error sending request",
        ] {
            assert!(is_transient(passing), "{passing}");
        }
        assert!(!is_transient("TSA returned status 400 Bad Request"));
        assert!(!is_transient("TSA returned status 307 Temporary Redirect"));
    }
}
