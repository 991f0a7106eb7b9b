//! The examples for GitHub, as they are.

use end_to_end::IDENTITY;

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
fn one_job_releases_and_another_audits() {
    let Some(scene) = Scene::new(&[("one", &[]), ("two", &["one"])]) else {
        return;
    };
    let ran = scene
        .github("push")
        .run("examples/github/automatic.yml")
        .succeed();
    assert_eq!(ran.names(), ["release 1"]);
    assert!(ran[0].log.contains(IDENTITY), "{}", ran[0].log);
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&[]).ends(0);
    // The same again uploads nothing.
    scene
        .github("push")
        .run("examples/github/automatic.yml")
        .succeed();
    assert_eq!(scene.uploaded(), ["one", "two"]);

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
    let report = std::fs::read_to_string(report).unwrap();
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
