//! Statements inside envelopes, bundles and sidecars.
#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use cep27::{Document, DocumentKind, Sha256, Statement, validate_document};
use serde_json::{Value, json};

fn statement() -> Vec<u8> {
    Statement::new(
        &"libgreet-1.0.0-h123_0.conda".parse().unwrap(),
        Sha256::from_bytes([0xfb; 32]),
        &"https://prefix.dev/my-channel".parse().unwrap(),
    )
    .to_json()
}

fn envelope(statement: &[u8]) -> Value {
    json!({
        "payload": STANDARD.encode(statement),
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{ "sig": "AA==" }],
    })
}

fn bundle(statement: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {},
        "dsseEnvelope": envelope(statement),
    })
}

fn validate(value: &Value) -> Document {
    validate_document(value.to_string().as_bytes())
}

/// Code, pointer and pointer to the payload of every violation.
fn found(document: &Document) -> Vec<(&str, &str, Option<&str>)> {
    let violations = document.violations.iter();
    violations
        .map(|v| (v.code, &*v.pointer, v.within.as_deref()))
        .collect()
}

#[test]
fn each_kind_is_recognised() {
    let statement = statement();
    let predicate = br#"{"targetChannel":"https://prefix.dev/my-channel"}"#;
    let sidecar = json!([bundle(&statement), bundle(&statement)]);
    for (json, kind, statements) in [
        (statement.clone(), DocumentKind::Statement, 1),
        (predicate.to_vec(), DocumentKind::Predicate, 0),
        (
            envelope(&statement).to_string().into_bytes(),
            DocumentKind::Envelope,
            1,
        ),
        (
            bundle(&statement).to_string().into_bytes(),
            DocumentKind::Bundle,
            1,
        ),
        (sidecar.to_string().into_bytes(), DocumentKind::Sidecar, 2),
    ] {
        let document = validate_document(&json);
        assert_eq!(document.kind, kind);
        assert_eq!(document.violations, [], "{kind}");
        assert_eq!(document.statements.len(), statements, "{kind}");
    }
}

#[test]
fn what_is_none_of_them_says_so() {
    for json in [
        json!({}),
        json!(null),
        json!(1),
        json!("text"),
        json!({ "name": "x" }),
    ] {
        let document = validate(&json);
        assert_eq!(document.kind, DocumentKind::Unknown, "{json}");
        assert_eq!(found(&document), [("document_kind", "", None)], "{json}");
    }
    for (text, code) in [("", "json_truncated"), ("PK\u{3}\u{4}", "json_syntax")] {
        let document = validate_document(text.as_bytes());
        assert_eq!(document.kind, DocumentKind::Unknown);
        assert_eq!(found(&document), [(code, "", None)]);
    }
}

#[test]
fn a_violation_in_a_payload_says_which() {
    let wrong = br#"{"_type":1}"#;
    let mut mixed = bundle(wrong);
    mixed["dsseEnvelope"]["payloadType"] = json!("text/plain");
    let document = validate(&json!([bundle(&statement()), mixed, 7]));
    let within = Some("/1/dsseEnvelope/payload");
    assert_eq!(
        found(&document),
        [
            ("payload_type", "/1/dsseEnvelope/payloadType", None),
            ("statement_type", "/_type", within),
            ("predicate_type", "/predicateType", within),
            ("subject_missing", "/subject", within),
            ("bundle_type", "/2", None),
        ]
    );
    assert_eq!(document.statements.len(), 1);
    insta::assert_snapshot!(document.violations[1], @"CEP-27 rule 1 at /_type in the payload at /1/dsseEnvelope/payload: expected `https://in-toto.io/Statement/v1`, found `1`");
}

#[test]
fn duplicate_keys_count_inside_the_payload_and_out() {
    let inner = String::from_utf8(statement())
        .unwrap()
        .replacen('{', r#"{"a":1,"a":1,"#, 1);
    let outer = bundle(inner.as_bytes())
        .to_string()
        .replacen('{', r#"{"b":1,"b":1,"#, 1);
    let document = validate_document(outer.as_bytes());
    assert_eq!(
        found(&document),
        [
            ("duplicate_key", "/b", None),
            ("duplicate_key", "/a", Some("/dsseEnvelope/payload"))
        ]
    );
}

#[test]
fn base64_may_be_of_either_alphabet_and_unpadded() {
    let note = r#"{"note":">>>>>>??????","#;
    let statement = String::from_utf8(statement())
        .unwrap()
        .replacen('{', note, 1);
    let standard = STANDARD.encode(&statement);
    assert!(standard.contains('+') && standard.contains('/') && standard.ends_with('='));
    for payload in [
        standard,
        STANDARD_NO_PAD.encode(&statement),
        URL_SAFE.encode(&statement),
    ] {
        let mut bundle = bundle(statement.as_bytes());
        bundle["dsseEnvelope"]["payload"] = json!(payload);
        assert_eq!(validate(&bundle).violations, []);
    }
}

#[test]
fn a_broken_wrapping_is_refused() {
    let broken = |pointer: &str, value: Value| {
        let mut bundle = bundle(&statement());
        *bundle.pointer_mut(pointer).unwrap() = value;
        let document = validate(&bundle);
        found(&document)
            .into_iter()
            .map(|(code, pointer, _)| format!("{code} {pointer}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        broken("/dsseEnvelope", json!(null)),
        ["envelope_type /dsseEnvelope"]
    );
    assert_eq!(
        broken("/dsseEnvelope/payload", json!("****")),
        ["payload /dsseEnvelope/payload"]
    );
    assert_eq!(
        broken("/dsseEnvelope/payload", json!({})),
        ["payload /dsseEnvelope/payload"]
    );
    assert_eq!(
        broken("/dsseEnvelope/payloadType", json!("")),
        ["payload_type /dsseEnvelope/payloadType"]
    );
    assert_eq!(
        broken("/dsseEnvelope/signatures", json!([])),
        ["signatures /dsseEnvelope/signatures"]
    );
    assert_eq!(
        broken("/dsseEnvelope/signatures", json!([{}, {}])),
        ["signatures /dsseEnvelope/signatures"]
    );
    assert_eq!(found(&validate(&json!([]))), [("sidecar_empty", "", None)]);
}

#[test]
fn a_bundle_over_a_file_is_told_from_an_attestation() {
    let document = validate(&json!({ "verificationMaterial": {}, "messageSignature": {} }));
    assert_eq!(document.kind, DocumentKind::Bundle);
    assert_eq!(
        found(&document),
        [("message_signature", "/messageSignature", None)]
    );
    assert!(
        document.violations[0]
            .explanation
            .as_deref()
            .unwrap()
            .contains("cosign sign-blob")
    );
}
