//! A release of this repository: its programs, and then its packages by the program that was just released.

use end_to_end::{Workspace, program};
use fs_err as fs;

use crate::{
    examples::is_somebody,
    runner::Github,
    scene::{Jobs as _, Scene, repository},
};

const RELEASE: &str = ".github/workflows/release.yml";
const SIGNER: &str =
    "conda-release/conda-release/.github/workflows/conda-release.yml@refs/tags/v0.2.0";

/// What this repository has at its top, with two packages.
fn this_repository() -> Workspace {
    let workspace = repository(&[("one", &[]), ("two", &["one"])]);
    for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        workspace.write(file, file);
    }
    workspace.commit();
    workspace
}

/// Compiling the program is what made this test, and GitHub's releases are a folder.
fn with_tools(github: &mut Github<'_>) {
    github.reference = "refs/tags/v0.2.0";
    github.tool("rustup", "");
    let shim = "target/release/cargo-conda-release";
    github.tool(
        "cargo",
        &format!(
            "mkdir -p target/release\nprintf '#!/bin/sh\\nexec {} \"$@\"\\n' > {shim}\nchmod +x {shim}",
            program().display()
        ),
    );
    github.tool(
        "gh",
        &format!(
            "if [ \"$1\" = api ]; then exit 1; fi\ntest \"$1 $2 $GH_TOKEN\" = 'release create token-of-the-job'\nmkdir '{releases}'/\"$3\"\ncp archives/* '{releases}'/\"$3\"/",
            releases = github.workspace.beside("releases").display()
        ),
    );
}

#[test]
fn what_a_tag_releases_attests_and_publishes_the_packages_of_its_repository() {
    let Some(scene) = Scene::of(this_repository(), SIGNER) else {
        return;
    };
    let mut github = scene.github("push");
    with_tools(&mut github);
    let ran = github.run(RELEASE).succeed();
    let names = ran.names();
    assert_eq!(
        names[..6],
        [
            "build 1",
            "build 2",
            "build 3",
            "build 4",
            "build 5",
            "publish 1"
        ]
    );
    assert_eq!(names[6], "packages/plan 1");
    assert_eq!(names.last(), Some(&"packages/release 1"));
    for job in &ran {
        let signs = ["publish 1", "packages/release 1"].contains(&&*job.job);
        assert_eq!(is_somebody(&job.environment), signs, "{}", job.job);
    }
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&["--signer-workflow", SIGNER]).ends(0);

    // The hash that the packages' jobs pin is of what was released, not of what they find.
    let tamper = |github: &Github<'_>, _: &dyn Fn() -> crate::runner::Ran| {
        let sums = github.workspace.beside("releases/v0.2.0/SHA256SUMS");
        let text = fs::read_to_string(&sums).unwrap();
        fs::write(sums, text + "\n").unwrap();
    };
    fs::remove_dir_all(scene.workspace.beside("releases/v0.2.0")).unwrap();
    github.before = Some(("packages/plan", &tamper));
    let ran = github.run(RELEASE);
    assert_eq!(ran.failed(), ["packages/plan 1"]);
    let log = &ran.job("packages/plan 1").log;
    assert!(log.contains("SHA256SUMS: FAILED"), "{log}");
}

#[test]
fn an_archive_that_its_job_did_not_build_is_not_released() {
    let workspace = this_repository();
    let target = "aarch64-apple-darwin";
    let replace = |github: &Github<'_>, _: &dyn Fn() -> crate::runner::Ran| {
        let archive = format!("{target}/conda-release-0.2.0-{target}.tar.gz");
        fs::write(github.artifacts().join(archive), "another").unwrap();
    };
    let mut github = Github::new(&workspace, None, "push");
    with_tools(&mut github);
    github.before = Some(("publish", &replace));
    let ran = github.run(RELEASE);
    assert_eq!(ran.failed(), ["publish 1"]);
    let log = &ran.job("publish 1").log;
    assert!(log.contains(&format!("{target}.tar.gz: FAILED")), "{log}");
    assert!(!workspace.beside("releases/v0.2.0").exists());
}
