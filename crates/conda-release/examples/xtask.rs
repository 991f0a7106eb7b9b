//! A monorepo's `cargo xtask`, with a command of its own beside those of conda-release.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use conda_release::cli::{Cli, Command, GlobalArgs};

/// The tasks of this repository
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Xtask {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
#[expect(clippy::large_enum_variant, reason = "it is made once")]
enum Task {
    /// Remove what releases and rehearsals have written
    Clean,
    #[command(flatten)]
    Release(Command),
}

fn main() -> ExitCode {
    let Xtask { global, task } = Xtask::parse();
    match task {
        Task::Clean => match std::fs::remove_dir_all("target/conda-release") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Task::Release(command) => Cli { global, command }.run(),
    }
}
