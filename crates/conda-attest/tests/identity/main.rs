//! Identities from real places: programs and endpoints of CI systems, pipes, and a browser.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(unix)]
mod ci;
mod login;
mod provider;
mod trace;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// What no output may ever contain: the signature of every token made here.
const SECRET: &str = "marked-secret-of-a-token";

/// An unsigned token.
fn jwt_of(claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{SECRET}",
        part(r#"{"alg":"none"}"#),
        part(&claims.to_string())
    )
}
