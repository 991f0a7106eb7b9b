//! `verify release-manifest.json`: the attestation of a release as a whole.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use conda_attest::{ActionsEndpoint, Session, SignOptions, Trust};
use end_to_end::{Output, Workspace};
use fs_err as fs;
use release_manifest::ReleaseStatement;
use serde_json::json;
use sigstore_sandbox::{AUDIENCE, IDENTITY, ISSUER, Options, Sandbox};

/// A workspace that was released, with an attestation of the release.
fn attested() -> Workspace {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    let bytes = fs::read(manifest(&workspace)).unwrap();
    let statement = ReleaseStatement::about(&bytes).unwrap();
    let sign = async {
        let folder = workspace.rehearsal("sandbox");
        let sandbox = Sandbox::start(&folder, Options::default()).await.unwrap();
        let trust = Trust::from_file(&sandbox.trust_config(), None)
            .unwrap()
            .with_audience(AUDIENCE);
        let endpoint = sandbox.token_endpoint();
        let identity = ActionsEndpoint::new(&endpoint.url, endpoint.bearer, AUDIENCE).unwrap();
        let options = SignOptions::new(workspace.manifest().target_channel.clone());
        let session = Session::open(&trust, &identity, &options, &()).unwrap();
        let signed = session.sign_release(&statement, &bundle(&workspace)).await;
        sandbox.stop().await;
        signed.unwrap();
    };
    tokio::runtime::Runtime::new().unwrap().block_on(sign);
    workspace
}

fn manifest(workspace: &Workspace) -> PathBuf {
    workspace.rehearsal("release-manifest.json")
}

fn bundle(workspace: &Workspace) -> PathBuf {
    workspace.rehearsal("release-manifest.json.sigstore.json")
}

fn verify(workspace: &Workspace, identity: &str) -> Output {
    let manifest = manifest(workspace);
    workspace.run([
        "verify",
        manifest.to_str().unwrap(),
        "--trust",
        "sandbox",
        "--identity",
        identity,
        "--issuer",
        ISSUER,
        "--output-format",
        "json",
    ])
}

/// The state of the release, and the checks of its attestation that failed; its packages verify by themselves.
fn state(output: &Output) -> (String, Vec<String>) {
    let report = output.json();
    let packages = report["packages"].as_array().unwrap();
    assert!(
        packages.iter().all(|package| package["verified"] == true),
        "{report:#}"
    );
    let release = &report["releases"][0];
    let checks = release["attestation"]["checks"].as_array();
    let failed = checks
        .into_iter()
        .flatten()
        .filter(|check| check["result"]["outcome"] == "failed");
    (
        release["state"].as_str().unwrap().to_owned(),
        failed
            .map(|check| check["code"].as_str().unwrap().to_owned())
            .collect(),
    )
}

#[test]
fn an_attested_release_verifies_with_its_packages_and_to_its_signer_alone() {
    let workspace = attested();
    let output = verify(&workspace, IDENTITY).ends(0);
    assert_eq!(state(&output), ("attested".to_owned(), vec![]));
    let output = verify(&workspace, "https://evil.invalid/").ends(7);
    let release = &output.json()["releases"][0];
    assert_eq!(release["state"], "refused");

    let shown = workspace.run([
        "verify",
        manifest(&workspace).to_str().unwrap(),
        "--trust",
        "sandbox",
        "--identity",
        IDENTITY,
        "--issuer",
        ISSUER,
    ]);
    let shown = shown.ends(0);
    let expected = format!("attested with its packages by {IDENTITY} at 2");
    assert!(shown.stdout.contains(&expected), "{shown}");
    assert!(shown.stdout.ends_with("2 of 2 verified\n"), "{shown}");
}

#[test]
fn a_manifest_that_changed_since_or_has_no_attestation_is_as_good_as_its_packages() {
    let workspace = attested();
    workspace.forge(|manifest| manifest["sequence"] = json!(1000));
    let output = verify(&workspace, IDENTITY).ends(0);
    assert_eq!(
        state(&output),
        ("changed".to_owned(), vec!["manifest".to_owned()])
    );
    fs::remove_file(bundle(&workspace)).unwrap();
    let output = verify(&workspace, IDENTITY).ends(0);
    assert_eq!(state(&output), ("unattested".to_owned(), vec![]));
}

#[test]
fn a_manifest_that_says_something_else_than_its_attestation_is_refused() {
    let workspace = attested();
    let original = fs::read(manifest(&workspace)).unwrap();
    let refused = || {
        let output = verify(&workspace, IDENTITY).ends(7);
        fs::write(manifest(&workspace), &original).unwrap();
        state(&output)
    };
    let by = |check: &str| ("refused".to_owned(), vec![check.to_owned()]);

    // A package is hidden: the one that needs the other, so that the manifest stays one.
    workspace.forge(|manifest| {
        let packages = manifest["packages"].as_array_mut().unwrap();
        packages.retain(|package| package["file"].as_str().unwrap().starts_with("first-"));
    });
    assert_eq!(refused(), by("statement"));
    let plan = format!("sha256:{}", "1".repeat(64));
    workspace.forge(|manifest| manifest["plan_digest"] = plan.into());
    assert_eq!(refused(), by("statement"));

    let good = fs::read(bundle(&workspace)).unwrap();
    let publish = format!("{}.sigstore.json", workspace.built("first").display());
    fs::copy(publish, bundle(&workspace)).unwrap();
    assert_eq!(refused(), by("statement"));
    fs::write(bundle(&workspace), "{}").unwrap();
    assert_eq!(refused(), by("bundle"));
    fs::write(bundle(&workspace), good).unwrap();
    assert_eq!(state(&verify(&workspace, IDENTITY).ends(0)).0, "attested");
}
