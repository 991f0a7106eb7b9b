//! Who may index a channel: one at a time, so that none works in vain.
//!
//! Nothing is lost where two do so all the same, as when a clock is wrong: whatever they write is conditional.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Condition, Content};
use super::{OWN, random};
use crate::Error;

/// How long an index may go on without a sign of life.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// How long others are waited for altogether, as long as they keep giving signs of life.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// In bytes.
const LIMIT: u64 = 64 * 1024;

/// What the object says.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    schema_version: u32,
    /// Random; says nothing of who it is.
    holder: String,
    /// When it may be taken over; `None` once it was given back.
    until: Option<String>,
}

/// The lease of a channel, held.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    bucket: &'a Bucket,
    duration: Duration,
    holder: String,
    etag: String,
}

impl<'a> Lease<'a> {
    /// Waits for the lease and takes it for so long.
    pub(super) async fn take(bucket: &'a Bucket, duration: Duration) -> Result<Self, Error> {
        let key = key();
        let holder = random();
        let began = std::time::Instant::now();
        loop {
            let there = bucket.get(&key, LIMIT).await?;
            let condition = match there {
                None => Some(Condition::Absent),
                Some(object) => {
                    let state = serde_json::from_slice(&object.bytes).ok();
                    let is_free = state.is_none_or(|state: State| {
                        // The answer to our own write may have been lost.
                        state.holder == holder || is_over(state.until.as_deref(), duration)
                    });
                    is_free.then_some(Condition::Is(object.etag))
                }
            };
            if let Some(condition) = condition {
                let content = content(&holder, Some(duration))?;
                if let Some(etag) = bucket.put(&key, &content, &condition).await? {
                    return Ok(Self {
                        bucket,
                        duration,
                        holder,
                        etag,
                    });
                }
            }
            if began.elapsed() > LONGEST_WAIT {
                return Err(Error::NotSent {
                    server: bucket.connection.server.clone(),
                    what: key,
                    attempts: 1,
                    reason: format!(
                        "others have been indexing the channel for {} s",
                        LONGEST_WAIT.as_secs()
                    ),
                });
            }
            tokio::time::sleep(duration / 20).await;
        }
    }

    /// Gives signs of life, for ever; or until somebody else took the lease over.
    pub(super) async fn renew(&mut self) {
        loop {
            tokio::time::sleep(self.duration / 3).await;
            let renewed = match content(&self.holder, Some(self.duration)) {
                Ok(content) => {
                    let condition = Condition::Is(self.etag.clone());
                    self.bucket.put(&key(), &content, &condition).await
                }
                Err(error) => Err(error),
            };
            match renewed {
                Ok(Some(etag)) => self.etag = etag,
                Ok(None) => {
                    tracing::info!("somebody else indexes the channel meanwhile");
                    return std::future::pending().await;
                }
                Err(error) => tracing::warn!(%error, "cannot renew the lease"),
            }
        }
    }

    /// Gives it back. Where that fails it ends by itself.
    pub(super) async fn give_back(self) {
        let given = match content(&self.holder, None) {
            Ok(content) => {
                let condition = Condition::Is(self.etag);
                self.bucket.put(&key(), &content, &condition).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = given {
            tracing::warn!(%error, "cannot give the lease back");
        }
    }
}

fn key() -> String {
    format!("{OWN}/lease.json")
}

/// Whether a lease may be taken over. One that claims longer than any does is from a clock that is wrong.
fn is_over(until: Option<&str>, duration: Duration) -> bool {
    let Some(until) = until.and_then(|until| until.parse::<Timestamp>().ok()) else {
        return true;
    };
    let left = until.duration_since(Timestamp::now());
    Duration::try_from(left).map_or(true, |left| {
        left.is_zero() || left > duration.max(LEASE) * 4
    })
}

fn content(holder: &str, duration: Option<Duration>) -> Result<Content, Error> {
    let state = State {
        schema_version: 1,
        holder: holder.to_owned(),
        until: duration.map(|duration| (Timestamp::now() + duration).to_string()),
    };
    let text = serde_json::to_vec(&state).map_err(|error| Error::Repodata {
        at: key(),
        reason: error.to_string(),
    })?;
    Ok(Content {
        bytes: text.into(),
        content_type: "application/json",
        no_cache: true,
        sha256: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_over_when_it_ran_out_or_cannot_be_meant() {
        let from_now = |seconds: i64| {
            let time = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
            is_over(Some(&time.to_string()), LEASE)
        };
        assert!(!from_now(20));
        assert!(from_now(-1));
        assert!(from_now(24 * 3600));
        assert!(is_over(None, LEASE));
        assert!(is_over(Some("soon"), LEASE));
    }
}
