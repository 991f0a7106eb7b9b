//! The examples for GitLab, as they are: their scripts are run, GitLab is played. Only jobs of GitHub can be somebody to the
//! Sigstore at hand, so that the tokens are theirs.

use std::{collections::BTreeMap, path::Path, process::Command};

use end_to_end::Output;
use fs_err as fs;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    actions::copy, examples::PACKAGES, expression::as_text, model::Texts, private, runner::ours,
    scene::Scene,
};

/// What a job of a file may say, beyond which the test fails.
const KEYS: [&str; 16] = [
    "image",
    "timeout",
    "before_script",
    "script",
    "rules",
    "interruptible",
    "artifacts",
    "environment",
    "resource_group",
    "id_tokens",
    "variables",
    "stage",
    "parallel",
    "allow_failure",
    "needs",
    "extends",
];

/// What a job printed, and what it hands on.
struct Ran {
    job: String,
    output: Output,
}

/// Runs the jobs of an example that a pipeline of this source has.
fn run(scene: &Scene, path: &str, source: &str) -> Vec<Ran> {
    // It puts the program where it is downloaded from.
    let github = scene.github("push");
    let mut text = ours(path);
    for (from, to) in &github.edits {
        text = text.replace(from, to);
    }
    let file: Map<String, Value> = serde_yaml::from_str(&text).unwrap();
    let is_job = |name: &str| !name.starts_with('.') && !["variables", "stages"].contains(&name);
    let jobs = file.iter().filter(|(name, _)| is_job(name));
    let jobs: Vec<(&String, Value)> = jobs
        .map(|(name, job)| (name, extended(job, &file)))
        .collect();
    let mut variables = github.machine.clone();
    variables.extend(
        [
            ("CI_PIPELINE_SOURCE", source),
            ("CI_COMMIT_BRANCH", "main"),
            ("CI_DEFAULT_BRANCH", "main"),
            ("GITLAB_CI", "true"),
            ("CI", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    variables.extend(texts(&file["variables"]));

    let mut ran = Vec::new();
    // What each job handed on: a folder, and variables.
    let mut handed: BTreeMap<&String, Vec<(std::path::PathBuf, Texts)>> = BTreeMap::new();
    // Jobs stand in the file in the order of their needs.
    for (name, job) in &jobs {
        let mut rules = job["rules"].as_array().unwrap().iter();
        if !rules.any(|rule| holds(rule["if"].as_str().unwrap(), &variables)) {
            continue;
        }
        let needs = job["needs"].as_array().cloned().unwrap_or_default();
        let needs: Vec<_> = needs
            .iter()
            .flat_map(|need| handed[&need.as_str().unwrap().to_owned()].clone())
            .collect();
        let count = job["parallel"].as_u64().unwrap_or(1);
        for index in 1..=count {
            let folder = scene.workspace.beside(&format!("gitlab/{name}-{index}"));
            let _earlier = fs::remove_dir_all(&folder);
            let work = folder.join("work");
            let work_text = work.display().to_string();
            scene.workspace.git(&["clone", "--quiet", ".", &work_text]);
            let url = "https://github.com/acme/pkgs";
            scene
                .workspace
                .git(&["-C", &work_text, "remote", "set-url", "origin", url]);
            let mut env = variables.clone();
            env.extend(texts(&job["variables"]));
            env.insert("CI_PROJECT_DIR".to_owned(), work_text);
            env.insert("CI_NODE_INDEX".to_owned(), index.to_string());
            for (artifacts, said) in &needs {
                copy(artifacts, &work);
                env.extend(said.clone());
            }
            for (variable, token) in job["id_tokens"].as_object().into_iter().flatten() {
                let audience = token["aud"].as_str().unwrap();
                env.insert(variable.clone(), id_token(scene, audience));
                if audience == "prefix.dev" {
                    // What prefix.dev is here has another name, and with it the variable.
                    let here = "127.0.0.1";
                    env.insert("127_0_0_1_ID_TOKEN".to_owned(), id_token(scene, here));
                }
            }
            let output = shell(scene, job, &folder, env);
            let artifacts = folder.join("artifacts");
            let said = hand_on(job, &work, &artifacts);
            handed.entry(name).or_default().push((artifacts, said));
            ran.push(Ran {
                job: format!("{name} {index}"),
                output,
            });
        }
    }
    ran
}

/// A job with what it extends.
fn extended(job: &Value, file: &Map<String, Value>) -> Value {
    let mut merged = match job["extends"].as_str() {
        Some(base) => extended(&file[base], file),
        None => json!({}),
    };
    for (key, value) in job.as_object().unwrap() {
        assert!(
            KEYS.contains(&key.as_str()),
            "the key `{key}` is not played"
        );
        merged[key] = value.clone();
    }
    merged
}

fn texts(value: &Value) -> Texts {
    let entries = value.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| (name.clone(), as_text(value)))
        .collect()
}

/// Whether a rule holds: `$A == "text" && $B == $C`.
fn holds(condition: &str, variables: &Texts) -> bool {
    let value = |side: &str| match side.strip_prefix('$') {
        Some(name) => variables[name].clone(),
        None => side.trim_matches('"').to_owned(),
    };
    condition.split(" && ").all(|part| {
        let (left, right) = part.split_once(" == ").unwrap();
        value(left) == value(right)
    })
}

fn id_token(scene: &Scene, audience: &str) -> String {
    let job: BTreeMap<&str, &str> = scene.sigstore.job().collect();
    let url = format!(
        "{}&audience={audience}",
        job["ACTIONS_ID_TOKEN_REQUEST_URL"]
    );
    let bearer = job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
    let ask = async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(url).bearer_auth(bearer).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let answer = tokio::runtime::Runtime::new().unwrap().block_on(ask);
    answer["value"].as_str().unwrap().to_owned()
}

fn shell(scene: &Scene, job: &Value, folder: &Path, env: Texts) -> Output {
    let lines = ["before_script", "script"].map(|key| job[key].as_array().unwrap());
    let script: String = lines
        .into_iter()
        .flatten()
        .map(|line| format!("{}\n", as_text(line)))
        .collect();
    let file = folder.join("script.sh");
    fs::write(&file, script).unwrap();
    fs::create_dir_all(folder.join("home")).unwrap();
    let program = scene.workspace.command([""; 0]);
    let set = program.get_envs();
    let mut bash = Command::new("bash");
    bash.args(["-eo", "pipefail"])
        .arg(file)
        .current_dir(folder.join("work"));
    bash.env_clear()
        .envs(set.filter_map(|(name, value)| Some((name, value?))));
    bash.env("HOME", folder.join("home"))
        .env("RATTLER_CACHE_DIR", folder.join("cache"))
        .envs(env);
    let path = std::env::var_os("PATH").unwrap();
    let paths =
        std::iter::once(scene.workspace.beside("tools")).chain(std::env::split_paths(&path));
    bash.env("PATH", std::env::join_paths(paths).unwrap());
    scene.workspace.run_command(bash)
}

/// Keeps the artifacts of a job, and returns the variables that it set for others.
fn hand_on(job: &Value, work: &Path, to: &Path) -> Texts {
    fs::create_dir_all(to).unwrap();
    let artifacts = &job["artifacts"];
    for path in artifacts["paths"].as_array().unwrap() {
        let path = Path::new(path.as_str().unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = Regex::new(&format!("^{}$", regex::escape(name).replace(r"\*", ".*"))).unwrap();
        let folder = path.parent().unwrap();
        for entry in fs::read_dir(work.join(folder)).into_iter().flatten() {
            let entry = entry.unwrap();
            if !name.is_match(entry.file_name().to_str().unwrap()) {
                continue;
            }
            let to = to.join(folder).join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => copy(&entry.path(), &to),
                false => {
                    fs::create_dir_all(to.parent().unwrap()).unwrap();
                    fs::copy(entry.path(), to).unwrap();
                }
            }
        }
    }
    let Some(said) = artifacts["reports"]["dotenv"].as_str() else {
        return Texts::new();
    };
    let said = fs::read_to_string(work.join(said)).unwrap_or_default();
    let pairs = said.lines().map(|line| line.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn succeed(ran: Vec<Ran>) -> Vec<String> {
    let ended = ran.into_iter().map(|it| {
        assert_eq!(it.output.status, Some(0), "{}: {}", it.job, it.output);
        it.job
    });
    ended.collect()
}

const EXAMPLE: &str = "examples/gitlab/.gitlab-ci.yml";

#[test]
fn gitlab_rehearses_releases_and_audits() {
    let Some(scene) = Scene::new(&[("one", &[]), ("two", &["one"])]) else {
        return;
    };
    assert_eq!(
        succeed(run(&scene, EXAMPLE, "merge_request_event")),
        ["rehearsal 1"]
    );
    assert_eq!(scene.server.attempts(), 0);
    assert_eq!(succeed(run(&scene, EXAMPLE, "push")), ["release 1"]);
    assert_eq!(scene.uploaded(), ["one", "two"]);
    scene.verify(&[]).ends(0);
    scene
        .workspace
        .config(&scene.configuration("acme/pkgs"))
        .commit();
    assert_eq!(succeed(run(&scene, EXAMPLE, "schedule")), ["audit 1"]);
}

#[test]
fn many_jobs_of_gitlab_build_and_one_signs_and_publishes() {
    let Some(scene) = Scene::new(PACKAGES) else {
        return;
    };
    let jobs = succeed(run(&scene, "examples/gitlab/sharded.gitlab-ci.yml", "push"));
    assert_eq!(jobs.len(), 18, "{jobs:?}");
    assert_eq!(scene.uploaded().len(), PACKAGES.len());
    scene.verify(&[]).ends(0);
}

#[test]
fn a_job_of_gitlab_reads_a_private_channel_with_a_variable_of_kind_file() {
    let Some(mut scene) = private::scene() else {
        return;
    };
    let file = scene.workspace.beside("variable");
    fs::write(&file, private::credentials()).unwrap();
    let file = file.display().to_string();
    scene.machine.insert("RATTLER_AUTH_FILE".to_owned(), file);
    assert_eq!(succeed(run(&scene, EXAMPLE, "push")), ["release 1"]);
    assert_eq!(scene.uploaded(), ["two"]);
}
