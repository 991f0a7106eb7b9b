//! What every workflow and action of this repository keeps to.

use std::path::{Path, PathBuf};

use fs_err as fs;
use regex::Regex;

use crate::{
    model::{Action, Workflow},
    runner::ours,
};

/// The files below a folder of the repository.
fn files(folder: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let paths = fs::read_dir(root.join(folder)).unwrap();
    let paths = paths.map(|it| it.unwrap().path());
    let name = |path: PathBuf| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
    let mut files: Vec<String> = paths.map(name).collect();
    files.sort();
    files
}

/// What others take from here.
fn given() -> Vec<String> {
    let mut files = files("examples/github");
    files.push(".github/workflows/conda-release.yml".to_owned());
    files
}

#[test]
fn every_action_is_pinned_by_its_commit_and_says_its_version() {
    let pinned =
        Regex::new(r"^uses: [a-z-]+/[a-z./-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$").unwrap();
    let everywhere = files(".github/workflows")
        .into_iter()
        .chain(files("examples/github"));
    for file in everywhere.chain(["action.yml".to_owned()]) {
        for line in ours(&file).lines() {
            let line = line.trim_start_matches([' ', '-']);
            // What is called from here is of the same commit.
            let is_here = line.starts_with("uses: ./.github/workflows/conda-release.yml")
                && file.starts_with(".github/");
            assert!(
                !line.starts_with("uses:") || is_here || pinned.is_match(line),
                "{file}: {line}"
            );
        }
    }
}

#[test]
fn a_job_has_no_right_that_it_does_not_name_and_an_end() {
    for file in given() {
        let workflow: Workflow = serde_yaml::from_str(&ours(&file)).unwrap();
        assert!(
            workflow.permissions.is_empty(),
            "{file}: no rights for all jobs"
        );
        let is_called = workflow.on.contains_key("workflow_call");
        assert!(
            workflow.concurrency.is_some() || is_called,
            "{file}: one at a time"
        );
        for (name, job) in &workflow.jobs {
            let at = format!("{file}: {name}");
            assert!(
                job.timeout_minutes.is_some() || job.uses.is_some(),
                "{at}: a timeout"
            );
            let is_somebody = job.permissions.contains_key("id-token");
            let is_protected = job.environment.is_some() || job.uses.is_some();
            assert!(!is_somebody || is_protected, "{at}: an environment");
            for (permission, level) in &job.permissions {
                let is_ours = matches!(permission.as_str(), "id-token" | "attestations");
                let expected = if is_ours { "write" } else { "read" };
                assert_eq!(level, expected, "{at}: {permission}");
            }
            for step in &job.steps {
                let script = step.run.as_deref().unwrap_or_default();
                assert!(
                    !script.contains("${{"),
                    "{at}: an expression in `{}`",
                    step.name
                );
                for word in ["cargo", "rustup", "npm ", "pip "] {
                    assert!(!is_somebody || !script.contains(word), "{at}: {word}");
                }
            }
        }
    }
}

#[test]
fn only_the_last_job_of_many_may_be_somebody() {
    let workflow: Workflow =
        serde_yaml::from_str(&ours(".github/workflows/conda-release.yml")).unwrap();
    for (name, job) in &workflow.jobs {
        assert_eq!(
            job.permissions.contains_key("id-token"),
            name == "release",
            "{name}"
        );
        let uses = job.steps.iter().filter_map(|step| step.uses.as_deref());
        for action in uses {
            let (action, _) = action.split_once('@').unwrap();
            let known = [
                "actions/checkout",
                "actions/upload-artifact",
                "actions/download-artifact",
            ];
            assert!(known.contains(&action), "{name}: {action}");
        }
        if name.starts_with("build-") {
            assert_eq!(job.outputs.len(), 32, "{name}");
            assert_eq!(
                job.strategy.as_ref().unwrap().fail_fast,
                Some(false),
                "{name}"
            );
        }
    }
}

#[test]
fn the_program_is_installed_in_one_way() {
    let action: Action = serde_yaml::from_str(&ours("action.yml")).unwrap();
    let [step] = &action.runs.steps[..] else {
        panic!("one step");
    };
    let workflow: Workflow =
        serde_yaml::from_str(&ours(".github/workflows/conda-release.yml")).unwrap();
    for job in workflow.jobs.values() {
        let mut steps = job.steps.iter();
        let same = steps.find(|it| it.name == step.name).unwrap();
        assert_eq!(
            (&same.run, &same.env, &same.shell),
            (&step.run, &step.env, &step.shell)
        );
    }
}

#[test]
fn a_release_of_ours_is_made_by_one_job_and_packaged_by_the_program_in_it() {
    let workflow: Workflow = serde_yaml::from_str(&ours(".github/workflows/release.yml")).unwrap();
    assert!(workflow.permissions.is_empty());
    for (name, job) in &workflow.jobs {
        let writes: Vec<&str> = job
            .permissions
            .iter()
            .filter(|(_, level)| *level == "write")
            .map(|(permission, _)| permission.as_str())
            .collect();
        let expected: &[&str] = match name.as_str() {
            "publish" => &["attestations", "contents", "id-token"],
            "packages" => &["id-token"],
            _ => &[],
        };
        assert_eq!(writes, expected, "{name}");
        let runs = job.steps.iter().filter_map(|step| step.run.as_deref());
        let compiles = runs.into_iter().any(|script| script.contains("cargo"));
        assert!(!compiles || writes.is_empty(), "{name}");
    }
    let packages = &workflow.jobs["packages"];
    assert_eq!(packages.needs.all(), ["publish"]);
    for (input, value) in &packages.with {
        let output = format!("${{{{ needs.publish.outputs.{input} }}}}");
        assert_eq!(*value, output.as_str());
    }
}
