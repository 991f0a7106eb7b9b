//! A workspace with recipes, in a temporary folder.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use fs_err as fs;
use release_manifest::{JournalEntry, Manifest, Plan, read_journal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    process::{Output, Running, program},
    redact::redact,
};

/// Where a rehearsal keeps everything, below the root of the workspace.
pub const REHEARSAL: &str = "target/conda-release/rehearsal";

/// The variables of this process that the program may see.
const KEPT: [&str; 5] = [
    "PATH",
    "TMPDIR",
    "SystemRoot",
    "RUST_BACKTRACE",
    "LLVM_PROFILE_FILE",
];
/// Nobody listens there: what would leave the machine fails at once.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A workspace with recipes, in a temporary folder that is its own machine: home, caches, outputs.
pub struct Workspace {
    folder: TempDir,
    root: PathBuf,
}

impl Workspace {
    /// An empty git repository, whose `.gitignore` leaves out `target/`.
    pub fn new() -> Self {
        let workspace = Self::plain();
        workspace.git(&["init", "--quiet", "--initial-branch=main"]);
        workspace.write(".gitignore", "target/\n");
        workspace
    }

    /// A folder outside any repository, with an empty configuration.
    pub fn plain() -> Self {
        let folder = TempDir::with_prefix("conda-release-").expect("a temporary folder");
        let root = fs::canonicalize(folder.path()).unwrap().join("work");
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.with_file_name("home")).unwrap();
        let workspace = Self { folder, root };
        workspace.config("");
        workspace
    }

    /// A workspace with one recipe, named `one`.
    pub fn with_one_package() -> Self {
        let workspace = Self::new();
        workspace.package("one");
        workspace
    }

    /// Two packages of which `second` builds upon `first`, committed.
    pub fn with_two_packages() -> Self {
        let workspace = Self::new();
        workspace.package("first").recipe(
            "second",
            &noarch(
                "second",
                &["mkdir -p $PREFIX/share && cp $PREFIX/share/first.txt $PREFIX/share/second.txt"],
                "requirements:\n  host:\n    - first\n",
            ),
        );
        workspace.commit();
        workspace
    }

    /// The root of the workspace.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder beside the workspace, for channels and other places of the test; it does not exist at first.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.root.with_file_name(name)
    }

    /// A path below the root.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// A path below the rehearsal's folder.
    pub fn rehearsal(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(REHEARSAL).join(path)
    }

    /// Writes a file below the root.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Writes the configuration.
    pub fn config(&self, toml: &str) -> &Self {
        self.write("conda-release.toml", toml)
    }

    /// Writes `recipes/<name>/recipe.yaml`.
    pub fn recipe(&self, name: &str, yaml: &str) -> &Self {
        self.write(format!("recipes/{name}/recipe.yaml"), yaml)
    }

    /// A `noarch` recipe that installs `share/<name>.txt`, needs nothing and is built in milliseconds.
    pub fn package(&self, name: &str) -> &Self {
        let install = format!("mkdir -p $PREFIX/share && echo {name} > $PREFIX/share/{name}.txt");
        self.script(name, &[&install], "")
    }

    /// A `noarch` recipe whose script is `lines`, and whose other sections are `rest`.
    pub fn script(&self, name: &str, lines: &[&str], rest: &str) -> &Self {
        self.recipe(name, &noarch(name, lines, rest))
    }

    /// Commits everything.
    pub fn commit(&self) -> &Self {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "Change"]);
        self
    }

    /// Runs git in the workspace, and returns what it printed.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        self.scrub(&mut git);
        let day = "2026-01-01T00:00:00Z";
        // Nothing may go on behind a test or measurement.
        git.args(["-c", "maintenance.auto=false"])
            .args(args)
            .current_dir(&self.root)
            .envs([("GIT_AUTHOR_DATE", day), ("GIT_COMMITTER_DATE", day)])
            .envs([("GIT_AUTHOR_NAME", "A"), ("GIT_COMMITTER_NAME", "A")])
            .envs([
                ("GIT_AUTHOR_EMAIL", "a@b.invalid"),
                ("GIT_COMMITTER_EMAIL", "a@b.invalid"),
            ]);
        let output = Output::of(git).ends(0);
        output.stdout.trim().to_owned()
    }

    /// The program in the root of the workspace, with an environment of its own and no CI.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.other(program(), args)
    }

    /// Another program, in the same folder and with the same environment.
    pub fn other<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        self.scrub(&mut command);
        command.args(args).current_dir(&self.root);
        command
    }

    /// Runs a script in the root of the workspace, as a user types it who has the program installed.
    #[cfg(unix)]
    pub fn run_script(&self, script: &str) -> Output {
        let mut shell = Command::new("bash");
        self.scrub(&mut shell);
        let programs = self.beside("programs");
        fs::create_dir_all(&programs).unwrap();
        let installed = programs.join("conda-release");
        if !installed.exists() {
            std::os::unix::fs::symlink(program(), &installed).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::split_paths(&path);
        let path = std::env::join_paths(std::iter::once(programs).chain(path)).unwrap();
        shell
            .env("PATH", path)
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(&self.root);
        Output::of(shell)
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        Output::of(self.command(args))
    }

    /// Runs the program with `input` on its standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> Output {
        Output::of_input(self.command(args), input)
    }

    /// Runs a changed command (see [`Workspace::command`]) to its end.
    pub fn run_command(&self, command: Command) -> Output {
        Output::of(command)
    }

    /// Starts the program.
    pub fn start<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Running {
        Running::start(self.command(args))
    }

    /// Starts a changed command (see [`Workspace::command`]).
    pub fn start_command(&self, command: Command) -> Running {
        Running::start(command)
    }

    /// The manifest of the rehearsal.
    #[track_caller]
    pub fn manifest(&self) -> Manifest {
        let file = self.rehearsal("release-manifest.json");
        Manifest::from_json(&fs::read(file).unwrap()).unwrap()
    }

    /// The plan of the rehearsal.
    #[track_caller]
    pub fn plan(&self) -> Plan {
        Plan::from_json(&fs::read(self.rehearsal("plan.json")).unwrap()).unwrap()
    }

    /// The journal of the rehearsal, without a torn last line.
    #[track_caller]
    pub fn journal(&self) -> Vec<JournalEntry> {
        read_journal(&fs::read(self.rehearsal("journal.jsonl")).unwrap())
            .unwrap()
            .0
    }

    /// The `repodata.json` of a subdir of the rehearsal's channel.
    #[track_caller]
    pub fn repodata(&self, subdir: &str) -> Value {
        repodata(&self.rehearsal("channel"), subdir)
    }

    /// The names of the files in a folder, sorted; none if there is no folder.
    pub fn files(&self, folder: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The packages in a channel's or the rehearsal's own `noarch` folder.
    pub fn packages_in(&self, channel: impl AsRef<Path>) -> Vec<String> {
        let mut names = self.files(channel.as_ref().join("noarch"));
        names.retain(|name| name.ends_with(".conda"));
        names
    }

    /// `text` without what differs between runs: times, sizes, hashes and the folder.
    pub fn redact(&self, text: &str) -> String {
        redact(text, self.root.parent().unwrap_or(self.folder.path()))
    }

    /// Gives a process an environment in which nothing of this one's user, CI or network is left.
    fn scrub(&self, command: &mut Command) {
        command.env_clear();
        let kept = KEPT
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .envs(kept)
            .env("HOME", self.beside("home"))
            .env("RATTLER_CACHE_DIR", self.beside("cache"))
            .envs([("LC_ALL", "C.UTF-8"), ("TZ", "UTC"), ("NO_COLOR", "1")])
            .envs([
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
            ])
            .envs([
                ("ALL_PROXY", NOWHERE),
                ("HTTP_PROXY", NOWHERE),
                ("HTTPS_PROXY", NOWHERE),
            ])
            .env("NO_PROXY", "127.0.0.1,localhost");
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self::new()
    }
}

/// The `repodata.json` of a subdir of a channel folder.
#[track_caller]
pub fn repodata(channel: &Path, subdir: &str) -> Value {
    let file = channel.join(subdir).join("repodata.json");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The text of a `noarch` recipe.
fn noarch(name: &str, lines: &[&str], rest: &str) -> String {
    let script: String = lines
        .iter()
        .map(|line| format!("    - {}\n", Value::from(*line)))
        .collect();
    format!(
        "package:\n  name: {name}\n  version: 1.0.0\nbuild:\n  noarch: generic\n  script:\n{script}{rest}"
    )
}
