//! Runs a workflow: its jobs in the order of their needs, each in a folder of its own as if on a machine of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use end_to_end::{Sigstore, Workspace, program};
use fs_err as fs;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    expression::{Scope, as_text},
    machine::{Machine, values},
    model::{Input, Job, Texts, Workflow, given},
};

/// The repository whose workflows run.
pub(crate) const REPOSITORY: &str = "acme/pkgs";
pub(crate) const OURS: &str = "conda-release/conda-release";
const VERSION: &str = "0.1.0";
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A text of this repository.
pub(crate) fn ours(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// GitHub, as far as a repository there sees it.
pub(crate) struct Github<'a> {
    /// The repository's checkout.
    pub(crate) workspace: &'a Workspace,
    /// Who vouches for its jobs.
    pub(crate) sigstore: Option<&'a Sigstore>,
    /// Why the workflow runs.
    pub(crate) event: &'static str,
    /// The branch or tag that it runs for.
    pub(crate) reference: &'static str,
    /// The secrets of the repository.
    pub(crate) secrets: Texts,
    /// What machines have in their environment.
    pub(crate) machine: Texts,
    /// What is replaced in the files before they run, as a user edits an example, or breaks it.
    pub(crate) edits: Vec<(String, String)>,
    /// What happens right before a job, with a way to try it.
    pub(crate) before: Option<(&'static str, Before<'a>)>,
}

/// What a workflow is given by whoever runs it.
struct Given {
    inputs: Value,
    secrets: Value,
}

/// What happens before a job. The second argument runs the job, of which nobody hears.
pub(crate) type Before<'a> = &'a dyn Fn(&Github<'_>, &dyn Fn() -> Ran);

/// What became of a job, or of one of its matrix.
pub(crate) struct Ran {
    /// Its key, `release/build-1` where a workflow was called, and its place in the matrix.
    pub(crate) job: String,
    /// Whether it succeeded.
    pub(crate) succeeded: bool,
    /// What its steps printed.
    pub(crate) log: String,
    /// What is shown as its summary.
    #[allow(dead_code)]
    pub(crate) summary: String,
    /// The names in its environment.
    pub(crate) environment: Vec<String>,
}

impl<'a> Github<'a> {
    /// A repository on GitHub, with a release of ours that is this program.
    pub(crate) fn new(
        workspace: &'a Workspace,
        sigstore: Option<&'a Sigstore>,
        event: &'static str,
    ) -> Self {
        let mut github = Self {
            workspace,
            sigstore,
            event,
            reference: "refs/heads/main",
            secrets: Texts::new(),
            machine: Texts::new(),
            edits: Vec::new(),
            before: None,
        };
        github.release_ours();
        github
    }

    /// What jobs hand each other.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.workspace.beside("artifacts")
    }

    /// Puts the program where a release of ours is downloaded from, and a `curl` that finds it there.
    fn release_ours(&mut self) {
        let folder = self.workspace.beside(&format!("releases/v{VERSION}"));
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let name = format!("conda-release-{VERSION}-{target}");
        let _earlier = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join(&name)).unwrap();
        std::os::unix::fs::symlink(program(), folder.join(&name).join("conda-release")).unwrap();
        let archive = folder.join(format!("{name}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.arg("-czf")
            .arg(&archive)
            .arg("-C")
            .arg(&folder)
            .arg(&name);
        assert!(tar.status().unwrap().success());
        let hash = |bytes: &[u8]| format!("{:x}", Sha256::digest(bytes));
        let archived = hash(&fs::read(&archive).unwrap());
        let sums = format!("{ZEROS}  other.tar.gz\n{archived}  {name}.tar.gz\n");
        fs::write(folder.join("SHA256SUMS"), &sums).unwrap();
        self.edits.push((ZEROS.to_owned(), hash(sums.as_bytes())));

        let tools = self.workspace.beside("tools");
        fs::create_dir_all(&tools).unwrap();
        let script = format!(
            "while [ $# -gt 0 ]; do case $1 in --output) to=$2 ;; https://*) url=$1 ;; esac; shift; done\n\
             exec cp \"{}/${{url#https://github.com/{OURS}/releases/download/}}\" \"$to\"\n",
            self.workspace.beside("releases").display()
        );
        self.tool("curl", &script);
    }

    /// Puts a program on the `PATH` of every job.
    pub(crate) fn tool(&self, name: &str, script: &str) {
        let file = self.workspace.beside("tools").join(name);
        fs::write(&file, format!("#!/bin/sh\nset -eu\n{script}\n")).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// A file of this repository, edited.
    pub(crate) fn read(&self, path: &str) -> String {
        let mut text = ours(path);
        for (from, to) in &self.edits {
            text = text.replace(from, to);
        }
        text
    }

    /// Runs a workflow of this repository, as it is in one that copied it.
    pub(crate) fn run(&self, path: &str) -> Vec<Ran> {
        self.run_text(&self.read(path))
    }

    /// Runs a workflow of the repository.
    pub(crate) fn run_text(&self, text: &str) -> Vec<Ran> {
        let _earlier = fs::remove_dir_all(self.artifacts());
        let _earlier = fs::remove_dir_all(self.workspace.beside("jobs"));
        let workflow: Workflow = serde_yaml::from_str(text).unwrap();
        assert!(
            workflow.on.contains_key(self.event),
            "{} runs on {}",
            workflow.name,
            self.event
        );
        let mut ran = Vec::new();
        let given = Given {
            inputs: json!({}),
            secrets: json!(self.secrets),
        };
        self.run_jobs(&workflow, "", None, &given, &mut ran);
        ran
    }

    /// The last part of the branch or tag.
    pub(crate) fn reference_name(&self) -> &str {
        self.reference.rsplit('/').next().unwrap()
    }

    fn context(&self, workflow: &Workflow) -> Value {
        json!({
            "workflow": workflow.name,
            "event_name": self.event,
            "ref": self.reference,
            "repository": REPOSITORY,
            "token": "token-of-the-job",
        })
    }

    /// Runs the jobs of a workflow, and returns whether all of them succeeded or were left out.
    fn run_jobs(
        &self,
        workflow: &Workflow,
        prefix: &str,
        most: Option<&Texts>,
        given: &Given,
        ran: &mut Vec<Ran>,
    ) -> bool {
        let mut results: BTreeMap<&String, Value> = BTreeMap::new();
        while results.len() < workflow.jobs.len() {
            let is_next = |(id, job): &(&String, &Job)| {
                let mut needs = job.needs.all().into_iter();
                !results.contains_key(id) && needs.all(|need| results.contains_key(need))
            };
            let (id, job) = workflow
                .jobs
                .iter()
                .find(is_next)
                .expect("a job that waits for no other");
            let needs = job.needs.all().into_iter();
            let needs: Map<String, Value> = needs
                .map(|need| (need.clone(), results[need].clone()))
                .collect();
            let scope = Scope {
                failed: needs.values().any(|need| need["result"] != "success"),
                ..Scope::default()
            };
            let scope = scope
                .with("github", self.context(workflow))
                .with("inputs", given.inputs.clone())
                .with("secrets", given.secrets.clone())
                .with("needs", Value::Object(needs));
            let name = format!("{prefix}{id}");
            let result = match scope.holds(job.r#if.as_deref()) {
                true => self.run_matrix(workflow, &name, job, most, &scope, ran),
                false => json!({"result": "skipped", "outputs": {}}),
            };
            results.insert(id, result);
        }
        results.values().all(|result| result["result"] != "failure")
    }

    /// Runs all jobs of a matrix, or the one, whichever of them fail.
    fn run_matrix(
        &self,
        workflow: &Workflow,
        name: &str,
        job: &Job,
        most: Option<&Texts>,
        scope: &Scope,
        ran: &mut Vec<Ran>,
    ) -> Value {
        if let Some((before, act)) = self.before
            && before == name
        {
            act(self, &|| self.run_job(workflow, name, job, scope).0);
        }
        for (permission, level) in &job.permissions {
            let allowed = most.is_none_or(|most| most.get(permission) == Some(level));
            assert!(
                allowed,
                "{name} asks for {permission}: {level}, which its caller does not have"
            );
        }
        if let Some(called) = &job.uses {
            let succeeded = self.call(called, name, job, scope, ran);
            let result = if succeeded { "success" } else { "failure" };
            return json!({"result": result, "outputs": {}});
        }
        let matrix = job
            .strategy
            .as_ref()
            .map(|it| combinations(&it.matrix, scope));
        let jobs = matrix.unwrap_or_else(|| vec![json!({})]);
        assert!(
            !jobs.is_empty(),
            "{name}: the matrix does not contain any values"
        );
        let mut outputs = Map::new();
        let mut succeeded = true;
        for (place, matrix) in jobs.into_iter().enumerate() {
            let scope = scope.with("matrix", matrix);
            let (one, its) = self.run_job(workflow, &format!("{name} {}", place + 1), job, &scope);
            succeeded &= one.succeeded;
            // One that is empty replaces none.
            outputs.extend(its.into_iter().filter(|(_, value)| value != ""));
            ran.push(one);
        }
        let result = if succeeded { "success" } else { "failure" };
        json!({"result": result, "outputs": outputs})
    }

    /// Runs a workflow of ours that another calls.
    fn call(&self, called: &str, name: &str, job: &Job, scope: &Scope, ran: &mut Vec<Ran>) -> bool {
        let path = match called.strip_prefix("./") {
            Some(path) => path,
            None => {
                let (path, _) = called.split_once('@').unwrap();
                let path = path.strip_prefix(OURS).expect("a workflow of ours");
                path.trim_start_matches('/')
            }
        };
        let workflow: Workflow = serde_yaml::from_str(&self.read(path)).unwrap();
        let call = workflow.on["workflow_call"].as_ref().unwrap();
        let inputs: BTreeMap<String, Input> =
            serde_json::from_value(call["inputs"].clone()).unwrap();
        let with = values(&job.with, scope);
        for secret in job.secrets.keys() {
            let is_declared = call["secrets"].get(secret).is_some();
            assert!(is_declared, "there is no secret `{secret}`");
        }
        let given = Given {
            inputs: given(&inputs, with),
            secrets: json!(values(&job.secrets, scope)),
        };
        self.run_jobs(
            &workflow,
            &format!("{name}/"),
            Some(&job.permissions),
            &given,
            ran,
        )
    }

    fn run_job(
        &self,
        workflow: &Workflow,
        name: &str,
        job: &Job,
        scope: &Scope,
    ) -> (Ran, Map<String, Value>) {
        let folder = self
            .workspace
            .beside("jobs")
            .join(name.replace(['/', ' '], "-"));
        let _earlier = fs::remove_dir_all(&folder);
        let mut machine = Machine::new(self, folder, job.permissions.clone());
        let scope = scope
            .with("runner", json!({"temp": machine.temp(), "os": "Linux"}))
            .with("env", json!(workflow.env));
        machine.env.extend(workflow.env.clone());
        as_text(&scope.value(job.runs_on.as_deref().unwrap()));
        let shell = workflow
            .defaults
            .as_ref()
            .map(|it| as_text(&it["run"]["shell"]));
        let mut failed = false;
        let mut steps = Map::new();
        let mut log = String::new();
        for step in &job.steps {
            let scope = Scope {
                failed,
                ..scope.with("steps", Value::Object(steps.clone()))
            };
            if !scope.holds(step.r#if.as_deref()) {
                continue;
            }
            let done = machine.run(step, &scope, shell.as_deref());
            log += &format!("== {}\n{}\n", step.name, done.log);
            failed |= !done.succeeded;
            if let Some(id) = &step.id {
                steps.insert(id.clone(), json!({"outputs": done.outputs}));
            }
        }
        let scope = scope.with("steps", Value::Object(steps));
        let outputs = job.outputs.iter();
        let outputs = outputs
            .map(|(output, value)| (output.clone(), json!(scope.text(value))))
            .collect();
        let ran = Ran {
            job: name.to_owned(),
            succeeded: !failed,
            log,
            summary: fs::read_to_string(machine.folder.join("summary")).unwrap_or_default(),
            environment: machine.environment().into_keys().collect(),
        };
        (ran, outputs)
    }
}

/// The jobs of a matrix: those of its `include`, or each value of its only other key.
fn combinations(matrix: &Value, scope: &Scope) -> Vec<Value> {
    let matrix = match matrix {
        Value::String(text) => scope.value(text),
        other => other.clone(),
    };
    let matrix = matrix.as_object().unwrap();
    assert_eq!(matrix.len(), 1, "{matrix:?}");
    let (key, list) = matrix.iter().next().unwrap();
    let list = match list {
        Value::String(text) => scope.value(text),
        other => other.clone(),
    };
    let list = list.as_array().unwrap().iter();
    match key.as_str() {
        "include" => list.cloned().collect(),
        key => list.map(|value| json!({ key: value })).collect(),
    }
}
