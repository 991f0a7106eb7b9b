//! Who we are to a server: API keys, and tokens that are minted from an identity.

use std::fmt;

use async_trait::async_trait;
use http::HeaderValue;
use rattler_networking::Authentication;
use url::Url;

use crate::Error;
use crate::settings::Settings;

/// Where identity tokens come from: the CI system that this runs in.
#[async_trait]
pub trait TokenSource: Send + Sync {
    /// A fresh identity token for this audience; `None` where there is no such identity, as outside of CI.
    ///
    /// # Errors
    /// There is one, and it can't be had.
    async fn identity_token(
        &self,
        audience: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Something that must reach its server and nothing else.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for a request's body.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Text of a server without the secret, should the server repeat it.
    pub(crate) fn removed_from(&self, text: Vec<u8>) -> Vec<u8> {
        let secret = self.0.as_bytes();
        let is_in = !secret.is_empty() && text.windows(secret.len()).any(|part| part == secret);
        match is_in {
            true => {
                let text = String::from_utf8_lossy(&text);
                text.replace(&self.0, "…").into_bytes()
            }
            false => text,
        }
    }

    /// A header's value, marked so that nothing logs it: `scheme` and the secret.
    pub(crate) fn header(&self, server: &str, scheme: &str) -> Result<HeaderValue, Error> {
        let text = match scheme {
            "" => self.0.clone(),
            scheme => format!("{scheme} {}", self.0),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| Error::NoCredentials {
            server: server.to_owned(),
            reason: "what is stored has characters that no HTTP header can carry".to_owned(),
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The key in an environment variable, if it is set and not empty.
pub(crate) fn variable(name: &str) -> Option<Secret> {
    let value = std::env::var(name).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| Secret(value.to_owned()))
}

/// The key in an environment variable, as what servers of conda packages take.
pub(crate) fn conda_key(name: &str) -> Option<Authentication> {
    variable(name).map(|key| Authentication::CondaToken(key.0))
}

/// The token for a server of conda packages, if it is one.
pub(crate) fn conda_token(authentication: Authentication) -> Option<String> {
    match authentication {
        Authentication::CondaToken(token) => Some(token),
        _ => None,
    }
}

/// What rattler's stores have for exactly this server; a refreshed token where it has ended.
pub(crate) async fn stored(
    settings: &Settings,
    url: &Url,
) -> Result<Option<Authentication>, Error> {
    let found = settings.credentials.get_by_url_refreshed(url.clone()).await;
    match found {
        Ok((_, authentication)) => Ok(authentication),
        Err(error) => Err(Error::Credentials {
            source: error.to_string().into(),
        }),
    }
}

/// The token that rattler's stores have for exactly this server, if `take` takes it: of the kind that is `wanted`, where
/// the variable beside that was looked at before.
pub(crate) async fn stored_token(
    settings: &Settings,
    url: &Url,
    server: &str,
    (wanted, variable): (&str, &str),
    take: impl FnOnce(Authentication) -> Option<String>,
) -> Result<Secret, Error> {
    let missing = |reason: String| Error::NoCredentials {
        server: server.to_owned(),
        reason,
    };
    let Some(found) = stored(settings, url).await? else {
        return Err(missing(format!(
            "expected {variable}, or a {wanted} in rattler's stores"
        )));
    };
    let kind = found.method().to_owned();
    take(found).map(Secret::new).ok_or_else(|| {
        missing(format!(
            "expected a {wanted}, found {kind} in rattler's stores; {variable} is not set"
        ))
    })
}
