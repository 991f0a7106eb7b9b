//! Rekor v1, which tells where an entry stands that it has already.

use std::collections::HashMap;

use reqwest::header::LOCATION;
use reqwest::{Client, StatusCode};
use serde::Deserialize;
use sigstore_rekor::{DsseEntry, LogEntry, RekorClient};
use sigstore_types::{DsseEnvelope, EntryUuid, KindVersion, TransparencyLogEntry};
use url::Url;

use crate::Error;
use crate::http;
use crate::services::{Failure, LOG, rekor_failure};

/// An answer has one entry of a few kilobytes with a proof of a few dozen hashes.
const MAX_ANSWER: usize = 1 << 20;

/// A client for entries of DSSE envelopes.
///
/// The library's own drops the `Location` of a conflict, so it only reads entries here.
pub(crate) struct RekorV1 {
    url: Url,
    entries: Url,
    http: Client,
    reader: RekorClient,
}

impl RekorV1 {
    pub(crate) fn new(url: &Url, http: Client) -> Result<Self, Error> {
        let reader = RekorClient::builder(url.as_str())
            .with_http_client(http.clone())
            .build()
            .map_err(|error| rekor_failure(url, &error).error)?;
        let mut entries = url.clone();
        let base = url.path().trim_end_matches('/');
        entries.set_path(&format!("{base}/api/v1/log/entries"));
        Ok(Self {
            url: url.clone(),
            entries,
            http,
            reader,
        })
    }

    /// Logs an envelope, or finds its entry where a request whose answer was lost has logged it.
    ///
    /// Nothing is answered when the log has it and does not say where.
    pub(crate) async fn create(
        &self,
        entry: &DsseEntry,
        envelope: &DsseEnvelope,
    ) -> Result<Option<TransparencyLogEntry>, Failure> {
        let unusable = |error: &dyn std::fmt::Display| Failure::unusable(LOG, &self.url, error);
        let request = self.http.post(self.entries.clone()).json(entry);
        let response = request
            .send()
            .await
            .map_err(|error| Failure::new(LOG, &self.url, &error.without_url(), None))?;
        let status = response.status();
        let entry = if status == StatusCode::CONFLICT {
            let location = response.headers().get(LOCATION);
            let Some(uuid) = location.and_then(|value| uuid_in(value.to_str().ok()?)) else {
                return Ok(None);
            };
            let found = self.reader.get_entry_by_uuid(&uuid).await;
            found.map_err(|error| rekor_failure(&self.url, &error))?
        } else {
            let body = http::body(response, MAX_ANSWER)
                .await
                .map_err(|error| match error {
                    http::BodyError::Lost(error) => Failure::new(LOG, &self.url, &error, None),
                    http::BodyError::TooLarge => unusable(&"answered with too much"),
                })?;
            if !status.is_success() {
                let body = String::from_utf8_lossy(&body);
                let reason = format!("HTTP {status}: {body}");
                return Err(Failure::new(LOG, &self.url, &reason, Some(status.as_u16())));
            }
            let entries: HashMap<String, LogEntry> =
                serde_json::from_slice(&body).map_err(|error| unusable(&error))?;
            let mut entries = entries.into_values();
            match (entries.next(), entries.next()) {
                (Some(entry), None) => entry,
                _ => return Err(unusable(&"expected one entry in the answer")),
            }
        };
        if !is_of(&entry, envelope) {
            return Err(unusable(&"answered with the entry of another signature"));
        }
        let entry = entry.to_bundle_entry(KindVersion::DsseV001);
        entry.map(Some).map_err(|error| unusable(&error))
    }
}

/// The UUID at the end of `/api/v1/log/entries/UUID`: a leaf hash, behind the id of its tree where
/// the log has several. The host it may name is of no interest.
fn uuid_in(location: &str) -> Option<EntryUuid> {
    let uuid = location.rsplit('/').next()?;
    let is_uuid =
        matches!(uuid.len(), 64 | 80) && uuid.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_uuid.then(|| EntryUuid::new(uuid.to_owned()))
}

/// Whether an entry is of exactly this signature.
fn is_of(entry: &LogEntry, envelope: &DsseEnvelope) -> bool {
    #[derive(Deserialize)]
    struct Body {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        signatures: Vec<Signature>,
    }
    #[derive(Deserialize)]
    struct Signature {
        signature: String,
    }
    let body: Result<Body, _> = serde_json::from_slice(entry.body.as_bytes());
    body.is_ok_and(|body| {
        let expected = envelope.signature.sig.to_base64();
        body.spec
            .signatures
            .iter()
            .map(|signature| &signature.signature)
            .eq([&expected])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_tells_the_entry_and_nothing_else() {
        let leaf = "0123456789abcdef".repeat(4);
        let sharded = format!("24296fb24b8ad77a{leaf}");
        for (location, expected) in [
            (format!("/api/v1/log/entries/{leaf}"), Some(&leaf)),
            (format!("https://other.example/{sharded}"), Some(&sharded)),
            (format!("/api/v1/log/entries/{leaf}?x=../y"), None),
            (format!("/api/v1/log/entries/{}", &leaf[1..]), None),
            ("/api/v1/log/entries/..".to_owned(), None),
            (String::new(), None),
        ] {
            let found = uuid_in(&location).map(|uuid| uuid.to_string());
            assert_eq!(found.as_ref(), expected, "{location}");
        }
    }
}
