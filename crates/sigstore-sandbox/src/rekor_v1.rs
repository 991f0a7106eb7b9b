//! The transparency log's HTTP interface of Rekor v1: entries of kind `dsse` 0.0.1.
//!
//! Bodies, statuses and messages are those of Rekor 1.5. As the real log, which has been moved to a
//! new tree more than once, it counts entries twice: by their place in the tree, which inclusion
//! proofs are about, and over all trees there ever were, which the entry's own `logIndex` is.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{
        StatusCode,
        header::{CONTENT_TYPE, ETAG, LOCATION},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use der::{Decode as _, Encode as _, pem::LineEnding};
use p256::{
    ecdsa::{DerSignature, SigningKey, VerifyingKey, signature::Verifier as _},
    pkcs8::{DecodePublicKey as _, EncodePublicKey as _},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_merkle::hash_leaf;
use sigstore_types::{Sha256Hash, pae};
use x509_cert::Certificate;

use crate::{
    Error,
    log::{Appended, Inclusion, Key, Log},
    note::{Notary, TREE_ID},
};

/// Where entries are created and found.
pub(crate) const ENTRIES_PATH: &str = "/api/v1/log/entries";

/// How many entries the trees before this one had, as Rekor's own first one: the difference
/// between an entry's two indices.
const EARLIER_ENTRIES: u64 = 4_163_431;

/// The log and what signs for it.
pub(crate) struct RekorV1 {
    log: Log,
    notary: Notary,
    /// PEM
    public_key: String,
}

impl RekorV1 {
    pub(crate) fn new(log: Log, notary: Notary, key: &SigningKey) -> Result<Self, Error> {
        let public_key = key
            .verifying_key()
            .to_public_key_pem(LineEnding::LF)
            .map_err(Error::encode)?;
        Ok(Self {
            log,
            notary,
            public_key,
        })
    }
}

/// Every path of Rekor v1.
pub(crate) fn routes(rekor: RekorV1) -> Router {
    Router::new()
        .route(ENTRIES_PATH, post(create_entry).get(entry_by_index))
        .route("/api/v1/log/entries/{uuid}", get(entry_by_uuid))
        .route("/api/v1/log", get(log_info))
        .route("/api/v1/log/publicKey", get(public_key))
        .with_state(Arc::new(rekor))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProposedEntry {
    kind: String,
    api_version: String,
    spec: DsseSpec,
}

/// What the client proposes. The rest is what the server makes of it, which no client may send;
/// sigstore-python sends nulls.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DsseSpec {
    proposed_content: Option<ProposedContent>,
    envelope_hash: Option<Value>,
    payload_hash: Option<Value>,
    signatures: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct ProposedContent {
    /// The JSON text of a DSSE envelope.
    envelope: String,
    /// Base64 of PEM: certificates or public keys.
    verifiers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    #[serde(default)]
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

/// `POST /api/v1/log/entries`: 201 with the entry once a checkpoint covers it; 409 with its
/// `Location` for one that the log already has.
async fn create_entry(
    State(rekor): State<Arc<RekorV1>>,
    Json(proposed): Json<Value>,
) -> Result<Response, RekorError> {
    let body = canonical_body(proposed).map_err(|problem| {
        tracing::warn!(problem, "refused a log entry");
        RekorError::new(
            StatusCode::BAD_REQUEST,
            format!("error processing entry: {problem}"),
        )
    })?;
    let uuid = uuid(&hash_leaf(&body));
    let location = format!("{ENTRIES_PATH}/{uuid}");
    match rekor.log.append(body.clone()).await? {
        Appended::New(inclusion) => {
            let headers = [(ETAG, uuid.clone()), (LOCATION, location)];
            let entry = Json(log_entry(&rekor, &body, &inclusion)?);
            Ok((StatusCode::CREATED, headers, entry).into_response())
        }
        Appended::Duplicate(_) => Err(RekorError {
            location: Some(location),
            ..RekorError::new(
                StatusCode::CONFLICT,
                format!(
                    "an equivalent entry already exists in the transparency log with UUID {uuid}"
                ),
            )
        }),
    }
}

/// `GET /api/v1/log/entries/{uuid}`: the leaf hash in hex, with or without the tree before it.
async fn entry_by_uuid(
    State(rekor): State<Arc<RekorV1>>,
    Path(uuid): Path<String>,
) -> Result<Response, RekorError> {
    let unknown = || RekorError::new(StatusCode::NOT_FOUND, "");
    let hash = match (uuid.len(), uuid.split_at_checked(16)) {
        (64, _) => uuid.as_str(),
        (80, Some((tree, hash))) if i64::from_str_radix(tree, 16) == Ok(TREE_ID) => hash,
        (80, _) if uuid.bytes().all(|byte| byte.is_ascii_hexdigit()) => return Err(unknown()),
        _ => "",
    };
    let hash = Sha256Hash::from_hex(hash).map_err(|_| {
        RekorError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "entryUUID in path should match '^([0-9a-fA-F]{64}|[0-9a-fA-F]{80})$'",
        )
    })?;
    found(&rekor, Key::Hash(hash)).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexQuery {
    log_index: u64,
}

/// `GET /api/v1/log/entries?logIndex=N`, the index over all trees.
async fn entry_by_index(
    State(rekor): State<Arc<RekorV1>>,
    Query(IndexQuery { log_index }): Query<IndexQuery>,
) -> Result<Response, RekorError> {
    match log_index.checked_sub(EARLIER_ENTRIES) {
        Some(index) => found(&rekor, Key::Index(index)).await,
        None => Err(RekorError::new(StatusCode::NOT_FOUND, "")),
    }
}

async fn found(rekor: &RekorV1, key: Key) -> Result<Response, RekorError> {
    match rekor.log.find(key).await? {
        Some((body, inclusion)) => Ok(Json(log_entry(rekor, &body, &inclusion)?).into_response()),
        None => Err(RekorError::new(StatusCode::NOT_FOUND, "")),
    }
}

/// `GET /api/v1/log`
async fn log_info(State(rekor): State<Arc<RekorV1>>) -> Result<Json<Value>, RekorError> {
    let signed = rekor.log.checkpoint();
    let checkpoint = rekor.notary.open(&signed).map_err(Error::encode)?;
    Ok(Json(json!({
        "rootHash": checkpoint.root_hash().to_hex(),
        "treeSize": checkpoint.tree_size(),
        "signedTreeHead": signed,
        "treeID": TREE_ID.to_string(),
    })))
}

/// `GET /api/v1/log/publicKey`
async fn public_key(State(rekor): State<Arc<RekorV1>>) -> Response {
    let content_type = [(CONTENT_TYPE, "application/x-pem-file")];
    (content_type, rekor.public_key.clone()).into_response()
}

/// Checks a proposed entry as Rekor does, and makes the canonical log entry of it (RFC 8785).
fn canonical_body(proposed: Value) -> Result<Vec<u8>, String> {
    let ProposedEntry {
        kind,
        api_version,
        spec,
    } = serde_json::from_value(proposed).map_err(|error| error.to_string())?;
    if (kind.as_str(), api_version.as_str()) != ("dsse", "0.0.1") {
        return Err(format!(
            "the sandbox takes dsse 0.0.1 only, found {kind} {api_version}"
        ));
    }
    let computed = spec.envelope_hash.is_some()
        || spec.payload_hash.is_some()
        || spec
            .signatures
            .is_some_and(|signatures| !signatures.is_empty());
    const EITHER: &str =
        "either proposedContent or envelopeHash, payloadHash, and signatures must be present";
    let content = match spec.proposed_content {
        Some(content) if !computed => content,
        Some(_) => return Err(format!("{EITHER} but not both")),
        None => return Err(EITHER.to_owned()),
    };
    let envelope: Envelope =
        serde_json::from_str(&content.envelope).map_err(|error| error.to_string())?;
    let payload = decode(&envelope.payload).ok_or("unable to base64 decode payload")?;
    let signatures = verified_signatures(&envelope, &payload, &content.verifiers)?;
    let signatures = signatures
        .into_iter()
        .map(|(signature, verifier)| {
            json!({ "signature": signature, "verifier": STANDARD.encode(verifier) })
        })
        .collect::<Vec<_>>();
    let hash =
        |bytes: &[u8]| json!({ "algorithm": "sha256", "value": hex(&Sha256::digest(bytes)) });
    let body = json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": hash(content.envelope.as_bytes()),
            "payloadHash": hash(&payload),
            "signatures": signatures,
        },
    });
    serde_json_canonicalizer::to_vec(&body).map_err(|error| error.to_string())
}

/// The signatures of an envelope, in their order as text, each with the one of the verifiers that
/// made it: as PEM, however it came. Every signature must have one, and every verifier looked at
/// must have made one.
fn verified_signatures<'a>(
    envelope: &'a Envelope,
    payload: &[u8],
    verifiers: &[String],
) -> Result<BTreeMap<&'a str, String>, String> {
    if envelope.signatures.is_empty() {
        return Err("DSSE envelope must contain 1 or more signatures".to_owned());
    }
    let message = pae(&envelope.payload_type, payload);
    let mut unverified: Vec<&str> = envelope.signatures.iter().map(|s| s.sig.as_str()).collect();
    let mut verified = BTreeMap::new();
    for verifier in verifiers {
        if unverified.is_empty() {
            break;
        }
        let (key, pem) = parse_verifier(verifier)
            .ok_or("could not parse public key as x509: expected the PEM of a P-256 key")?;
        let before = verified.len();
        unverified.retain(|&text| {
            let made = decode(text)
                .and_then(|bytes| DerSignature::from_bytes(&bytes).ok())
                .is_some_and(|signature| key.verify(&message, &signature).is_ok());
            if made {
                verified.insert(text, pem.clone());
            }
            !made
        });
        if verified.len() == before {
            return Err(
                "could not verify envelope: accepted signatures do not match threshold, \
                Found: 0, Expected 1"
                    .to_owned(),
            );
        }
    }
    if unverified.is_empty() {
        Ok(verified)
    } else {
        Err("all signatures must have a key that verifies it".to_owned())
    }
}

/// A certificate's key or a bare one, with its PEM as Rekor writes it down.
fn parse_verifier(base64: &str) -> Option<(VerifyingKey, String)> {
    let text = STANDARD.decode(base64).ok()?;
    let (label, der) = der::pem::decode_vec(text.trim_ascii()).ok()?;
    let spki = match label {
        "CERTIFICATE" => Certificate::from_der(&der)
            .and_then(|certificate| certificate.tbs_certificate.subject_public_key_info.to_der())
            .ok()?,
        "PUBLIC KEY" => der.clone(),
        _ => return None,
    };
    let key = VerifyingKey::from_public_key_der(&spki).ok()?;
    let pem = der::pem::encode_string(label, LineEnding::LF, &der).ok()?;
    Some((key, pem))
}

/// Base64 of either alphabet, as DSSE has it.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// `{uuid: LogEntry}`, signed: the log's promise over body, time, log and index over all trees.
fn log_entry(rekor: &RekorV1, body: &[u8], inclusion: &Inclusion) -> Result<Value, Error> {
    let Inclusion {
        index,
        size,
        root,
        hashes,
        checkpoint,
        integrated,
    } = inclusion;
    let mut entry = json!({
        "body": STANDARD.encode(body),
        "integratedTime": integrated,
        "logID": hex(&rekor.notary.log_id()),
        "logIndex": index + EARLIER_ENTRIES,
    });
    let promise = serde_json_canonicalizer::to_vec(&entry).map_err(Error::encode)?;
    entry["verification"] = json!({
        "inclusionProof": {
            "checkpoint": checkpoint,
            "hashes": hashes.iter().map(Sha256Hash::to_hex).collect::<Vec<_>>(),
            "logIndex": index,
            "rootHash": root.to_hex(),
            "treeSize": size,
        },
        "signedEntryTimestamp": STANDARD.encode(rekor.notary.sign_message(&promise)),
    });
    Ok(json!({ uuid(&hash_leaf(body)): entry }))
}

/// What Rekor calls an entry: its tree and its leaf hash, 80 digits of hex.
fn uuid(leaf: &Sha256Hash) -> String {
    format!("{TREE_ID:016x}{}", leaf.to_hex())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error as Rekor v1 answers it: `{"code", "message"}`, or nothing at all for what isn't there.
#[derive(Debug)]
struct RekorError {
    status: StatusCode,
    message: String,
    location: Option<String>,
}

impl RekorError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            location: None,
        }
    }
}

impl From<Error> for RekorError {
    fn from(error: Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for RekorError {
    fn into_response(self) -> Response {
        if self.status == StatusCode::NOT_FOUND {
            return self.status.into_response();
        }
        let body = json!({ "code": self.status.as_u16(), "message": self.message });
        let location = self.location.map(|location| [(LOCATION, location)]);
        (self.status, location, Json(body)).into_response()
    }
}
