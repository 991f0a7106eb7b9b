//! What a file is that may carry publish attestations, and every violation in it.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::json::{JSON_LIMIT, read_json};
use crate::violation::{Violation, Violations, describe, quote};
use crate::{DSSE_PAYLOAD_TYPE, Rule, ValidStatement, validate_predicate, validate_statement};

/// What [`validate_document`] finds in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Document {
    /// What the document is.
    pub kind: DocumentKind,
    /// Every violation; empty for a valid document.
    pub violations: Vec<Violation>,
    /// The valid statements in it, in order.
    pub statements: Vec<ValidStatement>,
}

/// The kinds of document that carry a publish attestation or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// An in-toto statement.
    Statement,
    /// A publish predicate by itself.
    Predicate,
    /// A DSSE envelope around a statement.
    Envelope,
    /// A Sigstore bundle around an envelope.
    Bundle,
    /// A CEP-50 sidecar: an array of bundles.
    Sidecar,
    /// None of these.
    Unknown,
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Statement => "in-toto statement",
            Self::Predicate => "publish predicate",
            Self::Envelope => "DSSE envelope",
            Self::Bundle => "Sigstore bundle",
            Self::Sidecar => "CEP-50 sidecar",
            Self::Unknown => "unknown document",
        })
    }
}

/// Finds out what a document is and checks every statement in it against CEP-27 rules 1 to 7.
///
/// Signatures, certificates and logs are not looked at: this is about what is attested, not about
/// who attests it. Never panics; the limits are those of [`check_json`](crate::check_json) and
/// [`validate_statement`].
#[must_use]
pub fn validate_document(json: &[u8]) -> Document {
    let (value, violations) = read_json(json, JSON_LIMIT);
    let kind = value.as_ref().map_or(DocumentKind::Unknown, kind_of);
    let mut findings = Findings {
        violations,
        statements: Vec::new(),
    };
    match (kind, &value) {
        // These two read the text again, under their own limits.
        (DocumentKind::Statement, _) => {
            findings.violations = Violations::default();
            match validate_statement(json) {
                Ok(statement) => findings.statements.push(statement),
                Err(violations) => {
                    return Document {
                        kind,
                        violations,
                        statements: Vec::new(),
                    };
                }
            }
        }
        (DocumentKind::Predicate, _) => {
            let violations = validate_predicate(json).err().unwrap_or_default();
            return Document {
                kind,
                violations,
                statements: Vec::new(),
            };
        }
        (DocumentKind::Envelope, Some(Value::Object(envelope))) => findings.envelope(envelope, ""),
        (DocumentKind::Bundle, Some(Value::Object(bundle))) => findings.bundle(bundle, ""),
        (DocumentKind::Sidecar, Some(Value::Array(bundles))) => findings.sidecar(bundles),
        (_, Some(value)) => findings.refuse(
            "document_kind",
            "",
            "a statement, publish predicate, DSSE envelope, Sigstore bundle or CEP-50 sidecar",
            describe(Some(value)),
        ),
        (_, None) => {}
    }
    Document {
        kind,
        violations: findings.violations.into_list(),
        statements: findings.statements,
    }
}

fn kind_of(value: &Value) -> DocumentKind {
    let Value::Object(members) = value else {
        return if value.is_array() {
            DocumentKind::Sidecar
        } else {
            DocumentKind::Unknown
        };
    };
    let has = |keys: &[&str]| keys.iter().any(|key| members.contains_key(*key));
    if has(&["dsseEnvelope", "messageSignature", "verificationMaterial"]) {
        DocumentKind::Bundle
    } else if has(&["payload", "payloadType"]) {
        DocumentKind::Envelope
    } else if has(&["_type", "predicateType", "subject"]) {
        DocumentKind::Statement
    } else if has(&["targetChannel"]) {
        DocumentKind::Predicate
    } else {
        DocumentKind::Unknown
    }
}

/// What has been found so far.
struct Findings {
    violations: Violations,
    statements: Vec<ValidStatement>,
}

impl Findings {
    fn refuse(
        &mut self,
        code: &'static str,
        pointer: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.violations
            .push(Rule::Document.broken(code, pointer, expected, found));
    }

    /// CEP-50: an array of one or more Sigstore bundles.
    fn sidecar(&mut self, bundles: &[Value]) {
        if bundles.is_empty() {
            self.refuse(
                "sidecar_empty",
                "",
                "an array of one or more bundles",
                "none",
            );
        }
        for (index, bundle) in bundles.iter().enumerate() {
            let pointer = format!("/{index}");
            match bundle {
                Value::Object(bundle) => self.bundle(bundle, &pointer),
                other => {
                    self.refuse(
                        "bundle_type",
                        pointer,
                        "a Sigstore bundle",
                        describe(Some(other)),
                    );
                }
            }
        }
    }

    fn bundle(&mut self, bundle: &Map<String, Value>, pointer: &str) {
        let envelope_pointer = format!("{pointer}/dsseEnvelope");
        match bundle.get("dsseEnvelope") {
            Some(Value::Object(envelope)) => {
                self.envelope(envelope, &envelope_pointer);
                if let Some(signatures) = envelope.get("signatures").and_then(Value::as_array)
                    && signatures.len() > 1
                {
                    self.refuse(
                        "signatures",
                        format!("{envelope_pointer}/signatures"),
                        "exactly one signature in a Sigstore bundle",
                        signatures.len().to_string(),
                    );
                }
            }
            None if bundle.contains_key("messageSignature") => self.violations.push(
                Rule::Document
                    .broken(
                        "message_signature",
                        format!("{pointer}/messageSignature"),
                        "a DSSE envelope with a statement",
                        "a signature over a file",
                    )
                    .because(
                        "this bundle signs a file without saying anything about it, as `cosign \
                     sign-blob` does; CEP-27 wants an attestation",
                    ),
            ),
            other => {
                self.refuse(
                    "envelope_type",
                    envelope_pointer,
                    "a DSSE envelope",
                    describe(other),
                );
            }
        }
    }

    fn envelope(&mut self, envelope: &Map<String, Value>, pointer: &str) {
        let payload_type = envelope.get("payloadType");
        if payload_type.and_then(Value::as_str) != Some(DSSE_PAYLOAD_TYPE) {
            self.refuse(
                "payload_type",
                format!("{pointer}/payloadType"),
                quote(DSSE_PAYLOAD_TYPE),
                describe(payload_type),
            );
        }
        let signatures = envelope.get("signatures");
        if signatures
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
        {
            self.refuse(
                "signatures",
                format!("{pointer}/signatures"),
                "an array with a signature",
                describe(signatures),
            );
        }
        let pointer = format!("{pointer}/payload");
        let payload = envelope.get("payload");
        let Some(encoded) = payload.and_then(Value::as_str) else {
            self.refuse(
                "payload",
                pointer,
                "a statement in base64",
                describe(payload),
            );
            return;
        };
        match decode(encoded) {
            Ok(statement) => match validate_statement(&statement) {
                Ok(statement) => self.statements.push(statement),
                Err(violations) => self.violations.extend_within(&pointer, violations),
            },
            Err(error) => {
                self.refuse(
                    "payload",
                    pointer,
                    "a statement in base64",
                    error.to_string(),
                );
            }
        }
    }
}

/// Decodes base64 as DSSE and protobuf's JSON have it: with either alphabet, padded or not.
fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    ENGINE.decode(text.replace('-', "+").replace('_', "/"))
}
