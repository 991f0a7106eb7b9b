//! The transparency log's HTTP interface: Rekor v2 (rekor-tiles), `hashedrekord` 0.0.2.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::{Decode as _, Encode as _};
use p256::{
    ecdsa::{DerSignature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
    pkcs8::DecodePublicKey as _,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use x509_cert::Certificate;

use crate::{
    log::{Appended, Inclusion, Log},
    note::Notary,
    rpc::Status,
};

/// Where entries are created.
pub(crate) const ENTRIES_PATH: &str = "/api/v2/log/entries";

/// The one pair of key and hash that this log takes.
const KEY_DETAILS: &str = "PKIX_ECDSA_P256_SHA_256";

/// The log and what it is known by.
pub(crate) struct RekorV2 {
    pub(crate) log: Log,
    pub(crate) notary: Notary,
}

/// Every path of Rekor v2.
pub(crate) fn routes(rekor: RekorV2) -> Router {
    Router::new()
        .route(ENTRIES_PATH, post(create_entry))
        .route("/api/v2/checkpoint", get(checkpoint))
        .with_state(Arc::new(rekor))
}

#[derive(Deserialize)]
struct CreateEntryRequest {
    #[serde(rename = "hashedRekordRequestV002")]
    hashed_rekord: Option<HashedRekordRequest>,
}

#[derive(Deserialize)]
struct HashedRekordRequest {
    /// Base64 of a SHA-256.
    digest: String,
    signature: Signature,
}

#[derive(Serialize, Deserialize)]
struct Signature {
    /// Base64 of an ECDSA signature in DER.
    content: String,
    verifier: Verifier,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verifier {
    key_details: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    x509_certificate: Option<RawBytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<RawBytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBytes {
    /// Base64 of DER.
    raw_bytes: String,
}

/// `POST /api/v2/log/entries`: answers a `TransparencyLogEntry` once a checkpoint covers the entry;
/// 409 with the index in `x-log-index` for an entry that the log already has.
async fn create_entry(
    State(rekor): State<Arc<RekorV2>>,
    Json(request): Json<CreateEntryRequest>,
) -> Result<(StatusCode, Json<Value>), Status> {
    let request = request.hashed_rekord.ok_or_else(|| {
        Status::invalid_argument("invalid type, the sandbox takes hashedrekord only")
    })?;
    let body = canonical_body(request).map_err(|problem| {
        tracing::warn!(problem, "refused a log entry");
        Status::invalid_argument("invalid hashedrekord request")
    })?;
    match rekor.log.append(body.clone()).await? {
        Appended::New(inclusion) => {
            let log_id = rekor.notary.log_id();
            Ok((StatusCode::CREATED, Json(entry(&log_id, &body, &inclusion))))
        }
        Appended::Duplicate(index) => Err(Status::already_exists(index)),
    }
}

/// `GET /api/v2/checkpoint`
async fn checkpoint(State(rekor): State<Arc<RekorV2>>) -> String {
    rekor.log.checkpoint()
}

/// Checks a request's signature and makes the canonical log entry of it (RFC 8785).
fn canonical_body(request: HashedRekordRequest) -> Result<Vec<u8>, String> {
    let HashedRekordRequest { digest, signature } = request;
    let bytes = |name: &str, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| format!("expected base64 in `{name}`"))
    };
    let hash = bytes("digest", &digest)?;
    if hash.len() != 32 {
        return Err(format!(
            "expected a digest of 32 bytes, found {}",
            hash.len()
        ));
    }
    let Verifier {
        key_details,
        x509_certificate,
        public_key,
    } = &signature.verifier;
    if key_details != KEY_DETAILS {
        return Err(format!(
            "expected the key details {KEY_DETAILS}, found {key_details}"
        ));
    }
    let spki = match (x509_certificate, public_key) {
        (Some(certificate), None) => {
            Certificate::from_der(&bytes("x509Certificate", &certificate.raw_bytes)?)
                .and_then(|certificate| {
                    certificate.tbs_certificate.subject_public_key_info.to_der()
                })
                .map_err(|error| format!("expected a certificate: {error}"))?
        }
        (None, Some(key)) => bytes("publicKey", &key.raw_bytes)?,
        _ => return Err("expected either a public key or an X.509 certificate".to_owned()),
    };
    let key =
        VerifyingKey::from_public_key_der(&spki).map_err(|_| "expected a P-256 key".to_owned())?;
    DerSignature::from_bytes(&bytes("signature", &signature.content)?)
        .and_then(|signature| key.verify_prehash(&hash, &signature))
        .map_err(|_| "the signature is not one of this key over the digest".to_owned())?;
    let body = json!({
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": { "hashedRekordV002": {
            "data": { "algorithm": "SHA2_256", "digest": digest },
            "signature": signature,
        } },
    });
    serde_json_canonicalizer::to_vec(&body).map_err(|error| error.to_string())
}

/// A `TransparencyLogEntry` in protobuf's JSON, unset fields included as the real server does.
fn entry(log_id: &[u8], body: &[u8], inclusion: &Inclusion) -> Value {
    let Inclusion {
        index,
        size,
        root,
        hashes,
        checkpoint,
        integrated: _,
    } = inclusion;
    json!({
        "logIndex": index.to_string(),
        "logId": { "keyId": STANDARD.encode(log_id) },
        "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" },
        "integratedTime": "0",
        "inclusionPromise": null,
        "inclusionProof": {
            "logIndex": index.to_string(),
            "rootHash": STANDARD.encode(root.as_bytes()),
            "treeSize": size.to_string(),
            "hashes": hashes.iter().map(|hash| STANDARD.encode(hash.as_bytes())).collect::<Vec<_>>(),
            "checkpoint": { "envelope": checkpoint },
        },
        "canonicalizedBody": STANDARD.encode(body),
    })
}
