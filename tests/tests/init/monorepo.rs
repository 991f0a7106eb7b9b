//! A Cargo workspace that nobody has told about conda yet.

use std::{env, ffi::OsStr, path::PathBuf, process::Command};

use end_to_end::{Output, Workspace};
use fs_err as fs;

pub(crate) struct Monorepo(pub(crate) Workspace);

impl Monorepo {
    /// A git repository with an empty Cargo workspace.
    pub(crate) fn new() -> Self {
        let workspace = Workspace::new();
        fs::remove_file(workspace.path("conda-release.toml")).unwrap();
        workspace.write(
            "Cargo.toml",
            "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n",
        );
        Self(workspace)
    }

    /// One with two programs, `left` and `right`.
    pub(crate) fn with_two_programs() -> Self {
        let monorepo = Self::new();
        monorepo.program("crates/left", "left", "");
        monorepo.program("crates/right", "right", "");
        monorepo
    }

    /// Adds a member with a program of its name, to whose `[package]` the lines of `rest` are added.
    pub(crate) fn program(&self, folder: &str, name: &str, rest: &str) -> &Self {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.2.3\"\nedition = \"2024\"\nlicense = \"MIT OR Apache-2.0\"\ndescription = \"The program {name}\"\n{rest}"
        );
        self.0.write(format!("{folder}/Cargo.toml"), &manifest);
        let main = "fn main() {\n    println!(env!(\"CARGO_PKG_NAME\"));\n}\n";
        self.0.write(format!("{folder}/src/main.rs"), main);
        self
    }

    /// The program, with the Rust of the one who runs the tests and no network.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.0.command(args);
        with_rust(&mut command);
        command
    }

    /// Runs the program.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.0.run_command(self.command(args))
    }

    /// The text of a file.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.0.path(path)).unwrap()
    }

    /// Every file that git sees, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let list = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let listed = self.0.git(&list);
        let mut files: Vec<String> = listed.split_terminator('\0').map(str::to_owned).collect();
        files.sort();
        files
    }
}

/// Gives a command the Rust and the downloaded crates of the one who runs the tests.
pub(crate) fn with_rust(command: &mut Command) {
    let home = env::home_dir().unwrap();
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let folder = env::var_os(name).map_or_else(|| home.join(folder), PathBuf::from);
        command.env(name, folder);
    }
    command.env("CARGO_NET_OFFLINE", "true");
}
