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
    let bad = |problem: &str| Status::invalid_argument(problem);
    let [leaf, issuer, ..] = request.chain.as_slice() else {
        return Err(bad("expected a chain of a precertificate and its issuer"));
    };
    let parse = |text: &String| {
        STANDARD
            .decode(text)
            .ok()
            .and_then(|der| Certificate::from_der(&der).ok())
    };
    let (Some(leaf), Some(issuer)) = (parse(leaf), parse(issuer)) else {
        return Err(bad("expected base64 of DER certificates"));
    };
    if issuer != services.keys.fulcio.certificate || !signed_by(&leaf, &issuer) {
        return Err(bad("the chain leads to no root that this log accepts"));
    }
    let sct = submit(&services.keys.ct, &leaf, &issuer).map_err(|error| bad(&error.to_string()))?;
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
