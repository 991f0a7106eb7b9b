//! Trusted publishing: a publishing token for an identity token.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, TokenData, Validation};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Refusal, Shared};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    token: String,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Claims {
    repository: Option<String>,
}

/// `POST /api/oidc/mint_token {"token": …}`; the answer is the publishing token.
pub(super) async fn mint(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<String, Refusal> {
    let kind = headers.get(CONTENT_TYPE);
    if kind.and_then(|kind| kind.to_str().ok()) != Some("application/json") {
        return Err(shared.complain("an exchange is not application/json"));
    }
    let Exchange { token } = serde_json::from_slice(&body)
        .map_err(|error| shared.complain(format!("an exchange is wrong: {error}")))?;
    check(&shared, &token)
        .await
        .map_err(|reason| (StatusCode::UNAUTHORIZED, reason))?;
    let mut state = shared.state();
    state.mints += 1;
    let minted = format!("minted-{}-{}", state.mints, super::upload::hash(&body));
    let uses = shared.options.token_uses.unwrap_or(u64::MAX);
    state.tokens.insert(minted.clone(), uses);
    // As a server may: what is around the token is not part of it.
    Ok(format!("{minted}\n"))
}

/// Whether the trusted publisher's issuer made this token for this server, now.
async fn check(shared: &Shared, token: &str) -> Result<(), String> {
    let publisher = shared.options.publisher.as_ref();
    let publisher = publisher.ok_or("this channel has no trusted publisher")?;
    let discovery = format!("{}/.well-known/openid-configuration", publisher.discovery);
    let discovery: Discovery = get(shared, &discovery).await?;
    if discovery.issuer != publisher.issuer {
        return Err("another issuer than the trusted publisher's".to_owned());
    }
    let keys: JwkSet = get(shared, &discovery.jwks_uri).await?;
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let key = header.kid.as_deref().and_then(|id| keys.find(id));
    let key = key.ok_or("a key that the issuer does not have")?;
    let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
    let mut validation = Validation::new(header.alg);
    let host = url::Url::parse(&shared.origin).map_err(|error| error.to_string())?;
    validation.set_audience(&[host.host_str().unwrap_or_default()]);
    validation.set_issuer(&[&publisher.issuer]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    validation.validate_nbf = true;
    validation.leeway = 0;
    let TokenData { claims, .. } = jsonwebtoken::decode::<Claims>(token, &key, &validation)
        .map_err(|error| error.to_string())?;
    match claims.repository {
        Some(repository) if repository == publisher.repository => Ok(()),
        found => Err(format!(
            "the trusted publisher is {}, not {}",
            publisher.repository,
            found.unwrap_or_default()
        )),
    }
}

async fn get<T: DeserializeOwned>(shared: &Shared, url: &str) -> Result<T, String> {
    let answer = shared.http.get(url).send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}
