//! Private channels: jobs read them with what rattler's file has, and nobody else sees that.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use end_to_end::{REHEARSAL, Workspace};
use fs_err as fs;
use serde_json::json;

use crate::{
    examples::SHARDED,
    machine::MASK,
    runner::Github,
    scene::{Jobs as _, Scene},
};

const TOKEN: &str = "tk-hush-hush%hush";

/// A private channel with the package `one`, and a repository of which `two` builds upon it and shows what it can see.
pub(crate) fn scene() -> Option<Scene> {
    let others = Workspace::with_one_package();
    others.run(["build"]).ends(0);
    let packages = format!("{REHEARSAL}/packages");
    let name = others.packages_in(&packages).remove(0);
    let there = others.path(format!("{packages}/noarch/{name}"));
    let workspace = Workspace::new();
    let lines = ["env", "cp $PREFIX/share/one.txt $PREFIX/share/two.txt"];
    workspace.script("two", &lines, "requirements:\n  host:\n    - one\n");
    workspace.commit();
    Scene::private(workspace, TOKEN, &there)
}

/// What rattler's file has for the channel.
pub(crate) fn credentials() -> String {
    json!({"127.0.0.1": {"BearerToken": TOKEN}}).to_string()
}

/// Who calls the workflow hands over the secret, as the example says.
fn hand_over(github: &mut Github<'_>) {
    let hidden = "    # secrets:\n    #   RATTLER_AUTH:";
    let shown = "    secrets:\n      RATTLER_AUTH:";
    github.edits.push((hidden.to_owned(), shown.to_owned()));
}

/// The files below a folder that have the token in them.
fn with_the_token(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            with_the_token(&path, found);
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap();
            let mut parts = bytes.windows(TOKEN.len());
            if parts.any(|part| part == TOKEN.as_bytes()) {
                found.push(path);
            }
        }
    }
}

#[test]
fn every_job_reads_a_private_channel_and_the_token_is_nowhere_else() {
    let Some(scene) = scene() else {
        return;
    };
    let mut github = scene.github("push");
    hand_over(&mut github);
    github
        .secrets
        .insert("RATTLER_AUTH".to_owned(), credentials());
    let ran = github.run(SHARDED).succeed();
    let names = ["release/plan 1", "release/build-1 1", "release/release 1"];
    assert_eq!(ran.names(), names);
    assert_eq!(scene.uploaded(), ["two"]);
    let expected = Some(format!("Bearer {TOKEN}"));
    assert!(scene.server.readers().contains(&expected));

    for job in &ran {
        assert!(!job.log.contains("hush-hush"), "{}", job.log);
        assert!(job.log.contains(&format!("{MASK}***\n")), "{}", job.log);
        let has = |name: &str| job.environment.iter().any(|it| it == name);
        assert!(has("RATTLER_AUTH_FILE") && !has("RATTLER_AUTH"));
    }
    // Nobody but its user may read the file that each job has, and nothing that is handed on has it.
    let mut found = Vec::new();
    with_the_token(&scene.workspace.beside("jobs"), &mut found);
    found.sort();
    let kept = names.map(|name| name.replace(['/', ' '], "-"));
    let kept = kept.map(|job| format!("{job}/temp/rattler-auth.json"));
    let mut kept = kept.map(|path| scene.workspace.beside("jobs").join(path));
    kept.sort();
    assert_eq!(found, kept);
    for file in kept {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mut found = Vec::new();
    with_the_token(&github.artifacts(), &mut found);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn without_the_secret_a_private_channel_ends_the_plan_and_says_what_is_missing() {
    let Some(scene) = scene() else {
        return;
    };
    let mut github = scene.github("push");
    for handed_over in [false, true] {
        if handed_over {
            hand_over(&mut github);
        }
        let ran = github.run(SHARDED);
        assert_eq!(ran.names(), ["release/plan 1"]);
        let plan = ran.job("release/plan 1");
        assert!(!plan.succeeded, "{}", plan.log);
        assert!(plan.log.contains("401"), "{}", plan.log);
        assert!(plan.log.contains("RATTLER_AUTH_FILE"), "{}", plan.log);
        assert!(!plan.environment.iter().any(|it| it == "RATTLER_AUTH_FILE"));
    }
    assert_eq!(scene.server.attempts(), 0);
}
