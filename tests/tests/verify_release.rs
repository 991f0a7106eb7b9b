//! The release as a whole: its manifest is attested after its packages and published after them, and
//! `verify release-manifest.json` judges both.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use end_to_end::{Output, Server, Workspace};
use fs_err as fs;
use release_manifest::{Manifest, Progress};
use serde_json::json;
use sigstore_sandbox::{IDENTITY, ISSUER};

fn released() -> Workspace {
    let workspace = Workspace::with_two_packages();
    workspace.run(["release"]).ends(0);
    workspace
}

/// Where a release's manifest is kept as it was attested, below `folder`.
fn kept(workspace: &Workspace, folder: &str) -> PathBuf {
    let plan = workspace.manifest().plan_digest.sha256().to_string();
    let path = format!("{folder}releases/{plan}/release-manifest.json");
    workspace.rehearsal(&path)
}

fn bundle(manifest: &Path) -> PathBuf {
    manifest.with_file_name("release-manifest.json.sigstore.json")
}

fn verify(workspace: &Workspace, manifest: &Path, identity: &str) -> Output {
    verify_at(workspace, manifest.to_str().unwrap(), identity)
}

fn verify_at(workspace: &Workspace, manifest: &str, identity: &str) -> Output {
    workspace.run([
        "verify",
        manifest,
        "--mirror-of",
        "https://rehearsal.invalid/channel",
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
fn a_release_leaves_an_attested_manifest_here_and_in_its_channel() {
    let workspace = released();
    let (here, there) = (kept(&workspace, ""), kept(&workspace, "channel/"));
    assert_eq!(fs::read(&here).unwrap(), fs::read(&there).unwrap());
    let attested = Manifest::from_json(&fs::read(&here).unwrap()).unwrap();
    for package in attested.packages() {
        // As it stood once everything was attested, and nothing was published.
        assert_eq!(package.progress, Progress::Attested);
    }
    for manifest in [&here, &there] {
        let output = verify(&workspace, manifest, IDENTITY).ends(0);
        assert_eq!(state(&output), ("attested".to_owned(), vec![]));
        let output = verify(&workspace, manifest, "https://evil.invalid/").ends(7);
        assert_eq!(output.json()["releases"][0]["state"], "refused");
    }
    let shown = workspace.run([
        "verify",
        there.to_str().unwrap(),
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
fn a_release_is_verified_by_the_url_of_the_manifest_that_its_channel_keeps() {
    let workspace = released();
    let there = kept(&workspace, "channel/");
    let channel = workspace.rehearsal("channel");
    let server = Server::of(&channel);
    let path = there.strip_prefix(&channel).unwrap().to_str().unwrap();
    let url = format!("{}/{path}", server.channel());
    let verify = |identity| verify_at(&workspace, &url, identity);
    let output = verify(IDENTITY).ends(0);
    assert_eq!(state(&output), ("attested".to_owned(), vec![]));
    assert_eq!(output.json()["releases"][0]["path"], url);
    assert_eq!(output.json()["packages"].as_array().unwrap().len(), 2);
    let output = verify("https://evil.invalid/").ends(7);
    assert_eq!(output.json()["releases"][0]["state"], "refused");

    // The channel has other packages by now, with attestations of their own: they are none of this release's.
    let recipe = workspace.path("recipes/second/recipe.yaml");
    let text = fs::read_to_string(&recipe).unwrap();
    let release = fs::read(&there).unwrap();
    let attestation = fs::read(bundle(&there)).unwrap();
    fs::write(&recipe, format!("{text}\n# changed\n")).unwrap();
    workspace.run(["release"]).ends(0);
    fs::create_dir_all(there.parent().unwrap()).unwrap();
    fs::write(&there, release).unwrap();
    fs::write(bundle(&there), attestation).unwrap();
    let output = verify(IDENTITY).ends(7);
    let findings: Vec<_> = output.json()["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| package["finding"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(findings, ["verified", "unavailable"], "{output}");

    fs::remove_file(bundle(&there)).unwrap();
    assert_eq!(
        verify(IDENTITY).json()["releases"][0]["state"],
        "unattested"
    );
    fs::remove_file(&there).unwrap();
    verify(IDENTITY).ends(3).says("404").says(&url);
}

#[test]
fn the_same_release_again_attests_nothing_anew_and_another_plan_replaces_it_in_the_rehearsal() {
    let workspace = released();
    let (first, before) = (kept(&workspace, "channel/"), workspace.manifest());
    workspace.run(["release"]).ends(0);
    assert_eq!(workspace.manifest(), before);

    let recipe = workspace.path("recipes/second/recipe.yaml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("{text}\n# changed\n")).unwrap();
    workspace.run(["release"]).ends(0);
    let second = kept(&workspace, "channel/");
    assert_ne!(first, second);
    assert!(!first.exists());
    assert_eq!(
        state(&verify(&workspace, &second, IDENTITY).ends(0)).0,
        "attested"
    );
}

#[test]
fn an_attestation_of_the_release_that_no_longer_holds_is_made_anew_before_anything_is_published() {
    let workspace = Workspace::with_two_packages();
    workspace.run(["build"]).ends(0);
    workspace.run(["sign"]).ends(0);
    let kept = kept(&workspace, "");
    let forge = || {
        fs::write(bundle(&kept), "{}").unwrap();
    };
    forge();
    // Publishing alone signs nothing.
    let output = workspace.run(["publish"]).ends(9);
    assert!(
        output.stderr.contains("not attested as a whole"),
        "{output}"
    );
    assert!(
        !workspace.rehearsal("channel/noarch/repodata.json").exists()
            || fs::read_dir(workspace.rehearsal("channel/noarch"))
                .unwrap()
                .all(|entry| !entry.unwrap().path().to_string_lossy().ends_with(".conda"))
    );
    forge();
    workspace.run(["release"]).ends(0);
    assert_eq!(
        state(&verify(&workspace, &kept, IDENTITY).ends(0)).0,
        "attested"
    );
}

#[test]
fn a_manifest_that_changes_since_or_has_no_attestation_is_as_good_as_its_packages() {
    let workspace = released();
    let manifest = workspace.rehearsal("release-manifest.json");
    let output = verify(&workspace, &manifest, IDENTITY).ends(0);
    assert_eq!(
        state(&output),
        ("changed".to_owned(), vec!["manifest".to_owned()])
    );
    fs::remove_file(bundle(&kept(&workspace, ""))).unwrap();
    workspace.forge(|manifest| drop(manifest.as_object_mut().unwrap().remove("release")));
    let output = verify(&workspace, &manifest, IDENTITY).ends(0);
    assert_eq!(state(&output), ("unattested".to_owned(), vec![]));

    fs::write(
        workspace.path("conda-release.toml"),
        "[publish]\nmanifest = false\n",
    )
    .unwrap();
    workspace.run(["release", "--output", "without"]).ends(0);
    assert!(!workspace.path("without/rehearsal/releases").exists());
}

#[test]
fn a_manifest_that_says_something_else_than_its_attestation_is_refused() {
    let workspace = released();
    let kept = kept(&workspace, "");
    let original = fs::read(&kept).unwrap();
    let forge = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = serde_json::from_slice(&original).unwrap();
        change(&mut manifest);
        fs::write(&kept, serde_json::to_vec(&manifest).unwrap()).unwrap();
    };
    let refused = || {
        let output = verify(&workspace, &kept, IDENTITY).ends(7);
        fs::write(&kept, &original).unwrap();
        state(&output)
    };
    let by = |check: &str| ("refused".to_owned(), vec![check.to_owned()]);

    // A package is hidden: the one that needs the other, so that the manifest stays one.
    forge(&|manifest| {
        let packages = manifest["packages"].as_array_mut().unwrap();
        packages.retain(|package| package["file"].as_str().unwrap().starts_with("first-"));
    });
    assert_eq!(refused(), by("statement"));
    forge(&|manifest| manifest["plan_digest"] = json!(format!("sha256:{}", "1".repeat(64))));
    assert_eq!(refused(), by("statement"));

    let bundle = bundle(&kept);
    let good = fs::read(&bundle).unwrap();
    let publish = format!("{}.sigstore.json", workspace.built("first").display());
    fs::copy(publish, &bundle).unwrap();
    assert_eq!(refused(), by("statement"));
    fs::write(&bundle, "{}").unwrap();
    assert_eq!(refused(), by("bundle"));
    fs::write(&bundle, good).unwrap();
    assert_eq!(
        state(&verify(&workspace, &kept, IDENTITY).ends(0)).0,
        "attested"
    );
}
