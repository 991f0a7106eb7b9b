//! GitHub Actions' endpoint for identity tokens.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::token::MAX_TOKEN;
use crate::retry::{Deadline, Retry};
use crate::trust::secure_url;
use crate::{Error, IdentitySource, IdentityToken, Provider, http};

/// GitHub Actions' endpoint for identity tokens (`ACTIONS_ID_TOKEN_REQUEST_URL`), which the
/// sandbox's issuer imitates: `GET URL&audience=A` with a bearer, answered by `{"value": JWT}`.
pub struct ActionsEndpoint {
    url: Url,
    bearer: String,
    provider: Provider,
}

/// A token is asked for this long at most, repetitions included.
const PATIENCE: Duration = Duration::from_secs(60);

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
            provider: Provider::GithubActions,
        })
    }

    /// The same endpoint as that of a rehearsal's sandbox.
    #[must_use]
    pub fn of_sandbox(mut self) -> Self {
        self.provider = Provider::Sandbox;
        self
    }

    async fn ask(&self) -> Result<IdentityToken, Error> {
        #[derive(Deserialize)]
        struct Reply {
            value: String,
        }
        let request = http::client(&self.url)?
            .get(self.url.clone())
            .bearer_auth(&self.bearer);
        let body = http::send(request, "identity endpoint", &self.url, MAX_TOKEN).await?;
        let reply: Reply = serde_json::from_slice(&body).map_err(|_| Error::Identity {
            endpoint: http::shown(&self.url),
            reason: "expected a JSON object with the key value".to_owned(),
        })?;
        IdentityToken::from_jwt(&reply.value, self.provider)
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
