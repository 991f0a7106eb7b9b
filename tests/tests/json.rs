//! `--output-format json`: stdout is exactly one document with a `schema_version`, whatever happens; stderr is apart.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use end_to_end::{Output, Workspace};
use insta::assert_json_snapshot;
use serde_json::Value;

const TRUSTED: [&str; 6] = [
    "--trust",
    "sandbox",
    "--identity",
    "https://sandbox.conda-release.invalid/rehearsal",
    "--issuer",
    "https://sandbox.conda-release.invalid",
];
const CHANNEL: &str = "target/conda-release/rehearsal/channel";

fn json(workspace: &Workspace, args: &[&str]) -> Output {
    workspace.run([args, &["--output-format", "json"]].concat())
}

/// A document without what differs between runs.
fn redacted(workspace: &Workspace, document: &Value) -> Value {
    let text = workspace.redact(&serde_json::to_string(document).unwrap());
    let mut document = serde_json::from_str(&text).unwrap();
    replace(&mut document);
    document
}

/// Replaces the values of keys whose text alone does not show that they differ.
fn replace(value: &mut Value) {
    const DIFFER: [&str; 6] = [
        "log_index",
        "size",
        "milliseconds",
        "fingerprint",
        "plan_digest",
        "log_id",
    ];
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                match DIFFER.contains(&key.as_str()) {
                    true => *value = format!("[{}]", key.to_uppercase()).into(),
                    false => replace(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(replace),
        _ => {}
    }
}

#[test]
fn the_result_of_a_release_is_its_manifest() {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    let output = json(&workspace, &["release"]).ends(0);
    let stored = fs_err::read_to_string(workspace.rehearsal("release-manifest.json")).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(output.json(), stored);
    let schema = workspace.run(["schema", "manifest"]).ends(0).stdout;
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    assert!(schema.is_valid(&output.json()), "{output}");
    assert_json_snapshot!(redacted(&workspace, &output.json()));
}

#[test]
fn every_step_prints_the_manifest_as_far_as_it_is() {
    let workspace = Workspace::with_one_package();
    for (step, progress) in [
        ("build", "tested"),
        ("sign", "attested"),
        ("publish", "published"),
    ] {
        let output = json(&workspace, &[step]).ends(0);
        assert_eq!(
            output.json()["packages"][0]["progress"],
            progress,
            "{output}"
        );
        assert!(!output.stderr.is_empty(), "progress is on stderr");
    }
}

#[test]
fn verifying_reports_every_check_of_every_package() {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    let output = json(&workspace, &[&["verify", CHANNEL], &TRUSTED[..]].concat()).ends(0);
    assert_eq!(output.stderr, "");
    let report = output.json();
    assert_eq!(report["packages"].as_array().unwrap().len(), 2);
    assert_json_snapshot!(redacted(&workspace, &report["packages"][0]));

    let wrong = [
        "--trust",
        "sandbox",
        "--identity",
        "nobody",
        "--issuer",
        "https://evil.invalid",
    ];
    let output = json(&workspace, &[&["verify", CHANNEL], &wrong[..]].concat()).ends(7);
    let report = output.json();
    assert_eq!(report["rehearsal"], true);
    for package in report["packages"].as_array().unwrap() {
        assert_eq!(package["verified"], false);
        let checks = package["attestations"][0]["checks"].as_array().unwrap();
        let failed: Vec<&Value> = checks
            .iter()
            .filter(|check| check["result"]["outcome"] == "failed")
            .map(|check| &check["code"])
            .collect();
        assert_eq!(failed, ["identity"]);
    }
}

#[test]
fn attestations_are_inspected_as_json() {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    workspace.run(["release"]).ends(0);
    let manifest = "target/conda-release/rehearsal/release-manifest.json";
    let output = json(&workspace, &["inspect", manifest]).ends(0);
    assert_json_snapshot!(redacted(&workspace, &output.json()));
}

#[test]
fn violations_are_reported_with_code_rule_and_pointer() {
    let workspace = Workspace::plain();
    workspace.write(
        "bad.json",
        r#"{"_type": "https://in-toto.io/Statement/v1", "subject": []}"#,
    );
    let output = json(&workspace, &["validate", "bad.json"]).ends(5);
    assert_json_snapshot!(output.json());
}

#[test]
fn files_that_are_signed_and_published_are_reported_one_by_one() {
    let workspace = Workspace::with_one_package();
    workspace.run(["build"]).ends(0);
    let package = workspace
        .packages_in("target/conda-release/rehearsal/packages")
        .remove(0);
    let package = format!("target/conda-release/rehearsal/packages/noarch/{package}");

    let output = json(&workspace, &["sign", &package]).ends(0);
    let bundle = output.json()["packages"][0]["bundle"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(workspace.path(&bundle).is_file(), "{output}");

    let publish = ["publish", &package, "--to", "channel"];
    let output = json(&workspace, &[&publish, &TRUSTED[..]].concat()).ends(0);
    assert_eq!(
        output.json()["packages"][0]["result"],
        "uploaded",
        "{output}"
    );
    let output = json(&workspace, &[&publish, &TRUSTED[..]].concat()).ends(0);
    assert_eq!(
        output.json()["packages"][0]["result"],
        "identical",
        "{output}"
    );

    let wrong = [
        "--trust",
        "sandbox",
        "--identity",
        "nobody",
        "--issuer",
        "https://evil.invalid",
    ];
    let output = json(&workspace, &[&publish, &wrong[..]].concat()).ends(7);
    assert!(
        output.json()["packages"][0]["error"].is_string(),
        "{output}"
    );
}
