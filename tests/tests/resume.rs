//! The same command again: what is done is not done again.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::Path;

use end_to_end::{Gate, REHEARSAL, Workspace};
use fs_err as fs;
use rustix::process::Signal;

/// `base` from a data file; `upon` copies what `base` installs; `beside` needs neither; `with` runs with `base`.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace
        .write("recipes/base/data.txt", "one\n")
        .script(
            "base",
            &["mkdir -p $PREFIX/share && cp $RECIPE_DIR/data.txt $PREFIX/share/base.txt"],
            "tests:\n  - package_contents:\n      files: [share/base.txt]\n",
        )
        .script(
            "upon",
            &["mkdir -p $PREFIX/share && cp $PREFIX/share/base.txt $PREFIX/share/upon.txt"],
            "requirements:\n  host: [base]\n",
        )
        .script(
            "with",
            &["mkdir -p $PREFIX/share && echo with > $PREFIX/share/with.txt"],
            "requirements:\n  run: [base]\n",
        )
        .package("beside")
        .commit();
    workspace
}

/// The files of the local and the rehearsal's channel that belong to a package.
fn files_of(workspace: &Workspace, name: &str) -> Vec<(std::path::PathBuf, end_to_end::Footprint)> {
    let prefix = format!("{name}-1.0.0-");
    let is_of = |path: &Path| {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        file.starts_with(&prefix) && !path.starts_with("logs") && !path.starts_with("kept")
    };
    workspace
        .footprints()
        .into_iter()
        .filter(|(path, _)| is_of(path))
        .collect()
}

#[test]
fn the_same_command_again_changes_no_file() {
    let workspace = workspace();
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
    let before = workspace.footprints();
    let again = workspace.run(["release"]).ends(0);
    for verb in ["Built", "Tested", "Attested", "Published", "warning"] {
        assert!(!again.mentions(verb), "{again}");
    }
    let after = workspace.footprints();
    for (path, footprint) in &before {
        assert_eq!(after.get(path), Some(footprint), "{}", path.display());
    }
    assert_eq!(after.len(), before.len());
}

#[test]
fn what_the_tool_writes_does_not_make_the_checkout_dirty() {
    let workspace = workspace();
    fs::remove_file(workspace.path(".gitignore")).unwrap();
    workspace.commit().run(["release"]).ends(0);
    assert!(!workspace.manifest().source.dirty);
    let before = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    workspace.run(["release"]).ends(0);
    let after = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    assert_eq!(before, after);
    workspace.write("target/other.txt", "not of the tool");
    workspace.run(["release"]).ends(0);
    assert!(workspace.manifest().source.dirty);
}

#[test]
fn a_changed_source_remakes_its_package_and_what_builds_upon_it_and_nothing_else() {
    let workspace = workspace();
    workspace.run(["release"]).ends(0);
    let [beside, with] = ["beside", "with"].map(|name| files_of(&workspace, name));
    let [base, upon] = ["base", "upon"].map(|name| workspace.recorded(name));
    assert_eq!(workspace.content("upon", "share/upon.txt"), "one\n");

    workspace.write("recipes/base/data.txt", "two\n").commit();
    let output = workspace.run(["release"]).ends(0);
    workspace.assert_sound();
    for (name, is_made) in [
        ("base", true),
        ("upon", true),
        ("beside", false),
        ("with", false),
    ] {
        for verb in ["Built", "Attested", "Published"] {
            let line = format!("{verb} noarch/{name}-1.0.0-");
            assert_eq!(output.mentions(&line), is_made, "{line}\n{output}");
        }
    }
    assert_eq!(files_of(&workspace, "beside"), beside);
    assert_eq!(files_of(&workspace, "with"), with);
    assert_eq!(workspace.content("upon", "share/upon.txt"), "two\n");
    for old in [base, upon] {
        let new = workspace.recorded(old.file.name());
        assert_ne!(new.sha256, old.sha256);
        assert_ne!(new.attestation, old.attestation);
    }
}

#[test]
fn the_package_of_a_removed_recipe_leaves_both_channels() {
    let workspace = workspace();
    workspace.run(["release"]).ends(0);
    let base = files_of(&workspace, "base");
    fs::remove_dir_all(workspace.path("recipes/beside")).unwrap();
    workspace.commit().run(["release"]).ends(0);
    workspace.assert_sound();
    assert_eq!(files_of(&workspace, "beside"), []);
    assert_eq!(files_of(&workspace, "base"), base);
    for channel in ["packages", "channel"] {
        let repodata =
            fs::read_to_string(workspace.rehearsal(channel).join("noarch/repodata.json"));
        assert!(!repodata.unwrap().contains("beside"), "{channel}");
    }
}

#[test]
fn a_failed_signature_is_made_by_the_same_command_later() {
    let workspace = workspace();
    workspace.run(["build"]).ends(0);
    let bundle = format!("{}.sigstore.json", workspace.built("upon").display());
    fs::create_dir(&bundle).unwrap();
    workspace
        .run(["release"])
        .ends(6)
        .says("upon-1.0.0-")
        .says("the same command continues");
    assert_eq!(
        workspace.packages_in(format!("{REHEARSAL}/channel")),
        [""; 0],
        "nothing is published before everything is attested"
    );
    let signed = workspace.recorded("base").attestation.unwrap();

    fs::remove_dir(&bundle).unwrap();
    let output = workspace.run(["release"]).ends(0);
    assert!(!output.mentions("Built"), "{output}");
    workspace.assert_sound();
    assert_eq!(workspace.recorded("base").attestation.unwrap(), signed);
}

#[test]
fn a_sigstore_that_cannot_start_fails_the_signing_and_no_package() {
    let workspace = workspace();
    workspace.run(["build"]).ends(0);
    workspace.write(format!("{REHEARSAL}/sandbox"), "no folder");
    workspace.run(["release"]).ends(6);
    fs::remove_file(workspace.rehearsal("sandbox")).unwrap();
    let output = workspace.run(["release"]).ends(0);
    assert!(!output.mentions("Built"), "{output}");
    workspace.assert_sound();
}

#[test]
fn a_failed_upload_is_made_by_the_same_command_later() {
    let workspace = workspace();
    workspace.run(["build"]).ends(0);
    let file = workspace.published("upon");
    fs::create_dir_all(&file).unwrap();
    workspace.run(["release"]).ends(8).says("upon-1.0.0-");
    let signed = workspace.recorded("upon").attestation.unwrap();

    fs::remove_dir(&file).unwrap();
    let output = workspace.run(["release"]).ends(0);
    assert!(
        !output.mentions("Built") && !output.mentions("Attested"),
        "{output}"
    );
    workspace.assert_sound();
    assert_eq!(workspace.recorded("upon").attestation.unwrap(), signed);
}

#[test]
fn ctrl_c_ends_a_build_that_the_same_command_continues() {
    interrupted_by(Signal::INT, 130);
}

#[test]
fn sigterm_ends_a_build_that_the_same_command_continues() {
    interrupted_by(Signal::TERM, 143);
}

#[track_caller]
fn interrupted_by(signal: Signal, status: i32) {
    let workspace = Workspace::new();
    let gate = Gate::new(&workspace, "gate");
    workspace
        .package("base")
        .script("upon", &[&gate.line()], "requirements:\n  host: [base]\n")
        .commit();
    let running = workspace.start(["release"]);
    gate.wait();
    let base = workspace.footprints();
    running.signal(signal);
    let output = running.wait().ends(status);
    assert!(output.mentions("the same command continues"), "{output}");
    assert_eq!(workspace.processes(), [].into(), "nothing runs on");

    let running = workspace.start(["release"]);
    gate.wait();
    gate.open();
    let output = running.wait().ends(0);
    assert!(!output.mentions("Built noarch/base"), "{output}");
    workspace.assert_sound();
    let path = workspace.built("base");
    let path = path.strip_prefix(workspace.rehearsal("")).unwrap();
    assert_eq!(workspace.footprints()[path], base[path]);
}
