//! What `init` writes, run: a job compiles the program and plans, one builds, and one signs and publishes.

use end_to_end::{Workspace, program};
use fs_err as fs;

use crate::{
    examples::is_somebody,
    gitlab,
    runner::Github,
    scene::{Jobs as _, Scene, repository},
};

const GITHUB: &str = ".github/workflows/conda-release.yml";
const GITLAB: &str = ".gitlab/conda-release.yml";

/// A repository with packages for which `init` wrote what this CI system reads.
fn adopted(ci: &str) -> Workspace {
    let workspace = repository(&[("one", &[]), ("two", &["one"])]);
    fs::remove_file(workspace.path("conda-release.toml")).unwrap();
    let to = "https://prefix.dev/acme";
    workspace
        .run(["init", "--yes", "--ci", ci, "--to", to])
        .ends(0);
    workspace.commit();
    workspace
}

/// What `init` writes for this CI system.
pub(crate) fn written(ci: &str) -> String {
    let workspace = adopted(ci);
    let file = if ci == "github" { GITHUB } else { GITLAB };
    fs::read_to_string(workspace.path(file)).unwrap()
}

/// Installs this program in place of the one that cargo would compile.
fn with_cargo(github: &Github<'_>) {
    github.tool("rustup", "");
    let install = format!(
        "test \"$1 $2 $3 $4\" = 'install --locked cargo-conda-release@0.1.0 --root'\n\
         mkdir -p \"$5/bin\"\n\
         cp '{}' \"$5/bin/cargo-conda-release\"",
        program().display()
    );
    github.tool("cargo", &install);
}

#[test]
fn only_the_last_job_of_inits_workflow_has_an_identity() {
    let Some(scene) = Scene::of(adopted("github"), "") else {
        return;
    };
    let text = fs::read_to_string(scene.workspace.path(GITHUB)).unwrap();
    let github = scene.github("push");
    with_cargo(&github);
    let ran = github.run_text(&text).succeed();
    assert_eq!(ran.names(), ["plan 1", "build 1", "release 1"]);
    for job in &ran {
        let signs = job.job == "release 1";
        assert_eq!(is_somebody(&job.environment), signs, "{}", job.job);
    }
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&[]).ends(0);
    // The same again has nothing to do.
    let again = github.run_text(&text).succeed();
    assert_eq!(again.names(), ["plan 1"]);
}

#[test]
fn a_replaced_program_does_not_run_with_the_identity() {
    let workspace = adopted("github");
    let text = fs::read_to_string(workspace.path(GITHUB)).unwrap();
    let ran_it = workspace.beside("ran");
    let replace = |github: &Github<'_>, _: &dyn Fn() -> crate::runner::Ran| {
        let script = format!("#!/bin/sh\ntouch '{}'\n", ran_it.display());
        fs::write(github.artifacts().join("program/conda-release"), script).unwrap();
    };
    let Some(scene) = Scene::of(workspace, "") else {
        return;
    };
    let mut github = scene.github("push");
    with_cargo(&github);
    github.before = Some(("release", &replace));
    let ran = github.run_text(&text);
    assert_eq!(ran.failed(), ["release 1"]);
    let log = &ran.job("release 1").log;
    assert!(log.contains("program/conda-release: FAILED"), "{log}");
    assert!(!ran_it.exists());
    assert_eq!(scene.server.attempts(), 0);
}

#[test]
fn the_jobs_that_init_writes_for_gitlab_release() {
    let Some(scene) = Scene::of(adopted("gitlab"), "") else {
        return;
    };
    let text = fs::read_to_string(scene.workspace.path(GITLAB)).unwrap();
    let run = || {
        let github = scene.github("push");
        with_cargo(&github);
        gitlab::succeed(gitlab::run_text(&scene, &github, &text, "push"))
    };
    let jobs = ["conda-plan 1", "conda-build 1", "conda-release 1"];
    assert_eq!(run(), jobs);
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&[]).ends(0);
    // The same again has nothing to do.
    assert_eq!(run(), jobs);
    assert_eq!(scene.uploaded(), ["one", "two"]);
}
