//! One log file for each output: what rattler-build traces while it builds and tests that output, and what its scripts say.
//!
//! Each build runs under a subscriber of its own ([`tracing::instrument::WithSubscriber`]), which writes to its own file:
//! parallel builds cannot mix, and no global subscriber is needed.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    fs::File,
    io::{self, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{
    Dispatch, Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
};

use crate::Failure;

/// How many lines of a script are shown when it fails.
const TAIL: usize = 30;
/// Where rattler-build reports each line that a script writes, as `INFO`.
const SCRIPT: &str = "rattler_build_script::execution";

/// The log file of one output.
pub(crate) struct OutputLog {
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    tail: VecDeque<String>,
}

/// Whether the log begins anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Begin {
    /// A build: what an earlier run wrote is gone.
    Anew,
    /// A test: its lines come after those of the build.
    Append,
}

impl OutputLog {
    /// Opens the log at `path`, making its folders.
    pub(crate) fn open(path: &Path, begin: Begin) -> io::Result<Arc<Self>> {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        let file = match begin {
            Begin::Anew => fs_err::File::create(path)?,
            Begin::Append => fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)?,
        };
        let inner = Inner {
            file: file.into_file(),
            tail: VecDeque::with_capacity(TAIL),
        };
        Ok(Arc::new(Self {
            inner: Mutex::new(inner),
        }))
    }

    /// A subscriber that writes into this log whatever is traced under it.
    pub(crate) fn subscriber(self: &Arc<Self>) -> Dispatch {
        let levels = Targets::new()
            .with_default(Level::WARN)
            .with_target("rattler_build", Level::INFO);
        Dispatch::new(Registry::default().with(ToFile(Arc::clone(self)).with_filter(levels)))
    }

    /// The last lines that a script wrote, at most 30.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }

    /// Writes why it failed, after all that was traced.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.write(&format!("error: {}", failure.message), false);
        for cause in &failure.causes {
            self.write(&format!("  caused by: {cause}"), false);
        }
    }

    fn write(&self, line: &str, from_script: bool) {
        let mut inner = self.lock();
        // A full disk must not end the build by way of its log: the build itself meets it and says so.
        let _written: io::Result<()> = inner.file.write_all(format!("{line}\n").as_bytes());
        if from_script {
            for line in line.lines() {
                if inner.tail.len() == TAIL {
                    inner.tail.pop_front();
                }
                inner.tail.push_back(line.to_owned());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct ToFile(Arc<OutputLog>);

impl<S: Subscriber> Layer<S> for ToFile {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let from_script = metadata.target() == SCRIPT && *metadata.level() == Level::INFO;
        let prefix = match *metadata.level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "",
        };
        self.0.write(
            &format!("{prefix}{}{}", text.message, text.fields),
            from_script,
        );
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _never_fails = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing::instrument::WithSubscriber as _;

    use super::*;

    async fn chatter(name: &str) {
        for line in 0..200 {
            tracing::info!(target: SCRIPT, "{name} {line}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn logs_of_parallel_builds_never_mix() {
        let folder = tempfile::tempdir().unwrap();
        let tasks: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let path = folder.path().join("logs").join(name);
                let log = OutputLog::open(&path, Begin::Anew).unwrap();
                let task = tokio::spawn(chatter(name).with_subscriber(log.subscriber()));
                (name, path, log, task)
            })
            .into_iter()
            .collect();
        for (name, path, log, task) in tasks {
            task.await.unwrap();
            let expected: Vec<String> = (0..200).map(|line| format!("{name} {line}")).collect();
            assert_eq!(
                fs_err::read_to_string(path)
                    .unwrap()
                    .lines()
                    .collect::<Vec<_>>(),
                expected
            );
            assert_eq!(log.tail(), expected[170..]);
        }
    }

    #[test]
    fn a_build_begins_a_log_and_a_test_continues_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (begin, line) in [
            (Begin::Anew, "old"),
            (Begin::Anew, "build"),
            (Begin::Append, "test"),
        ] {
            OutputLog::open(&path, begin).unwrap().write(line, false);
        }
        assert_eq!(fs_err::read_to_string(path).unwrap(), "build\ntest\n");
    }
}
