//! `release`: from recipes to a published channel.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use end_to_end::{Workspace, repodata};

#[test]
fn a_committed_workspace_is_released_in_one_command() {
    let workspace = Workspace::with_two_packages();
    let output = workspace.run(["release"]).ends(0);
    for package in ["noarch/first-1.0.0", "noarch/second-1.0.0"] {
        assert!(output.stdout.contains(package), "{output}");
    }
    let channel = repodata(&workspace.rehearsal("channel"), "noarch");
    assert_eq!(channel["packages.conda"].as_object().unwrap().len(), 2);
}
