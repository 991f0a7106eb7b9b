//! The identity provider: mints and checks tokens that look like those of GitHub Actions.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation,
    jwk::{Jwk, JwkSet},
};
use p256::{ecdsa::SigningKey, pkcs8::EncodePrivateKey as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    AUDIENCE, Claims, Error,
    claims::{self, Source, SourceClaims},
    server::Services,
};

/// The path of the token endpoint, with a query as GitHub's has one.
pub(crate) const TOKEN_PATH: &str = "/actions/token";

/// What a token says, under GitHub's claim names. `server_url` is not among those: GitHub's Fulcio
/// configuration has `https://github.com` in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TokenClaims {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
    #[serde(flatten)]
    pub(crate) source: SourceClaims,
}

/// Mints and checks tokens.
pub(crate) struct Issuer {
    signer: EncodingKey,
    keys: JwkSet,
    verifier: DecodingKey,
    bearer: String,
    lifetime: Duration,
    source: Source,
    identity: String,
}

impl Issuer {
    pub(crate) fn new(key: &SigningKey, lifetime: Duration, claims: Claims) -> Result<Self, Error> {
        let point = key.verifying_key().to_encoded_point(false);
        let coordinate =
            |bytes: Option<&p256::FieldBytes>| bytes.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(point.as_bytes()));
        let jwk: Jwk = serde_json::from_value(json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id,
            "x": coordinate(point.x()), "y": coordinate(point.y()),
        }))
        .map_err(Error::encode)?;
        let source = Source::try_from(claims)?;
        Ok(Self {
            identity: source.claims.identity(&source.subject),
            source,
            signer: EncodingKey::from_ec_der(key.to_pkcs8_der().map_err(Error::encode)?.as_bytes()),
            verifier: DecodingKey::from_jwk(&jwk).map_err(Error::encode)?,
            keys: JwkSet { keys: vec![jwk] },
            bearer: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
            lifetime,
        })
    }

    /// Who the tokens are from.
    pub(crate) fn url(&self) -> &str {
        &self.source.issuer
    }

    /// Who certificates are for.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    /// What opens the token endpoint.
    pub(crate) fn bearer(&self) -> &str {
        &self.bearer
    }

    /// A token for an audience.
    pub(crate) fn mint(&self, audience: &str) -> Result<String, Error> {
        self.mint_for(self.source.clone(), audience, self.lifetime)
    }

    /// A token that says what it is told to.
    pub(crate) fn mint_for(
        &self,
        source: Source,
        audience: &str,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let now = jiff::Timestamp::now().as_second();
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let Source {
            issuer,
            subject,
            claims,
        } = source;
        self.sign(&TokenClaims {
            iss: issuer,
            sub: subject,
            aud: audience.to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime),
            jti: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
            source: claims,
        })
    }

    pub(crate) fn sign(&self, claims: &TokenClaims) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = self
            .keys
            .keys
            .first()
            .and_then(|key| key.common.key_id.clone());
        jsonwebtoken::encode(&header, claims, &self.signer).map_err(Error::encode)
    }

    /// Checks signature, issuer, audience and times of a token. Errors do not repeat the token.
    ///
    /// The key is known to nobody else, so that every issuer is ours that we would sign for.
    pub(crate) fn check(&self, token: &str) -> Result<TokenClaims, String> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 1;
        let TokenData::<TokenClaims> { claims, .. } =
            jsonwebtoken::decode(token, &self.verifier, &validation)
                .map_err(|error| error.to_string())?;
        if !claims::is_invalid(&claims.iss) {
            return Err("InvalidIssuer".to_owned());
        }
        Ok(claims)
    }
}

/// `GET /.well-known/openid-configuration`: as for every provider whose issuer is not where it is
/// reached, the endpoints are elsewhere than the issuer.
pub(crate) async fn discovery(State(services): State<Arc<Services>>) -> Json<Value> {
    let url = &services.url;
    Json(json!({
        "issuer": services.issuer.url(),
        "jwks_uri": format!("{url}/jwks"),
        "token_endpoint": format!("{url}{TOKEN_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
}

/// `GET /jwks`
pub(crate) async fn jwks(State(services): State<Arc<Services>>) -> Json<JwkSet> {
    Json(services.issuer.keys.clone())
}

#[derive(Deserialize)]
pub(crate) struct TokenQuery {
    audience: Option<String>,
}

/// `GET /actions/token?audience=A`: GitHub Actions' `ACTIONS_ID_TOKEN_REQUEST_URL`.
pub(crate) async fn token(
    State(services): State<Arc<Services>>,
    Query(TokenQuery { audience }): Query<TokenQuery>,
    headers: HeaderMap,
) -> Result<Json<Value>, (StatusCode, String)> {
    if bearer(&headers) != Some(services.issuer.bearer()) {
        return Err((
            StatusCode::UNAUTHORIZED,
            "expected the runner's bearer token".to_owned(),
        ));
    }
    let token = services
        .issuer
        .mint(audience.as_deref().unwrap_or(services.issuer.url()))
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(json!({ "count": token.len(), "value": token })))
}

/// The token of `Authorization: Bearer {token}`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::new_key;

    fn issuer() -> Issuer {
        Issuer::new(&new_key(), Duration::from_secs(300), Claims::default()).unwrap()
    }

    fn claims(issuer: &Issuer) -> TokenClaims {
        issuer.check(&issuer.mint(AUDIENCE).unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_refused_when_any_of_its_claims_is_wrong() {
        let issuer = issuer();
        let good = claims(&issuer);
        let now = jiff::Timestamp::now().as_second();
        for (wrong, expected) in [
            (
                TokenClaims {
                    iss: "https://token.actions.githubusercontent.com".to_owned(),
                    ..good.clone()
                },
                "InvalidIssuer",
            ),
            (
                TokenClaims {
                    aud: "sigstore".to_owned(),
                    ..good.clone()
                },
                "InvalidAudience",
            ),
            (
                TokenClaims {
                    exp: now,
                    ..good.clone()
                },
                "ExpiredSignature",
            ),
            (
                TokenClaims {
                    nbf: now + 60,
                    ..good.clone()
                },
                "ImmatureSignature",
            ),
        ] {
            assert_eq!(
                issuer.check(&issuer.sign(&wrong).unwrap()).unwrap_err(),
                expected
            );
        }
    }

    #[test]
    fn a_token_is_refused_when_it_was_changed_or_another_key_signed_it() {
        let issuer = self::issuer();
        let good = issuer.mint(AUDIENCE).unwrap();
        let (header, rest) = good.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let changed = TokenClaims {
            sub: "someone else".to_owned(),
            ..claims(&issuer)
        };
        let changed = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&changed).unwrap());
        let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
        for forged in [
            format!("{header}.{changed}.{signature}"),
            format!("{unsigned}.{changed}."),
            self::issuer().mint(AUDIENCE).unwrap(),
            String::new(),
        ] {
            issuer.check(&forged).unwrap_err();
        }
    }
}
