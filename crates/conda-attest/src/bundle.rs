//! Bundles: found in files and read strictly.

use std::path::Path;

use serde_json::value::RawValue;
use sigstore_crypto::{CertificateInfo, parse_certificate_info};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::bundle::{MediaType, VerificationMaterialContent};
use sigstore_types::{Bundle, DsseEnvelope, SignatureContent, TransparencyLogEntry};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::trust::GITHUB_ORGANIZATION;
use crate::verdict::Refusal;
use crate::{Error, bundle_shape, log_entry};

/// A bundle with one certificate, log entry and timestamp has 10 kilobytes.
const MAX_BUNDLE: usize = 1 << 20;
/// As rattler's limit for a sidecar.
const MAX_FILE: usize = 4 << 20;
const MAX_BUNDLES: usize = 1000;
/// Five thousand bundles as `gh attestation download` collects them.
const MAX_COLLECTION: usize = 64 << 20;
const MAX_COLLECTED: usize = 10_000;
const MAX_LOG_ENTRIES: usize = 8;
const MAX_TIMESTAMPS: usize = 8;
const MAX_CERTIFICATES: usize = 8;

/// `organizationName` in the name of a certificate (X.520).
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// The bundles in a file: a JSON object, JSON lines, or a JSON array as in a channel's `.sigs`
/// sidecar (CEP-50). Each keeps the bytes it has there; nothing is judged but that they are JSON
/// objects.
///
/// # Errors
/// When the bytes are anything else, larger than 4 MiB, or more than 1000 bundles.
pub fn bundles_in(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    split(bytes, MAX_FILE, MAX_BUNDLES)
}

/// Reads a file with the bundles of a whole release, as [`bundles_in`] takes them apart, without
/// following a link to it.
///
/// # Errors
/// When it cannot be read, is not a regular file, or holds anything else, more than 64 MiB or more
/// than 10,000 bundles.
pub fn read_bundles(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let file = crate::package::open(path)?;
    let bytes = crate::package::read_capped(file, path, MAX_COLLECTION as u64)?;
    split(&bytes, MAX_COLLECTION, MAX_COLLECTED)
}

fn split(bytes: &[u8], max_bytes: usize, max_bundles: usize) -> Result<Vec<Vec<u8>>, Error> {
    let invalid = |reason: String| Error::Bundle { reason };
    if bytes.len() > max_bytes {
        return Err(invalid(format!("larger than {max_bytes} bytes")));
    }
    let mut bundles = Vec::new();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>() {
        let text = value.map_err(|error| invalid(error.to_string()))?.get();
        if text.starts_with('[') && bundles.is_empty() {
            let elements: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
            bundles.extend(elements.into_iter().map(RawValue::get));
        } else {
            bundles.push(text);
        }
    }
    if bundles.is_empty() || bundles.len() > max_bundles {
        return Err(invalid(format!(
            "expected 1 to {max_bundles} bundles, found {}",
            bundles.len()
        )));
    }
    if let Some(other) = bundles.iter().find(|text| !text.starts_with('{')) {
        return Err(invalid(format!(
            "expected JSON objects, found `{}`",
            cep27::printable(other)
        )));
    }
    Ok(bundles
        .into_iter()
        .map(|text| text.as_bytes().to_vec())
        .collect())
}

/// Reads a file of bundles, without following a link to it.
///
/// # Errors
/// When it cannot be read, is not a regular file, or is larger than 4 MiB.
pub fn read_bundle(path: &Path) -> Result<Vec<u8>, Error> {
    crate::package::read_capped(crate::package::open(path)?, path, MAX_FILE as u64)
}

/// A bundle that was signed with a certificate: for an attestation, a DSSE envelope around an
/// in-toto statement.
pub(crate) struct Parsed {
    pub(crate) bundle: Bundle,
}

impl Parsed {
    /// Reads an attestation strictly: no duplicate keys, no trailing data, nothing in excess.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, Refusal> {
        let parsed = Self::any(json)?;
        parsed.require_statement()?;
        Ok(parsed)
    }

    /// Reads a bundle as strictly, also one with a bare signature over a file.
    pub(crate) fn any(json: &[u8]) -> Result<Self, Refusal> {
        let refuse = |message: String| Refusal::new("malformed", message);
        if json.len() > MAX_BUNDLE {
            return Err(refuse(format!("larger than {MAX_BUNDLE} bytes")));
        }
        let value = cep27::check_json(json).map_err(|found| refuse(crate::trust::list(&found)))?;
        bundle_shape::check(&value).map_err(refuse)?;
        let bundle: Bundle =
            serde_json::from_value(value).map_err(|error| refuse(error.to_string()))?;

        let media_type = bundle.media_type();
        let certificates = match &bundle.verification_material.content {
            VerificationMaterialContent::Certificate(_) if media_type == MediaType::Bundle0_3 => 1,
            VerificationMaterialContent::X509CertificateChain { certificates }
                if media_type != MediaType::Bundle0_3 =>
            {
                certificates.len()
            }
            VerificationMaterialContent::PublicKey(_) => {
                return Err(refuse(
                    "signed with a key, expected a certificate".to_owned(),
                ));
            }
            _ => {
                return Err(refuse(format!(
                    "a bundle of type {media_type} has its certificate in another form"
                )));
            }
        };
        let material = &bundle.verification_material;
        let stamps = material
            .timestamp_verification_data
            .rfc3161_timestamps
            .len();
        for (what, count, limit) in [
            ("certificates", certificates, MAX_CERTIFICATES),
            ("log entries", material.tlog_entries.len(), MAX_LOG_ENTRIES),
            ("timestamps", stamps, MAX_TIMESTAMPS),
        ] {
            if count > limit {
                return Err(refuse(format!(
                    "expected at most {limit} {what}, found {count}"
                )));
            }
        }
        if bundle.signing_certificate().is_none() {
            return Err(refuse("there is no certificate".to_owned()));
        }
        Ok(Self { bundle })
    }

    /// What the certificate says, which nobody has verified.
    pub(crate) fn certificate(&self) -> Result<CertificateInfo, Refusal> {
        let malformed = |reason: String| Refusal::new("malformed_certificate", reason);
        let leaf = self
            .bundle
            .signing_certificate()
            .ok_or_else(|| malformed("there is no certificate".to_owned()))?;
        parse_certificate_info(leaf).map_err(|error| malformed(error.to_string()))
    }

    fn require_statement(&self) -> Result<(), Refusal> {
        let refuse = |message: String| Refusal::new("malformed", message);
        let envelope = self
            .envelope()
            .ok_or_else(|| refuse("expected a DSSE envelope, found a bare signature".to_owned()))?;
        if envelope.payload_type != cep27::DSSE_PAYLOAD_TYPE {
            return Err(refuse(format!(
                "expected payload type `{}`, found `{}`",
                cep27::DSSE_PAYLOAD_TYPE,
                cep27::printable(&envelope.payload_type)
            )));
        }
        // It names a key, and the key here is the certificate's: nothing to name, nothing signed.
        if !envelope.signature.keyid.is_empty() {
            return Err(refuse(
                "the signature has a key id beside its certificate".to_owned(),
            ));
        }
        Ok(())
    }

    /// The statement as it was signed.
    pub(crate) fn statement(&self) -> &[u8] {
        self.envelope()
            .map_or(&[], |envelope| envelope.payload.as_bytes())
    }

    fn envelope(&self) -> Option<&DsseEnvelope> {
        envelope(&self.bundle)
    }

    pub(crate) fn log_entries(&self) -> &[TransparencyLogEntry] {
        &self.bundle.verification_material.tlog_entries
    }

    /// The index of the entry in its log, as far as it is authenticated: by the inclusion proof
    /// (Rekor v2), or by the signed promise (Rekor v1, which counts over all its shards).
    pub(crate) fn log_index(&self) -> Option<u64> {
        self.log_entries()
            .iter()
            .find(|entry| log_entry::is_v2(entry) || entry.inclusion_promise.is_some())
            .map(|entry| entry.log_index.get())
    }

    /// Whether it comes from GitHub's own instance, which signs for private repositories and has
    /// timestamps in place of a log.
    pub(crate) fn is_github(&self) -> bool {
        self.log_entries().is_empty() && self.issuer_is_github()
    }

    fn issuer_is_github(&self) -> bool {
        let issuer = self
            .bundle
            .signing_certificate()
            .and_then(|leaf| Certificate::from_der(leaf.as_bytes()).ok())
            .map(|leaf| leaf.tbs_certificate.issuer);
        let organization = |name: &x509_cert::attr::AttributeTypeAndValue| {
            name.oid == ORGANIZATION && name.value.value() == GITHUB_ORGANIZATION.as_bytes()
        };
        issuer.is_some_and(|issuer| {
            let mut names = issuer.0.iter().flat_map(|names| names.0.iter());
            names.any(organization)
        })
    }

    /// What sigstore-verify leaves open about the log: each entry has to be proved.
    pub(crate) fn check_log(&self, root: &TrustedRoot) -> Result<(), Refusal> {
        if self.log_entries().is_empty() {
            return Err(Refusal::new(
                "not_logged",
                "there is no log entry".to_owned(),
            ));
        }
        self.log_entries()
            .iter()
            .try_for_each(|entry| log_entry::check(entry, self.envelope(), root))
    }

    /// The hashes of the envelope in the log, which sigstore-verify does not look at.
    pub(crate) fn check_envelope_hashes(&self) -> Result<(), Refusal> {
        self.log_entries()
            .iter()
            .try_for_each(|entry| log_entry::check_envelope_hash(entry, self.envelope()))
    }
}

fn envelope(bundle: &Bundle) -> Option<&DsseEnvelope> {
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => Some(envelope),
        _ => None,
    }
}
