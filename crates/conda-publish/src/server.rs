//! Requests that change something on a server: whom they reach, how long they are waited for, and how often they
//! are made.

use std::time::Duration;

use http::HeaderMap;
use http::header::LOCATION;
use rattler_networking::proxy;
use reqwest::{RequestBuilder, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use crate::credentials::Secret;
use crate::error::{cause, with_causes};
use crate::remote::is_loopback;
use crate::retry::{Retries, is_transient, retry_after};
use crate::settings::Settings;
use crate::source::{Fault, Source, Watch};
use crate::{Error, Patience, Reporter, Upload};

/// How much of an answer is read, in bytes: no protocol here has more to say.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// A server that packages are uploaded to.
///
/// Requests go to its host and nowhere else: redirects are refused, since credentials are in them. Answers are not
/// decompressed, and cut off where they get too long.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    name: String,
    http: reqwest::Client,
    patience: Patience,
}

/// What a server said, whatever it was, but that it can't answer now.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// A server at this URL: `https`, or `http` on this machine.
    pub(crate) fn new(url: &Url, patience: Patience, settings: &Settings) -> Result<Self, Error> {
        let name = shown(url);
        let is_loopback = is_loopback(url);
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
            return Err(Error::Unsupported {
                channel: name,
                reason: "is not https: credentials and packages go over plain http to this machine only",
            });
        }
        let unusable = |source: reqwest::Error| Error::RattlerConfig {
            source: Box::new(source),
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("conda-release/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .referer(false)
            .redirect(redirect::Policy::none())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        if is_loopback {
            builder = builder.no_proxy();
        } else {
            let proxies = proxy::proxies_from_config(&settings.config.proxy_config);
            for proxy in proxies.map_err(unusable)? {
                builder = builder.proxy(proxy);
            }
        }
        Ok(Self {
            name,
            http: builder.build().map_err(unusable)?,
            patience,
        })
    }

    /// Its host, as it is named in messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// To build requests with.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Makes a request for `what`, again if it fails in passing, and gives the answer, whatever its status.
    ///
    /// Only for what is harmless to do twice.
    pub(crate) async fn ask<R: Future<Output = Result<RequestBuilder, Error>>>(
        &self,
        what: &str,
        mut request: impl FnMut() -> R,
    ) -> Result<Answer, Error> {
        let mut retries = Retries::new(&self.patience);
        loop {
            let request = request().await?;
            let passing = match self.answer(what, request).await? {
                Ok(answer) => return Ok(answer),
                Err(passing) => passing,
            };
            let delay = self.delay(&mut retries, what, &passing)?;
            tokio::time::sleep(delay).await;
        }
    }

    /// Sends a package, again if that fails in passing, and gives the answer, whatever its status.
    ///
    /// `request` makes a request whose body has the source's bytes in it, for each attempt anew; it passes the watch
    /// on to [`Source::bytes`].
    pub(crate) async fn send<R: Future<Output = Result<RequestBuilder, Error>>>(
        &self,
        upload: &Upload,
        source: &Source,
        reporter: &dyn Reporter,
        mut request: impl FnMut(Watch) -> R,
    ) -> Result<Answer, Error> {
        let what = upload.package.to_string();
        let mut retries = Retries::new(&self.patience);
        loop {
            let watch = Watch::new(source.size());
            let request = request(watch.clone()).await?;
            let result = tokio::select! {
                result = self.attempt(&what, request) => result,
                stalled = watch.stalled(&self.patience, upload, reporter) => {
                    Ok(Err(Passing::late(stalled)))
                }
            };
            let passing = match result? {
                Ok(answer) => {
                    watch.report(upload, reporter);
                    return Ok(answer);
                }
                Err(Passing {
                    fault: Some(fault), ..
                }) => return Err(source.error(&fault)),
                Err(passing) => passing,
            };
            let delay = self.delay(&mut retries, &what, &passing)?;
            reporter.repeating(&upload.package, &passing.reason, delay);
            tokio::time::sleep(delay).await;
        }
    }

    /// The error for an answer that refuses, with what the server says about it.
    pub(crate) fn refused(&self, what: &str, answer: &Answer, help: &'static str) -> Error {
        Error::Refused {
            server: self.name.clone(),
            what: what.to_owned(),
            status: answer.status.as_u16(),
            reason: answer.reason(),
            help,
        }
    }

    /// What an answer says as JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        what: &str,
        answer: &Answer,
    ) -> Result<T, Error> {
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.unexpected(what, error.to_string()))
    }

    /// The error for an answer that the protocol doesn't have.
    pub(crate) fn unexpected(&self, what: &str, reason: impl Into<String>) -> Error {
        Error::Answer {
            server: self.name.clone(),
            what: what.to_owned(),
            reason: reason.into(),
        }
    }

    fn delay(
        &self,
        retries: &mut Retries,
        what: &str,
        passing: &Passing,
    ) -> Result<Duration, Error> {
        let delay = retries.delay(passing.retry_after);
        let delay = delay.ok_or_else(|| Error::NotSent {
            server: self.name.clone(),
            what: what.to_owned(),
            attempts: retries.attempts(),
            reason: passing.reason.clone(),
        })?;
        tracing::info!(
            server = self.name,
            what,
            reason = passing.reason,
            ?delay,
            "asking again"
        );
        Ok(delay)
    }

    /// One attempt at a request whose body is short.
    async fn answer(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<Result<Answer, Passing>, Error> {
        let limit = self.patience.answer;
        let attempt = tokio::time::timeout(limit, self.attempt(what, request));
        attempt.await.unwrap_or(Ok(Err(Passing::late(limit))))
    }

    async fn attempt(
        &self,
        what: &str,
        request: RequestBuilder,
    ) -> Result<Result<Answer, Passing>, Error> {
        let (http, request) = request.build_split();
        let secrets;
        let sent = match request {
            Ok(request) => {
                secrets = secrets_of(request.headers());
                http.execute(request).await
            }
            Err(error) => return Ok(Err(Passing::of(error))),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Ok(Err(Passing::of(error))),
        };
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_redirection() {
            return Err(self.redirected(&response));
        }
        if is_transient(status) {
            let retry_after = retry_after(&headers);
            let reason = match self.read(response, &secrets).await {
                Ok(body) => Answer {
                    status,
                    headers,
                    body,
                }
                .reason(),
                Err(_) => String::new(),
            };
            return Ok(Err(Passing {
                reason: format!("it answers with HTTP status {}: {reason}", status.as_u16()),
                retry_after,
                fault: None,
            }));
        }
        match self.read(response, &secrets).await {
            Ok(body) => Ok(Ok(Answer {
                status,
                headers,
                body,
            })),
            // What was done is done: the answer's text is only for people.
            Err(Unread::TooLong) if !status.is_success() => Ok(Ok(Answer {
                status,
                headers,
                body: Vec::new(),
            })),
            Err(Unread::TooLong) => {
                Err(self.unexpected(what, format!("more than {ANSWER_LIMIT} bytes")))
            }
            Err(Unread::Broken(reason)) => Ok(Err(Passing {
                reason,
                retry_after: Duration::ZERO,
                fault: None,
            })),
        }
    }

    /// The body of an answer, without these secrets, should the server repeat them.
    async fn read(&self, mut response: Response, secrets: &[Secret]) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        let read = async {
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|error| Unread::Broken(with_causes(&error.without_url())))?
            {
                body.extend_from_slice(&chunk);
                if body.len() > ANSWER_LIMIT {
                    return Err(Unread::TooLong);
                }
            }
            Ok(())
        };
        match tokio::time::timeout(self.patience.idle, read).await {
            Ok(Ok(())) => {
                let without = |body, secret: &Secret| secret.removed_from(body);
                Ok(secrets.iter().fold(body, without))
            }
            Ok(Err(unread)) => Err(unread),
            Err(_) => Err(Unread::Broken("its answer takes too long".to_owned())),
        }
    }

    fn redirected(&self, response: &Response) -> Error {
        let to = response
            .headers()
            .get(LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| response.url().join(location).ok());
        Error::Redirected {
            server: self.name.clone(),
            // The rest may carry a token.
            to: to.map_or_else(
                || "nowhere".to_owned(),
                |url| format!("{}://{}/…", url.scheme(), shown(&url)),
            ),
        }
    }
}

impl Answer {
    /// Whether it is a page for people, or no text at all: none of the protocols here answers so.
    pub(crate) fn is_garbage(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<") || str::from_utf8(&self.body).is_err()
    }

    /// What the server says, as far as a person can read it.
    pub(crate) fn reason(&self) -> String {
        let said = std::str::from_utf8(&self.body).unwrap_or_default().trim();
        if said.is_empty() || self.is_garbage() {
            let meaning = self.status.canonical_reason();
            return meaning.unwrap_or("no reason given").to_owned();
        }
        let json: Option<serde_json::Value> = serde_json::from_str(said).ok();
        let field = json.as_ref().and_then(|json| {
            ["detail", "message", "error", "errors"]
                .into_iter()
                .find_map(|field| json.get(field))
        });
        let said = match field {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => said.to_owned(),
        };
        cep27::printable(&said)
    }
}

/// Why a request failed that may succeed later.
#[derive(Debug)]
struct Passing {
    reason: String,
    retry_after: Duration,
    /// Our own fault, not the server's: then it is not made again.
    fault: Option<Fault>,
}

impl Passing {
    fn of(error: reqwest::Error) -> Self {
        let fault = cause::<Fault>(&error).cloned();
        Self {
            reason: with_causes(&error.without_url()),
            retry_after: Duration::ZERO,
            fault,
        }
    }

    fn late(limit: Duration) -> Self {
        Self {
            reason: format!("nothing came or went for {} s", limit.as_secs()),
            retry_after: Duration::ZERO,
            fault: None,
        }
    }
}

enum Unread {
    TooLong,
    Broken(String),
}

/// What of a request is marked as a secret: credentials without their scheme.
fn secrets_of(headers: &HeaderMap) -> Vec<Secret> {
    let marked = headers.values().filter(|value| value.is_sensitive());
    let texts = marked.filter_map(|value| value.to_str().ok());
    texts
        .map(|text| text.rsplit_once(' ').map_or(text, |(_, secret)| secret))
        .map(|secret| Secret::new(secret.to_owned()))
        .collect()
}

/// Host and port.
fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}"));
    cep27::printable(&format!("{host}{}", port.unwrap_or_default()))
}
