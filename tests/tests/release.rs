//! `release`: from recipes to a published channel, at once and step by step.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeSet;

use end_to_end::{Output, Workspace, repodata};
use insta::assert_snapshot;
use release_manifest::{Plan, Progress};

#[test]
fn a_committed_workspace_is_released_in_one_command() {
    let workspace = Workspace::with_two_packages();
    let output = workspace.run(["release"]).ends(0);
    let packages = workspace.packages_in("target/conda-release/rehearsal/packages");
    assert_eq!(packages.len(), 2, "{output}");
    let manifest = workspace.manifest();
    let channel = repodata(&workspace.rehearsal("channel"), "noarch");
    for package in manifest.packages() {
        assert_eq!(package.progress, Progress::Published);
        let file = package.file.as_str();
        let bundle = workspace.rehearsal(format!("packages/noarch/{file}.sigstore.json"));
        assert!(bundle.is_file(), "{}", bundle.display());
        // What clients find: the record leads to the sidecar by the sidecar's own hash (CEP-50).
        let record = &channel["packages.conda"][file];
        assert_eq!(record["sha256"], package.sha256.unwrap().to_string());
        let sidecar = record["attestations_sha256"].as_str().unwrap();
        assert_eq!(
            package
                .published
                .as_ref()
                .unwrap()
                .sidecar_sha256
                .unwrap()
                .to_string(),
            sidecar
        );
        let served = workspace.rehearsal(format!("channel/noarch/{file}.sigs.{sidecar}"));
        assert!(served.is_file(), "{}", served.display());
    }
    let second = &manifest.packages()[1];
    assert_eq!(second.depends_on, [manifest.packages()[0].key()]);
}

#[test]
fn a_release_says_what_it_does_and_what_can_be_done_next() {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    let output = workspace.run(["release"]).ends(0);
    assert_snapshot!("what_happens", workspace.redact(&output.stderr));
    assert_snapshot!("the_closing_table", workspace.redact(&output.stdout));
}

#[test]
fn the_verify_commands_that_a_release_suggests_work_as_they_stand() {
    let workspace = Workspace::with_two_packages();
    let output = workspace.run(["release"]).ends(0);
    for args in suggested(&output) {
        workspace.run(args).ends(0);
    }
}

#[test]
fn the_commands_suggested_from_elsewhere_name_the_workspace() {
    let workspace = Workspace::with_one_package();
    let elsewhere = workspace.beside("home");
    let run = |args: &[&str]| {
        let mut command = workspace.command(args);
        command.current_dir(&elsewhere);
        workspace.run_command(command)
    };
    let output = run(&["release", "--root", "../work", "--output", "../out"]).ends(0);
    for args in suggested(&output) {
        run(&args).ends(0);
    }
}

/// The arguments of the commands that a release suggests: to inspect, and twice to verify.
#[track_caller]
fn suggested(output: &Output) -> Vec<Vec<&str>> {
    let lines = output.stderr.lines();
    let suggested: Vec<Vec<&str>> = lines
        .filter_map(|line| line.trim().strip_prefix("conda-release "))
        .map(|args| args.split(' ').collect())
        .collect();
    assert_eq!(suggested.len(), 3, "{output}");
    suggested
}

#[test]
fn quiet_leaves_only_the_result() {
    let workspace = Workspace::with_one_package();
    let output = workspace.run(["release", "--quiet"]).ends(0);
    assert_eq!(output.stderr, "");
    assert!(output.stdout.starts_with("PACKAGE"), "{output}");
}

#[test]
fn packages_are_tested_before_they_are_signed() {
    let workspace = Workspace::new();
    let test = "tests:\n  - script:\n      - test -f $PREFIX/share/one.txt\n";
    let install = "mkdir -p $PREFIX/share && touch $PREFIX/share/one.txt";
    workspace.script("one", &[install], test).commit();
    let output = workspace.run(["release"]).ends(0);
    let place = |verb: &str| {
        output
            .stderr
            .lines()
            .position(|line| line.trim_start().starts_with(verb))
            .unwrap_or_else(|| panic!("no {verb} in {output}"))
    };
    let order = ["Built", "Tested", "Identity", "Attested", "Published"].map(place);
    assert!(order.is_sorted(), "{output}");
}

#[test]
fn a_plan_shows_packages_in_the_order_of_building_and_builds_nothing() {
    let workspace = Workspace::new();
    // By name `above` would come first; it builds upon `base`.
    workspace
        .script("above", &["true"], "requirements:\n  host:\n    - base\n")
        .package("base")
        .script("skipped", &["true"], "")
        .write(
            "recipes/skipped/recipe.yaml",
            "package:\n  name: skipped\n  version: 1.0.0\nbuild:\n  noarch: generic\n  skip:\n    - true\n",
        )
        .commit();
    let output = workspace.run(["plan"]).ends(0);
    assert_snapshot!(workspace.redact(&output.stdout));
    for made in [
        "packages/noarch",
        "channel",
        "sandbox",
        "plan.json",
        "release-manifest.json",
    ] {
        assert!(!workspace.rehearsal(made).exists(), "{made} was made");
    }
}

#[test]
fn a_plan_as_json_is_by_its_schema_and_has_the_plan() {
    let workspace = Workspace::with_two_packages();
    let output = workspace.run(["plan", "--output-format", "json"]).ends(0);
    let schema = workspace.run(["schema", "decisions"]).ends(0).stdout;
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<String> = schema
        .iter_errors(&output.json())
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let plan = serde_json::to_vec(&output.json()["plan"]).unwrap();
    let digest = Plan::from_json(&plan).unwrap().digest().to_string();
    assert_eq!(output.json()["plan_digest"], digest);
}

#[test]
fn a_plan_tells_new_changed_and_unchanged_packages_apart() {
    let workspace = Workspace::with_two_packages();
    workspace.run(["build"]).ends(0);
    workspace
        .script(
            "second",
            &["mkdir -p $PREFIX/share && touch $PREFIX/share/s.txt"],
            "",
        )
        .package("third")
        .commit();
    let output = workspace.run(["plan"]).ends(0);
    let state = |package: &str| {
        let row = output.stdout.lines().find(|line| line.contains(package));
        row.and_then(|row| row.split("recipe.yaml").last())
            .unwrap_or_default()
            .trim()
    };
    let states = ["noarch/first", "noarch/second", "noarch/third"].map(state);
    assert_eq!(
        states,
        ["unchanged", "build: changed", "build: new"],
        "{output}"
    );
}

#[test]
fn recipes_on_the_command_line_select_from_the_whole_plan() {
    let workspace = Workspace::new();
    workspace.package("one").package("two").commit();
    workspace.run(["build", "recipes/two"]).ends(0);
    let names = |built: bool| -> BTreeSet<String> {
        let manifest = workspace.manifest();
        let packages = manifest.packages().iter();
        packages
            .filter(|package| !built || package.sha256.is_some())
            .map(|package| package.file.name().to_owned())
            .collect()
    };
    assert_eq!(names(true), BTreeSet::from(["two".to_owned()]));
    assert_eq!(names(false), ["one", "two"].map(str::to_owned).into());
}

#[test]
fn globs_on_the_command_line_are_seen_from_the_current_folder() {
    let workspace = Workspace::with_two_packages();
    let planned = |folder: &str, glob: &str| {
        let mut command = workspace.command(["plan", glob, "--output-format", "json"]);
        command.current_dir(workspace.path(folder));
        let plan = workspace.run_command(command).ends(0).json();
        let decisions = plan["decisions"].as_array().unwrap().iter();
        let is_selected = |decision: &&serde_json::Value| {
            let reason = decision["reason"].as_str().unwrap();
            decision["verdict"] != "not_selected" && !reason.contains("needed by")
        };
        decisions.filter(is_selected).count()
    };
    assert_eq!(planned("", "recipes/*"), 2);
    assert_eq!(planned("", "./recipes/f*"), 1);
    assert_eq!(planned("recipes", "*"), 2);
    assert_eq!(planned("recipes/first", "../s*/recipe.yaml"), 1);
}

#[test]
fn a_path_that_scripts_cannot_quote_is_refused_before_anything_is_built() {
    let workspace = Workspace::with_one_package();
    for (path, character) in [("out$1", '$'), ("out\"1", '"'), ("out`1", '`')] {
        workspace
            .run(["release", "--output", path])
            .ends(3)
            .says(&format!("expected a path without `{character}`"));
    }
}

#[test]
fn building_needs_no_identity_and_signing_and_publishing_continue_it() {
    let workspace = Workspace::with_two_packages();
    let progress = || {
        let manifest = workspace.manifest();
        let all: BTreeSet<_> = manifest
            .packages()
            .iter()
            .map(|package| package.progress)
            .collect();
        all.into_iter().collect::<Vec<_>>()
    };

    workspace.run(["build"]).ends(0);
    assert_eq!(progress(), [Progress::Tested]);
    assert!(
        !workspace.rehearsal("sandbox").exists(),
        "a build made a Sigstore"
    );

    workspace.run(["sign"]).ends(0);
    assert_eq!(progress(), [Progress::Attested]);
    assert_eq!(
        workspace.packages_in("target/conda-release/rehearsal/channel"),
        [""; 0]
    );

    workspace.run(["publish"]).ends(0);
    assert_eq!(progress(), [Progress::Published]);
    assert_eq!(
        workspace
            .packages_in("target/conda-release/rehearsal/channel")
            .len(),
        2
    );
}

#[test]
fn a_rehearsal_attests_the_channel_that_is_configured() {
    let workspace = Workspace::with_one_package();
    workspace
        .config("channel = \"https://prefix.dev/acme\"\n")
        .commit();
    workspace.run(["release"]).ends(0);
    assert_eq!(
        workspace.manifest().target_channel.as_str(),
        "https://prefix.dev/acme"
    );
    let package = workspace
        .packages_in("target/conda-release/rehearsal/packages")
        .remove(0);
    let package = workspace.rehearsal(format!("packages/noarch/{package}"));
    let inspected = workspace
        .run(["inspect".as_ref(), package.as_os_str()])
        .ends(0);
    assert!(
        inspected.stdout.contains("https://prefix.dev/acme"),
        "{inspected}"
    );
}

#[test]
fn a_workspace_outside_git_is_released_too() {
    let workspace = Workspace::plain();
    workspace.package("one");
    workspace.run(["release"]).ends(0);
    let source = workspace.manifest().source;
    assert_eq!((source.commit, source.repository), (None, None));
}
