//! Identity tokens, and where they come from.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use url::Url;

use crate::retry::{Deadline, Retry};
use crate::trust::secure_url;
use crate::{Error, http};

/// An OpenID Connect identity token: a secret that Fulcio turns into a certificate.
///
/// Its claims are read without checking its signature, which is Fulcio's task. Neither `Debug` nor
/// an error ever shows it.
#[derive(Clone)]
pub struct IdentityToken {
    token: sigstore_oidc::IdentityToken,
    workflow_ref: Option<String>,
}

impl IdentityToken {
    /// Reads a token in JWT's compact form.
    ///
    /// # Errors
    /// When the text is not a token with issuer, subject and end.
    pub fn from_jwt(jwt: &str) -> Result<Self, Error> {
        let jwt = jwt.trim();
        let token = sigstore_oidc::IdentityToken::from_jwt(jwt)
            // What serde_json quotes of the token is a claim at most, but nobody needs it.
            .map_err(|_| Error::Token {
                reason: "expected a JWT with the claims iss, sub and exp".to_owned(),
            })?;
        Ok(Self {
            token,
            workflow_ref: workflow_ref(jwt),
        })
    }

    /// Who made the token: what the certificate will call the issuer.
    ///
    /// An identity broker (Dex at oauth2.sigstore.dev) names the provider behind it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        let federated = self.token.claims().federated_claims.as_ref();
        federated
            .and_then(|claims| claims.connector_id.as_deref())
            .unwrap_or_else(|| self.token.issuer())
    }

    /// Whom the token speaks of, in its issuer's terms.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.token.identity()
    }

    /// The audiences of the token.
    #[must_use]
    pub fn audience(&self) -> Vec<&str> {
        match &self.token.claims().aud {
            sigstore_oidc::Audience::Single(audience) => vec![audience],
            sigstore_oidc::Audience::Multiple(audiences) => {
                audiences.iter().map(String::as_str).collect()
            }
            _ => Vec::new(),
        }
    }

    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.token.expiration()
    }

    /// What may be shown of the token before it is used.
    #[must_use]
    pub fn facts(&self) -> TokenFacts {
        TokenFacts {
            issuer: self.issuer().to_owned(),
            subject: self.subject().to_owned(),
            audience: self.audience().into_iter().map(str::to_owned).collect(),
            expires_at: self.expires_at(),
        }
    }

    /// `owner/repo/.github/workflows/file.yml@ref` of a GitHub Actions token: the end of the
    /// identity its certificate will have.
    pub(crate) fn workflow_ref(&self) -> Option<&str> {
        self.workflow_ref.as_deref()
    }

    /// The address that the certificate of a person will have.
    pub(crate) fn email(&self) -> Option<&str> {
        self.token.email()
    }

    pub(crate) fn as_sigstore(&self) -> &sigstore_oidc::IdentityToken {
        &self.token
    }

    /// Refuses a token that Fulcio would refuse, or that Fulcio should not see.
    pub(crate) fn check(&self, audience: &str) -> Result<(), Error> {
        if self.expires_at() <= Timestamp::now() {
            return Err(Error::TokenExpired {
                subject: self.subject().to_owned(),
                expired_at: self.expires_at(),
            });
        }
        let found = self.audience();
        // A token for several audiences can be used by each of them at the others.
        if found != [audience] {
            let found = if found.is_empty() {
                "(none)".to_owned()
            } else {
                found.join(", ")
            };
            return Err(Error::Audience {
                expected: audience.to_owned(),
                found,
            });
        }
        Ok(())
    }
}

/// What may be shown of a token: everything but the token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenFacts {
    /// Who vouches for the identity.
    pub issuer: String,
    /// Whom the token speaks of, in its issuer's terms.
    pub subject: String,
    /// Whom the token is for.
    pub audience: Vec<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityToken")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

fn workflow_ref(jwt: &str) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    #[derive(Deserialize)]
    struct Claims {
        job_workflow_ref: Option<String>,
    }
    let payload = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    serde_json::from_slice::<Claims>(&payload)
        .ok()?
        .job_workflow_ref
}

/// Where identity tokens come from.
///
/// Asked once when a batch begins and again for each renewal of its certificate, since tokens often
/// live shorter than a batch.
#[async_trait]
pub trait IdentitySource: Send + Sync {
    /// A token that is valid now.
    ///
    /// # Errors
    /// When none can be had.
    async fn token(&self) -> Result<IdentityToken, Error>;
}

/// A token that is already at hand; it cannot be renewed.
#[async_trait]
impl IdentitySource for IdentityToken {
    async fn token(&self) -> Result<IdentityToken, Error> {
        Ok(self.clone())
    }
}

/// GitHub Actions' endpoint for identity tokens (`ACTIONS_ID_TOKEN_REQUEST_URL`), which the
/// sandbox's issuer imitates: `GET URL&audience=A` with a bearer, answered by `{"value": JWT}`.
pub struct ActionsEndpoint {
    url: Url,
    bearer: String,
}

/// A token is asked for this long at most, repetitions included.
const PATIENCE: Duration = Duration::from_secs(60);
/// A token is one or two kilobytes.
const MAX_ANSWER: usize = 64 << 10;

impl ActionsEndpoint {
    /// An endpoint that is asked for tokens with the given audience.
    ///
    /// # Errors
    /// When the URL is neither https nor on loopback.
    pub fn new(url: &str, bearer: impl Into<String>, audience: &str) -> Result<Self, Error> {
        let mut url = secure_url("identity endpoint", url)?;
        url.query_pairs_mut().append_pair("audience", audience);
        Ok(Self {
            url,
            bearer: bearer.into(),
        })
    }

    async fn ask(&self) -> Result<IdentityToken, Error> {
        #[derive(Deserialize)]
        struct Reply {
            value: String,
        }
        let request = http::client(&self.url)?
            .get(self.url.clone())
            .bearer_auth(&self.bearer);
        let body = http::send(request, "identity endpoint", &self.url, MAX_ANSWER).await?;
        let reply: Reply = serde_json::from_slice(&body).map_err(|_| Error::Identity {
            endpoint: http::shown(&self.url),
            reason: "expected a JSON object with the key value".to_owned(),
        })?;
        IdentityToken::from_jwt(&reply.value)
    }
}

impl std::fmt::Debug for ActionsEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ActionsEndpoint")
            .field("url", &http::shown(&self.url))
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl IdentitySource for ActionsEndpoint {
    async fn token(&self) -> Result<IdentityToken, Error> {
        Retry::new(Deadline::after(PATIENCE), &())
            .run("identity token", || self.ask())
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    fn jwt(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            part(r#"{"alg":"none"}"#),
            part(claims),
            part("signature")
        )
    }

    #[test]
    fn debug_and_errors_never_show_the_token() {
        let text = jwt(r#"{"iss":"https://i","sub":"me","exp":9999999999,"aud":"sigstore"}"#);
        let token = IdentityToken::from_jwt(&text).unwrap();
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
        let token = |claims: &str| IdentityToken::from_jwt(&jwt(claims)).unwrap();
        let code = |token: IdentityToken| token.check("sigstore").err().map(|e| e.code());
        let good = r#"{"iss":"https://i","sub":"me","exp":9999999999,"aud":"sigstore"}"#;
        assert_eq!(code(token(good)), None);
        let old = good.replace("9999999999", "1000000000");
        assert_eq!(code(token(&old)), Some("token_expired"));
        for audience in [r#""other""#, r#"["sigstore","other"]"#, "[]", r#""""#] {
            let foreign = good.replace(r#""sigstore""#, audience);
            assert_eq!(code(token(&foreign)), Some("token_audience"), "{audience}");
        }
        let listed = good.replace(r#""sigstore""#, r#"["sigstore"]"#);
        assert_eq!(code(token(&listed)), None);
    }

    #[test]
    fn a_broker_names_the_provider_behind_it() {
        let text = jwt(
            r#"{"iss":"https://oauth2.sigstore.dev/auth","sub":"x","email":"a@b.c","exp":9999999999,
                "federated_claims":{"connector_id":"https://accounts.google.com"}}"#,
        );
        let token = IdentityToken::from_jwt(&text).unwrap();
        assert_eq!(token.issuer(), "https://accounts.google.com");
        assert_eq!(token.subject(), "a@b.c");
    }
}
