//! From a fresh workspace to attested packages, with nothing edited by hand.

use std::{
    env,
    path::{Path, PathBuf},
};

use end_to_end::{Output, REHEARSAL, Workspace, program};
use fs_err as fs;
use release_manifest::Progress;
use toml::{Table, Value};

use crate::monorepo::{Monorepo, with_rust};

/// The workspace of conda-release itself.
fn ours() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

/// What stands in for crates.io as long as our crates are not there: where they are, and how they are
/// compiled here, so that what this build has compiled of their dependencies is not compiled again.
fn unpublished() -> String {
    let manifest = fs::read_to_string(ours().join("Cargo.toml")).unwrap();
    let manifest: Table = manifest.parse().unwrap();
    let path = ours().join("crates/conda-release");
    let path = Value::from(path.to_str().unwrap());
    let patch = Table::from_iter([("path".to_owned(), path)]);
    let patch = Table::from_iter([("conda-release".to_owned(), Value::from(patch))]);
    let patch = Table::from_iter([("crates-io".to_owned(), Value::from(patch))]);
    let config = Table::from_iter([
        ("patch".to_owned(), Value::from(patch)),
        ("profile".to_owned(), manifest["profile"].clone()),
    ]);
    config.to_string()
}

/// Runs cargo in the monorepo. It finds `cargo conda-release` as it is installed, and compiles where this test was compiled.
fn cargo(monorepo: &Monorepo, args: &[&str]) -> Output {
    let workspace: &Workspace = &monorepo.0;
    let installed = workspace.beside("bin");
    if !installed.exists() {
        fs::create_dir(&installed).unwrap();
        let name = format!("cargo-conda-release{}", env::consts::EXE_SUFFIX);
        fs::copy(program(), installed.join(name)).unwrap();
    }
    let path = env::var_os("PATH").unwrap();
    let path = env::join_paths([installed].into_iter().chain(env::split_paths(&path))).unwrap();
    let debug = program().parent().map(Path::to_owned).unwrap();
    let mut cargo = workspace.other("cargo", args);
    with_rust(&mut cargo);
    cargo
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", debug.parent().unwrap())
        .env("CARGO_INCREMENTAL", "0");
    workspace.run_command(cargo)
}

#[test]
fn a_fresh_workspace_of_two_programs_becomes_two_attested_packages() {
    let monorepo = Monorepo::with_two_programs();
    cargo(&monorepo, &["conda-release", "init", "--yes"])
        .ends(0)
        .says("cargo xtask release");
    monorepo.0.commit();

    let config = monorepo.0.beside("unpublished.toml");
    fs::write(&config, unpublished()).unwrap();
    fs::copy(
        ours().join("Cargo.lock"),
        monorepo.0.path("xtask/Cargo.lock"),
    )
    .unwrap();
    let patched = ["--config", config.to_str().unwrap()];
    let xtask = |args: &[&str]| cargo(&monorepo, &[&patched, args].concat());
    xtask(&["xtask", "release"]).ends(0);

    let manifest = monorepo.0.manifest();
    let packages = manifest.packages();
    let names: Vec<_> = packages
        .iter()
        .map(|package| package.file.to_string())
        .collect();
    assert_eq!(packages.len(), 2, "{names:?}");
    for (name, package) in ["left-1.2.3-", "right-1.2.3-"].iter().zip(packages) {
        assert!(package.file.to_string().starts_with(name), "{names:?}");
        assert_eq!(package.progress, Progress::Published, "{names:?}");
    }
    let channel = format!("{REHEARSAL}/channel");
    let verify = [
        "verify",
        &channel,
        "--trust",
        "sandbox",
        "--identity",
        "https://sandbox.conda-release.invalid/rehearsal",
        "--issuer",
        "https://sandbox.conda-release.invalid",
    ];
    // By our own program: what the xtask has published is what everybody verifies.
    monorepo.run(verify).ends(0);
    // The monorepo's lockfile knows nothing of us, and only the xtask has files that are not committed.
    assert!(!monorepo.text("Cargo.lock").contains("conda-release"));
    assert_eq!(
        monorepo.0.git(&["status", "--porcelain"]),
        "?? xtask/Cargo.lock"
    );
}
