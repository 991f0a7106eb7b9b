//! Trusted publishing: a token from the CI system's identity, or the key of a person.

use std::sync::Arc;

use rattler_networking::Authentication;
use rattler_networking::oidc_exchange::OidcExchangeOptions;
use serde_json::json;
use tokio::sync::Mutex;
use url::Url;

use crate::credentials::{Secret, stored, variable};
use crate::error::with_causes;
use crate::remote::join;
use crate::server::Server;
use crate::settings::Settings;
use crate::{Error, TokenSource};

/// Where an API key is looked for, as in `rattler_upload`.
const API_KEY: &str = "PREFIX_API_KEY";

/// The size of a token, in bytes, up to which it is taken for one: what servers take in a header.
const TOKEN_LIMIT: usize = 16 * 1024;

/// Credentials for one server, as they are needed.
///
/// An identity of the CI system comes before every key: where there is one, it is exchanged for a publishing token,
/// and if that fails, nothing else is tried.
pub(super) struct Tokens {
    server: Server,
    url: Url,
    identity: Option<Arc<dyn TokenSource>>,
    settings: Settings,
    state: Mutex<State>,
}

/// Held while a token is fetched, so that all who need one wait for the same.
#[derive(Default)]
enum State {
    #[default]
    Nothing,
    Have(Token),
    /// A token could not be minted: all who need one hear why, and nobody asks again.
    Failed {
        reason: String,
    },
}

/// What an upload is authorized with.
#[derive(Debug, Clone)]
pub(super) struct Token {
    secret: Secret,
    origin: Origin,
    /// How many tokens were minted up to this one.
    generation: u32,
}

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The server made it from an identity of the CI system.
    Minted,
    /// [`API_KEY`].
    Variable,
    /// rattler's stores.
    Stored,
}

impl Token {
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(super) fn origin(&self) -> Origin {
        self.origin
    }
}

impl Tokens {
    pub(super) fn new(
        server: Server,
        url: &Url,
        identity: Option<Arc<dyn TokenSource>>,
        settings: Settings,
    ) -> Self {
        Self {
            server,
            url: url.clone(),
            identity,
            settings,
            state: Mutex::default(),
        }
    }

    /// The token to use now.
    pub(super) async fn current(&self) -> Result<Token, Error> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Have(token) => Ok(token.clone()),
            State::Failed { reason } => Err(self.failed(reason.clone())),
            State::Nothing => {
                let minted = self.mint(&mut state, 1).await?;
                match minted {
                    Some(token) => Ok(token),
                    None => {
                        let token = self.key().await?;
                        *state = State::Have(token.clone());
                        Ok(token)
                    }
                }
            }
        }
    }

    /// The token to use after the server refused this one as ended; `None` where no new one can be made.
    ///
    /// However many ask for one in place of the same token, it is made once.
    pub(super) async fn renew(&self, refused: &Token) -> Result<Option<Token>, Error> {
        if refused.origin != Origin::Minted {
            return Ok(None);
        }
        let mut state = self.state.lock().await;
        match &*state {
            State::Failed { reason } => Err(self.failed(reason.clone())),
            State::Have(token) if token.generation > refused.generation => Ok(Some(token.clone())),
            _ => {
                let token = self.mint(&mut state, refused.generation + 1).await?;
                // There was an identity before.
                token.map(Some).ok_or_else(|| {
                    self.failed("the identity of the CI system is not there any more".to_owned())
                })
            }
        }
    }

    /// Exchanges the identity of the CI system, if there is one.
    async fn mint(&self, state: &mut State, generation: u32) -> Result<Option<Token>, Error> {
        match self.exchange().await {
            Ok(None) => Ok(None),
            Ok(Some(secret)) => {
                let token = Token {
                    secret,
                    origin: Origin::Minted,
                    generation,
                };
                *state = State::Have(token.clone());
                Ok(Some(token))
            }
            Err(reason) => {
                *state = State::Failed {
                    reason: reason.clone(),
                };
                Err(self.failed(reason))
            }
        }
    }

    /// The error says why there is an identity and no token for it.
    async fn exchange(&self) -> Result<Option<Secret>, String> {
        let Some(identity) = &self.identity else {
            return Ok(None);
        };
        let audience = OidcExchangeOptions::prefix_dev(&self.url).audience;
        let identity = identity.identity_token(&audience).await;
        let Some(identity) = identity.map_err(|error| with_causes(error.as_ref()))? else {
            return Ok(None);
        };
        let identity = Secret::new(identity);
        let url = join(&self.url, ["api", "oidc", "mint_token"]);
        let answer = self.server.ask("a publishing token", async || {
            let body = json!({ "token": identity.expose() });
            Ok(self.server.http().post(url.clone()).json(&body))
        });
        let mut answer = answer.await.map_err(|error| with_causes(&error))?;
        if !answer.status.is_success() {
            let status = answer.status;
            answer.body = identity.removed_from(answer.body);
            let reason = answer.reason();
            return Err(format!("{reason} (HTTP status {})", status.as_u16()));
        }
        let token = str::from_utf8(&answer.body).unwrap_or_default().trim();
        let is_token = !token.is_empty()
            && token.len() <= TOKEN_LIMIT
            && token.bytes().all(|byte| byte.is_ascii_graphic())
            && !answer.is_garbage();
        match is_token {
            true => {
                tracing::info!(server = self.server.name(), "minted a publishing token");
                Ok(Some(Secret::new(token.to_owned())))
            }
            false => Err("what it answers is no token".to_owned()),
        }
    }

    /// The key of a person: the variable's, else the stored one.
    async fn key(&self) -> Result<Token, Error> {
        let token = |secret, origin| Token {
            secret,
            origin,
            generation: 0,
        };
        if let Some(key) = variable(API_KEY) {
            return Ok(token(key, Origin::Variable));
        }
        let missing = |reason: String| Error::NoCredentials {
            server: self.server.name().to_owned(),
            reason,
        };
        match stored(&self.settings, &self.url).await? {
            Some(Authentication::BearerToken(token_text)) => {
                Ok(token(Secret::new(token_text), Origin::Stored))
            }
            Some(Authentication::OAuth { access_token, .. }) => {
                Ok(token(Secret::new(access_token), Origin::Stored))
            }
            Some(_) => Err(missing(
                "what is stored for it is no bearer token: store one with `pixi auth login`"
                    .to_owned(),
            )),
            None => Err(missing(format!(
                "expected an identity of a CI system for trusted publishing, `{API_KEY}`, or a token stored with `pixi auth login`; found none"
            ))),
        }
    }

    fn failed(&self, reason: String) -> Error {
        Error::Mint {
            server: self.server.name().to_owned(),
            reason,
        }
    }
}
