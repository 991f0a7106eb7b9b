//! Answers that cannot be read, which are never taken for "nothing is there".

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use end_to_end::{Output, Workspace};

const CHANNEL: &str = "https://conda.acme.example/pkgs";

fn code(output: &Output) -> String {
    output.json()["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_repository_that_git_refuses_is_not_a_folder_without_one() {
    let workspace = Workspace::with_one_package();
    workspace
        .config(&format!("target-channel = \"{CHANNEL}\""))
        .commit();
    // The change that a live release would refuse, if git could tell.
    workspace.package("one");
    let to = workspace.beside("channel").display().to_string();
    let commands = [
        vec!["plan"],
        vec!["plan", "--changed-since", "HEAD"],
        vec!["release"],
        vec!["build", "-x", "--to", &to],
    ];
    for args in &commands {
        let mut command = workspace.command(args.iter().chain(&["--output-format", "json"]));
        command.env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
        let refused = workspace.run_command(command).ends(3);
        assert_eq!(code(&refused), "git", "{refused}");
        assert!(refused.stdout.contains("dubious ownership"), "{refused}");
    }
    // A damaged repository, and one of a worktree that is elsewhere.
    let head = workspace.path(".git/HEAD");
    let text = fs::read_to_string(&head).unwrap();
    for content in ["", "<html>"] {
        fs::write(&head, content).unwrap();
        let args = ["plan", "--output-format", "json"];
        assert_eq!(code(&workspace.run(args).ends(3)), "git", "{content}");
    }
    fs::write(&head, text).unwrap();
    workspace.run(["plan"]).ends(0);
    fs::rename(workspace.path(".git"), workspace.path("elsewhere")).unwrap();
    fs::write(workspace.path(".git"), "gitdir: /nowhere/worktrees/one\n").unwrap();
    assert_eq!(
        code(&workspace.run(["plan", "--output-format", "json"]).ends(3)),
        "git"
    );
    fs::remove_file(workspace.path(".git")).unwrap();
    workspace.run(["plan"]).ends(0);
}

#[test]
fn a_repository_without_commit_or_remote_is_none_that_cannot_be_read() {
    let workspace = Workspace::plain();
    workspace.package("one").config("");
    workspace.git(&["init", "--quiet"]);
    workspace.run(["plan"]).ends(0);
    workspace.commit();
    workspace.run(["plan"]).ends(0);
    workspace.git(&["checkout", "--quiet", "--detach"]);
    workspace.run(["plan"]).ends(0);
}
