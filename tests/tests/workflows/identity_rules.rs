//! The rules for jobs that may have an identity: they run nothing that another job, a cache or a registry decides, and
//! take from other jobs only data that they check. Each rule is shown a file that breaks it.

use fs_err as fs;
use serde_json::Value;

use crate::{
    adopted::written,
    expression::as_text,
    gitlab::{jobs_of, needed_artifacts},
    model::{Job, Step, Workflow},
    runner::ours,
};

/// The files of this repository that GitHub runs, here or where they were copied to.
const GITHUB: [&str; 8] = [
    ".github/workflows/ci.yml",
    ".github/workflows/conda-release.yml",
    ".github/workflows/release.yml",
    "examples/github/audit.yml",
    "examples/github/automatic.yml",
    "examples/github/manual.yml",
    "examples/github/rehearsal.yml",
    "examples/github/sharded.yml",
];
const GITLAB: [&str; 2] = [
    "examples/gitlab/.gitlab-ci.yml",
    "examples/gitlab/sharded.gitlab-ci.yml",
];

/// The actions that a job with an identity may use: none of them runs code of the repository or restores a cache.
const ACTIONS: [&str; 6] = [
    "actions/attest",
    "actions/attest-build-provenance",
    "actions/checkout",
    "actions/download-artifact",
    "actions/upload-artifact",
    "conda-release/conda-release",
];
/// Programs that compile, install or run what others wrote.
const PROGRAMS: [&str; 19] = [
    "apt-get", "cargo", "cmake", "eval", "gem", "go", "make", "mamba", "npm", "npx", "pip", "pip3",
    "pipx", "pixi", "python", "python3", "rustc", "rustup", "uv",
];
/// Commands of ours that render, build or test recipes.
const COMMANDS: [&str; 3] = ["build", "plan", "release"];
/// Variables of a step that may have what another job said. No program reads them by itself.
const DATA: [&str; 3] = ["NEEDS", "PROGRAM_SHA256", "SHARDS_DIGEST"];
/// The signs of a script that checks what was fetched: by digest, or by an attestation of it.
const CHECKS: [&str; 4] = ["--digest ", "--digests ", "sha256sum -c", "--attestation "];

/// What a script with the identity runs and may not.
fn forbidden_programs(script: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let code = script.lines().filter(|line| !line.trim().starts_with('#'));
    let code: Vec<&str> = code.collect();
    let code = code.join("\n");
    let words: Vec<&str> = code
        .split(|c| !is_part(c))
        .filter(|it| !it.is_empty())
        .collect();
    let programs = words.iter().filter(|word| PROGRAMS.contains(word));
    let mut found: Vec<String> = programs.map(|it| (*it).to_owned()).collect();
    // `conda-release build`, also with the program's name in quotes, and `cargo xtask release`.
    let commands = words.windows(2).filter(|pair| {
        ["conda-release", "xtask"].contains(&pair[0]) && COMMANDS.contains(&pair[1])
    });
    found.extend(commands.map(|pair| pair.join(" ")));
    found
}

/// Whether a value has something that other jobs said.
fn is_from_jobs(value: &Value) -> bool {
    let text = as_text(value);
    text.contains("${{") && ["needs", "matrix"].iter().any(|it| text.contains(it))
}

fn github_violations(workflow: &Workflow) -> Vec<String> {
    let mut found = Vec::new();
    for (name, job) in &workflow.jobs {
        let is_somebody = job.permissions.contains_key("id-token");
        // The workflow that is called is one of those checked.
        if !is_somebody || job.uses.is_some() {
            continue;
        }
        let mut say = |what: String| found.push(format!("{name}: {what}"));
        if workflow.env.values().any(|it| it.contains("${{")) {
            say("an expression in the environment of all jobs".to_owned());
        }
        if job.environment.is_none() {
            say("no environment".to_owned());
        }
        let mut fetched = false;
        for (place, step) in job.steps.iter().enumerate() {
            for broken in step_violations(step, &job.steps[place + 1..], job, fetched) {
                say(broken);
            }
            let uses = step.uses.as_deref().unwrap_or_default();
            fetched |= uses.starts_with("actions/download-artifact@");
        }
    }
    found
}

/// What is wrong with a step, before those that follow it in its job.
fn step_violations(step: &Step, later: &[Step], job: &Job, fetched: bool) -> Vec<String> {
    let mut found = Vec::new();
    let script = step.run.as_deref().unwrap_or_default();
    for program in forbidden_programs(script) {
        found.push(format!("runs `{program}`"));
    }
    for (variable, value) in &step.env {
        if is_from_jobs(value) && !DATA.contains(&variable.as_str()) {
            found.push(format!("`{variable}` is set by another job"));
        }
    }
    let says_to_later_steps = ["GITHUB_ENV", "GITHUB_PATH"]
        .iter()
        .any(|file| script.contains(file));
    if says_to_later_steps && (fetched || step.env.values().any(is_from_jobs)) {
        found.push("changes the environment of later steps by what others said".to_owned());
    }
    let Some(action) = &step.uses else {
        return found;
    };
    let (action, _) = action.split_once('@').unwrap();
    if !ACTIONS.contains(&action) {
        found.push(format!("uses `{action}`"));
    }
    if step.with.keys().any(|input| input.contains("cache")) {
        found.push("restores a cache".to_owned());
    }
    if action == "actions/download-artifact" {
        for input in ["merge-multiple", "run-id", "repository", "github-token"] {
            if step.with.contains_key(input) {
                found.push(format!("fetches artifacts with `{input}`"));
            }
        }
        let is_checked = later.iter().any(|step| {
            let script = step.run.as_deref().unwrap_or_default();
            CHECKS.iter().any(|check| script.contains(check))
        });
        if !is_checked {
            found.push("fetches an artifact and checks no digest".to_owned());
        }
        let has_checkout = job.steps.iter().any(|step| {
            let uses = step.uses.as_deref().unwrap_or_default();
            uses.starts_with("actions/checkout@")
        });
        let path = step.with.get("path").map(as_text).unwrap_or_default();
        if has_checkout && !path.starts_with("${{ runner.temp }}/") {
            found.push("fetches an artifact into the checkout".to_owned());
        }
    }
    found
}

/// Keys that are not played, `cache` among them, end the test before it comes to this.
fn gitlab_violations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, job) in jobs_of(text) {
        let mut say = |what: &str| found.push(format!("{name}: {what}"));
        if !job["artifacts"]["reports"].is_null() {
            say("a report sets variables of other jobs");
        }
        if job["id_tokens"].is_null() {
            continue;
        }
        if job["environment"].is_null() {
            say("no environment");
        }
        match job["needs"].as_array() {
            // Without `needs`, GitLab brings in what all jobs of earlier stages have.
            None => say("brings in artifacts and variables of all earlier jobs"),
            Some(needs) => {
                for need in needs.iter().filter_map(needed_artifacts) {
                    say(&format!("brings in artifacts and variables of `{need}`"));
                }
            }
        }
        for key in ["before_script", "script"] {
            for line in job[key].as_array().into_iter().flatten() {
                for program in forbidden_programs(&as_text(line)) {
                    say(&format!("runs `{program}`"));
                }
            }
        }
    }
    found
}

fn workflow(text: &str) -> Workflow {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn jobs_with_an_identity_keep_to_the_rules() {
    for file in GITHUB {
        let found = github_violations(&workflow(&ours(file)));
        assert!(found.is_empty(), "{file}: {found:?}");
    }
    for file in GITLAB {
        let found = gitlab_violations(&ours(file));
        assert!(found.is_empty(), "{file}: {found:?}");
    }
}

#[test]
fn the_rules_are_for_every_file_that_there_is() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in [".github/workflows", "examples/github", "examples/gitlab"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = format!("{folder}/{name}");
            let is_known = GITHUB.contains(&path.as_str()) || GITLAB.contains(&path.as_str());
            assert!(is_known, "{path}");
        }
    }
}

#[test]
fn what_init_writes_keeps_to_the_rules() {
    let found = github_violations(&workflow(&written("github")));
    assert!(found.is_empty(), "{found:?}");
    let found = gitlab_violations(&written("gitlab"));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_github_workflow_that_breaks_a_rule_is_refused() {
    let called = ".github/workflows/conda-release.yml";
    let sign = "        run: conda-release sign -x\n";
    let merge = "      - name: Merge\n        env:\n";
    let table = [
        (
            "runs `cargo`",
            (
                called,
                sign,
                "        run: cargo conda-release sign -x\n".to_owned(),
            ),
        ),
        (
            "runs `conda-release release`",
            (
                called,
                sign,
                "        run: conda-release release -x\n".to_owned(),
            ),
        ),
        (
            "uses `actions/cache`",
            (
                called,
                merge,
                format!(
                    "      - name: Restore\n        uses: actions/cache@{}\n{merge}",
                    "0".repeat(40)
                ),
            ),
        ),
        (
            "`LD_PRELOAD` is set by another job",
            (
                called,
                merge,
                format!("{merge}          LD_PRELOAD: ${{{{ needs.build-1.outputs.shard-1 }}}}\n"),
            ),
        ),
        (
            "changes the environment of later steps by what others said",
            (
                called,
                sign,
                "        run: cat \"$RUNNER_TEMP/built/env\" >> \"$GITHUB_ENV\"\n".to_owned(),
            ),
        ),
        (
            "fetches artifacts with `merge-multiple`",
            (
                called,
                "          pattern: shard-*\n",
                "          pattern: shard-*\n          merge-multiple: true\n".to_owned(),
            ),
        ),
        (
            "fetches an artifact and checks no digest",
            (
                called,
                "--digests \"$NEEDS\"\n      - name: Sign",
                "\n      - name: Sign".to_owned(),
            ),
        ),
        (
            "fetches an artifact into the checkout",
            (
                called,
                "          pattern: shard-*\n          path: ${{ runner.temp }}/built\n",
                "          pattern: shard-*\n          path: target\n".to_owned(),
            ),
        ),
        (
            "no environment",
            (
                called,
                "    environment: ${{ inputs.environment }}\n",
                String::new(),
            ),
        ),
    ];
    for (says, (file, from, to)) in table {
        let text = ours(file);
        assert!(text.contains(from), "{says}");
        let found = github_violations(&workflow(&text.replace(from, &to)));
        let expected = format!("release: {says}");
        assert!(found.contains(&expected), "{says}: {found:?}");
    }
}

#[test]
fn gitlab_jobs_that_break_a_rule_are_refused() {
    let sharded = ours("examples/gitlab/sharded.gitlab-ci.yml");
    let report = "      - target/conda-release/live/shard-*\n";
    let sign = "    - conda-release sign -x\n";
    for (says, from, to) in [
        (
            "build-1: a report sets variables of other jobs",
            report,
            format!("{report}    reports:\n      dotenv: shard.env\n"),
        ),
        (
            "release: brings in artifacts and variables of `build-4`",
            "    - job: build-4\n      artifacts: false\n",
            "    - build-4\n".to_owned(),
        ),
        (
            "release: brings in artifacts and variables of `plan`",
            "    - job: plan\n      artifacts: false\n",
            "    - job: plan\n      artifacts: true\n".to_owned(),
        ),
        (
            "release: runs `rustup`",
            sign,
            format!("    - rustup update\n{sign}"),
        ),
        (
            "release: runs `conda-release build`",
            sign,
            format!("    - conda-release build -x\n{sign}"),
        ),
        (
            "release: no environment",
            "  environment: release\n",
            String::new(),
        ),
    ] {
        assert!(sharded.contains(from), "{says}");
        let found = gitlab_violations(&sharded.replace(from, &to));
        assert!(found.iter().any(|it| it == says), "{says}: {found:?}");
    }
}

#[test]
fn artifacts_of_gitlab_jobs_are_fetched_in_one_way() {
    let fetch = ours("crates/conda-release/src/commands/init/gitlab_artifacts.sh");
    for file in GITLAB {
        let jobs = jobs_of(&ours(file));
        let (_, release) = jobs.iter().find(|(name, _)| name == "release").unwrap();
        let scripts = release["script"].as_array().unwrap();
        assert!(scripts.iter().any(|it| as_text(it) == fetch), "{file}");
    }
}
