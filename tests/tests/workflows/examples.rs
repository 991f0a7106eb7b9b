//! The examples for GitHub, as they are.

use end_to_end::IDENTITY;
use fs_err as fs;
use serde_json::{Value, json};

use crate::{
    runner::Github,
    scene::{Jobs, SIGNER, Scene, repository},
};

pub(crate) const SHARDED: &str = "examples/github/sharded.yml";

/// What needs three waves, and what stands alone.
pub(crate) const PACKAGES: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("leaf1", &["base"]),
    ("leaf2", &["base"]),
    ("leaf3", &["base"]),
    ("leaf4", &["base"]),
    ("top", &["leaf1", "leaf2", "leaf3", "leaf4"]),
    ("alone", &[]),
];
const NAMES: [&str; 7] = ["alone", "base", "leaf1", "leaf2", "leaf3", "leaf4", "top"];

/// Whether a job could have had an identity.
pub(crate) fn is_somebody(environment: &[String]) -> bool {
    environment
        .iter()
        .any(|name| name.starts_with("ACTIONS_ID_TOKEN_REQUEST_"))
}

#[test]
fn a_build_without_identity_is_released_by_another_job_and_audited() {
    let Some(scene) = Scene::new(&[("one", &[]), ("two", &["one"])]) else {
        return;
    };
    let ran = scene
        .github("push")
        .run("examples/github/automatic.yml")
        .succeed();
    assert_eq!(ran.names(), ["plan 1", "build 1", "release 1"]);
    for job in &ran {
        let signs = job.job == "release 1";
        assert_eq!(is_somebody(&job.environment), signs, "{}", job.job);
    }
    let log = &ran.job("release 1").log;
    assert!(log.contains(IDENTITY), "{log}");
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&[]).ends(0);
    // The same again has nothing to do.
    let again = scene
        .github("push")
        .run("examples/github/automatic.yml")
        .succeed();
    assert_eq!(again.names(), ["plan 1"]);

    let audit = |signer| {
        scene
            .workspace
            .config(&scene.configuration(signer))
            .commit();
        scene.github("schedule").run("examples/github/audit.yml")
    };
    let ran = audit("acme/pkgs").succeed();
    assert!(!is_somebody(&ran[0].environment));
    let report = scene.workspace.beside("artifacts/audit/audit.json");
    let report = fs::read_to_string(report).unwrap();
    assert_eq!(
        report.matches("\"finding\": \"verified\"").count(),
        2,
        "{report}"
    );
    // Somebody else signs for us.
    assert_eq!(audit("acme/others").failed(), ["audit 1"]);
}

#[test]
fn many_jobs_build_and_one_signs_and_publishes() {
    let Some(scene) = Scene::sharded(PACKAGES) else {
        return;
    };
    let ran = scene.github("push").run(SHARDED).succeed();
    let names = ran.names();
    assert_eq!(names.first(), Some(&"release/plan 1"));
    assert_eq!(names.last(), Some(&"release/release 1"));
    for wave in [
        "release/build-1 2",
        "release/build-2 2",
        "release/build-3 1",
    ] {
        assert!(names.contains(&wave), "{names:?}");
    }
    for job in &ran {
        let signs = job.job == "release/release 1";
        assert_eq!(is_somebody(&job.environment), signs, "{}", job.job);
    }
    assert_eq!(scene.uploaded(), NAMES);
    // The workflow signs as itself, for its caller's repository.
    scene.verify(&["--signer-workflow", SIGNER]).ends(0);
    let own = "acme/pkgs/.github/workflows/release.yml@refs/heads/main";
    scene.verify(&["--signer-workflow", own]).ends(7);

    // The same again has nothing to do.
    let again = scene.github("push").run(SHARDED).succeed();
    assert_eq!(again.names(), ["release/plan 1"]);
}

#[test]
fn jobs_are_as_busy_as_the_last_release_says() {
    let Some(scene) = Scene::sharded(&[("one", &[]), ("two", &[])]) else {
        return;
    };
    // What the last release kept, in which one package took an hour.
    let workspace = &scene.workspace;
    workspace.run(["build"]).ends(0);
    let manifest = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let packages = manifest["packages"].as_array_mut().unwrap();
    let is_one = |package: &&mut Value| package["file"].as_str().unwrap().starts_with("one-");
    let one = packages.iter_mut().find(is_one).unwrap();
    one["times"]["built"]["milliseconds"] = json!(3_600_000);
    let kept = workspace.beside("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("release-manifest.json"), manifest.to_string()).unwrap();

    // Newest first: what a fork made, what is there no more, and the last release.
    let run = |id, repository, expired| {
        let run = json!({"id": id, "repository_id": 1, "head_repository_id": repository});
        json!({"name": "release-manifest", "expired": expired, "workflow_run": run})
    };
    let runs = [run(30, 2, false), run(20, 1, true), run(10, 1, false)];
    let answer = json!({"artifacts": runs});
    let github = scene.github("push");
    github.tool(
        "gh",
        &format!(
            "test \"$GH_TOKEN\" = token-of-the-job\n\
             case \"$*\" in\n\
             'api repos/acme/pkgs/actions/artifacts?name=release-manifest --jq '*) echo '{answer}' | jq -r \"$4\" ;;\n\
             'run download 10 --repo acme/pkgs --name release-manifest --dir '*) cp -r '{}' \"$9\" ;;\n\
             *) exit 1 ;;\n\
             esac",
            kept.display()
        ),
    );
    let ran = github.run(SHARDED).succeed();
    let log = &ran.job("release/plan 1").log;
    let minutes = log
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    let hours = minutes.filter(|it| ["60", "61"].contains(it)).count();
    assert_eq!(hours, 1, "{log}");

    // One that cannot be read is none.
    fs::write(kept.join("release-manifest.json"), "{}").unwrap();
    let ran = scene.github("push").run(SHARDED).succeed();
    let log = &ran.job("release/plan 1").log;
    assert!(log.contains("No manifest of an earlier release"), "{log}");
}

#[test]
fn packages_that_githubs_action_attests_are_published() {
    let Some(scene) = Scene::new(&[("one", &[]), ("two", &["one"])]) else {
        return;
    };
    let ran = scene
        .github("push")
        .run("examples/github/manual.yml")
        .succeed();
    assert_eq!(
        ran.names(),
        ["build 1", "attest 1", "attest 2", "publish 1"]
    );
    assert!(!is_somebody(&ran.job("build 1").environment));
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&[]).ends(0);
    // The same again has nothing to attest.
    let again = scene
        .github("push")
        .run("examples/github/manual.yml")
        .succeed();
    assert_eq!(again.names(), ["build 1"]);
}

#[test]
fn a_pull_request_is_rehearsed_by_nobody() {
    let workspace = repository(&[("one", &[])]);
    let github = Github::new(&workspace, None, "pull_request");
    let ran = github.run("examples/github/rehearsal.yml").succeed();
    assert!(ran[0].log.contains("Published"), "{}", ran[0].log);
    assert!(
        ran[0].summary.contains("1 package rehearsed"),
        "{}",
        ran[0].summary
    );
    assert!(!is_somebody(&ran[0].environment));
    let manifest = workspace.beside("artifacts/rehearsal-manifest/release-manifest.json");
    assert!(manifest.is_file());
}
