//! Asking again, with patience that ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rand::Rng as _;
use release_manifest::PackageKey;
use tokio::time::Instant;

use crate::{Error, Event, Reporter};

/// The delay before the second attempt; each further one waits twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// With the delays above, a service may be away for more than half a minute.
const MAX_ATTEMPTS: u32 = 8;

/// When the patience for a whole batch ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }
}

/// Repeats requests that fail in passing, with exponential backoff and jitter, until they succeed,
/// fail for good, or the deadline comes.
pub(crate) struct Retry<'a> {
    deadline: Deadline,
    reporter: &'a dyn Reporter,
    file: Option<PackageKey>,
    repeated: AtomicU32,
}

impl<'a> Retry<'a> {
    pub(crate) fn new(deadline: Deadline, reporter: &'a dyn Reporter) -> Self {
        Self {
            deadline,
            reporter,
            file: None,
            repeated: AtomicU32::new(0),
        }
    }

    /// The same patience, for requests about one package.
    pub(crate) fn about(self, file: PackageKey) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }

    /// Takes note of something that is done once more.
    pub(crate) fn count(&self) {
        self.repeated.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was done once more.
    pub(crate) fn repeated(&self) -> u32 {
        self.repeated.load(Ordering::Relaxed)
    }

    pub(crate) async fn run<T, F>(
        &self,
        what: &'static str,
        mut request: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut attempt = 1;
        loop {
            // A request under way at the deadline is given up as well: its answer would come late.
            let outcome = tokio::time::timeout_at(self.deadline.0, request()).await;
            let error = match outcome {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) if !error.is_transient() || attempt == MAX_ATTEMPTS => {
                    return Err(error);
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(Error::Deadline {
                        attempts: attempt,
                        source: Box::new(Error::Service {
                            service: what,
                            url: String::new(),
                            reason: "no answer in time".to_owned(),
                            transient: false,
                        }),
                    });
                }
            };
            let after = delay(attempt);
            if Instant::now() + after >= self.deadline.0 {
                return Err(Error::Deadline {
                    attempts: attempt,
                    source: Box::new(error),
                });
            }
            self.reporter.report(Event::Retrying {
                file: self.file.clone(),
                what,
                attempt,
                after,
                reason: error.to_string(),
            });
            self.count();
            tokio::time::sleep(after).await;
            attempt += 1;
        }
    }
}

/// Between half and the whole of an exponentially growing time, so that the requests of a batch
/// that failed together do not come back together.
pub(crate) fn delay(attempt: u32) -> Duration {
    let longest = FIRST_DELAY
        .saturating_mul(2_u32.saturating_pow(attempt - 1))
        .min(LONGEST_DELAY);
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn failure(transient: bool) -> Error {
        Error::Service {
            service: "log",
            url: String::new(),
            reason: String::new(),
            transient,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_repeated_and_lasting_ones_are_not() {
        let retry = Retry::new(Deadline::after(Duration::from_secs(600)), &());
        let calls = Cell::new(0);
        let third = retry
            .run("log", || {
                calls.set(calls.get() + 1);
                let call = calls.get();
                async move {
                    if call < 3 {
                        Err(failure(true))
                    } else {
                        Ok(call)
                    }
                }
            })
            .await;
        assert_eq!((third.unwrap(), retry.repeated()), (3, 2));

        calls.set(0);
        let lasting: Result<(), _> = retry
            .run("log", || {
                calls.set(calls.get() + 1);
                async { Err(failure(false)) }
            })
            .await;
        assert_eq!((lasting.unwrap_err().code(), calls.get()), ("service", 1));

        calls.set(0);
        let never: Result<(), _> = retry
            .run("log", || {
                calls.set(calls.get() + 1);
                async { Err(failure(true)) }
            })
            .await;
        assert_eq!(
            (never.unwrap_err().code(), calls.get()),
            ("service", MAX_ATTEMPTS)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_at_the_deadline() {
        let start = Instant::now();
        let patience = Duration::from_secs(5);
        let failing: Result<(), _> = Retry::new(Deadline::after(patience), &())
            .run("log", || async { Err(failure(true)) })
            .await;
        assert_eq!(failing.unwrap_err().code(), "deadline");
        let hanging: Result<(), _> = Retry::new(Deadline::after(patience), &())
            .run("log", std::future::pending)
            .await;
        assert_eq!(hanging.unwrap_err().code(), "deadline");
        assert!(start.elapsed() <= patience * 2);
    }

    #[test]
    fn delays_grow_to_a_limit() {
        for attempt in 1..=40 {
            let longest = FIRST_DELAY * 2_u32.pow(attempt.min(10) - 1);
            let delay = delay(attempt);
            assert!(delay <= longest.min(LONGEST_DELAY), "{attempt}: {delay:?}");
            assert!(delay >= FIRST_DELAY / 2);
        }
    }
}
