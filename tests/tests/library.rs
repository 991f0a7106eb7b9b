//! conda-release as a library: an `xtask` with commands of its own, and the program under its two names.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use end_to_end::{Output, Workspace, program};
use fs_err as fs;

/// Runs the example of the documentation: an `xtask` that has one command beside ours.
fn xtask(workspace: &Workspace, args: &[&str]) -> Output {
    workspace.run_command(workspace.other(env!("CARGO_BIN_EXE_own-xtask"), args))
}

#[test]
fn an_xtask_of_a_monorepo_has_our_commands_and_its_own() {
    let workspace = Workspace::with_one_package();
    let help = xtask(&workspace, &["--help"]).ends(0).stdout;
    for command in ["  clean ", "  release ", "  init "] {
        assert!(help.contains(command), "{help}");
    }
    assert!(!help.contains("__worker"), "{help}");
    // The worker is the xtask itself.
    xtask(&workspace, &["release"]).ends(0);
    assert_eq!(workspace.manifest().packages().len(), 1);
    xtask(&workspace, &["clean"]).ends(0);
    assert!(!workspace.path("target/conda-release").exists());
}

#[test]
fn what_fails_in_an_xtask_fails_as_it_does_with_us() {
    let workspace = Workspace::plain();
    let args = ["plan", "--output-format", "json"];
    let ours = workspace.run(args).ends(3);
    let theirs = xtask(&workspace, &args).ends(3);
    assert_eq!(ours.json(), theirs.json());
}

#[test]
fn the_program_says_what_to_type_under_the_name_it_was_called_by() {
    let workspace = Workspace::new();
    let bin = workspace.beside("bin");
    fs::create_dir(&bin).unwrap();
    for (name, args, typed) in [
        ("conda-release", &["--help"][..], "Usage: conda-release "),
        (
            "cargo-conda-release",
            &["conda-release", "--help"],
            "Usage: cargo conda-release ",
        ),
        (
            "cargo-conda-release",
            &["--help"],
            "Usage: cargo conda-release ",
        ),
        ("xtask", &["--help"], "Usage: cargo xtask "),
    ] {
        let file = bin.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        if !file.exists() {
            fs::hard_link(program(), &file)
                .or_else(|_| fs::copy(program(), &file).map(drop))
                .unwrap();
        }
        let output = workspace.run_command(workspace.other(&file, args)).ends(0);
        assert!(output.stdout.contains(typed), "{output}");
    }
}
