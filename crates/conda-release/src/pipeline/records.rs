//! Recording steps from the events of a library, which cannot be told that a record failed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use release_manifest::{Event, PackageKey};

use crate::{error::Error, release::Release};

/// The release that events are recorded in.
pub(crate) struct Records<'a> {
    state: Mutex<State<'a>>,
}

struct State<'a> {
    release: &'a mut Release,
    /// The first record that could not be written: nothing is recorded after it.
    failed: Option<Error>,
}

impl<'a> Records<'a> {
    /// Records in `release`.
    pub(crate) fn new(release: &'a mut Release) -> Self {
        let failed = None;
        Self {
            state: Mutex::new(State { release, failed }),
        }
    }

    /// Records what `event` makes of the release as it stands; durable when this returns.
    pub(crate) fn record(
        &self,
        package: &PackageKey,
        event: impl FnOnce(&Release) -> Result<Event, Error>,
    ) {
        let mut state = self.lock();
        if state.failed.is_none() {
            let recorded =
                event(state.release).and_then(|event| state.release.record(package, event));
            state.failed = recorded.err();
        }
    }

    /// Works on the release, whose records are written so far.
    ///
    /// # Errors
    /// A record could not be written, and what the work fails with.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut Release) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut state = self.lock();
        match state.failed.take() {
            Some(error) => Err(error),
            None => work(state.release),
        }
    }

    /// Looks at the release.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Release) -> T) -> T {
        look(self.lock().release)
    }

    /// The first record that could not be written, if there is one.
    pub(crate) fn end(self) -> Result<(), Error> {
        let state = self.state.into_inner();
        match state.unwrap_or_else(PoisonError::into_inner).failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
