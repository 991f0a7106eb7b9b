//! Runs a workflow: its jobs in the order of their needs, each in a folder of its own as if on a machine of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use end_to_end::{Output, Sigstore, Workspace, program};
use fs_err as fs;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    actions,
    expression::{Scope, as_text},
    model::{Input, Job, Step, Texts, Workflow, given},
};

/// The repository whose workflows run.
pub(crate) const REPOSITORY: &str = "acme/pkgs";
const OURS: &str = "conda-release/conda-release";
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
    /// What machines have in their environment.
    pub(crate) machine: Texts,
    /// What is replaced in the files before they run, as a user edits an example, or breaks it.
    pub(crate) edits: Vec<(String, String)>,
    /// What happens right before a job, with a way to try it.
    pub(crate) before: Option<(&'static str, Before<'a>)>,
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

/// A step's surroundings.
pub(crate) struct Machine<'a> {
    pub(crate) github: &'a Github<'a>,
    /// Everything of this job.
    pub(crate) folder: PathBuf,
    /// The permissions of its token.
    pub(crate) permissions: Texts,
    /// The job's environment.
    pub(crate) env: Texts,
    paths: Vec<PathBuf>,
}

/// How a step ended.
pub(crate) struct Done {
    pub(crate) succeeded: bool,
    pub(crate) log: String,
    pub(crate) outputs: Map<String, Value>,
}

impl Done {
    pub(crate) fn failed(log: impl Into<String>) -> Self {
        Self {
            succeeded: false,
            log: log.into(),
            outputs: Map::new(),
        }
    }

    pub(crate) fn with(outputs: &[(&str, String)]) -> Self {
        let outputs = outputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)));
        Self {
            succeeded: true,
            log: String::new(),
            outputs: outputs.collect(),
        }
    }
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
        let curl = tools.join("curl");
        let script = format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in --output) to=$2 ;; https://*) url=$1 ;; esac; shift; done\n\
             exec cp \"{}/${{url#https://github.com/{OURS}/releases/download/}}\" \"$to\"\n",
            self.workspace.beside("releases").display()
        );
        fs::write(&curl, script).unwrap();
        fs::set_permissions(&curl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
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
        let _earlier = fs::remove_dir_all(self.artifacts());
        let _earlier = fs::remove_dir_all(self.workspace.beside("jobs"));
        let workflow: Workflow = serde_yaml::from_str(&self.read(path)).unwrap();
        assert!(
            workflow.on.contains_key(self.event),
            "{path} runs on {}",
            self.event
        );
        let mut ran = Vec::new();
        self.run_jobs(&workflow, "", None, &json!({}), &mut ran);
        ran
    }

    fn context(&self, workflow: &Workflow) -> Value {
        json!({
            "workflow": workflow.name,
            "event_name": self.event,
            "ref": "refs/heads/main",
            "repository": REPOSITORY,
        })
    }

    /// Runs the jobs of a workflow, and returns whether all of them succeeded or were left out.
    fn run_jobs(
        &self,
        workflow: &Workflow,
        prefix: &str,
        most: Option<&Texts>,
        inputs: &Value,
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
                .with("inputs", inputs.clone())
                .with("secrets", json!({}))
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
        let (path, _) = called.split_once('@').unwrap();
        let path = path
            .strip_prefix(OURS)
            .expect("a workflow of ours")
            .trim_start_matches('/');
        let workflow: Workflow = serde_yaml::from_str(&self.read(path)).unwrap();
        let call = workflow.on["workflow_call"].as_ref().unwrap();
        let inputs: BTreeMap<String, Input> =
            serde_json::from_value(call["inputs"].clone()).unwrap();
        let with = values(&job.with, scope);
        let inputs = given(&inputs, with);
        self.run_jobs(
            &workflow,
            &format!("{name}/"),
            Some(&job.permissions),
            &inputs,
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
            .join(name.replace('/', "-").replace(' ', "-"));
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

/// Values with their expressions evaluated.
fn values(texts: &BTreeMap<String, Value>, scope: &Scope) -> BTreeMap<String, Value> {
    let value = |value: &Value| match value {
        Value::String(text) => scope.value(text),
        other => other.clone(),
    };
    texts
        .iter()
        .map(|(name, it)| (name.clone(), value(it)))
        .collect()
}

impl<'a> Machine<'a> {
    fn new(github: &'a Github<'a>, folder: PathBuf, permissions: Texts) -> Self {
        for inner in ["work", "temp", "home"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        Self {
            github,
            folder,
            permissions,
            env: Texts::new(),
            paths: vec![github.workspace.beside("tools")],
        }
    }

    /// The checkout.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    fn temp(&self) -> PathBuf {
        self.folder.join("temp")
    }

    /// Whether the job's token allows it.
    pub(crate) fn may(&self, permission: &str) -> bool {
        self.permissions
            .get(permission)
            .is_some_and(|level| level == "write")
    }

    /// What processes of the job find, but for `PATH`.
    pub(crate) fn environment(&self) -> Texts {
        let program = self.github.workspace.command([""; 0]);
        let text = |it: &std::ffi::OsStr| it.to_str().unwrap().to_owned();
        let set = program.get_envs();
        let mut env: Texts = set
            .filter_map(|(name, value)| Some((text(name), text(value?))))
            .collect();
        env.extend(self.github.machine.clone());
        let arch = match std::env::consts::ARCH {
            "x86_64" => "X64",
            _ => "ARM64",
        };
        let commit = self.github.workspace.git(&["rev-parse", "HEAD"]);
        let path = |name: &str| self.folder.join(name).display().to_string();
        env.extend(
            [
                ("HOME", path("home")),
                ("RATTLER_CACHE_DIR", path("cache")),
                ("CI", "true".to_owned()),
                ("GITHUB_ACTIONS", "true".to_owned()),
                ("GITHUB_EVENT_NAME", self.github.event.to_owned()),
                ("GITHUB_REF", "refs/heads/main".to_owned()),
                ("GITHUB_REPOSITORY", REPOSITORY.to_owned()),
                ("GITHUB_SHA", commit),
                ("GITHUB_STEP_SUMMARY", path("summary")),
                ("GITHUB_WORKSPACE", path("work")),
                ("RUNNER_ARCH", arch.to_owned()),
                ("RUNNER_OS", "Linux".to_owned()),
                ("RUNNER_TEMP", path("temp")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if self.may("id-token")
            && let Some(sigstore) = self.github.sigstore
        {
            let identity = sigstore.job();
            env.extend(identity.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        env.extend(self.env.clone());
        env
    }

    fn run(&mut self, step: &Step, scope: &Scope, shell: Option<&str>) -> Done {
        let env = values(&step.env, scope);
        match (&step.run, &step.uses) {
            (Some(script), None) => {
                assert!(
                    !script.contains("${{"),
                    "an expression in the script of `{}`",
                    step.name
                );
                self.shell(script, step.shell.as_deref().or(shell), &env)
            }
            (None, Some(action)) => {
                let with = values(&step.with, scope);
                let (name, _) = action.split_once('@').unwrap();
                match name == OURS {
                    true => self.compose("action.yml", with, scope),
                    false => actions::run(name, &with, self),
                }
            }
            _ => panic!("`{}` is a script or an action", step.name),
        }
    }

    /// Runs an action that is made of steps.
    fn compose(&mut self, path: &str, with: BTreeMap<String, Value>, scope: &Scope) -> Done {
        let action: crate::model::Action = serde_yaml::from_str(&ours(path)).unwrap();
        assert_eq!(action.runs.using, "composite");
        let scope = scope.with("inputs", given(&action.inputs, with));
        let mut last = Done::with(&[]);
        for step in &action.runs.steps {
            last = self.run(step, &scope, None);
            if !last.succeeded {
                break;
            }
        }
        last
    }

    fn shell(&mut self, script: &str, shell: Option<&str>, env: &BTreeMap<String, Value>) -> Done {
        let file = self.folder.join("step.sh");
        fs::write(&file, script).unwrap();
        let options: &[&str] = match shell {
            None => &["-e"],
            Some("bash") => &["--noprofile", "--norc", "-eo", "pipefail"],
            Some(other) => panic!("the shell `{other}` is not played"),
        };
        let files = ["GITHUB_OUTPUT", "GITHUB_PATH"].map(|name| (name, self.folder.join(name)));
        for (_, file) in &files {
            fs::write(file, "").unwrap();
        }
        let mut bash = Command::new("bash");
        bash.args(options).arg(&file).current_dir(self.work());
        bash.env_clear()
            .envs(self.environment())
            .envs(files.clone());
        bash.envs(env.iter().map(|(name, value)| (name, as_text(value))));
        let path = std::env::var_os("PATH").unwrap();
        let paths = self
            .paths
            .iter()
            .rev()
            .cloned()
            .chain(std::env::split_paths(&path));
        bash.env("PATH", std::env::join_paths(paths).unwrap());
        let output: Output = self.github.workspace.run_command(bash);
        let [outputs, paths] = files.map(|(_, file)| fs::read_to_string(file).unwrap());
        self.paths.extend(paths.lines().map(PathBuf::from));
        let outputs = outputs.lines().map(|line| line.split_once('=').unwrap());
        Done {
            succeeded: output.status == Some(0),
            outputs: outputs
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect(),
            log: output.to_string(),
        }
    }
}
