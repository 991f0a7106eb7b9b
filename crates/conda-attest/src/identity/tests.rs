//! Tokens and the look-up of variables; what runs programs or asks servers is in `tests/identity.rs`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;

fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"none"}"#),
        part(claims),
        part("signature")
    )
}

fn token(claims: &str) -> IdentityToken {
    IdentityToken::from_jwt(&jwt(claims), Provider::File).unwrap()
}

const GOOD: &str = r#"{"iss":"https://i","sub":"me","exp":9999999999,"aud":"sigstore"}"#;

#[test]
fn debug_and_errors_never_show_the_token() {
    let text = jwt(GOOD);
    let token = IdentityToken::from_jwt(&text, Provider::File).unwrap();
    let shown = format!("{token:?} {:?}", token.check("other").unwrap_err());
    for part in text.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
    let endpoint = ActionsEndpoint::new("http://127.0.0.1/?k=v", "bearer-x", "a").unwrap();
    let shown = format!("{endpoint:?}");
    assert!(
        !shown.contains("bearer-x") && !shown.contains("k=v"),
        "{shown}"
    );
}

#[test]
fn expired_and_foreign_tokens_are_refused_before_anybody_sees_them() {
    let code = |claims: &str| token(claims).check("sigstore").err().map(|e| e.code());
    assert_eq!(code(GOOD), None);
    let old = GOOD.replace("9999999999", "1000000000");
    assert_eq!(code(&old), Some("token_expired"));
    for audience in [r#""other""#, r#"["sigstore","other"]"#, "[]", r#""""#] {
        let foreign = GOOD.replace(r#""sigstore""#, audience);
        assert_eq!(code(&foreign), Some("token_audience"), "{audience}");
    }
    let listed = GOOD.replace(r#""sigstore""#, r#"["sigstore"]"#);
    assert_eq!(code(&listed), None);
}

#[test]
fn a_broker_names_the_provider_behind_it() {
    let token = token(
        r#"{"iss":"https://oauth2.sigstore.dev/auth","sub":"x","email":"a@b.c","exp":9999999999,
            "federated_claims":{"connector_id":"https://accounts.google.com"}}"#,
    );
    assert_eq!(token.issuer(), "https://accounts.google.com");
    assert_eq!(token.subject(), "a@b.c");
}
