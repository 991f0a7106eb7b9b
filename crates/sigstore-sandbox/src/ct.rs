//! The certificate transparency log: signed certificate timestamps for precertificates (RFC 6962).

use std::sync::Arc;

use axum::{Json, extract::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use const_oid::db::rfc6962::CT_PRECERT_POISON;
use der::{Decode as _, Encode as _};
use p256::{
    ecdsa::{
        DerSignature, SigningKey, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    pkcs8::DecodePublicKey as _,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_cert::{Certificate, TbsCertificate};

use crate::{Error, certificate::public_key, rpc::Status, server::Services};

/// Signed certificate timestamp version 1, signature type `certificate_timestamp`.
const V1: u8 = 0;
const CERTIFICATE_TIMESTAMP: u8 = 0;
/// Log entry type `precert_entry`.
const PRECERT_ENTRY: u16 = 1;
/// `sha256` and `ecdsa` of TLS's SignatureAndHashAlgorithm.
const ECDSA_SHA256: [u8; 2] = [4, 3];

/// A signed certificate timestamp.
pub(crate) struct Sct {
    pub(crate) log_id: [u8; 32],
    /// Milliseconds since the epoch.
    pub(crate) timestamp: u64,
    /// An ECDSA signature in DER.
    pub(crate) signature: Vec<u8>,
}

#[derive(Deserialize)]
pub(crate) struct AddPreChain {
    /// The precertificate and its issuer, in base64.
    chain: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct AddPreChainAnswer {
    sct_version: u8,
    id: String,
    timestamp: u64,
    extensions: &'static str,
    signature: String,
}

/// `POST /ct/v1/add-pre-chain`
pub(crate) async fn add_pre_chain(
    State(services): State<Arc<Services>>,
    Json(request): Json<AddPreChain>,
) -> Result<Json<AddPreChainAnswer>, Status> {
    let authority = &services.keys.fulcio.certificate;
    let precertificate =
        precertificate(&request.chain, authority).map_err(Status::invalid_argument)?;
    let sct = submit(&services.keys.ct, &precertificate, authority)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let length = u16::try_from(sct.signature.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let signature = [&ECDSA_SHA256[..], &length, &sct.signature].concat();
    Ok(Json(AddPreChainAnswer {
        sct_version: V1,
        id: STANDARD.encode(sct.log_id),
        timestamp: sct.timestamp,
        extensions: "",
        signature: STANDARD.encode(signature),
    }))
}

/// The precertificate of a chain that `authority` begins.
fn precertificate(chain: &[String], authority: &Certificate) -> Result<Certificate, &'static str> {
    let [leaf, issuer, ..] = chain else {
        return Err("expected a chain of a precertificate and its issuer");
    };
    let parse = |text: &String| {
        let der = STANDARD.decode(text).ok()?;
        Certificate::from_der(&der).ok()
    };
    let (Some(leaf), Some(issuer)) = (parse(leaf), parse(issuer)) else {
        return Err("expected base64 of DER certificates");
    };
    if issuer != *authority || !signed_by(&leaf, &issuer) {
        return Err("the chain leads to no root that this log accepts");
    }
    Ok(leaf)
}

/// Signs a timestamp for a precertificate by `issuer`.
pub(crate) fn submit(
    key: &SigningKey,
    precertificate: &Certificate,
    issuer: &Certificate,
) -> Result<Sct, Error> {
    let unpoisoned = without_poison(&precertificate.tbs_certificate)
        .ok_or_else(|| Error::encode("expected a precertificate"))?
        .to_der()?;
    let length = u32::try_from(unpoisoned.len())
        .map_err(Error::encode)?
        .to_be_bytes();
    let timestamp = jiff::Timestamp::now().as_millisecond().unsigned_abs();
    let issuer_key = issuer.tbs_certificate.subject_public_key_info.to_der()?;
    let signed = [
        &[V1, CERTIFICATE_TIMESTAMP][..],
        &timestamp.to_be_bytes(),
        &PRECERT_ENTRY.to_be_bytes(),
        &Sha256::digest(issuer_key),
        &length[1..], // a length of three bytes
        &unpoisoned,
        &[0, 0], // no extensions
    ]
    .concat();
    let signature: DerSignature = key.sign(&signed);
    Ok(Sct {
        log_id: Sha256::digest(public_key(key)?.to_der()?).into(),
        timestamp,
        signature: signature.as_bytes().to_vec(),
    })
}

/// The certificate without the extension that makes it a precertificate, if it is one.
fn without_poison(precertificate: &TbsCertificate) -> Option<TbsCertificate> {
    let mut certificate = precertificate.clone();
    let extensions = certificate.extensions.as_mut()?;
    let before = extensions.len();
    extensions.retain(|extension| extension.extn_id != CT_PRECERT_POISON);
    (extensions.len() + 1 == before).then_some(certificate)
}

fn signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let verify = || {
        let spki = issuer
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .ok()?;
        let key = VerifyingKey::from_public_key_der(&spki).ok()?;
        let signature = DerSignature::from_bytes(certificate.signature.as_bytes()?).ok()?;
        key.verify(&certificate.tbs_certificate.to_der().ok()?, &signature)
            .ok()
    };
    verify().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::certificate::{Certified, new_key, sign, validity};
    use der::asn1::{Null, OctetString};
    use x509_cert::ext::Extension;

    fn chain(certificates: [&Certificate; 2]) -> Vec<String> {
        certificates
            .map(|certificate| STANDARD.encode(certificate.to_der().unwrap()))
            .to_vec()
    }

    #[test]
    fn only_precertificates_that_the_authority_signed_are_accepted() {
        let validity = validity(Duration::ZERO, Duration::from_secs(1_000_000_000)).unwrap();
        let authority = Certified::authority("authority", validity).unwrap();
        let poison = Extension {
            extn_id: CT_PRECERT_POISON,
            critical: true,
            extn_value: OctetString::new(Null.to_der().unwrap()).unwrap(),
        };
        let key = new_key();
        let spki = public_key(&key).unwrap();
        let unsigned = authority
            .unsigned(Default::default(), validity, spki, vec![poison])
            .unwrap();
        let good = sign(unsigned.clone(), &authority.key).unwrap();
        let forged = sign(unsigned, &key).unwrap();

        let root = &authority.certificate;
        assert_eq!(
            precertificate(&chain([&good, root]), root),
            Ok(good.clone())
        );
        submit(&new_key(), &good, root).unwrap();
        precertificate(&chain([&forged, root]), root).unwrap_err();
        precertificate(&chain([&good, &forged]), root).unwrap_err();
        assert!(submit(&new_key(), root, root).is_err());
    }
}
