//! No process of a recipe outlives the release.
//!
//! The scripts hold a pipe of the test's open: its end is the end of every process that they started.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    num::NonZeroUsize,
    process::Command,
    sync::mpsc,
    time::Duration,
};

use conda_recipes::{
    BuildEvent,
    worker::{Worker, WorkerEnvironment, WorkerError},
};

use crate::{
    release,
    workspace::{Events, Workspace, block_on},
};

/// A process that has left its parent, its group and its session, and the pipes of the script.
const RUNAWAY: &str = "(setsid sleep 86400 </dev/null >/dev/null 2>&1 &)";
/// Only for a test that fails: nothing is timed by it.
const TOO_LONG: Duration = Duration::from_secs(120);

/// A named pipe that scripts open as descriptor 9, and the lines they write into it.
struct Pipe {
    opens: String,
    path: std::path::PathBuf,
}

impl Pipe {
    fn new(workspace: &Workspace) -> Self {
        let path = workspace.root().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        Self {
            opens: format!("exec 9>'{}' && echo started >&9", path.display()),
            path,
        }
    }

    /// Calls `then` once the script has started; then waits until no process holds the pipe.
    fn watch(self, then: impl FnOnce()) {
        let (sender, receiver) = mpsc::channel();
        let path = self.path;
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(fs_err::File::open(path).unwrap());
            let mut line = String::new();
            pipe.read_line(&mut line).unwrap();
            sender.send(line).unwrap();
            pipe.read_to_end(&mut Vec::new()).unwrap();
            sender.send(String::new()).unwrap();
        });
        assert_eq!(receiver.recv_timeout(TOO_LONG).unwrap(), "started\n");
        then();
        receiver
            .recv_timeout(TOO_LONG)
            .expect("a process of the recipe still runs");
    }
}

pub(crate) fn a_background_process_is_found_and_ended() {
    let workspace = Workspace::new();
    let pipe = Pipe::new(&workspace);
    workspace.script("it", &[&pipe.opens, RUNAWAY], "");
    let request = workspace.build_request();
    let release = release::start(&workspace, &request, &[]);
    pipe.watch(|| {
        let ended = release.wait_with_output().unwrap();
        let done: release::Done = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(done.leftovers().len(), 1, "{done:?}");
        assert_eq!(done.run(&workspace).ends(), ["built it", "untested it"]);
    });
}

pub(crate) fn a_background_process_is_found_in_a_container() {
    let workspace = Workspace::new();
    workspace.script("it", &[RUNAWAY], "");
    let request = workspace.build_request();
    let Some(release) = release::start_in_container(&workspace, &request) else {
        return;
    };
    let ended = release.wait_with_output().unwrap();
    let done: release::Done = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(done.leftovers(), ["sleep 86400"], "{done:?}");
    assert_eq!(done.run(&workspace).ends(), ["built it", "untested it"]);
}

pub(crate) fn a_background_process_does_not_hold_the_build_up() {
    let mut workspace = Workspace::new();
    workspace.options.jobs = NonZeroUsize::new(2);
    let pipe = Pipe::new(&workspace);
    // `other` still runs when the patience with `it` ends: its own background process must be let alone.
    workspace
        .script("it", &[&pipe.opens, "(sleep 86400 &)"], "")
        .script(
            "other",
            &["(sh -c 'sleep 6; echo slept well' &)", "sleep 7"],
            "",
        );
    let request = workspace.build_request();
    let run = std::thread::scope(|scope| {
        let build = scope.spawn(|| workspace.try_build(request).unwrap());
        pipe.watch(|| {});
        build.join().unwrap()
    });
    let mut ends = run.ends();
    ends.sort();
    assert_eq!(
        ends,
        ["built it", "built other", "untested it", "untested other"]
    );
    assert!(
        run.log("other").contains("slept well"),
        "{}",
        run.log("other")
    );
    let warned = |event: &BuildEvent| matches!(event, BuildEvent::Warning { message, .. } if message.contains("`sleep 86400`"));
    assert!(run.events.iter().any(warned), "{:#?}", run.events);
}

pub(crate) fn nothing_outlives_a_killed_release() {
    let workspace = Workspace::new();
    let pipe = Pipe::new(&workspace);
    workspace.script("it", &[&pipe.opens, RUNAWAY, "sleep 86400"], "");
    let mut release = release::start(&workspace, &workspace.build_request(), &[]);
    pipe.watch(|| {
        release.kill().unwrap();
        release.wait().unwrap();
    });
    // And the next run finds the folder free.
    workspace.script("it", &["true"], "");
    assert_eq!(workspace.build().ends(), ["built it", "untested it"]);
}

pub(crate) fn nothing_outlives_a_cancelled_build() {
    let workspace = Workspace::new();
    let pipe = Pipe::new(&workspace);
    workspace.script("it", &[&pipe.opens, RUNAWAY, "sleep 86400"], "");
    let request = workspace.build_request();
    let (cancel, cancelled) = tokio::sync::oneshot::channel();
    let worker = workspace.worker();
    let build = std::thread::spawn(move || {
        block_on(async {
            let events = Events::default();
            tokio::select! {
                ended = worker.build(request, &events) => panic!("{ended:?}"),
                cancelled = cancelled => cancelled.unwrap(),
            }
        });
    });
    pipe.watch(|| {
        cancel.send(()).unwrap();
        build.join().unwrap();
    });
}

pub(crate) fn a_worker_that_dies_is_an_error() {
    let workspace = Workspace::new();
    workspace.script("it", &["kill -9 $PPID"], "");
    let error = workspace.try_build(workspace.build_request()).unwrap_err();
    assert!(
        matches!(&error, conda_recipes::Error::Worker(WorkerError::Died { status, .. }) if status.contains("signal: 9")),
        "{error}"
    );
}

pub(crate) fn a_program_that_is_no_worker_is_an_error() {
    let workspace = Workspace::new();
    workspace.script("it", &["true"], "");
    let environment = WorkerEnvironment::from_process(&[]).unwrap();
    let no_worker = Worker::new("echo".into(), vec!["hello".into()], environment);
    let planned = block_on(no_worker.plan(workspace.build_request().plan));
    let error = planned.unwrap_err();
    assert!(
        matches!(
            &error,
            conda_recipes::Error::Worker(WorkerError::Protocol { .. })
        ),
        "{error}"
    );
}
