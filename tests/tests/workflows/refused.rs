//! Workflows that somebody broke, on the way or in the file.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::{
    actions::copy,
    examples::{PACKAGES, SHARDED},
    runner::{Github, Ran},
    scene::{Jobs, Scene, repository},
};

/// The only package of this name among artifacts.
fn package(artifacts: &Path, name: &str) -> PathBuf {
    let shards = fs::read_dir(artifacts).unwrap();
    let folders = shards.map(|entry| entry.unwrap().path().join("packages/noarch"));
    let folders = folders.filter_map(|folder| fs::read_dir(folder).ok());
    let mut files = folders.flatten().map(|entry| entry.unwrap().path());
    let is_it = |file: &PathBuf| {
        file.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(name)
    };
    files.find(is_it).unwrap()
}

fn append(file: &Path, text: &str) {
    let bytes = [&fs::read(file).unwrap()[..], text.as_bytes()].concat();
    fs::write(file, bytes).unwrap();
}

#[test]
fn what_another_job_replaced_is_not_signed() {
    let Some(scene) = Scene::new(PACKAGES) else {
        return;
    };
    type Change<'a> = &'a dyn Fn(&Path);
    let table: [(&str, Change<'_>, &str); 4] = [
        (
            "a package",
            &|artifacts| append(&package(artifacts, "alone-"), "more"),
            "alone-",
        ),
        (
            "a package and the manifest that says its hash",
            &|artifacts| append(&artifacts.join("shard-1/release-manifest.json"), "\n"),
            "the job that built shard 1 said",
        ),
        (
            "who builds what",
            &|artifacts| {
                let file = artifacts.join("plan/shards.json");
                let shards = fs::read_to_string(&file).unwrap();
                fs::write(file, shards.replacen("\"wave\": 2", "\"wave\": 3", 1)).unwrap();
            },
            "shards.json",
        ),
        (
            "no shard",
            &|artifacts| fs::remove_dir_all(artifacts.join("shard-1")).unwrap(),
            "shard 1: build it",
        ),
    ];
    let act = |github: &Github<'_>, try_it: &dyn Fn() -> Ran| {
        let kept = scene.workspace.beside("kept");
        copy(&github.artifacts(), &kept);
        for (name, change, says) in &table {
            change(&github.artifacts());
            let ran = try_it();
            assert!(!ran.succeeded, "{name}");
            let is_margin = |c: char| c.is_whitespace() || c == '│';
            let log: String = ran.log.split(is_margin).collect();
            let says: String = says.split_whitespace().collect();
            assert!(log.contains(&says), "{name}: {log}");
            assert!(!log.contains("Attested"), "{name}: {log}");
            fs::remove_dir_all(github.artifacts()).unwrap();
            copy(&kept, &github.artifacts());
        }
        assert_eq!(scene.server.attempts(), 0);
    };
    let mut github = scene.github("push");
    github.before = Some(("release/release", &act));
    // What nobody touched is released.
    github.run(SHARDED).succeed();
}

#[test]
fn a_job_that_builds_refuses_to_be_somebody() {
    let Some(scene) = Scene::new(&[("one", &[])]) else {
        return;
    };
    let mut github = scene.github("push");
    let reading = "permissions: &reading\n      contents: read\n";
    github.edits.push((
        reading.to_owned(),
        format!("{reading}      id-token: write\n"),
    ));
    let ran = github.run(SHARDED);
    assert_eq!(ran.failed(), ["release/build-1 1", "release/release 1"]);
    let log = &ran.job("release/build-1 1").log;
    assert!(log.contains("ACTIONS_ID_TOKEN_REQUEST_"), "{log}");
    assert_eq!(scene.server.attempts(), 0);
}

#[test]
fn a_program_that_is_not_the_pinned_one_never_runs() {
    let Some(scene) = Scene::new(&[("one", &[])]) else {
        return;
    };
    let github = scene.github("push");
    let release = scene.workspace.beside("releases/v0.1.0");
    let archive = fs::read_dir(&release).unwrap().map(|it| it.unwrap().path());
    let archive = archive
        .into_iter()
        .find(|it| it.extension().is_some_and(|it| it == "gz"))
        .unwrap();
    append(&archive, "more");
    for example in ["examples/github/automatic.yml", SHARDED] {
        let ran = github.run(example);
        let job = &ran[0];
        assert!(!job.succeeded && job.log.contains("FAILED"), "{}", job.log);
        assert_eq!(ran.len(), 1);
        assert!(!job.log.contains("Planned"), "{}", job.log);
    }
    // Neither is it if the list of checksums is replaced with it.
    append(&release.join("SHA256SUMS"), "more\n");
    let ran = github.run("examples/github/automatic.yml");
    assert!(ran[0].log.contains("SHA256SUMS: FAILED"), "{}", ran[0].log);
}

#[test]
fn one_that_cannot_be_built_holds_up_no_other_build_and_is_not_hidden() {
    let Some(scene) = Scene::new(PACKAGES) else {
        return;
    };
    // Fails on the machine that builds it, with the commit that was planned.
    let mut github = scene.github("push");
    let tools = scene.workspace.beside("tools/env");
    let env = "#!/bin/sh\ncase $PWD in *alone*) exit 1 ;; esac\nexec /usr/bin/env \"$@\"\n";
    fs::write(&tools, env).unwrap();
    fs::set_permissions(&tools, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    github
        .machine
        .insert("CONDA_RELEASE_JOBS".to_owned(), "1".to_owned());
    let ran = github.run(SHARDED);
    let failed = ran.failed();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(failed[0].starts_with("release/build-1 "), "{failed:?}");
    assert_eq!(failed[1], "release/release 1");
    assert!(
        ran.names().contains(&"release/build-2 1"),
        "{:?}",
        ran.names()
    );
    let log = &ran.job("release/release 1").log;
    assert!(log.contains("alone-") && !log.contains("Attested"), "{log}");
    assert_eq!(scene.server.attempts(), 0);
}

#[test]
fn a_package_that_was_replaced_has_no_attestation() {
    let Some(scene) = Scene::new(&[("one", &[]), ("two", &[])]) else {
        return;
    };
    let act = |github: &Github<'_>, _: &dyn Fn() -> Ran| {
        let folder = github.artifacts().join("packages/noarch");
        let mut files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
        let is_it = |file: &PathBuf| file.extension().is_some_and(|it| it == "conda");
        append(&files.find(is_it).unwrap(), "more");
    };
    let mut github = scene.github("push");
    github.before = Some(("publish", &act));
    let ran = github.run("examples/github/manual.yml");
    assert_eq!(ran.failed(), ["publish 1"]);
    assert_eq!(scene.server.attempts(), 0);
}

#[test]
fn an_event_of_strangers_releases_nothing() {
    let Some(scene) = Scene::new(&[("one", &[])]) else {
        return;
    };
    let mut github = scene.github("pull_request_target");
    github.edits.push((
        "  push:\n".to_owned(),
        "  pull_request_target:\n".to_owned(),
    ));
    let ran = github.run("examples/github/automatic.yml");
    assert!(ran[0].log.contains("--allow-event"), "{}", ran[0].log);
    let ran = github.run(SHARDED);
    assert_eq!(ran.failed(), ["release/plan 1"]);
    assert_eq!(scene.server.attempts(), 0);
}

#[test]
fn a_recipe_that_finds_the_outputs_speaks_for_no_other_shard() {
    let workspace = repository(PACKAGES);
    let find = "d=$PWD; while [ $d != / ]; do d=$(dirname $d); if [ -f $d/GITHUB_OUTPUT ]; then f=$d/GITHUB_OUTPUT; fi; done";
    let zeros = "0".repeat(64);
    let say = format!("for n in 1 2 3 4; do echo shard-$n=sha256:{zeros} >> $f; done");
    workspace.script("alone", &[find, &say, "echo alone > $PREFIX/alone.txt"], "");
    workspace.commit();
    let Some(scene) = Scene::of(workspace, "") else {
        return;
    };
    let said = |github: &Github<'_>, _: &dyn Fn() -> Ran| {
        let jobs = fs::read_dir(github.workspace.beside("jobs")).unwrap();
        let mut files = jobs.map(|job| job.unwrap().path().join("GITHUB_OUTPUT"));
        let lied = |file: PathBuf| fs::read_to_string(file).is_ok_and(|text| text.contains(&zeros));
        assert!(files.any(lied), "the recipe found the file");
    };
    let mut github = scene.github("push");
    github.before = Some(("release/release", &said));
    github.run(SHARDED).succeed();
    assert_eq!(scene.uploaded().len(), PACKAGES.len());
}
