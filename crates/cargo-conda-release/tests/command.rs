//! `cargo conda-release`, as cargo finds and calls it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{env, path::Path, process::Command};

#[test]
fn cargo_finds_the_command_and_passes_its_arguments_on() {
    let folder = Path::new(env!("CARGO_BIN_EXE_cargo-conda-release"))
        .parent()
        .unwrap();
    let path = env::var_os("PATH").unwrap();
    let path = env::join_paths(
        [folder.to_owned()]
            .into_iter()
            .chain(env::split_paths(&path)),
    );
    let cargo = |args: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .arg("conda-release")
            .args(args)
            .env("PATH", path.as_ref().unwrap())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let version = format!("conda-release {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(cargo(&["--version"]), (Some(0), version));
    let (status, help) = cargo(&["release", "--help"]);
    assert_eq!(status, Some(0));
    assert!(
        help.contains("Usage: cargo conda-release release "),
        "{help}"
    );
    assert_eq!(cargo(&["no-such-command"]).0, Some(2));
}
