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

use crate::{AUDIENCE, Claims, Error, IDENTITY, ISSUER, server::Services};

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

/// The claims that tell where the signed packages come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_owner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_visibility: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runner_environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workflow_ref: Option<String>,
}

impl TryFrom<Claims> for SourceClaims {
    type Error = Error;

    fn try_from(claims: Claims) -> Result<Self, Error> {
        let Claims {
            repository,
            commit,
            git_ref,
            workflow,
            repository_id,
            owner_id,
            visibility,
        } = claims;
        let repository = repository.map(|url| Repository::parse(&url)).transpose()?;
        let workflow_ref = match (&repository, workflow, &git_ref) {
            (Some(Repository { path, .. }), Some(workflow), Some(git_ref)) => {
                Some(format!("{path}/{workflow}@{git_ref}"))
            }
            _ => None,
        };
        let (server_url, owner, path) = match repository {
            Some(Repository {
                server,
                owner,
                path,
            }) => (Some(server), Some(owner), Some(path)),
            None => (None, None, None),
        };
        Ok(Self {
            event_name: Some("rehearsal".to_owned()),
            r#ref: git_ref,
            repository: path,
            repository_id,
            repository_owner: owner,
            repository_owner_id: owner_id,
            repository_visibility: visibility,
            runner_environment: Some("self-hosted".to_owned()),
            server_url,
            sha: commit,
            workflow_ref,
        })
    }
}

/// The parts of `https://host/owner/name`; the owner may be nested, as GitLab's groups are.
struct Repository {
    server: String,
    owner: String,
    path: String,
}

impl Repository {
    fn parse(url: &str) -> Result<Self, Error> {
        let parts = || {
            let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
            let (owner, name) = path.rsplit_once('/')?;
            let whole = ![host, owner, name].contains(&"");
            whole.then(|| Self {
                server: format!("https://{host}"),
                owner: owner.to_owned(),
                path: path.to_owned(),
            })
        };
        parts().ok_or_else(|| Error::Repository(url.to_owned()))
    }
}

/// Mints and checks tokens.
pub(crate) struct Issuer {
    signer: EncodingKey,
    keys: JwkSet,
    verifier: DecodingKey,
    bearer: String,
    lifetime: Duration,
    source: SourceClaims,
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
        Ok(Self {
            signer: EncodingKey::from_ec_der(key.to_pkcs8_der().map_err(Error::encode)?.as_bytes()),
            verifier: DecodingKey::from_jwk(&jwk).map_err(Error::encode)?,
            keys: JwkSet { keys: vec![jwk] },
            bearer: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
            lifetime,
            source: claims.try_into()?,
        })
    }

    /// What opens the token endpoint.
    pub(crate) fn bearer(&self) -> &str {
        &self.bearer
    }

    /// A token for an audience.
    pub(crate) fn mint(&self, audience: &str) -> Result<String, Error> {
        let now = jiff::Timestamp::now().as_second();
        let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
        self.sign(&TokenClaims {
            iss: ISSUER.to_owned(),
            sub: IDENTITY.to_owned(),
            aud: audience.to_owned(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(lifetime),
            jti: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()),
            source: self.source.clone(),
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
    pub(crate) fn check(&self, token: &str) -> Result<TokenClaims, String> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 1;
        let TokenData { claims, .. } = jsonwebtoken::decode(token, &self.verifier, &validation)
            .map_err(|error| error.to_string())?;
        Ok(claims)
    }
}

/// `GET /.well-known/openid-configuration`: as for every provider whose issuer is not where it is
/// reached, the endpoints are elsewhere than the issuer.
pub(crate) async fn discovery(State(services): State<Arc<Services>>) -> Json<Value> {
    let url = &services.url;
    Json(json!({
        "issuer": ISSUER,
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
        .mint(audience.as_deref().unwrap_or(ISSUER))
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

    #[test]
    fn a_repository_has_a_host_an_owner_and_a_name() {
        for bad in [
            "acme/pkgs",
            "http://github.com/acme/pkgs",
            "https://github.com/pkgs",
            "https://github.com/acme/",
            "https:///acme/pkgs",
        ] {
            let claims = Claims {
                repository: Some(bad.to_owned()),
                ..Claims::default()
            };
            let error = SourceClaims::try_from(claims).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
        let claims = Claims {
            repository: Some("https://gitlab.com/group/sub/pkgs".to_owned()),
            ..Claims::default()
        };
        let claims = SourceClaims::try_from(claims).unwrap();
        assert_eq!(claims.repository_owner.unwrap(), "group/sub");
    }
}
