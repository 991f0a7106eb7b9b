//! What we write.
#![allow(clippy::unwrap_used)]

use cep27::{PREDICATE_SCHEMA, PREDICATE_TYPE, Predicate, Rule, STATEMENT_TYPE, Statement};
use serde_json::{Value, json};

#[test]
fn the_statement_is_byte_for_byte_that_of_other_signers() {
    // The payload that GitHub's actions/attest signed for a package on prefix.dev.
    let theirs = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"signed-package-2.1.0-hb0f4dca_0.conda","digest":{"sha256":"54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f"}}],"predicateType":"https://schemas.conda.org/attestations-publish-1.schema.json","predicate":{"targetChannel":"https://prefix.dev/sigstore-example"}}"#;
    let ours = Statement::new(
        &"signed-package-2.1.0-hb0f4dca_0.conda".parse().unwrap(),
        "54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f"
            .parse()
            .unwrap(),
        &"https://prefix.dev/sigstore-example".parse().unwrap(),
    );
    assert_eq!(String::from_utf8(ours.to_json()).unwrap(), theirs);
    assert_eq!(ours.file().version(), "2.1.0");
    assert_eq!(&ours.sha256().to_string()[..8], "54303491");
    let predicate = br#"{"targetChannel":"https://prefix.dev/sigstore-example"}"#;
    assert_eq!(ours.predicate().to_json(), predicate);
}

#[test]
fn a_predicate_is_written_by_itself_too() {
    let predicate = Predicate {
        target_channel: "https://prefix.dev/c".parse().unwrap(),
    };
    assert!(cep27::validate_predicate(&predicate.to_json()).is_ok());
}

#[test]
fn the_schema_has_the_constraints_of_the_cep() {
    let schema: Value = serde_json::from_str(PREDICATE_SCHEMA).unwrap();
    assert_eq!(schema["$id"], PREDICATE_TYPE);
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["required"], json!(["targetChannel"]));
    assert_eq!(schema.get("additionalProperties"), None);
    let channel = &schema["properties"]["targetChannel"];
    assert_eq!(channel["type"], "string");
    assert_eq!(channel["format"], "uri");
    assert_eq!(
        (&channel["minLength"], &channel["maxLength"]),
        (&json!(1), &json!(2083))
    );
}

#[test]
fn the_rules_are_numbered_and_quote_the_types() {
    for (number, rule) in (0..).zip(Rule::ALL) {
        assert_eq!(rule.number(), number);
        assert_eq!(serde_json::to_value(rule).unwrap(), number);
    }
    assert_eq!(Rule::SubjectDigest.to_string(), "CEP-27 rule 5");
    assert!(Rule::StatementType.text().contains(STATEMENT_TYPE));
    assert!(Rule::PredicateType.text().contains(PREDICATE_TYPE));
}
