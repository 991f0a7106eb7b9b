//! Packages that the channel has under the names of a plan, compared with what the plan would build.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use end_to_end::{Output, Workspace};
use serde_json::{Map, Value, json};

const CHANNEL: &str = "https://conda.acme.example/pkgs";
const CHANGED: &str = "changed since it was published: raise the build number";
const LIVE: &str = "target/conda-release/live";

/// A workspace with these packages, attested for [`CHANNEL`].
fn workspace(config: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.config(&format!("target-channel = \"{CHANNEL}\"\n{config}"));
    workspace.package("one").package("two").commit();
    workspace
}

/// Commits other content for a package under the same file name.
fn change(workspace: &Workspace, package: &str) {
    let write = format!("mkdir -p $PREFIX/share && echo other > $PREFIX/share/{package}.txt");
    workspace.script(package, &[&write], "").commit();
}

fn run(workspace: &Workspace, command: &str, channel: &Path, args: &[&str]) -> Output {
    let to = channel.display().to_string();
    let args = [&[command, "-x", "--to", &to][..], args].concat();
    let mut command = workspace.command(args);
    command
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_WORKSPACE", workspace.root());
    workspace.run_command(command)
}

fn manifest(workspace: &Workspace) -> Value {
    let path = workspace.path(LIVE).join("release-manifest.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Builds everything, and makes a channel that lists it and keeps the release manifest.
fn released(workspace: &Workspace) -> PathBuf {
    let channel = workspace.beside("channel");
    run(workspace, "build", &channel, &[]).ends(0);
    let manifest = manifest(workspace);
    let packages = manifest["packages"].as_array().unwrap();
    let record = |package: &Value| {
        let record = json!({"sha256": package["sha256"], "size": package["size"]});
        (package["file"].as_str().unwrap().to_owned(), record)
    };
    let records: Map<String, Value> = packages.iter().map(record).collect();
    fs::create_dir_all(channel.join("noarch")).unwrap();
    let repodata = json!({"packages.conda": records}).to_string();
    fs::write(channel.join("noarch/repodata.json"), repodata).unwrap();
    fs::create_dir_all(kept(workspace)).unwrap();
    let kept = kept(workspace).join("release-manifest.json");
    fs::write(kept, manifest.to_string()).unwrap();
    channel
}

/// The folder of the release in its channel.
fn kept(workspace: &Workspace) -> PathBuf {
    let digest = manifest(workspace)["plan_digest"].clone();
    let digest = digest.as_str().unwrap().trim_start_matches("sha256:");
    workspace.beside("channel").join("releases").join(digest)
}

/// The packages that a plan knows to have changed.
fn changed(planned: &Output) -> Vec<String> {
    let document = planned.json();
    let decisions = document["decisions"].as_array().unwrap().iter();
    decisions
        .filter(|it| it["in_channel"]["changed"] == true)
        .map(|it| it["output"].as_str().unwrap().to_owned())
        .collect()
}

fn plan_json(workspace: &Workspace, channel: &Path, args: &[&str]) -> Output {
    let args = [&["--output-format", "json"], args].concat();
    run(workspace, "plan", channel, &args)
}

#[test]
fn the_state_of_an_earlier_run_tells_what_changed() {
    let workspace = workspace("");
    let channel = released(&workspace);
    fs::remove_dir_all(channel.join("releases")).unwrap();
    assert!(changed(&plan_json(&workspace, &channel, &[]).ends(0)).is_empty());

    change(&workspace, "one");
    // Also where a run skipped it already.
    for _ in 0..2 {
        let built = run(&workspace, "build", &channel, &[])
            .ends(0)
            .says(CHANGED);
        assert!(!built.mentions("Built"), "{built}");
        assert!(
            built
                .stdout
                .contains("in the channel before, changed since"),
            "{built}"
        );
        built
            .says("in the channel, changed since it was published")
            .says("::warning file=recipes/one/recipe.yaml,title=");
        let skipped = &manifest(&workspace)["packages"][0]["skipped"];
        assert_eq!(skipped["in_channel"]["changed"], true, "{skipped}");
    }
    assert_eq!(changed(&plan_json(&workspace, &channel, &[])), ["one"]);
    workspace.package("one").commit();
    let reverted = plan_json(&workspace, &channel, &[]).ends(0);
    assert!(
        changed(&reverted).is_empty() && !reverted.mentions(CHANGED),
        "{reverted}"
    );
}

#[test]
fn a_release_manifest_in_the_channel_tells_what_changed() {
    let first = workspace("");
    let channel = released(&first);
    let second = workspace("");
    assert!(changed(&plan_json(&second, &channel, &[]).ends(0)).is_empty());
    change(&second, "two");
    let planned = plan_json(&second, &channel, &[]).ends(0).says(CHANGED);
    assert_eq!(changed(&planned), ["two"]);

    // The record of other bytes says nothing about the channel's package.
    let path = kept(&first).join("release-manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let sha256 = manifest(&first)["packages"][1]["sha256"].clone();
    fs::write(
        &path,
        text.replace(sha256.as_str().unwrap(), &"0".repeat(64)),
    )
    .unwrap();
    assert!(changed(&plan_json(&second, &channel, &[]).ends(0)).is_empty());

    // Nor does one of another version of the tool, whose fingerprints differ.
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["tool"]["version"] = "0.0.1".into();
    fs::write(&path, other.to_string()).unwrap();
    assert!(changed(&plan_json(&second, &channel, &[]).ends(0)).is_empty());
}

#[test]
fn a_package_that_builds_on_a_change_did_not_change_itself() {
    let build = |workspace: &Workspace| {
        let copy = "mkdir -p $PREFIX/share && cp $PREFIX/share/one.txt $PREFIX/share/two.txt";
        workspace.script("two", &[copy], "requirements:\n  host:\n    - one\n");
        workspace.commit();
    };
    let first = workspace("[build]\nchannels = []");
    build(&first);
    let channel = released(&first);
    let second = workspace("[build]\nchannels = []");
    build(&second);
    change(&second, "one");
    assert_eq!(changed(&plan_json(&second, &channel, &[]).ends(0)), ["one"]);
}

#[test]
fn changed_files_tell_where_no_release_is_recorded() {
    let first = workspace("");
    let channel = released(&first);
    fs::remove_dir_all(channel.join("releases")).unwrap();
    let second = workspace("");
    change(&second, "two");
    assert!(changed(&plan_json(&second, &channel, &[]).ends(0)).is_empty());
    let since = ["--changed-since", "HEAD~1"];
    let planned = plan_json(&second, &channel, &since).ends(0).says(CHANGED);
    assert_eq!(changed(&planned), ["two"]);

    // Published by an earlier attempt of the same job, from the same commit.
    let time = second.git(&["log", "-1", "--format=%ct"]);
    let time: u64 = time.trim().parse().unwrap();
    let path = channel.join("noarch/repodata.json");
    let mut repodata: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for record in repodata["packages.conda"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        record["timestamp"] = (time * 1000).into();
    }
    fs::write(&path, repodata.to_string()).unwrap();
    assert!(changed(&plan_json(&second, &channel, &since).ends(0)).is_empty());
}

#[test]
fn a_change_is_an_error_where_the_configuration_says_so() {
    let first = workspace("");
    let channel = released(&first);
    let second = workspace("[publish]\nchanged = \"error\"");
    plan_json(&second, &channel, &[]).ends(0);
    change(&second, "two");
    second.package("three").commit();
    let refused = plan_json(&second, &channel, &[]).ends(3);
    assert_eq!(refused.json()["error"]["code"], "changed_since_published");
    let refused = run(&second, "build", &channel, &[])
        .ends(3)
        .says("noarch/two-1.0.0");
    assert!(!refused.mentions("Built"), "{refused}");
}

#[test]
fn an_unreadable_release_manifest_is_never_a_missing_one() {
    let first = workspace("");
    let channel = released(&first);
    let second = workspace("");
    change(&second, "two");
    let strict = format!("target-channel = \"{CHANNEL}\"\n[publish]\nchanged = \"error\"");
    for content in ["<html>", "", "{}", "{\"schema_version\": 1,"] {
        fs::write(kept(&first).join("release-manifest.json"), content).unwrap();
        let warned = plan_json(&second, &channel, &[]).ends(0);
        let warned = warned.says("the channel's release manifests cannot be read");
        assert!(changed(&warned).is_empty(), "{warned}");
        second.config(&strict);
        plan_json(&second, &channel, &[]).ends(3);
        second.config(&format!("target-channel = \"{CHANNEL}\""));
    }
}
