//! Where a workspace lies, where it writes, and what it is called with.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{os::unix::fs::symlink, path::Path, process::Command};

use end_to_end::{Output, Workspace, within};
use fs_err as fs;

/// Runs the program in `folder`.
fn run_in(workspace: &Workspace, folder: &Path, args: &[&str]) -> Output {
    let mut command = workspace.command(args);
    command.current_dir(folder);
    workspace.run_command(command)
}

/// How many packages a run built.
fn built(output: &Output) -> usize {
    let lines = output.stderr.lines();
    lines
        .filter(|line| line.trim_start().starts_with("Built "))
        .count()
}

#[test]
fn a_workspace_is_found_from_any_folder_below_it() {
    let workspace = Workspace::with_two_packages();
    let below = workspace.path("recipes/first");
    let output = run_in(&workspace, &below, &["release", "recipe.yaml"]).ends(0);
    assert_eq!(built(&output), 1, "{output}");
    let output = run_in(&workspace, &below, &["release"]).ends(0);
    assert_eq!(built(&output), 1, "the other one: {output}");
    assert_eq!(workspace.manifest().packages().len(), 2);
}

#[test]
fn a_workspace_behind_a_link_is_the_same_one() {
    let workspace = Workspace::with_one_package();
    workspace.run(["release"]).ends(0);
    let link = workspace.beside("link");
    symlink(workspace.root(), &link).unwrap();
    let output = run_in(&workspace, &link, &["release"]).ends(0);
    assert_eq!(built(&output), 0, "{output}");
    let root = link.to_str().unwrap();
    let output = workspace.run(["release", "--root", root]).ends(0);
    assert_eq!(built(&output), 0, "{output}");
}

#[test]
fn a_path_may_have_spaces_and_any_letters() {
    let outer = Workspace::new();
    let root = outer.beside("mit lücke 日本 [1] {x} 'y' %20 #");
    fs::create_dir_all(root.join("recipes/one")).unwrap();
    fs::write(root.join("conda-release.toml"), "").unwrap();
    let recipe = "package:\n  name: one\n  version: 1.0.0\nbuild:\n  noarch: generic\n  script:\n    - mkdir -p \"$PREFIX/share\"\n    - echo one > \"$PREFIX/share/one.txt\"\ntests:\n  - script:\n      - test -f \"$PREFIX/share/one.txt\"\n";
    fs::write(root.join("recipes/one/recipe.yaml"), recipe).unwrap();
    let output = run_in(&outer, &root, &["release"]).ends(0);
    assert_eq!(built(&output), 1, "{output}");
    let channel = "target/conda-release/rehearsal/channel";
    let verify = [
        "verify",
        channel,
        "--trust",
        "sandbox",
        "--allow-any-identity",
    ];
    run_in(&outer, &root, &verify).ends(0);
    let output = run_in(&outer, &root, &["release"]).ends(0);
    assert_eq!(built(&output), 0, "{output}");
}

#[test]
fn cargos_target_folder_does_not_move_the_output() {
    let workspace = Workspace::with_one_package();
    let elsewhere = workspace.beside("cargo-target");
    let mut command = workspace.command(["release"]);
    command.env("CARGO_TARGET_DIR", &elsewhere);
    workspace.run_command(command).ends(0);
    assert!(workspace.rehearsal("release-manifest.json").is_file());
    assert!(!elsewhere.exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_output_may_lie_on_another_file_system() {
    let workspace = Workspace::with_two_packages();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let output = memory.path().to_str().unwrap();
    workspace.run(["release", "--output", output]).ends(0);
    let channel = memory.path().join("rehearsal/channel");
    assert_eq!(workspace.packages_in(channel).len(), 2);
    assert!(!workspace.path("target").exists());
}

#[test]
fn the_lock_file_of_a_run_that_is_gone_holds_nobody_up() {
    let workspace = Workspace::with_one_package();
    let process = std::process::id().to_string();
    workspace.write("target/conda-release/.lock", &process);
    workspace.write("target/conda-release/rehearsal/worker.lock", &process);
    workspace.run(["release"]).ends(0);
}

#[test]
fn nothing_is_written_into_the_files_of_a_ci_job() {
    let workspace = Workspace::with_one_package();
    let mut command = workspace.command(["release"]);
    let files = ["GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ENV"].map(|name| {
        let file = workspace.beside(name);
        command.env(name, &file);
        file
    });
    command.envs([("CI", "true"), ("GITHUB_ACTIONS", "true")]);
    workspace.run_command(command).ends(0);
    for file in files {
        assert!(!file.exists(), "{}", file.display());
    }
}

#[test]
fn colours_are_for_terminals_and_for_who_asks() {
    let workspace = Workspace::with_one_package();
    let coloured = |args: &[&str], variable: (&str, &str)| {
        let mut command = workspace.command(args);
        command.env_remove("NO_COLOR").env(variable.0, variable.1);
        let output = workspace.run_command(command).ends(0);
        output.stderr.contains('\u{1b}')
    };
    assert!(!coloured(&["release"], ("TERM", "xterm-256color")));
    assert!(coloured(
        &["release", "--color", "always"],
        ("TERM", "xterm-256color")
    ));
    assert!(coloured(&["release"], ("CONDA_RELEASE_COLOR", "always")));
    assert!(!coloured(
        &["release", "--color", "never"],
        ("CLICOLOR_FORCE", "1")
    ));
}

#[test]
fn many_packages_need_few_open_files() {
    let workspace = Workspace::new();
    for number in 0..60 {
        workspace.package(&format!("package-{number}"));
    }
    workspace.commit();
    let inside = workspace.command(["release"]);
    let mut command = Command::new("sh");
    command
        // What macOS allows by default.
        .args(["-c", "ulimit -n 256 && exec \"$@\"", "sh"]);
    let command = within(command, &inside);
    workspace.run_command(command).ends(0);
    assert_eq!(
        workspace.packages_in(workspace.rehearsal("channel")).len(),
        60
    );
}
