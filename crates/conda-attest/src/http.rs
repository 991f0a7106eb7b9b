//! What all requests have in common: time limits, no redirects, no proxy to this machine.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{Client, RequestBuilder, Response, redirect};
use url::Url;

use crate::Error;
use crate::error::with_causes;
use crate::trust::is_loopback;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Rekor v2 answers when a checkpoint covers the entry, which may take 20 seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for one service.
///
/// It follows no redirect, as the request may carry a token; and it reaches loopback directly, as a
/// proxy would take a rehearsal off this machine.
pub(crate) fn client(url: &Url) -> Result<Client, Error> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("conda-release/", env!("CARGO_PKG_VERSION")));
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Error::Service {
        service: "http client",
        url: shown(url),
        reason: with_causes(&error),
        transient: false,
    })
}

/// Sends a request and reads an answer of at most `limit` bytes.
pub(crate) async fn send(
    request: RequestBuilder,
    service: &'static str,
    url: &Url,
    limit: usize,
) -> Result<Vec<u8>, Error> {
    let failed = |reason: String, transient| Error::Service {
        service,
        url: shown(url),
        reason,
        transient,
    };
    let lost = |error: reqwest::Error| failed(with_causes(&error.without_url()), true);
    let response = request.send().await.map_err(lost)?;
    let status = response.status();
    if !status.is_success() {
        return Err(failed(
            format!("HTTP {status}"),
            is_transient(status.as_u16()),
        ));
    }
    body(response, limit).await.map_err(|error| match error {
        BodyError::Lost(error) => failed(with_causes(&error), true),
        BodyError::TooLarge => failed(format!("answered with more than {limit} bytes"), false),
    })
}

/// Why an answer could not be read to its end.
pub(crate) enum BodyError {
    /// The connection was lost.
    Lost(reqwest::Error),
    /// There was more than anybody wants.
    TooLarge,
}

/// Reads an answer of at most `limit` bytes.
pub(crate) async fn body(response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| BodyError::Lost(error.without_url()))?;
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether a status tells that the same request may succeed later.
pub(crate) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// A URL for messages, without what may be a secret: credentials, query and fragment.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // A URL without a host has no credentials to take away.
    let _none = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_no_secret_of_a_url() {
        let url = Url::parse("https://user:word@host.example/path?token=t#part").unwrap();
        assert_eq!(shown(&url), "https://host.example/path");
    }
}
