//! A release in a process of its own: it guards itself, builds in a worker and ends what is left, as the real one does.

use std::{
    io::Write as _,
    process::{Child, Command, ExitCode, Stdio},
};

use conda_recipes::{
    BuildEvent, BuildRequest,
    worker::{Leftover, Worker, WorkerEnvironment, end_leftovers, guard_parent},
};
use rustix::process::{DumpableBehavior, dumpable_behavior};
use serde::{Deserialize, Serialize};

use crate::workspace::{Events, Run, SERVE, Workspace, block_on};

/// The argument that makes this binary a release. The request is on stdin, the outcome on stdout.
pub(crate) const RELEASE: &str = "release";

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Done {
    events: Vec<BuildEvent>,
    leftovers: Vec<(u32, String)>,
    pub(crate) is_dumpable: bool,
}

impl Done {
    pub(crate) fn leftovers(&self) -> Vec<&str> {
        self.leftovers
            .iter()
            .map(|(_, command)| command.as_str())
            .collect()
    }

    pub(crate) fn run(&self, workspace: &Workspace) -> Run {
        Run::new(workspace, self.events.clone())
    }
}

pub(crate) fn main() -> ExitCode {
    guard_parent().unwrap();
    let request: BuildRequest = serde_json::from_reader(std::io::stdin()).unwrap();
    let environment = WorkerEnvironment::from_process(&[]).unwrap();
    let worker = Worker::new(
        std::env::current_exe().unwrap(),
        vec![SERVE.into()],
        environment,
    );
    let events = Events::default();
    block_on(worker.build(request, &events)).unwrap();
    let done = Done {
        events: events.0.into_inner().unwrap(),
        leftovers: end_leftovers()
            .into_iter()
            .map(|Leftover { pid, command }| (pid, command))
            .collect(),
        is_dumpable: dumpable_behavior().unwrap() == DumpableBehavior::Dumpable,
    };
    serde_json::to_writer(std::io::stdout(), &done).unwrap();
    ExitCode::SUCCESS
}

/// Starts a release with `environment` besides this process's own.
pub(crate) fn start(
    workspace: &Workspace,
    request: &BuildRequest,
    environment: &[(&str, String)],
) -> Child {
    let command = Command::new(std::env::current_exe().unwrap());
    spawn(command, workspace, request, environment)
}

/// Starts a release in a PID namespace of its own, as a container engine does: the leader of its session is outside.
///
/// `None`, with a message, on a machine that allows no such namespace; on CI that is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub(crate) fn start_in_container(workspace: &Workspace, request: &BuildRequest) -> Option<Child> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--pid", "--fork", "--mount-proc"]);
    let allowed = Command::new("unshare")
        .args(unshare.get_args())
        .arg("true")
        .status()
        .is_ok_and(|status| status.success());
    if !allowed {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must allow `unshare --pid`"
        );
        eprintln!("skipped: this machine does not allow `unshare --map-root-user --pid`");
        return None;
    }
    unshare.arg(std::env::current_exe().unwrap());
    Some(spawn(unshare, workspace, request, &[]))
}

fn spawn(
    mut command: Command,
    workspace: &Workspace,
    request: &BuildRequest,
    environment: &[(&str, String)],
) -> Child {
    let mut release = command
        .arg(RELEASE)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("RATTLER_CACHE_DIR", workspace.root().join("cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    release
        .stdin
        .take()
        .unwrap()
        .write_all(&serde_json::to_vec(request).unwrap())
        .unwrap();
    release
}

/// Runs a release to its end.
pub(crate) fn run(
    workspace: &Workspace,
    request: &BuildRequest,
    environment: &[(&str, String)],
) -> Done {
    let ended = start(workspace, request, environment)
        .wait_with_output()
        .unwrap();
    assert!(ended.status.success(), "{}", ended.status);
    serde_json::from_slice(&ended.stdout).unwrap()
}
