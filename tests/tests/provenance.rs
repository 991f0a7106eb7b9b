//! `sign.provenance`: a SLSA provenance beside each attestation.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use end_to_end::{REHEARSAL, Workspace};
use fs_err as fs;
use release_manifest::{Package, Progress};
use serde_json::Value;

/// The options under which a rehearsal's attestations verify.
const TRUSTED: [&str; 6] = [
    "--trust",
    "sandbox",
    "--identity",
    sigstore_sandbox::IDENTITY,
    "--issuer",
    sigstore_sandbox::ISSUER,
];

/// A workspace that asks for provenance, committed, of a repository with a name.
fn workspace() -> Workspace {
    let workspace = Workspace::with_two_packages();
    workspace.config("sign.provenance = true").commit();
    let remote = "https://github.com/acme/pkgs";
    workspace.git(&["remote", "add", "origin", remote]);
    workspace
}

/// The only package of this name in the manifest.
fn package(workspace: &Workspace, name: &str) -> Package {
    let manifest = workspace.manifest();
    let mut found = manifest
        .packages()
        .iter()
        .filter(|package| package.file.name() == name);
    found.next().unwrap().clone()
}

/// The file of a package's provenance, relative to the workspace.
fn provenance_of(package: &Package) -> String {
    let attestation = package.attestation.as_ref().unwrap();
    let bundle = &attestation.provenance.as_ref().unwrap().bundle;
    format!("{REHEARSAL}/{bundle}")
}

/// The statement that a bundle's envelope carries.
fn statement(bundle: &[u8]) -> Value {
    let bundle: Value = serde_json::from_slice(bundle).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap()
}

#[test]
fn provenance_says_what_a_package_was_built_from_and_goes_with_its_attestation() {
    let workspace = workspace();
    workspace.run(["release"]).ends(0);
    // The sidecar has both bundles, in this order.
    workspace.assert_sound();
    let commit = workspace.git(&["rev-parse", "HEAD"]);
    let second = package(&workspace, "second");
    let statement = statement(&fs::read(workspace.path(provenance_of(&second))).unwrap());
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][0]["name"], second.file.as_str());
    let sha256 = second.sha256.unwrap().to_string();
    assert_eq!(statement["subject"][0]["digest"]["sha256"], sha256);
    let definition = &statement["predicate"]["buildDefinition"];
    let parameters = &definition["externalParameters"];
    assert_eq!(parameters["recipe"], "recipes/second/recipe.yaml");
    let variant = serde_json::to_value(&second.variant).unwrap();
    assert_eq!(parameters["variant"], variant);
    let sources = definition["resolvedDependencies"].as_array().unwrap();
    let is_of_commit = |source: &Value| source["digest"]["gitCommit"] == commit.as_str();
    assert!(sources.iter().any(is_of_commit), "{statement:#}");
    let builder = &statement["predicate"]["runDetails"]["builder"]["id"];
    assert!(builder.is_string(), "{statement:#}");

    for target in ["channel", "release-manifest.json"] {
        let target = format!("{REHEARSAL}/{target}");
        let output = workspace.run([&["verify", &target], &TRUSTED[..]].concat());
        output.ends(0);
    }
}

#[test]
fn provenance_alone_verifies_no_package() {
    let workspace = workspace();
    workspace.run(["release"]).ends(0);
    let first = package(&workspace, "first");
    let file = format!("{REHEARSAL}/packages/{}", first.key());
    let provenance = provenance_of(&first);
    let verify = ["verify", &file, "--bundle", &provenance];
    workspace.run([&verify[..], &TRUSTED[..]].concat()).ends(7);
}

#[test]
fn the_same_command_again_makes_only_the_provenance_that_does_not_hold() {
    let workspace = workspace();
    workspace.run(["release"]).ends(0);
    let before = workspace.footprints();
    workspace.run(["release"]).ends(0);
    assert_eq!(workspace.footprints(), before);

    let first = package(&workspace, "first");
    let provenance = workspace.path(provenance_of(&first));
    let good = fs::read(&provenance).unwrap();
    // That of another package is signed as well as its own.
    let other = workspace.path(provenance_of(&package(&workspace, "second")));
    fs::copy(&other, &provenance).unwrap();
    workspace
        .run(["release"])
        .ends(0)
        .says("the bundle has SHA-256")
        .says("taken back to tested");
    workspace.assert_sound();
    let made = fs::read(&provenance).unwrap();
    assert!(made != good && made != fs::read(&other).unwrap());
    assert_eq!(
        statement(&made)["subject"][0]["name"],
        first.file.as_str(),
        "it is about its package"
    );
}

#[test]
fn provenance_that_is_asked_for_later_is_made_without_building_again() {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    assert!(
        package(&workspace, "first")
            .attestation
            .unwrap()
            .provenance
            .is_none()
    );
    workspace.config("sign.provenance = true");
    let output = workspace
        .run(["release"])
        .ends(0)
        .says("it has no provenance, which is asked for");
    assert!(!output.mentions("Built"), "{output}");
    workspace.assert_sound();
    for name in ["first", "second"] {
        let package = package(&workspace, name);
        assert_eq!(package.progress, Progress::Published);
        assert!(package.attestation.unwrap().provenance.is_some());
    }
}
