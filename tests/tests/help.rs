//! What a person reads before anything runs: `--help`, `--version`, `schema`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use end_to_end::Workspace;
use insta::assert_snapshot;

/// Snapshots of the long help of commands.
macro_rules! help_of {
    ($($test:ident: [$($command:literal),*];)*) => {
        $(#[test]
        fn $test() {
            let output = Workspace::new().run([$($command,)* "--help"]).ends(0);
            assert_eq!(output.stderr, "");
            assert_snapshot!(output.stdout);
        })*
    };
}

help_of! {
    the_help_of_the_program: [];
    the_help_of_release: ["release"];
    the_help_of_plan: ["plan"];
    the_help_of_build: ["build"];
    the_help_of_sign: ["sign"];
    the_help_of_publish: ["publish"];
    the_help_of_verify: ["verify"];
    the_help_of_inspect: ["inspect"];
    the_help_of_validate: ["validate"];
    the_help_of_schema: ["schema"];
    the_help_of_merge: ["merge"];
    the_help_of_init: ["init"];
    the_help_of_doctor: ["doctor"];
    the_help_of_completions: ["completions"];
    the_help_of_man: ["man"];
}

#[test]
fn the_short_help_of_every_command_has_its_examples() {
    let workspace = Workspace::new();
    for command in [
        "release",
        "plan",
        "build",
        "sign",
        "publish",
        "verify",
        "inspect",
        "validate",
        "schema",
        "merge",
        "doctor",
        "init",
        "completions",
        "man",
    ] {
        let output = workspace.run([command, "-h"]).ends(0);
        let example = format!("conda-release {command} ");
        assert!(output.stdout.contains("Examples:\n"), "{output}");
        assert!(output.stdout.contains(&example), "{output}");
    }
}

#[test]
fn cargo_finds_the_same_commands_behind_its_own_name() {
    let workspace = Workspace::new();
    let direct = workspace.run(["schema", "plan"]).ends(0);
    let by_cargo = workspace.run(["conda-release", "schema", "plan"]).ends(0);
    assert_eq!(direct.stdout, by_cargo.stdout);
}

#[test]
fn the_version_is_one_line() {
    let output = Workspace::new().run(["--version"]).ends(0);
    assert_eq!(output.stdout.lines().count(), 1);
    assert!(output.stdout.starts_with("conda-release "), "{output}");
}

#[test]
fn printed_schemas_are_those_in_the_repository() {
    let workspace = Workspace::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schema");
    for name in ["plan", "manifest", "journal"] {
        let printed = workspace.run(["schema", name]).ends(0).stdout;
        let stored = fs_err::read_to_string(folder.join(format!("{name}.schema.json"))).unwrap();
        assert_eq!(printed, stored, "schema/{name}.schema.json");
    }
}

#[test]
fn the_schema_of_the_configuration_describes_every_key() {
    let output = Workspace::new().run(["schema", "config"]).ends(0);
    assert_snapshot!(output.stdout);
    let schema: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    jsonschema::validator_for(&schema).unwrap();
}

#[test]
fn the_schema_of_the_predicate_is_cep_27s_own() {
    let output = Workspace::new().run(["schema", "predicate"]).ends(0);
    let schema: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let id = "https://schemas.conda.org/attestations-publish-1.schema.json";
    assert_eq!(schema["$id"], id);
}

#[test]
fn a_schema_is_printed_as_it_stands_in_any_output_format() {
    let workspace = Workspace::new();
    let human = workspace.run(["schema", "manifest"]).ends(0);
    let json = workspace
        .run(["schema", "manifest", "--output-format", "json"])
        .ends(0);
    assert_eq!(human.stdout, json.stdout);
}
