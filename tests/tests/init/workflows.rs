//! What CI systems are told.

use insta::assert_snapshot;

use crate::monorepo::Monorepo;

const GITHUB: &str = ".github/workflows/conda-release.yml";

fn with_remote(url: &str) -> Monorepo {
    let monorepo = Monorepo::with_two_programs();
    monorepo.0.git(&["remote", "add", "origin", url]);
    monorepo
}

#[test]
fn github_rehearses_pull_requests_and_releases_what_is_merged() {
    let monorepo = with_remote("https://me:hunter2@github.com/acme/pkgs.git");
    monorepo
        .run(["init", "--yes", "--to", "https://prefix.dev/acme"])
        .ends(0);
    assert_snapshot!(monorepo.text(GITHUB));
    for file in monorepo.files() {
        assert!(!monorepo.text(&file).contains("hunter2"), "{file}");
    }
}

#[test]
fn github_only_rehearses_where_there_is_no_channel() {
    let monorepo = with_remote("git@github.com:acme/pkgs.git");
    monorepo
        .run(["init", "--yes", "--no-xtask"])
        .ends(0)
        .says("the workflow only rehearses");
    assert_snapshot!(monorepo.text(GITHUB));
    assert!(!monorepo.0.path("xtask").exists());
}

#[test]
fn gitlab_gets_jobs_that_its_own_file_includes() {
    let monorepo = with_remote("https://gitlab.com/acme/pkgs.git");
    monorepo
        .run(["init", "--yes", "--to", "https://prefix.dev/acme"])
        .ends(0);
    assert_snapshot!(monorepo.text(".gitlab/conda-release.yml"));
    assert_eq!(
        monorepo.text(".gitlab-ci.yml"),
        "include:\n- local: .gitlab/conda-release.yml\n"
    );
    assert!(!monorepo.0.path(".github").exists());
}

#[test]
fn a_file_that_gitlab_reads_already_stays() {
    let monorepo = with_remote("https://gitlab.acme.invalid/acme/pkgs.git");
    let theirs = "test:\n  script: make test\n";
    monorepo.0.write(".gitlab-ci.yml", theirs);
    monorepo
        .run(["init", "--yes", "--force"])
        .ends(0)
        .says("add `local: .gitlab/conda-release.yml` to its `include`");
    assert_eq!(monorepo.text(".gitlab-ci.yml"), theirs);
}

#[test]
fn credentials_of_a_channel_come_from_secrets_of_the_release_alone() {
    let monorepo = with_remote("https://github.com/acme/pkgs.git");
    let channel = [
        "--to",
        "s3://bucket/path",
        "--target-channel",
        "https://conda.acme.invalid/path",
    ];
    monorepo
        .run(["init", "--yes"].into_iter().chain(channel))
        .ends(0);
    let workflow = monorepo.text(GITHUB);
    let (others, release) = workflow.split_once("\n  release:\n").unwrap();
    assert!(!others.contains("secrets."), "{others}");
    let (earlier, publish) = release.split_once("- name: Publish\n").unwrap();
    assert!(!earlier.contains("secrets."), "{earlier}");
    assert!(
        publish.contains("AWS_SECRET_ACCESS_KEY: ${{ secrets.AWS_SECRET_ACCESS_KEY }}\n"),
        "{publish}"
    );
}

#[test]
fn the_default_branch_is_that_of_the_remote_whatever_its_name() {
    let monorepo = with_remote("https://github.com/acme/pkgs.git");
    let branch = "rel/'x'\"+!$(id)${{github.token}}#é";
    monorepo.0.commit();
    let reference = format!("refs/remotes/origin/{branch}");
    monorepo.0.git(&["update-ref", &reference, "HEAD"]);
    monorepo
        .0
        .git(&["symbolic-ref", "refs/remotes/origin/HEAD", &reference]);
    monorepo.run(["init", "--yes"]).ends(0);
    let workflow = monorepo.text(GITHUB);
    let line = workflow.lines().find(|line| line.contains("rel/")).unwrap();
    assert_eq!(line.trim(), r##"- rel/'x'"\+\!$(id)$[{]{github.token}}#é"##);
    assert_eq!(workflow.matches("rel/").count(), 1, "{workflow}");
}

/// A repository with a workspace in this folder, and what `init` writes there for live releases.
fn with_workspace_in(folder: &str, url: &str) -> Monorepo {
    let monorepo = with_remote(url);
    for (file, text) in [
        (
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"left\"]\n",
        ),
        (
            "left/Cargo.toml",
            "[package]\nname = \"left\"\nedition = \"2024\"\n",
        ),
        ("left/src/main.rs", "fn main() {}\n"),
    ] {
        monorepo.0.write(format!("{folder}/{file}"), text);
    }
    let mut command = monorepo.command(["init", "--yes", "--to", "https://prefix.dev/acme"]);
    command.current_dir(monorepo.0.path(folder));
    monorepo.0.run_command(command).ends(0);
    monorepo
}

#[test]
fn a_workspace_below_the_top_of_the_repository_has_its_workflow_at_the_top() {
    let below = "it's \"below\"";
    let monorepo = with_workspace_in(below, "https://github.com/acme/pkgs.git");
    assert!(monorepo.0.path(below).join("conda-release.toml").is_file());
    let workflow = monorepo.text(GITHUB);
    let line = "working-directory: it's \"below\"\n";
    assert_eq!(workflow.matches(line).count(), 4, "{workflow}");
}

#[test]
fn a_folder_name_is_no_expression_of_github() {
    let folder = "a${{ github.token }}$(id)";
    let monorepo = with_workspace_in(folder, "https://github.com/acme/pkgs.git");
    let workflow = monorepo.text(GITHUB);
    assert!(!workflow.contains("${{ github.token"), "{workflow}");
    let line = "working-directory: a${{ '${{' }} github.token }}$(id)\n";
    assert_eq!(workflow.matches(line).count(), 4, "{workflow}");
}

#[cfg(unix)]
#[test]
fn a_folder_name_is_no_variable_of_gitlab() {
    let folder = "a $CI_JOB_TOKEN $[[ inputs.a ]] $(id) 'b'";
    let monorepo = with_workspace_in(folder, "https://gitlab.com/acme/pkgs.git");
    let text = monorepo.text(".gitlab/conda-release.yml");
    assert!(!text.contains("$[["), "{text}");
    let jobs: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    for (name, job) in jobs.as_object().unwrap() {
        assert!(job.get("variables").is_none(), "{name}");
        // A shell that is at the top of the repository, as in a job.
        let enter = job["script"][0].as_str().unwrap();
        let mut bash = std::process::Command::new("bash");
        bash.args(["-c", &format!("{enter}\ntest -f conda-release.toml")]);
        bash.current_dir(monorepo.0.root());
        assert!(bash.status().unwrap().success(), "{name}: {enter}");
    }
}
