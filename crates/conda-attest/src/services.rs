//! The services of one Sigstore instance, as signing asks them.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::future::try_join_all;
use sigstore_crypto::{KeyPair, sha256};
use sigstore_fulcio::FulcioClient;
use sigstore_rekor::{DsseEntry, HashedRekordV2, RekorV2Client, RekorV2KeyDetails};
use sigstore_tsa::TimestampClient;
use sigstore_types::{
    DerCertificate, DsseEnvelope, SignatureBytes, TimestampToken, TransparencyLogEntry,
};
use url::Url;

use crate::pace::Pace;
use crate::rekor_v1::RekorV1;
use crate::retry::Retry;
use crate::trust::{RekorService, RekorVersion, Selection};
use crate::{Error, IdentityToken, Trust, http};

pub(crate) const AUTHORITY: &str = "certificate authority";
pub(crate) const LOG: &str = "transparency log";
pub(crate) const CLOCK: &str = "timestamp authority";

/// The services of one Sigstore instance, each asked as often at a time as it can bear.
pub(crate) struct Services {
    trust: String,
    fulcio: Named<FulcioClient>,
    logs: Vec<Named<Rekor>>,
    clocks: Vec<Named<TimestampClient>>,
    timeout: Duration,
}

/// A service with its address and the pace it can keep.
struct Named<T> {
    url: Url,
    client: T,
    pace: Pace,
}

enum Rekor {
    V1(RekorV1),
    V2(RekorV2Client),
}

/// What logs and clocks say of a signature.
pub(crate) struct Testimony {
    pub(crate) entries: Vec<TransparencyLogEntry>,
    pub(crate) stamps: Vec<TimestampToken>,
}

impl Services {
    /// The services that an instance is asked by, at most `ceiling` requests at a time each, and
    /// each given up after `timeout`.
    pub(crate) fn new(
        trust: &Trust,
        ceiling: NonZeroUsize,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let Selection {
            fulcio, rekor, tsa, ..
        } = trust.services()?;
        let unusable = |what, url: &Url, error: &dyn std::fmt::Display| {
            Failure::unusable(what, url, error).error
        };
        let pace = || Pace::up_to(ceiling);
        let client = FulcioClient::builder(fulcio.as_str())
            .with_http_client(http::client(&fulcio)?)
            .build()
            .map_err(|error| unusable(AUTHORITY, &fulcio, &error))?;
        let fulcio = Named {
            url: fulcio,
            client,
            pace: pace(),
        };
        let log = |RekorService { url, version }| {
            let http = http::client(&url)?;
            let client = match version {
                RekorVersion::V1 => Rekor::V1(RekorV1::new(&url, http)?),
                RekorVersion::V2 => RekorV2Client::builder(url.as_str())
                    .with_http_client(http)
                    .build()
                    .map(Rekor::V2)
                    .map_err(|error| unusable(LOG, &url, &error))?,
            };
            Ok(Named {
                url,
                client,
                pace: pace(),
            })
        };
        let clock = |url: Url| {
            let client = TimestampClient::builder(url.as_str())
                .with_http_client(http::client(&url)?)
                .build()
                .map_err(|error| unusable(CLOCK, &url, &error))?;
            Ok(Named {
                url,
                client,
                pace: pace(),
            })
        };
        Ok(Self {
            trust: trust.name().to_owned(),
            fulcio,
            logs: rekor.into_iter().map(log).collect::<Result<_, Error>>()?,
            clocks: tsa.into_iter().map(clock).collect::<Result<_, Error>>()?,
            timeout,
        })
    }

    /// What the instance is called.
    pub(crate) fn trust(&self) -> &str {
        &self.trust
    }

    /// Where certificates come from.
    pub(crate) fn authority(&self) -> &Url {
        &self.fulcio.url
    }

    /// Has a key certified as that of the owner of a token.
    pub(crate) async fn certify(
        &self,
        token: &IdentityToken,
        key: &KeyPair,
        retry: &Retry<'_>,
    ) -> Result<DerCertificate, Error> {
        let Named { url, client, pace } = &self.fulcio;
        let ask = || {
            self.ask(AUTHORITY, url, pace, async {
                let answer = client
                    .create_signing_certificate(token.as_sigstore(), key)
                    .await;
                answer.map_err(|error| fulcio_failure(url, &error, token))
            })
        };
        let answer = retry.run(AUTHORITY, ask).await?;
        Ok(answer.leaf_certificate().clone())
    }

    /// Has a signature logged and timestamped, everywhere at the same time.
    ///
    /// Nothing is answered when the signature is of no more use: a log has it already and cannot
    /// show its entry, or the certificate is no longer `valid`.
    pub(crate) async fn witness(
        &self,
        envelope: &DsseEnvelope,
        certificate: &DerCertificate,
        valid: impl Fn() -> bool,
        retry: &Retry<'_>,
    ) -> Result<Option<Testimony>, Error> {
        let valid = &valid;
        let entries = self.logs.iter().map(|Named { url, client, pace }| {
            retry.run(LOG, move || async move {
                if !valid() {
                    return Ok(None);
                }
                let entry = client.log(url, envelope, certificate);
                self.ask(LOG, url, pace, entry).await
            })
        });
        let signature = &envelope.signature.sig;
        let stamps = self.clocks.iter().map(|Named { url, client, pace }| {
            retry.run(CLOCK, move || async move {
                if !valid() {
                    return Ok(None);
                }
                let stamp = stamp(client, url, signature);
                self.ask(CLOCK, url, pace, stamp).await.map(Some)
            })
        });
        let (entries, stamps) = tokio::try_join!(try_join_all(entries), try_join_all(stamps))?;
        let complete = |entries: Vec<_>, stamps: Vec<_>| {
            Some(Testimony {
                entries: entries.into_iter().collect::<Option<_>>()?,
                stamps: stamps.into_iter().collect::<Option<_>>()?,
            })
        };
        Ok(complete(entries, stamps))
    }

    /// Sends one request when it is its turn, and waits for the answer as long as is reasonable.
    async fn ask<T>(
        &self,
        what: &'static str,
        url: &Url,
        pace: &Pace,
        request: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        let slot = pace.slot().await;
        match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(answer)) => {
                slot.answered();
                Ok(answer)
            }
            Ok(Err(failure)) => {
                if failure.overwhelmed {
                    slot.overwhelmed();
                }
                Err(failure.error)
            }
            Err(_) => {
                slot.overwhelmed();
                let silence = format!("no answer within {} s", self.timeout.as_secs_f32());
                Err(service(what, url, &silence, true))
            }
        }
    }
}

impl Rekor {
    /// Nothing when the log has this very signature already and cannot tell where.
    async fn log(
        &self,
        url: &Url,
        envelope: &DsseEnvelope,
        certificate: &DerCertificate,
    ) -> Result<Option<TransparencyLogEntry>, Failure> {
        match self {
            Self::V1(log) => match DsseEntry::new(envelope, certificate) {
                Ok(entry) => log.create(&entry, envelope).await,
                Err(error) => Err(rekor_failure(url, &error)),
            },
            Self::V2(log) => {
                let digest = sha256(&envelope.pae());
                let entry = HashedRekordV2::new_with_certificate(
                    &digest,
                    &envelope.signature.sig,
                    certificate,
                    RekorV2KeyDetails::PkixEcdsaP256Sha256,
                );
                match log.create_entry(entry).await {
                    Ok(entry) => Ok(Some(entry)),
                    Err(sigstore_rekor::Error::Status { status: 409, .. }) => Ok(None),
                    Err(error) => Err(rekor_failure(url, &error)),
                }
            }
        }
    }
}

async fn stamp(
    client: &TimestampClient,
    url: &Url,
    signature: &SignatureBytes,
) -> Result<TimestampToken, Failure> {
    let stamp = client.timestamp_signature(signature).await;
    stamp.map_err(|error| tsa_failure(url, &error))
}

/// Why a request failed, and whether the service had too many of them.
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) overwhelmed: bool,
}

impl Failure {
    /// The failure that an HTTP status tells of; without one no answer came at all.
    pub(crate) fn new(
        what: &'static str,
        url: &Url,
        error: &dyn std::fmt::Display,
        status: Option<u16>,
    ) -> Self {
        Self {
            error: service(what, url, error, status.is_none_or(http::is_transient)),
            overwhelmed: matches!(status, Some(429 | 503)),
        }
    }

    /// An answer came, and is none.
    pub(crate) fn unusable(what: &'static str, url: &Url, error: &dyn std::fmt::Display) -> Self {
        Self {
            error: service(what, url, error, false),
            overwhelmed: false,
        }
    }
}

fn service(
    service: &'static str,
    url: &Url,
    error: &dyn std::fmt::Display,
    transient: bool,
) -> Error {
    Error::Service {
        service,
        url: http::shown(url),
        // A body of the server's choice may be part of it.
        reason: cep27::printable(&error.to_string()),
        transient,
    }
}

fn fulcio_failure(url: &Url, error: &sigstore_fulcio::Error, token: &IdentityToken) -> Failure {
    // The answer may quote the request, which has the token.
    let secret = token.as_sigstore().expose_secret();
    let reason = without_secret(&error.to_string(), secret);
    match error {
        sigstore_fulcio::Error::Http(_) => Failure::new(AUTHORITY, url, &reason, None),
        sigstore_fulcio::Error::Status { status, .. } => {
            Failure::new(AUTHORITY, url, &reason, Some(*status))
        }
        _ => Failure::unusable(AUTHORITY, url, &reason),
    }
}

pub(crate) fn rekor_failure(url: &Url, error: &sigstore_rekor::Error) -> Failure {
    match error {
        sigstore_rekor::Error::Http(_) => Failure::new(LOG, url, error, None),
        sigstore_rekor::Error::Status { status, .. } => {
            Failure::new(LOG, url, error, Some(*status))
        }
        _ => Failure::unusable(LOG, url, error),
    }
}

fn tsa_failure(url: &Url, error: &sigstore_tsa::Error) -> Failure {
    match error {
        sigstore_tsa::Error::Http(reason) => Failure::new(CLOCK, url, error, status_in(reason)),
        _ => Failure::unusable(CLOCK, url, error),
    }
}

/// The status in the text of a TSA error, which is all that the library tells.
fn status_in(reason: &str) -> Option<u16> {
    reason
        .strip_prefix("TSA returned status ")?
        .get(..3)?
        .parse()
        .ok()
}

/// So many characters of a secret in a row are a part of it, and no coincidence.
const TELLING: usize = 12;

/// A text without anything that stands in a secret: an answer may quote it whole, cut or in parts.
fn without_secret(text: &str, secret: &str) -> String {
    let characters: Vec<(usize, char)> = text.char_indices().collect();
    let mut quoted = vec![false; characters.len()];
    for (first, window) in characters.windows(TELLING).enumerate() {
        let (start, end) = (window[0].0, window[TELLING - 1]);
        if secret.contains(&text[start..end.0 + end.1.len_utf8()]) {
            quoted[first..first + TELLING].fill(true);
        }
    }
    let mut shown = String::with_capacity(text.len());
    let mut before = false;
    for (&(_, character), quoted) in characters.iter().zip(quoted) {
        match (before, quoted) {
            (_, false) => shown.push(character),
            (false, true) => shown.push_str("(token)"),
            (true, true) => {}
        }
        before = quoted;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_asked_for_again_unless_the_request_is_at_fault() {
        let url = Url::parse("https://tsa.example").unwrap();
        let failure = |reason: &str| {
            let failure = tsa_failure(&url, &sigstore_tsa::Error::Http(reason.to_owned()));
            (failure.error.is_transient(), failure.overwhelmed)
        };
        for (reason, expected) in [
            ("TSA returned status 503 Service Unavailable", (true, true)),
            ("TSA returned status 429 Too Many Requests", (true, true)),
            (
                "TSA returned status 500 Internal Server Error",
                (true, false),
            ),
            ("error sending request", (true, false)),
            ("TSA returned status 400 Bad Request", (false, false)),
            ("TSA returned status 307 Temporary Redirect", (false, false)),
        ] {
            assert_eq!(failure(reason), expected, "{reason}");
        }
    }

    #[test]
    fn a_quoted_token_is_taken_out_whole_and_in_parts() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL2kifQ.c2lnbmF0dXJlLW9mLWl0";
        assert_eq!(
            without_secret(&format!("bad token {token}: expired"), token),
            "bad token (token): expired"
        );
        for part in [&token[..30], &token[15..40], &token[50..]] {
            let shown = without_secret(&format!("ä \"{part}…\""), token);
            assert_eq!(shown, "ä \"(token)…\"");
        }
        let harmless = "the token has no email claim";
        assert_eq!(without_secret(harmless, token), harmless);
        assert_eq!(without_secret("", token), "");
    }
}
