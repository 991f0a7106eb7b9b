//! Everything that the libraries of this process trace.

use std::io::{Result, Write};
use std::sync::{LazyLock, Mutex};

static TRACED: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(|| {
    tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_writer(|| Traced)
        .init();
    Mutex::default()
});

/// Traces from here on, at the latest.
pub(crate) fn begin() {
    LazyLock::force(&TRACED);
}

/// What was traced so far.
pub(crate) fn text() -> String {
    String::from_utf8_lossy(&TRACED.lock().unwrap()).into_owned()
}

struct Traced;

impl Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        TRACED.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
