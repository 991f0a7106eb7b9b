//! Requests to channels: whom they may reach, with which credentials, and how long they are waited for.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use rattler_networking::{AuthenticationMiddleware, MirrorMiddleware, proxy};
use reqwest::{Request, Response, StatusCode, redirect};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use url::Url;

use super::address::{ChannelUrl, check_step};
use crate::Error;
use crate::error::{cause, with_causes};
use crate::retry::{Retries, is_transient, retry_after};
use crate::settings::Settings;

/// How long a channel is waited for, and how often it is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub idle: Duration,
    /// For the answer to a request that is sent whole: a server may have much to do before it answers.
    pub answer: Duration,
    /// Until the bytes must have come at [`slowest`](Self::slowest) on average.
    pub grace: Duration,
    /// The least number of bytes a second that is waited for.
    pub slowest: u64,
    /// How often a request that fails in passing is made again.
    pub retries: u32,
    /// Before the first repetition; before each further one twice as long, and each between half and the whole.
    pub first_delay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            grace: Duration::from_secs(60),
            slowest: 16 * 1024,
            retries: 4,
            first_delay: Duration::from_millis(200),
        }
    }
}

/// As browsers do.
const MAX_REDIRECTS: usize = 10;

/// Takes the bytes of an answer as they come.
pub(super) trait Sink {
    /// Forgets what came so far: the answer comes again from its beginning.
    fn restart(&mut self) -> Result<(), Error>;

    /// Takes the next bytes.
    fn take(&mut self, chunk: &[u8]) -> Result<(), Error>;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> Result<(), Error> {
        self.clear();
        Ok(())
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.extend_from_slice(chunk);
        Ok(())
    }
}

/// Whether there is something under a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was taken, whole.
    Taken,
    /// The server says that there is nothing.
    Nothing,
}

/// Makes the requests for one channel.
pub(super) struct Client {
    inner: ClientWithMiddleware,
    patience: Patience,
}

impl Client {
    /// A client with these credentials, mirrors and proxies.
    pub(super) fn new(
        channel: &ChannelUrl,
        patience: Patience,
        settings: Settings,
    ) -> Result<Self, Error> {
        let unusable = |source: reqwest::Error| Error::RattlerConfig {
            source: Box::new(source),
        };
        let from_loopback = channel.is_loopback();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("conda-release/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .read_timeout(patience.idle)
            // The path may have a token in it.
            .referer(false)
            .redirect(redirect::Policy::custom(move |attempt| {
                follow(attempt, from_loopback)
            }))
            // Hashes are of the bytes as they are served.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        if from_loopback {
            builder = builder.no_proxy();
        } else {
            let proxies = proxy::proxies_from_config(&settings.config.proxy_config);
            for proxy in proxies.map_err(unusable)? {
                builder = builder.proxy(proxy);
            }
        }
        let inner = ClientBuilder::new(builder.build().map_err(unusable)?)
            .with(MirrorMiddleware::from_config(&settings.config))
            // Last of what changes a request: credentials are those of the host that it goes to.
            .with(AuthenticationMiddleware::from_auth_storage(
                settings.credentials,
            ))
            .with(OnlySafe)
            .build();
        Ok(Self { inner, patience })
    }

    /// Fetches at most `limit` bytes, again if that fails in passing.
    pub(super) async fn get(
        &self,
        url: &Url,
        limit: u64,
        sink: &mut impl Sink,
    ) -> Result<Found, Error> {
        let mut retries = Retries::new(&self.patience);
        loop {
            let (reason, retry_after) = match self.attempt(url, limit, sink).await {
                Ok(found) => return Ok(found),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing {
                    reason,
                    retry_after,
                }) => (reason, retry_after),
            };
            let Some(delay) = retries.delay(retry_after) else {
                return Err(Error::Unreachable {
                    url: url.to_string(),
                    attempts: retries.attempts(),
                    reason,
                });
            };
            tracing::info!(%url, reason, ?delay, "asking the channel again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self, url: &Url, limit: u64, sink: &mut impl Sink) -> Result<Found, Failure> {
        sink.restart()?;
        let response = self
            .inner
            .get(url.clone())
            .send()
            .await
            .map_err(|error| Failure::of(url, error))?;
        let status = response.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(Found::Nothing);
        }
        // Another success has no body, a part of it, or one that is not ready yet.
        if !matches!(
            status,
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION
        ) {
            return Err(Failure::answered(url, &response));
        }
        let started = Instant::now();
        let mut taken: u64 = 0;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| Failure::of(url, error.into()))?;
            taken = taken.saturating_add(chunk.len() as u64);
            if taken > limit {
                return Err(Failure::Lasting(Error::TooLarge {
                    url: url.to_string(),
                    limit,
                }));
            }
            self.check_speed(taken, started.elapsed())?;
            sink.take(&chunk)?;
        }
        Ok(Found::Taken)
    }

    fn check_speed(&self, taken: u64, elapsed: Duration) -> Result<(), Failure> {
        let Patience { grace, slowest, .. } = self.patience;
        let due = elapsed
            .saturating_sub(grace)
            .as_secs()
            .saturating_mul(slowest);
        match elapsed <= grace || taken >= due {
            true => Ok(()),
            false => Err(Failure::passing(format!(
                "it sends less than {slowest} bytes a second"
            ))),
        }
    }
}

/// Why a request failed, and whether the same one may succeed later.
enum Failure {
    Lasting(Error),
    Passing {
        reason: String,
        retry_after: Duration,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

impl Failure {
    fn passing(reason: String) -> Self {
        Self::Passing {
            reason,
            retry_after: Duration::ZERO,
        }
    }

    /// No answer, or none that is whole.
    ///
    /// A URL in the message might carry a token, and it is known which one was asked for.
    fn of(url: &Url, error: reqwest_middleware::Error) -> Self {
        let error = error.without_url();
        let refused = match &error {
            reqwest_middleware::Error::Middleware(error) => error.downcast_ref::<Refused>(),
            reqwest_middleware::Error::Reqwest(error) => cause(error),
        };
        if let Some(refused) = refused {
            return Self::Lasting(Error::Forbidden {
                url: url.to_string(),
                to: refused.to.clone(),
                reason: refused.reason,
            });
        }
        Self::passing(with_causes(&error))
    }

    /// An answer that is not what was asked for.
    fn answered(url: &Url, response: &Response) -> Self {
        let status = response.status();
        if !is_transient(status) {
            return Self::Lasting(Error::Status {
                url: url.to_string(),
                status: status.as_u16(),
            });
        }
        Self::Passing {
            reason: format!("it answers with HTTP status {status}"),
            retry_after: retry_after(response.headers()),
        }
    }
}

/// Follows a redirect to where a request may go. reqwest takes away credentials when the host changes.
fn follow(attempt: redirect::Attempt<'_>, from_loopback: bool) -> redirect::Action {
    let refused = match check_step(attempt.url(), from_loopback) {
        Ok(()) if attempt.previous().len() <= MAX_REDIRECTS => return attempt.follow(),
        Ok(()) => "is one redirect too many",
        Err(reason) => reason,
    };
    let refused = Refused::new(attempt.url(), refused);
    attempt.error(refused)
}

/// Refuses what mirrors and credentials made of a request, if it would go where none may go.
struct OnlySafe;

#[async_trait]
impl Middleware for OnlySafe {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut http::Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        // A mirror on this machine was named by its user.
        let url = request.url();
        check_step(url, true)
            .map_err(|reason| reqwest_middleware::Error::middleware(Refused::new(url, reason)))?;
        next.run(request, extensions).await
    }
}

/// A request that was not made.
#[derive(Debug)]
struct Refused {
    /// Scheme and host only: the rest may carry a token.
    to: String,
    reason: &'static str,
}

impl Refused {
    fn new(url: &Url, reason: &'static str) -> Self {
        let host = url.host_str().unwrap_or_default();
        Self {
            to: cep27::printable(&format!("{}://{host}/…", url.scheme())),
            reason,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to, self.reason)
    }
}

impl std::error::Error for Refused {}
