//! The machine of a job: its folder, what is in its environment, and the steps that it runs.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use end_to_end::{Output, step_outputs};
use fs_err as fs;
use serde_json::{Map, Value, json};

use crate::{
    actions,
    expression::{Scope, as_text},
    model::{Action, Step, Texts, given},
    runner::{Github, OURS, REPOSITORY, ours},
};

/// The command that hides a text in the log of its job.
pub(crate) const MASK: &str = "::add-mask::";

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

/// Values with their expressions evaluated.
pub(crate) fn values(texts: &BTreeMap<String, Value>, scope: &Scope) -> BTreeMap<String, Value> {
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
    pub(crate) fn new(github: &'a Github<'a>, folder: PathBuf, permissions: Texts) -> Self {
        for inner in ["work", "temp", "home"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        fs::write(folder.join("summary"), "").unwrap();
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

    pub(crate) fn temp(&self) -> PathBuf {
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
                ("GITHUB_REF", self.github.reference.to_owned()),
                ("GITHUB_REF_NAME", self.github.reference_name().to_owned()),
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

    pub(crate) fn run(&mut self, step: &Step, scope: &Scope, shell: Option<&str>) -> Done {
        let env = values(&step.env, scope);
        match (&step.run, &step.uses) {
            (Some(script), None) => {
                assert!(
                    !script.contains("${{"),
                    "an expression in the script of `{}`",
                    step.name
                );
                let folder = step.working_directory.as_deref().unwrap_or(".");
                self.shell(script, step.shell.as_deref().or(shell), folder, &env)
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
        let action: Action = serde_yaml::from_str(&ours(path)).unwrap();
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

    fn shell(
        &mut self,
        script: &str,
        shell: Option<&str>,
        folder: &str,
        env: &BTreeMap<String, Value>,
    ) -> Done {
        let file = self.folder.join("step.sh");
        fs::write(&file, script).unwrap();
        let options: &[&str] = match shell {
            None => &["-e"],
            Some("bash") => &["--noprofile", "--norc", "-eo", "pipefail"],
            Some(other) => panic!("the shell `{other}` is not played"),
        };
        let files = ["GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_ENV"];
        let files = files.map(|name| (name, self.folder.join(name)));
        for (_, file) in &files {
            fs::write(file, "").unwrap();
        }
        let mut bash = Command::new("bash");
        bash.args(options)
            .arg(&file)
            .current_dir(self.work().join(folder));
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
        let [outputs, paths, variables] = files.map(|(_, file)| fs::read_to_string(file).unwrap());
        self.paths.extend(paths.lines().map(PathBuf::from));
        self.env.extend(step_outputs(&variables));
        let outputs = step_outputs(&outputs).into_iter();
        Done {
            succeeded: output.status == Some(0),
            outputs: outputs.map(|(name, value)| (name, json!(value))).collect(),
            log: with_masks(&output.to_string()),
        }
    }
}

/// A log without what its commands ask to hide. Where else that stands it is seen here, so that tests find it.
fn with_masks(log: &str) -> String {
    let shown = log.split_inclusive('\n').map(|line| match line {
        mask if mask.starts_with(MASK) => format!("{MASK}***\n"),
        line => line.to_owned(),
    });
    shown.collect()
}
