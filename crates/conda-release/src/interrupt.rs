//! Ctrl-C and SIGTERM.

use std::future::Future;

use tokio::sync::oneshot;

use crate::{error::Error, exit::Status};

/// Runs `work` until it ends or a signal asks to; a second signal ends the process at once.
///
/// What is dropped then leaves a state that the next run continues: every record that was
/// reported is durable, and the worker dies with what it started, however its parent ends.
///
/// # Errors
/// Those of `work`, and [`Error::Interrupted`].
pub(crate) async fn or_interrupted<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let (asked, was_asked) = oneshot::channel();
    // A task of its own hears signals also while `work` is busy hashing.
    let listening = tokio::spawn(async move {
        let Some(mut signals) = Signals::new() else {
            // Without handlers the signals end the process themselves.
            return std::future::pending::<()>().await;
        };
        // Nobody listens once `work` has ended.
        let _heard = asked.send(signals.next().await);
        let status = signals.next().await;
        std::process::exit(status.code().into())
    });
    let result = tokio::select! {
        result = work => result,
        Ok(status) = was_asked => Err(Error::Interrupted(status)),
    };
    if result.is_ok() {
        listening.abort();
    }
    result
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Option<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
        })
    }

    async fn next(&mut self) -> Status {
        tokio::select! {
            _ = self.interrupt.recv() => Status::Interrupted,
            _ = self.terminate.recv() => Status::Terminated,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> Status {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Status::Interrupted,
            Err(_) => std::future::pending().await,
        }
    }
}
