//! `doctor`: each thing that a release needs is looked at, and each thing missing names its fix.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use end_to_end::{Output, Workspace};
use serde_json::Value;

/// `doctor --offline` in a workspace, as JSON; with this exit status.
#[track_caller]
fn doctor(workspace: &Workspace, args: &[&str], status: i32) -> Value {
    let fixed = ["doctor", "--offline", "--output-format", "json"];
    let output = workspace.run([&fixed, args].concat()).ends(status);
    let document = output.json();
    assert_eq!(document["ready"], status == 0, "{output}");
    document
}

/// The finding of a check, which must be there.
#[track_caller]
fn finding<'a>(document: &'a Value, check: &str) -> &'a Value {
    let found = document["checks"].as_array().unwrap();
    let mut found = found.iter().filter(|it| it["check"] == check);
    found
        .next()
        .unwrap_or_else(|| panic!("no `{check}` in {document:#}"))
}

/// Whether every check that is not as it should be says what to do.
fn names_its_fixes(document: &Value) -> bool {
    let found = document["checks"].as_array().unwrap();
    found.iter().all(|it| match it["state"] == "ok" {
        true => it.get("fix").is_none(),
        false => it["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
    })
}

#[test]
fn a_workspace_that_can_be_rehearsed_is_ready_and_says_what_live_would_miss() {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    let document = doctor(&workspace, &[], 0);
    for check in ["configuration", "recipes", "source", "git", "bash"] {
        assert_eq!(finding(&document, check)["state"], "ok", "{document:#}");
    }
    for check in ["output", "open_files", "loopback", "trust"] {
        assert_eq!(finding(&document, check)["state"], "ok", "{document:#}");
    }
    for check in ["channel", "identity"] {
        assert_eq!(finding(&document, check)["state"], "not_needed");
    }
    assert!(names_its_fixes(&document), "{document:#}");
    // For a live release the same things are missing.
    let document = doctor(&workspace, &["-x"], 3);
    for check in ["channel", "identity"] {
        assert_eq!(finding(&document, check)["state"], "missing");
    }
    assert!(!workspace.path("target").exists());
}

#[test]
fn what_is_wrong_with_the_workspace_is_found_all_at_once() {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    workspace.config("output = \"conda-release.toml/x\"\nrecipes = [\"nowhere/*\"]\n");
    let document = doctor(&workspace, &[], 3);
    for check in ["recipes", "output"] {
        assert_eq!(
            finding(&document, check)["state"],
            "missing",
            "{document:#}"
        );
    }
    // The configuration itself is what differs from the commit.
    assert_eq!(finding(&document, "source")["state"], "not_needed");
    assert!(names_its_fixes(&document), "{document:#}");

    workspace.config("recipe = 1");
    let document = doctor(&workspace, &[], 3);
    let configuration = finding(&document, "configuration");
    assert_eq!(configuration["state"], "missing");
    assert!(
        configuration["fix"].as_str().unwrap().contains("`recipes`"),
        "{document:#}"
    );
    // What does not depend on it is looked at nevertheless.
    finding(&document, "git");

    workspace.config("[build]\npass-env = [\"SIGSTORE_ID_TOKEN\"]");
    let document = doctor(&workspace, &[], 3);
    assert_eq!(finding(&document, "environment")["state"], "missing");
}

/// `doctor` with another environment.
fn doctor_with(workspace: &Workspace, change: impl FnOnce(&mut Command)) -> Output {
    let mut command = workspace.command(["doctor", "--offline", "--output-format", "json"]);
    change(&mut command);
    workspace.run_command(command)
}

#[test]
fn a_machine_without_tools_is_told_which() {
    let workspace = Workspace::with_one_package();
    workspace.write("Cargo.toml", "[workspace]\n");
    let output = doctor_with(&workspace, |command| {
        command.env("PATH", "/nowhere");
    });
    let document = output.ends(3).json();
    for (check, state) in [
        ("bash", "missing"),
        ("cargo", "missing"),
        ("git", "not_needed"),
    ] {
        assert_eq!(finding(&document, check)["state"], state, "{document:#}");
    }
    assert!(names_its_fixes(&document), "{document:#}");
}

#[test]
fn a_job_that_may_not_ask_for_tokens_is_told_what_to_add() {
    let workspace = Workspace::with_one_package();
    let output = doctor_with(&workspace, |command| {
        command.env("GITHUB_ACTIONS", "true");
    });
    let document = output.json();
    let fix = finding(&document, "identity")["fix"].as_str().unwrap();
    assert!(fix.contains("id-token: write"), "{document:#}");
}

#[test]
fn the_public_instance_out_of_reach_is_found_and_verifying_goes_on() {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    let doctor = ["doctor", "--output-format", "json"];
    let document = workspace.run(doctor).ends(0).json();
    let found = document["checks"].as_array().unwrap();
    let states: Vec<_> = found
        .iter()
        .filter(|it| it["check"] == "trust")
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["not_needed", "ok"], "{document:#}");
    workspace.run([&doctor[..], &["-x"]].concat()).ends(3);
}

#[test]
fn a_person_sees_a_mark_for_each_thing() {
    let workspace = Workspace::with_one_package();
    let output = workspace.run(["doctor", "--offline"]).ends(0);
    for line in ["✓ recipes        1 recipe\n", "– identity", "fix: "] {
        assert!(output.stdout.contains(line), "`{line}` in {output}");
    }
}
