//! A place in a recipe's script where it waits for the test.

use std::{path::PathBuf, process::Command, sync::mpsc, thread, time::Duration};

use fs_err as fs;

use crate::workspace::Workspace;

/// Only for a test that fails: nothing is timed by it.
const TOO_LONG: Duration = Duration::from_secs(120);

/// A place in a recipe's script where it waits for the test: two named pipes, no sleeping.
pub struct Gate {
    reached: PathBuf,
    open: PathBuf,
}

impl Gate {
    /// A gate beside the workspace.
    pub fn new(workspace: &Workspace, name: &str) -> Self {
        let gate = Self {
            reached: workspace.beside(&format!("{name}.reached")),
            open: workspace.beside(&format!("{name}.open")),
        };
        let made = Command::new("mkfifo")
            .args([&gate.reached, &gate.open])
            .status();
        assert!(made.expect("mkfifo").success());
        gate
    }

    /// The line of a script that waits at the gate.
    pub fn line(&self) -> String {
        let Self { reached, open } = self;
        format!(
            "echo reached > '{}' && read -r _ < '{}'",
            reached.display(),
            open.display()
        )
    }

    /// Waits until a script has reached the gate.
    pub fn wait(&self) {
        let (sender, receiver) = mpsc::channel();
        let path = self.reached.clone();
        // Nobody may ever come: then this thread waits for the end of the test's process.
        thread::spawn(move || sender.send(fs::read_to_string(path)));
        let line = receiver
            .recv_timeout(TOO_LONG)
            .expect("the script never reached the gate");
        assert_eq!(line.unwrap(), "reached\n");
    }

    /// Lets the script that waits at the gate go on.
    pub fn open(&self) {
        fs::write(&self.open, "go\n").unwrap();
    }
}
