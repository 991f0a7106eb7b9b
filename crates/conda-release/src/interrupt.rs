//! Ctrl-C and SIGTERM.

use std::future::Future;

use crate::{error::Error, exit::Status};

/// Runs `work` until it ends or a signal asks to.
///
/// What is dropped then leaves a state that the next run continues: every record that was
/// reported is durable, and the worker dies with what it started.
pub(crate) async fn or_interrupted<T>(
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        result = work => result,
        status = signalled() => Err(Error::Interrupted(status)),
    }
}

#[cfg(unix)]
async fn signalled() -> Status {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without handlers the signals end the process themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Status::Interrupted,
        _ = terminate.recv() => Status::Terminated,
    }
}

#[cfg(not(unix))]
async fn signalled() -> Status {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Status::Interrupted,
        Err(_) => std::future::pending().await,
    }
}
