//! One worker an output folder.

use std::{
    fs::{File, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use super::WorkerError;

/// How long a worker waits for the one before it, which may still be ending its scripts.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The advisory lock `OUTPUT/<mode>/worker.lock`, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct WorkerLock {
    _file: File,
}

impl WorkerLock {
    /// Takes the lock of `output`; calls `wait` once, when it must wait for it.
    pub(super) fn take(output: &Path, wait: impl FnOnce()) -> Result<Self, WorkerError> {
        Self::take_within(output, PATIENCE, wait)
    }

    fn take_within(
        output: &Path,
        patience: Duration,
        wait: impl FnOnce(),
    ) -> Result<Self, WorkerError> {
        let path = output.join("worker.lock");
        let setup = |source| WorkerError::Setup {
            path: path.display().to_string(),
            source,
        };
        std::fs::create_dir_all(output).map_err(setup)?;
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(setup)?;
        let begun = Instant::now();
        let mut wait = Some(wait);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => return Err(setup(source)),
                Err(TryLockError::WouldBlock) if begun.elapsed() >= patience => {
                    return Err(WorkerError::Busy {
                        path: path.display().to_string(),
                        seconds: patience.as_secs(),
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    if let Some(wait) = wait.take() {
                        wait();
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_worker_waits_for_the_one_before() {
        let output = tempfile::tempdir().unwrap();
        let first = WorkerLock::take(output.path(), || panic!("nothing to wait for")).unwrap();
        let (waiting, was_waiting) = std::sync::mpsc::channel();
        let next = std::thread::spawn({
            let output = output.path().to_owned();
            move || WorkerLock::take(&output, || waiting.send(()).unwrap())
        });
        was_waiting.recv().unwrap();
        drop(first);
        next.join().unwrap().unwrap();
    }

    #[test]
    fn it_does_not_wait_for_ever() {
        let output = tempfile::tempdir().unwrap();
        let _first = WorkerLock::take(output.path(), || {}).unwrap();
        let error = WorkerLock::take_within(output.path(), Duration::ZERO, || {}).unwrap_err();
        assert!(matches!(error, WorkerError::Busy { .. }), "{error}");
    }
}
