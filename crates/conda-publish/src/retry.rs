//! When a request is made again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use rattler_networking::retry_policies::{
    ExponentialBackoff, Jitter, RetryDecision, RetryPolicy as _,
};

use crate::Patience;

/// Also what a server's `Retry-After` can bring about at most.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// How often one request has failed in passing, and when it is made again.
pub(crate) struct Retries {
    policy: ExponentialBackoff,
    began: SystemTime,
    failures: u32,
}

impl Retries {
    pub(crate) fn new(patience: &Patience) -> Self {
        Self {
            policy: ExponentialBackoff::builder()
                .retry_bounds(patience.first_delay, LONGEST_DELAY)
                .jitter(Jitter::Bounded)
                .build_with_max_retries(patience.retries),
            began: SystemTime::now(),
            failures: 0,
        }
    }

    /// How long to wait before the request is made again, no shorter than the server asked for; `None` where it has
    /// been made often enough.
    pub(crate) fn delay(&mut self, retry_after: Duration) -> Option<Duration> {
        let decision = self.policy.should_retry(self.began, self.failures);
        self.failures += 1;
        let RetryDecision::Retry { execute_after } = decision else {
            return None;
        };
        let backoff = execute_after.duration_since(SystemTime::now());
        Some(
            backoff
                .unwrap_or_default()
                .max(retry_after)
                .min(LONGEST_DELAY),
        )
    }

    /// How often the request was made.
    pub(crate) fn attempts(&self) -> u32 {
        self.failures
    }
}

/// Whether a request that was answered so may succeed later; not where somebody has to make room first.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500..=506 | 508..=599)
}

/// What the server asks to wait (RFC 9110 §10.2.3); zero where it doesn't.
pub(crate) fn retry_after(headers: &HeaderMap) -> Duration {
    let value = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    let Some(value) = value else {
        return Duration::ZERO;
    };
    if let Ok(seconds) = value.parse() {
        return Duration::from_secs(seconds);
    }
    let until = jiff::fmt::rfc2822::parse(value).map(|time| time.timestamp());
    until
        .ok()
        .and_then(|until| Duration::try_from(until.duration_since(jiff::Timestamp::now())).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Duration {
        retry_after(&HeaderMap::from_iter([(
            RETRY_AFTER,
            value.parse().unwrap(),
        )]))
    }

    #[test]
    fn a_server_asks_to_wait_by_seconds_or_by_a_date() {
        assert_eq!(asked("7"), Duration::from_secs(7));
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5);
        let soon = jiff::fmt::rfc2822::to_string(&soon.to_zoned(jiff::tz::TimeZone::UTC)).unwrap();
        assert!(asked(&soon) > Duration::from_mins(4), "{soon}");
        for nothing in ["Wed, 21 Oct 2015 07:28:00 GMT", "-1", "soon"] {
            assert_eq!(asked(nothing), Duration::ZERO, "{nothing}");
        }
    }

    #[test]
    fn a_request_is_made_again_only_so_often_and_never_waits_without_end() {
        let patience = Patience {
            retries: 2,
            ..Patience::default()
        };
        let mut retries = Retries::new(&patience);
        let hour = Duration::from_secs(3600);
        assert_eq!(retries.delay(hour), Some(LONGEST_DELAY));
        assert!(retries.delay(Duration::ZERO).is_some());
        assert_eq!(retries.delay(Duration::ZERO), None);
        assert_eq!(retries.attempts(), 3);
    }
}
