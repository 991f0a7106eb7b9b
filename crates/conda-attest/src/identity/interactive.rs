//! A person who logs in with a browser: OpenID Connect's authorization code flow with PKCE
//! (RFC 7636), through a redirect to this machine (RFC 8252) or a code that is typed in.
//!
//! Not the flow of `sigstore-oidc`: that one binds the token to no nonce, ends with the first
//! stray connection from a browser, knows only Dex's addresses, and opens the browser itself.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::redirect::Redirect;
use super::token::MAX_TOKEN;
use crate::retry::{Deadline, Retry};
use crate::trust::secure_url;
use crate::{Error, IdentityToken, Provider, http};

/// Somebody at a terminal who can log in.
#[async_trait]
pub trait Person: Send + Sync {
    /// Opens a page in the person's browser. `false` when there is none that would show it to
    /// them, as in a remote session.
    fn open(&self, url: &Url) -> bool;

    /// Shows a message of one or several lines.
    fn show(&self, text: &str);

    /// Asks for the code that the page shows at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn ask_code(&self) -> std::io::Result<String>;
}

/// How long a person may take.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// How long the identity provider may take, repeated requests included.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(60);
/// Sigstore's identity providers know all its clients by this name; it has no secret.
const CLIENT_ID: &str = "sigstore";
const SCOPE: &str = "openid email";
/// Where the page shows the code instead of sending the browser somewhere with it.
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";
const SERVICE: &str = "identity provider";

/// Has a person log in at an identity provider, with a browser on this machine or another.
pub(crate) async fn log_in(person: &dyn Person, issuer: &Url) -> Result<IdentityToken, Error> {
    let endpoints = Endpoints::discover(issuer).await?;
    let login = Login::new(issuer, endpoints);
    let code = login.code(person).await?;
    login.exchange(&code).await
}

/// What an identity provider says of itself (OpenID Connect Discovery 1.0).
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
}

struct Endpoints {
    authorization: Url,
    token: Url,
}

impl Endpoints {
    async fn discover(issuer: &Url) -> Result<Self, Error> {
        let base = issuer.as_str().trim_end_matches('/');
        let url = secure_url(SERVICE, &format!("{base}/.well-known/openid-configuration"))?;
        let client = http::client(&url)?;
        let body = Retry::new(Deadline::after(PROVIDER_PATIENCE), &())
            .run(SERVICE, || {
                http::send(client.get(url.clone()), SERVICE, &url, MAX_TOKEN)
            })
            .await?;
        let wrong = |reason: String| Error::Identity {
            endpoint: http::shown(issuer),
            reason,
        };
        let found: Discovered = serde_json::from_slice(&body).map_err(|_| {
            wrong("expected an OpenID Connect configuration with its endpoints".to_owned())
        })?;
        // Discovery 4.3: another issuer's configuration is not this one's.
        if found.issuer.trim_end_matches('/') != base {
            let found = cep27::printable(&found.issuer);
            return Err(wrong(format!("it calls itself `{found}`")));
        }
        Ok(Self {
            authorization: secure_url(SERVICE, &found.authorization_endpoint)?,
            token: secure_url(SERVICE, &found.token_endpoint)?,
        })
    }
}

/// One login: its secrets tie browser, code and token to each other.
struct Login {
    issuer: Url,
    endpoints: Endpoints,
    /// Known to us alone until the code is exchanged: a stolen code is worth nothing (PKCE).
    verifier: String,
    /// Comes back with the code: a code from elsewhere is not taken.
    state: String,
    /// Comes back in the token: a token from another login is not taken.
    nonce: String,
}

impl Login {
    fn new(issuer: &Url, endpoints: Endpoints) -> Self {
        Self {
            issuer: issuer.clone(),
            endpoints,
            verifier: secret(),
            state: secret(),
            nonce: secret(),
        }
    }

    async fn code(&self, person: &dyn Person) -> Result<Code, Error> {
        timeout(PATIENCE, self.ask(person))
            .await
            .unwrap_or_else(|_| {
                let seconds = PATIENCE.as_secs();
                Err(self.failed(format!("nobody logged in within {seconds} s")))
            })
    }

    async fn ask(&self, person: &dyn Person) -> Result<Code, Error> {
        let redirect = Redirect::listen(&self.state)
            .await
            .map_err(|error| self.failed(format!("cannot listen on this machine: {error}")))?;
        let redirect_uri = redirect.uri();
        let page = self.page(&redirect_uri);
        if person.open(&page) {
            person.show(&format!(
                "Log in in the browser. If it did not open, go to\n  {page}"
            ));
            let code = redirect.code().await;
            let code = code.map_err(|reason| self.failed(cep27::printable(&reason)))?;
            return Ok(Code { code, redirect_uri });
        }
        drop(redirect);
        let page = self.page(OUT_OF_BAND);
        person.show(&format!("Log in in a browser, on any machine:\n  {page}"));
        let code = person.ask_code().await;
        let code = code.map_err(|error| self.failed(format!("no code: {error}")))?;
        match code.trim() {
            "" => Err(self.failed("no code was given".to_owned())),
            code => Ok(Code {
                code: code.to_owned(),
                redirect_uri: OUT_OF_BAND.to_owned(),
            }),
        }
    }

    /// The page that the person logs in at.
    fn page(&self, redirect_uri: &str) -> Url {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier));
        let mut page = self.endpoints.authorization.clone();
        page.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", SCOPE)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &self.state)
            .append_pair("nonce", &self.nonce);
        page
    }

    /// Turns the code into a token. It is good for one request, so that none is repeated.
    async fn exchange(&self, code: &Code) -> Result<IdentityToken, Error> {
        #[derive(Deserialize)]
        struct Reply {
            id_token: String,
        }
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("code", &code.code)
            .append_pair("code_verifier", &self.verifier)
            .append_pair("redirect_uri", &code.redirect_uri)
            .finish();
        let url = &self.endpoints.token;
        let request = http::client(url)?
            .post(url.clone())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form);
        let body = http::send(request, SERVICE, url, MAX_TOKEN).await?;
        let reply: Reply = serde_json::from_slice(&body)
            .map_err(|_| self.failed("expected a JSON object with the key id_token".to_owned()))?;
        let token = IdentityToken::from_jwt(&reply.id_token, Provider::Interactive)?;
        if token.nonce() != Some(&self.nonce) {
            return Err(self.failed("the token is of another login".to_owned()));
        }
        let base = |text: &str| text.trim_end_matches('/').to_owned();
        if base(token.signed_by()) != base(self.issuer.as_str()) {
            let found = cep27::printable(token.signed_by());
            return Err(self.failed(format!("the token is of the issuer `{found}`")));
        }
        Ok(token)
    }

    fn failed(&self, reason: String) -> Error {
        Error::Identity {
            endpoint: http::shown(&self.issuer),
            reason,
        }
    }
}

/// What a login ends with, and the redirect that it was asked for with.
struct Code {
    code: String,
    redirect_uri: String,
}

/// 256 random bits, as text for a URL.
fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Absent;

    #[async_trait]
    impl Person for Absent {
        fn open(&self, _: &Url) -> bool {
            true
        }
        fn show(&self, _: &str) {}
        async fn ask_code(&self) -> std::io::Result<String> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_that_nobody_finishes_ends() {
        let issuer = Url::parse("https://issuer.example/auth").unwrap();
        let endpoints = Endpoints {
            authorization: issuer.clone(),
            token: issuer.clone(),
        };
        let error = Login::new(&issuer, endpoints).code(&Absent).await.err();
        let message = error.unwrap().to_string();
        assert!(message.contains("nobody logged in"), "{message}");
    }
}
