//! The examples for GitLab, as they are: their scripts are run, GitLab is played. Only jobs of GitHub can be somebody to the
//! Sigstore at hand, so that the tokens are theirs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use end_to_end::Output;
use fs_err as fs;
use regex::Regex;
use serde_json::{Map, Value, json};

use crate::{
    actions::copy,
    examples::PACKAGES,
    expression::as_text,
    model::Texts,
    private,
    runner::{Github, ours},
    scene::{Scene, repository},
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
pub(crate) struct Ran {
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
    run_text(scene, &github, &text, source)
}

/// Runs the jobs of a file that a pipeline of this source has.
pub(crate) fn run_text(scene: &Scene, github: &Github<'_>, text: &str, source: &str) -> Vec<Ran> {
    let jobs = jobs_of(text);
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
    variables.extend(texts(&variables_of(text)));

    let mut ran = Vec::new();
    // The artifacts of each job: a folder, and the variables of a dotenv report.
    let mut handed: BTreeMap<&String, Vec<(PathBuf, Texts)>> = BTreeMap::new();
    let mut api = Api::new(scene, github);
    // Jobs stand in the file in the order of their needs.
    for (name, job) in &jobs {
        let mut rules = job["rules"].as_array().unwrap().iter();
        if !rules.any(|rule| holds(rule["if"].as_str().unwrap(), &variables)) {
            continue;
        }
        let needs = job["needs"].as_array().cloned().unwrap_or_default();
        let needs: Vec<_> = needs
            .iter()
            .filter_map(needed_artifacts)
            .flat_map(|need| handed[&need.to_owned()].clone())
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
            env.extend(api.variables());
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
            let mut said = hand_on(job, &work, &artifacts);
            said.extend(uploaded_report(&folder));
            let shown = match count {
                1 => (*name).clone(),
                count => format!("{name} {index}/{count}"),
            };
            api.keep(&shown, &artifacts);
            handed.entry(name).or_default().push((artifacts, said));
            ran.push(Ran {
                job: format!("{name} {index}"),
                output,
            });
        }
    }
    ran
}

/// The jobs of a file in its order, each with what it extends.
pub(crate) fn jobs_of(text: &str) -> Vec<(String, Value)> {
    let file: Map<String, Value> = serde_yaml::from_str(text).unwrap();
    let is_job = |name: &str| !name.starts_with('.') && !["variables", "stages"].contains(&name);
    let jobs = file.iter().filter(|(name, _)| is_job(name));
    jobs.map(|(name, job)| (name.clone(), extended(job, &file)))
        .collect()
}

/// The variables that all jobs of a file have.
fn variables_of(text: &str) -> Value {
    let file: Value = serde_yaml::from_str(text).unwrap();
    file["variables"].clone()
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
    let lines = ["before_script", "script"].map(|key| job[key].as_array());
    let script: String = lines
        .into_iter()
        .flatten()
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
    for path in artifacts["paths"].as_array().into_iter().flatten() {
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
    dotenv(&work.join(said))
}

/// The name of the job whose artifacts, and with them its variables, come with this entry of `needs`.
pub(crate) fn needed_artifacts(need: &Value) -> Option<&str> {
    match need {
        Value::String(job) => Some(job),
        need => {
            let played = |key: &String| ["artifacts", "job"].contains(&key.as_str());
            assert!(need.as_object().unwrap().keys().all(played), "{need}");
            let job = need["job"].as_str();
            need["artifacts"]
                .as_bool()
                .unwrap()
                .then_some(job)
                .flatten()
        }
    }
}

/// The variables of a dotenv report.
fn dotenv(file: &Path) -> Texts {
    let said = fs::read_to_string(file).unwrap_or_default();
    let pairs = said.lines().map(|line| line.split_once('=').unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The file that stands for a dotenv report which a script of the job uploads with the job's token. GitLab takes it
/// whether or not the file of the pipeline declares a report.
const UPLOADED: &str = "uploaded.env";

fn uploaded_report(job: &Path) -> Texts {
    dotenv(&job.join(UPLOADED))
}

/// The part of GitLab's API that jobs call, behind a `curl` that answers for it.
struct Api {
    folder: PathBuf,
    jobs: Vec<String>,
}

impl Api {
    const URL: &str = "https://gitlab.invalid/api/v4";
    const JOB_TOKEN: &str = "token-of-the-job";
    const JOBS_TOKEN: &str = "token-that-reads-jobs";

    fn new(scene: &Scene, github: &Github<'_>) -> Self {
        let folder = scene.workspace.beside("gitlab/api");
        let _earlier = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let tools = scene.workspace.beside("tools");
        fs::rename(tools.join("curl"), tools.join("curl-of-github")).unwrap();
        let script = format!(
            "all=\"$*\"; to=; url=; sent=\n\
             while [ $# -gt 0 ]; do\n\
             case $1 in --output) to=$2 ;; --config) sent=$(cat \"$2\") ;; https://*) url=$1 ;; esac\n\
             shift\n\
             done\n\
             case \"$url $sent\" in\n\
             '{url}/projects/7/pipelines/11/jobs?per_page=100 header = \"PRIVATE-TOKEN: {jobs_token}\"') cp '{folder}/jobs.json' \"$to\" ;;\n\
             '{url}/projects/7/jobs/'*'/artifacts header = \"JOB-TOKEN: {job_token}\"')\n\
             id=${{url%/artifacts}}; echo \"https://store.invalid/${{id##*/}}\" ;;\n\
             'https://store.invalid/'*' ') cp \"{folder}/${{url##*/}}.zip\" \"$to\" ;;\n\
             https://github.com/*) exec curl-of-github $all ;;\n\
             *) echo \"no answer to $url $sent\" >&2; exit 22 ;;\n\
             esac",
            url = Self::URL,
            jobs_token = Self::JOBS_TOKEN,
            job_token = Self::JOB_TOKEN,
            folder = folder.display(),
        );
        github.tool("curl", &script);
        Self {
            folder,
            jobs: Vec::new(),
        }
    }

    /// What a job finds of it.
    fn variables(&self) -> Texts {
        let variables = [
            ("CI_API_V4_URL", Self::URL),
            ("CI_PROJECT_ID", "7"),
            ("CI_PIPELINE_ID", "11"),
            ("CI_JOB_TOKEN", Self::JOB_TOKEN),
            ("JOBS_TOKEN", Self::JOBS_TOKEN),
        ];
        variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// Keeps the artifacts of a job that ended.
    fn keep(&mut self, job: &str, artifacts: &Path) {
        let id = self.jobs.len() + 100;
        // Someone else's text, which names every job too.
        let title = r#"{\"id\":666,\"status\":\"success\",\"stage\":\"build\",\"name\":\"plan\","#;
        self.jobs.push(format!(
            r#"{{"id":{id},"status":"success","stage":"build","name":"{job}","commit":{{"title":"{title}"}}}}"#
        ));
        let list = format!("[{}]", self.jobs.join(","));
        fs::write(self.folder.join("jobs.json"), list).unwrap();
        if fs::read_dir(artifacts).unwrap().next().is_some() {
            let mut zip = Command::new("zip");
            zip.arg("-qr")
                .arg(self.folder.join(format!("{id}.zip")))
                .arg(".")
                .current_dir(artifacts);
            assert!(zip.status().unwrap().success());
        }
    }
}

/// The names of the jobs, all of which succeeded.
pub(crate) fn succeed(ran: Vec<Ran>) -> Vec<String> {
    let ended = ran.into_iter().map(|it| {
        assert_eq!(it.output.status, Some(0), "{}: {}", it.job, it.output);
        it.job
    });
    ended.collect()
}

const EXAMPLE: &str = "examples/gitlab/.gitlab-ci.yml";
const RELEASING: [&str; 3] = ["plan 1", "build 1", "release 1"];

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
    assert_eq!(succeed(run(&scene, EXAMPLE, "push")), RELEASING);
    assert_eq!(scene.uploaded(), ["one", "two"]);
    // The same again has nothing to do.
    assert_eq!(succeed(run(&scene, EXAMPLE, "push")), RELEASING);
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

/// A recipe that sets variables for every job that takes the artifacts of its own, by a declared report and by one that
/// it uploads itself.
#[test]
fn variables_of_build_jobs_do_not_reach_the_release_job() {
    let workspace = repository(&[("quiet", &[])]);
    let evil = workspace.beside("evil.sh");
    let stolen = workspace.beside("stolen");
    fs::write(
        &evil,
        format!(
            "if [ -n \"${{SIGSTORE_ID_TOKEN:-}}\" ]; then env > '{}'; fi\n",
            stolen.display()
        ),
    )
    .unwrap();
    let set = [
        ("BASH_ENV", evil.display().to_string()),
        ("LD_PRELOAD", "/tmp/hostile.so".to_owned()),
        ("CONDA_RELEASE_TRUST", "sandbox".to_owned()),
    ];
    let report: String = set
        .iter()
        .map(|(name, value)| format!("{name}={value}\\n"))
        .collect();
    let find = "d=$PWD; while [ $d != / ]; do d=$(dirname $d); if [ -f $d/script.sh ]; then j=$d; fi; done";
    let say = format!(
        "for f in work/shard.env work/plan.env {UPLOADED}; do printf '{report}' > $j/$f; done"
    );
    let lines = [find, &say, "echo hostile > $PREFIX/hostile.txt"];
    workspace.script("hostile", &lines, "");
    workspace.commit();
    let Some(scene) = Scene::of(workspace, "") else {
        return;
    };
    let ran = run(&scene, "examples/gitlab/sharded.gitlab-ci.yml", "push");
    let jobs = fs::read_dir(scene.workspace.beside("gitlab")).unwrap();
    let mut reports = jobs.map(|job| job.unwrap().path().join(UPLOADED));
    assert!(
        reports.any(|report| report.is_file()),
        "no recipe found its job"
    );
    let release = ran.iter().find(|it| it.job == "release 1").unwrap();
    let log = release.output.to_string();
    assert!(!stolen.exists(), "a script of the recipe had the identity");
    assert!(!log.contains("hostile.so"), "{log}");
    succeed(ran);
    assert_eq!(scene.uploaded(), ["hostile", "quiet"]);
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
    assert_eq!(succeed(run(&scene, EXAMPLE, "push")), RELEASING);
    assert_eq!(scene.uploaded(), ["two"]);
}
