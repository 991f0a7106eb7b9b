//! A TUF repository over HTTP.
//!
//! Unlike the library's own, it tells failures of the network, after which a cached copy is good
//! enough to verify with, from answers that are wrong, after which nothing is.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use sigstore_tuf::Repository;
use sigstore_tuf::transport::FetchFuture;
use url::Url;

use crate::error::with_causes;
use crate::http::BodyError;
use crate::{Error, http, retry};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// With the delays between them, a hiccup is outlived and a dead network soon noticed.
const MAX_ATTEMPTS: u32 = 3;

/// The repository could not be reached, or does not work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreachable(String);

/// Metadata at the base URL, targets in `targets/` below it.
pub(super) struct Remote {
    client: Client,
    base: Url,
}

impl Remote {
    pub(super) fn new(url: &Url) -> Result<Self, Error> {
        let mut base = url.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            client: http::client(&base)?,
            base,
        })
    }

    async fn fetch(&self, path: &str, limit: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let url = self
            .base
            .join(path)
            .map_err(|error| wrong(format!("{path} is no file of a repository: {error}")))?;
        let mut attempt = 1;
        loop {
            match self.fetch_once(&url, limit).await {
                Err(error) if attempt < MAX_ATTEMPTS && unreachable_reason(&error).is_some() => {
                    tokio::time::sleep(retry::delay(attempt)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn fetch_once(&self, url: &Url, limit: u64) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let lost = |error: reqwest::Error| unreachable(with_causes(&error.without_url()));
        let request = self.client.get(url.clone()).timeout(REQUEST_TIMEOUT);
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        match status {
            // Object stores answer 403 for what is not there, as python-tuf knows too.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            status if status.is_success() => {}
            status if http::is_transient(status.as_u16()) => {
                return Err(unreachable(format!(
                    "HTTP {status} for {}",
                    http::shown(url)
                )));
            }
            status => return Err(wrong(format!("HTTP {status} for {}", http::shown(url)))),
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match http::body(response, limit).await {
            Ok(body) => Ok(Some(body)),
            Err(BodyError::Lost(error)) => Err(unreachable(with_causes(&error))),
            Err(BodyError::TooLarge) => {
                let url = http::shown(url);
                Err(wrong(format!("{url} has more than {limit} bytes")))
            }
        }
    }
}

impl Repository for Remote {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(self.fetch(name, max_length))
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        Box::pin(async move { self.fetch(&format!("targets/{path}"), max_length).await })
    }
}

/// Why the repository could not be reached; nothing where it answered something wrong.
pub(super) fn unreachable_reason(error: &sigstore_tuf::Error) -> Option<String> {
    match error {
        sigstore_tuf::Error::Transport {
            source: Some(source),
            ..
        } => source
            .downcast_ref()
            .map(|Unreachable(reason)| reason.clone()),
        _ => None,
    }
}

fn unreachable(reason: String) -> sigstore_tuf::Error {
    sigstore_tuf::Error::transport_with_source("no answer", Unreachable(reason))
}

fn wrong(reason: String) -> sigstore_tuf::Error {
    sigstore_tuf::Error::transport(reason)
}
