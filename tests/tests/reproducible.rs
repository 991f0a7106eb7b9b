//! One commit, one set of bytes; and the times that packages carry.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use end_to_end::{Output, Workspace};
use fs_err as fs;
use serde_json::Value;

/// The time of the harness's commits, in seconds: 2026-01-01.
const COMMITTED: u64 = 1_767_225_600;
/// The first second that a ZIP archive can carry: 1980-01-01.
const EARLIEST: u64 = 315_532_800;

fn packages(workspace: &Workspace) -> BTreeMap<String, Vec<u8>> {
    let manifest = workspace.manifest();
    let packages = manifest.packages().iter();
    packages
        .map(|package| {
            let bytes = fs::read(workspace.built(package.file.name())).unwrap();
            (package.file.to_string(), bytes)
        })
        .collect()
}

/// When a package says that it was built, in seconds.
#[track_caller]
fn timestamp(workspace: &Workspace, package: &str) -> u64 {
    let index: Value =
        serde_json::from_str(&workspace.content(package, "info/index.json")).unwrap();
    index["timestamp"].as_u64().unwrap() / 1000
}

fn release_at(workspace: &Workspace, epoch: &str) -> Output {
    let mut command = workspace.command(["release"]);
    command.env("SOURCE_DATE_EPOCH", epoch);
    workspace.run_command(command)
}

#[test]
fn two_rehearsals_of_a_commit_make_the_same_bytes() {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    let first = packages(&workspace);
    assert_eq!(timestamp(&workspace, "first"), COMMITTED);
    fs::remove_dir_all(workspace.path("target")).unwrap();
    workspace.run(["release"]).ends(0);
    assert_eq!(packages(&workspace), first);
}

#[test]
fn packages_carry_source_date_epoch() {
    let workspace = Workspace::with_two_packages();
    release_at(&workspace, "1700000000").ends(0);
    for name in ["first", "second"] {
        assert_eq!(timestamp(&workspace, name), 1_700_000_000);
    }
    let first = packages(&workspace);
    fs::remove_dir_all(workspace.path("target")).unwrap();
    // Uncommitted: it stands for the commit's time.
    workspace.write("uncommitted.txt", "");
    release_at(&workspace, "1700000000").ends(0);
    assert_eq!(packages(&workspace), first);
}

#[test]
fn times_that_an_archive_cannot_carry_become_the_nearest_that_it_can() {
    for (epoch, expected) in [
        ("0", EARLIEST),
        ("315532799", EARLIEST),
        ("4354819199", 4_354_819_199),
    ] {
        let workspace = Workspace::with_one_package();
        release_at(&workspace, epoch).ends(0);
        workspace.assert_sound();
        assert_eq!(timestamp(&workspace, "one"), expected);
    }
}

#[test]
fn a_source_date_epoch_that_is_no_time_is_a_usage_error() {
    let workspace = Workspace::with_one_package();
    for epoch in ["", "yesterday", "-1", "1.5", "99999999999999", "0x10"] {
        release_at(&workspace, epoch)
            .ends(2)
            .says(&format!("SOURCE_DATE_EPOCH is `{epoch}`"));
    }
    assert!(!workspace.rehearsal("plan.json").exists());
}

#[test]
fn what_is_not_committed_carries_the_time_of_its_first_run() {
    let workspace = Workspace::with_one_package();
    workspace.commit().write("uncommitted.txt", "");
    workspace.run(["release"]).ends(0);
    assert!(workspace.manifest().source.dirty);
    assert!(timestamp(&workspace, "one") > COMMITTED);
    let first = workspace.footprints();
    workspace.run(["release"]).ends(0);
    assert_eq!(workspace.footprints(), first);
}
