//! The program as a process, and what it printed.

use std::{
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program under test, which cargo builds beside the tests.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let folder = test.parent().and_then(Path::parent).expect("target/debug");
    folder.join(format!("conda-release{}", std::env::consts::EXE_SUFFIX))
}

/// A command run by another one, which takes it as its last arguments: in the same folder, with the same environment.
pub fn within(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    let set = inner
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    outer.env_clear().envs(set);
    outer
}

/// What the program printed, and how it ended.
pub struct Output {
    /// The exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Its results.
    pub stdout: String,
    /// Everything else that it said.
    pub stderr: String,
}

impl Output {
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        output.into()
    }

    pub(crate) fn of_input(mut command: Command, input: &[u8]) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input).expect("it reads");
        drop(stdin);
        child.wait_with_output().expect("it ends").into()
    }

    /// Asserts how it ended, showing what it said if it ended otherwise.
    #[track_caller]
    pub fn ends(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self}");
        self
    }

    /// Asserts that stderr contains `text`, however its lines were wrapped.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.mentions(text), "expected `{text}` in\n{self}");
        self
    }

    /// Whether stderr contains `text`, however its lines, and words longer than a line, were wrapped.
    pub fn mentions(&self, text: &str) -> bool {
        unwrapped(&self.stderr).contains(&unwrapped(text))
    }

    /// stdout, which must be exactly one JSON document with a `schema_version`.
    #[track_caller]
    pub fn json(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"));
        assert!(document["schema_version"].is_u64(), "{self}");
        document
    }
}

/// The text without white space and the margin that a terminal's width makes.
fn unwrapped(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != '│')
        .collect()
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit status {status:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The program at work. Dropped, it is killed.
pub struct Running(Option<Child>);

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self(Some(child))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.0.as_ref().expect("it was not waited for");
        kill_process(Pid::from_child(child), signal).expect("it runs");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Output {
        let child = self.0.take().expect("it was not waited for");
        child.wait_with_output().expect("it ends").into()
    }

    /// Waits for its end; with the most memory that it was seen to have, in bytes, on systems that tell.
    ///
    /// Of a program that is not optimised, without the pages of its own file: those are many, and how many of them are
    /// in memory is the system's to say.
    pub fn wait_and_weigh(mut self) -> (Output, Option<u64>) {
        let status = format!("/proc/{}/status", self.pid());
        let field = match cfg!(debug_assertions) {
            true => "RssAnon:",
            false => "VmHWM:",
        };
        let weigh = || {
            let text = std::fs::read_to_string(&status).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(field))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        };
        let child = self.0.as_mut().expect("it was not waited for");
        let mut most = None;
        while child.try_wait().expect("it ends").is_none() {
            most = most.max(weigh());
            thread::sleep(Duration::from_millis(5));
        }
        (self.wait(), most)
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(mut self) -> ExitStatus {
        let mut child = self.0.take().expect("it was not waited for");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // A test that fails leaves nothing behind; it may have ended by itself.
            let _killed = child.kill();
            let _ended = child.wait();
        }
    }
}
