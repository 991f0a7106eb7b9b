//! Promises that hold for a run as a whole.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use end_to_end::{Gate, Output, REHEARSAL, Workspace, within};
use fs_err as fs;

#[test]
fn a_second_run_is_refused_and_told_the_process_of_the_first() {
    let workspace = Workspace::new();
    let gate = Gate::new(&workspace, "gate");
    workspace.script("slow", &[&gate.line()], "");
    let first = workspace.start(["release"]);
    gate.wait();
    for command in ["release", "build", "plan", "sign"] {
        workspace
            .run([command])
            .ends(3)
            .says(&format!("process {}", first.pid()));
    }
    gate.open();
    first.wait().ends(0);
    workspace.assert_sound();
}

#[cfg(target_os = "linux")]
#[test]
fn no_token_is_minted_while_the_worker_of_a_killed_run_lives() {
    let workspace = Workspace::with_one_package();
    workspace.run(["build"]).ends(0);
    // As a worker holds it while it lives.
    let worker = fs::File::open(workspace.rehearsal("worker.lock")).unwrap();
    worker.lock().unwrap();
    let mut command = workspace.command(["sign"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut sign = command.spawn().unwrap();
    let mut said = BufReader::new(sign.stderr.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    assert!(
        first.contains("Waiting for the builds of an earlier run"),
        "{first}"
    );
    assert!(!workspace.rehearsal("sandbox").exists());
    worker.unlock().unwrap();
    assert!(said.any(|line| line.unwrap().contains("Attested")));
    assert!(sign.wait().unwrap().success());
}

#[test]
fn after_a_failed_build_nothing_is_attested_and_nothing_published() {
    let workspace = Workspace::new();
    workspace.package("good").script("bad", &["exit 1"], "");
    workspace.run(["release"]).ends(4).says("bad-1.0.0-");
    assert!(!workspace.rehearsal("sandbox").exists());
    assert_eq!(
        workspace.packages_in(format!("{REHEARSAL}/channel")),
        [""; 0]
    );
}

#[test]
fn planning_changes_neither_packages_nor_channel() {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    let before = workspace.footprints();
    fs::remove_dir_all(workspace.path("recipes/second")).unwrap();
    workspace.run(["plan"]).ends(0);
    let mut after = workspace.footprints();
    after.remove(std::path::Path::new("worker.lock"));
    for (path, footprint) in after {
        assert_eq!(before.get(&path), Some(&footprint), "{}", path.display());
    }
}

/// As cargo does, when it rebuilds an `xtask` that is at work.
#[cfg(target_os = "linux")]
#[test]
fn a_program_whose_file_is_replaced_ends_what_it_began() {
    let workspace = Workspace::with_one_package();
    let program = workspace.beside("program");
    fs::copy(end_to_end::program(), &program).unwrap();
    // While a lock is held, the worker that plans waits.
    let lock = workspace.write(format!("{REHEARSAL}/worker.lock"), "");
    let lock = std::fs::File::open(lock.rehearsal("worker.lock")).unwrap();
    lock.lock().unwrap();
    let inside = workspace.command(["release"]);
    let mut command = Command::new(&program);
    command
        .args(inside.get_args())
        .current_dir(workspace.root())
        .env_clear()
        .envs(
            inside
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    while workspace.processes().len() < 2 && running.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    fs::remove_file(&program).unwrap();
    lock.unlock().unwrap();
    let output: Output = running.wait_with_output().unwrap().into();
    output.ends(0);
    workspace.assert_sound();
}

/// In a network namespace of its own there is loopback, and no way out of it.
#[test]
fn a_machine_without_a_network_rehearses() {
    let offline = ["--map-root-user", "--net", "sh", "-c"];
    let up = "ip link set lo up";
    let allowed = Command::new("unshare").args(offline).arg(up).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "CI must allow `unshare --net` and have `ip`"
        );
        return;
    }
    let workspace = Workspace::with_two_packages();
    let inside = workspace.command(["release"]);
    let mut command = Command::new("unshare");
    command
        .args(offline)
        .arg(format!("{up} && exec \"$@\""))
        .arg("sh");
    let command = within(command, &inside);
    workspace.run_command(command).ends(0);
    workspace.assert_sound();
}
