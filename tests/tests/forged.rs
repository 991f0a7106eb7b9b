//! State is a hint: what manifest, journal and folders claim is believed after the bytes say the same.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{os::unix::fs::symlink, path::Path};

use end_to_end::{REHEARSAL, Workspace};
use fs_err as fs;
use serde_json::{Value, json};

/// Two packages, released.
fn released() -> Workspace {
    let workspace = built();
    workspace.run(["release"]).ends(0);
    workspace
}

/// Two packages, built and tested.
fn built() -> Workspace {
    let workspace = Workspace::new();
    workspace.package("one").package("two").commit();
    workspace.run(["build"]).ends(0);
    workspace
}

/// Asserts that the next run finds out, does again what is needed, and ends well.
#[track_caller]
fn is_repaired(workspace: &Workspace, found: &str) {
    workspace
        .run(["release"])
        .ends(0)
        .says("warning noarch/one-1.0.0-")
        .says(found);
    workspace.assert_sound();
}

/// The record of `one` in a manifest.
fn one(manifest: &mut Value) -> &mut Value {
    &mut manifest["packages"][0]
}

fn replace_by_link(file: &Path, workspace: &Workspace) -> std::path::PathBuf {
    let elsewhere = workspace.beside("elsewhere");
    fs::rename(file, &elsewhere).unwrap();
    symlink(&elsewhere, file).unwrap();
    elsewhere
}

#[test]
fn a_manifest_alone_convinces_nobody() {
    let workspace = released();
    fs::remove_dir_all(workspace.rehearsal("packages")).unwrap();
    fs::remove_dir_all(workspace.rehearsal("channel")).unwrap();
    is_repaired(&workspace, "the package cannot be read");
}

#[test]
fn claimed_attestations_that_were_never_made_are_made() {
    let workspace = released();
    for name in ["one", "two"] {
        let bundle = format!("{}.sigstore.json", workspace.built(name).display());
        fs::remove_file(bundle).unwrap();
    }
    is_repaired(&workspace, "taken back to tested");
}

#[test]
fn a_package_of_other_bytes_is_built_again() {
    let workspace = released();
    fs::copy(workspace.built("two"), workspace.built("one")).unwrap();
    is_repaired(&workspace, "taken back to planned");
}

#[test]
fn a_link_to_the_very_package_is_no_package() {
    let workspace = released();
    let elsewhere = replace_by_link(&workspace.built("one"), &workspace);
    let bytes = fs::read(&elsewhere).unwrap();
    is_repaired(&workspace, "no regular file");
    assert_eq!(
        fs::read(&elsewhere).unwrap(),
        bytes,
        "written through the link"
    );
}

#[test]
fn a_link_to_the_very_bundle_is_no_bundle() {
    let workspace = released();
    let bundle = format!("{}.sigstore.json", workspace.built("one").display());
    let elsewhere = replace_by_link(Path::new(&bundle), &workspace);
    let bytes = fs::read(&elsewhere).unwrap();
    is_repaired(&workspace, "links are not followed");
    assert_eq!(
        fs::read(&elsewhere).unwrap(),
        bytes,
        "written through the link"
    );
}

#[test]
fn a_bundle_that_was_exchanged_is_made_again() {
    let workspace = released();
    let [one, two] =
        ["one", "two"].map(|name| format!("{}.sigstore.json", workspace.built(name).display()));
    fs::copy(two, one).unwrap();
    is_repaired(&workspace, "the bundle has SHA-256");
}

#[test]
fn the_bundle_of_another_package_attests_nothing() {
    let workspace = released();
    workspace.forge(|manifest| {
        manifest["packages"][0]["attestation"] = manifest["packages"][1]["attestation"].clone();
    });
    is_repaired(&workspace, "the bundle does not verify");
}

#[test]
fn a_package_of_another_name_is_not_attested() {
    let workspace = built();
    let [one, two] = ["one", "two"].map(|name| workspace.built(name));
    fs::copy(two, one).unwrap();
    workspace.forge(|manifest| {
        for key in ["sha256", "size"] {
            manifest["packages"][0][key] = manifest["packages"][1][key].clone();
        }
    });
    workspace.run(["release"]).ends(6).says("one-1.0.0-");
    assert_eq!(
        workspace.packages_in(format!("{REHEARSAL}/channel")),
        [""; 0]
    );
}

#[test]
fn what_a_record_adds_to_its_bundle_is_found() {
    let workspace = released();
    for (pointer, forged) in [
        ("/attestation/log_index", json!(999)),
        (
            "/attestation/identity",
            json!("https://github.com/acme/pkgs"),
        ),
        ("/attestation/issuer", json!("https://issuer.example")),
        ("/attestation/signed_at", json!("2001-01-01T00:00:00Z")),
        (
            "/attestation/certificate_not_after",
            json!("2101-01-01T00:00:00Z"),
        ),
        (
            "/published/url",
            json!("https://prefix.dev/acme/noarch/one.conda"),
        ),
        ("/published/sidecar_sha256", json!("0".repeat(64))),
        ("/size", json!(7)),
        ("/sha256", json!("0".repeat(64))),
    ] {
        workspace.forge(|manifest| *one(manifest).pointer_mut(pointer).unwrap() = forged);
        is_repaired(&workspace, "taken back to");
    }
}

#[test]
fn a_path_that_leads_out_of_the_folder_is_refused() {
    let workspace = released();
    let manifest = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    for path in [
        "../../../secret.json",
        "packages/../../secret.json",
        "/etc/passwd",
        "packages//bundle.json",
        "packages\\..\\bundle.json",
        "C:/bundle.json",
        "packages/\u{1b}[2J.json",
        "",
    ] {
        for pointer in ["/attestation/bundle", "/log", "/recipe"] {
            workspace.forge(|manifest| *one(manifest).pointer_mut(pointer).unwrap() = json!(path));
            workspace
                .run(["release"])
                .ends(3)
                .says("release-manifest.json");
            fs::write(workspace.rehearsal("release-manifest.json"), &manifest).unwrap();
        }
    }
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}

#[test]
fn a_manifest_of_another_mode_trust_or_version_is_refused() {
    let workspace = released();
    let manifest = workspace.rehearsal("release-manifest.json");
    let genuine = fs::read(&manifest).unwrap();
    let before = workspace.footprints();
    for (pointer, forged, said) in [
        ("/mode", json!("live"), "its mode is `live`"),
        (
            "/trust/name",
            json!("public-good"),
            "its trust is `public-good`",
        ),
        ("/schema_version", json!(3), "newer version"),
        ("/packages/0/progress", json!("planned"), "cannot use"),
        ("/packages/0/subdir", json!("../noarch"), "cannot use"),
        ("/packages/0/file", json!("one.conda"), "cannot use"),
    ] {
        workspace.forge(|manifest| *manifest.pointer_mut(pointer).unwrap() = forged);
        workspace
            .run(["release"])
            .ends(3)
            .says("release-manifest.json")
            .says(said);
        let mut after = workspace.footprints();
        after.remove(Path::new("release-manifest.json"));
        for (path, footprint) in after {
            assert_eq!(before.get(&path), Some(&footprint), "{}", path.display());
        }
        fs::write(&manifest, &genuine).unwrap();
    }
}

#[test]
fn state_that_is_no_regular_file_is_refused_and_not_waited_for() {
    for file in ["plan.json", "release-manifest.json", "journal.jsonl"] {
        let workspace = released();
        let path = workspace.rehearsal(file);
        let elsewhere = replace_by_link(&path, &workspace);
        workspace.run(["release"]).ends(3).says("regular file");
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        workspace
            .run(["release"])
            .ends(3)
            .says("regular file")
            .says(file);
        fs::remove_file(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        workspace.run(["release"]).ends(0);
    }
}

#[test]
fn a_manifest_of_another_plan_gives_what_still_holds() {
    let workspace = released();
    let before = workspace.recorded("one");
    workspace
        .forge(|manifest| manifest["plan_digest"] = json!(format!("sha256:{}", "0".repeat(64))));
    let output = workspace.run(["release"]).ends(0);
    assert!(!output.mentions("Built"), "{output}");
    workspace.assert_sound();
    assert_eq!(workspace.recorded("one").attestation, before.attestation);
    // What continues without planning has nothing to plan by.
    workspace
        .forge(|manifest| manifest["plan_digest"] = json!(format!("sha256:{}", "0".repeat(64))));
    workspace.run(["sign"]).ends(3).says("its plan is");
}

#[test]
fn a_manifest_that_counts_too_far_is_refused_when_something_is_to_be_recorded() {
    let workspace = released();
    workspace.forge(|manifest| manifest["sequence"] = json!(u64::MAX));
    fs::remove_file(workspace.built("one")).unwrap();
    workspace.run(["release"]).ends(3).says("journal.jsonl");
    let published = fs::read(workspace.rehearsal("channel/noarch/repodata.json")).unwrap();
    workspace.run(["release"]).ends(3);
    let after = fs::read(workspace.rehearsal("channel/noarch/repodata.json")).unwrap();
    assert_eq!(after, published);
}

#[test]
fn journal_entries_that_do_not_follow_are_refused() {
    let workspace = built();
    let manifest: Value =
        serde_json::from_slice(&fs::read(workspace.rehearsal("release-manifest.json")).unwrap())
            .unwrap();
    let next = manifest["sequence"].as_u64().unwrap() + 1;
    let entry = |sequence: u64, plan: &Value, event: Value| {
        json!({
            "schema_version": 1,
            "sequence": sequence,
            "at": "2026-01-01T00:00:00Z",
            "plan_digest": plan,
            "package": format!("noarch/{}", manifest["packages"][0]["file"].as_str().unwrap()),
            "event": event,
        })
    };
    let plan = &manifest["plan_digest"];
    let other = json!(format!("sha256:{}", "0".repeat(64)));
    let returned = json!({"type": "returned", "to": "planned", "reason": ""});
    let published = json!({"type": "published", "milliseconds": 1, "published": {
        "url": "file:///x", "at": "2026-01-01T00:00:00Z", "result": "uploaded",
    }});
    for forged in [
        entry(next + 1, plan, returned.clone()),
        entry(next, &other, returned),
        entry(next, plan, published),
        json!({}),
    ] {
        fs::write(workspace.rehearsal("journal.jsonl"), format!("{forged}\n")).unwrap();
        workspace.run(["release"]).ends(3).says("journal.jsonl");
    }
    assert!(
        !workspace.rehearsal("sandbox").exists(),
        "nothing was signed"
    );
}

#[test]
fn a_journal_that_lost_its_manifest_is_begun_anew() {
    let workspace = released();
    fs::remove_file(workspace.rehearsal("release-manifest.json")).unwrap();
    fs::write(
        workspace.rehearsal("journal.jsonl"),
        "{\"of\": \"another\"}\n",
    )
    .unwrap();
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}

#[test]
fn the_channels_file_of_other_bytes_is_published_again() {
    let workspace = released();
    fs::copy(workspace.published("two"), workspace.published("one")).unwrap();
    is_repaired(&workspace, "the channel does not serve the recorded bytes");
}

#[test]
fn a_removed_sidecar_of_either_name_is_written_again() {
    let workspace = released();
    let sidecar = workspace
        .recorded("one")
        .published
        .unwrap()
        .sidecar_sha256
        .unwrap();
    let mutable = format!("{}.sigs", workspace.published("one").display());
    let hashed = format!("{mutable}.{sidecar}");
    for removed in [vec![&mutable], vec![&hashed], vec![&mutable, &hashed]] {
        removed
            .iter()
            .for_each(|file| fs::remove_file(file).unwrap());
        is_repaired(&workspace, "taken back to attested");
    }
}

#[test]
fn a_sidecar_of_another_package_is_replaced() {
    let workspace = released();
    let [one, two] =
        ["one", "two"].map(|name| format!("{}.sigs", workspace.published(name).display()));
    fs::copy(two, one).unwrap();
    is_repaired(&workspace, "taken back to attested");
}

#[test]
fn repodata_that_says_otherwise_is_written_again() {
    for (forged, found) in [
        ("{\"packages.conda\": {}}", "taken back to attested"),
        ("no repodata", "taken back to attested"),
    ] {
        let workspace = released();
        workspace.write(format!("{REHEARSAL}/channel/noarch/repodata.json"), forged);
        is_repaired(&workspace, found);
    }
    let workspace = released();
    fs::remove_file(workspace.rehearsal("channel/noarch/repodata.json.zst")).unwrap();
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}

#[test]
fn a_link_in_the_channel_is_refused_by_name_and_not_followed() {
    let workspace = released();
    let elsewhere = replace_by_link(&workspace.published("one"), &workspace);
    let bytes = fs::read(&elsewhere).unwrap();
    workspace
        .run(["release"])
        .ends(8)
        .says("one-1.0.0-")
        .says("is a link");
    assert_eq!(fs::read(&elsewhere).unwrap(), bytes);
    fs::remove_file(workspace.published("one")).unwrap();
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}

#[test]
fn a_stranger_in_the_rehearsals_channel_is_gone_after_the_next_run() {
    let workspace = released();
    let one = workspace.published("one");
    let stranger = one.with_file_name("stranger-1.0.0-0.conda");
    fs::copy(&one, &stranger).unwrap();
    workspace.write(
        format!("{REHEARSAL}/channel/noarch/stranger-1.0.0-0.conda.sigs"),
        "[{}]",
    );
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}
