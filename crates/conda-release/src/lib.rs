//! One command from conda recipes to a published, attested channel.
//!
//! A monorepo's own `xtask` needs three lines:
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     conda_release::main()
//! }
//! ```
//!
//! With commands of its own it parses its command line itself, and hands on what is ours. Ours stand
//! at the top of the command line, since a release runs its own program again as `… __worker`:
//!
#![doc = "```no_run"]
#![doc = include_str!("../examples/xtask.rs")]
#![doc = "```"]
//!
//! `conda-release init` writes the xtask, as a workspace of its own: what it is built of stays out of
//! the monorepo's lockfile.
//!
//! The phases of a release stand in `pipeline`; what they do is done by the crates below. This
//! crate decides what to say of it, and where.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod actions;
mod attesting;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod exit;
mod foreign;
mod git;
mod glob;
mod guard;
mod identity;
mod input;
mod interrupt;
mod kept_packages;
mod live;
mod output;
mod person;
mod pipeline;
pub mod printer;
mod progress;
mod release;
mod report;
mod run;
mod secret;
mod shards;
mod shown;
mod since;
mod source;
mod table;
mod target;
mod tool;
mod workspace;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::{
    CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue},
};
use tracing_subscriber::EnvFilter;

use crate::{
    cli::{Cli, Command},
    error::Error,
    exit::Status,
    printer::{ColorChoice, OutputFormat, Printer, Traces, Verbosity},
    secret::veiled,
    shown::Shown,
    workspace::Workspace,
};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    main_with_args(std::env::args_os())
}

/// Runs a command line, whose first element is the program's name.
pub fn main_with_args(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let invocation = invocation(&args);
    // `cargo conda-release …` runs `cargo-conda-release conda-release …`.
    if args.get(1).is_some_and(|arg| arg == "conda-release") {
        args.remove(1);
    }
    let asks_for_json = asks_for_json(&args);
    let command = Cli::command().bin_name(invocation.clone());
    let cli = match command
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => return not_run(error, asks_for_json).into(),
    };
    cli.run_as(&invocation)
}

impl Cli {
    /// Runs the command, and says what comes of it, also when it fails.
    pub fn run(self) -> ExitCode {
        let args: Vec<OsString> = std::env::args_os().take(1).collect();
        self.run_as(&invocation(&args))
    }

    /// Runs the command of a program that was called as `invocation`.
    fn run_as(self, invocation: &str) -> ExitCode {
        if matches!(self.command, Command::Worker) {
            return conda_recipes::worker::serve();
        }
        let printer = Printer::new(
            self.global.output_format,
            self.global.color,
            self.global.verbosity(),
        );
        if self.global.verbose > 1 {
            let runner = printer.runner();
            trace(Traces { runner });
        }
        let status =
            run(self, invocation, &printer).unwrap_or_else(|error| report(&error, &printer));
        if let Some(actions) = printer.actions() {
            actions.tell_end(status, &printer);
        }
        status.into()
    }
}

/// Runs one command to its end.
fn run(cli: Cli, invocation: &str, printer: &Printer) -> Result<Status, Error> {
    let workspace = || Workspace::find(&cli.global);
    match cli.command {
        Command::Release(args) => {
            let (workspace, mode) = (workspace()?, args.mode());
            let result = block_on(args.run(&workspace, invocation, printer));
            if matches!(result, Err(Error::Interrupted(_))) {
                report::leave_as_recorded(&workspace, mode, printer);
            }
            result
        }
        Command::Plan(args) => block_on(args.run(&workspace()?, printer)),
        Command::Build(args) => block_on(args.run(&workspace()?, printer)),
        Command::Sign(args) if args.keeps_no_state() => {
            block_on(args.run(&Workspace::find_or_here(&cli.global)?, printer))
        }
        Command::Sign(args) => block_on(args.run(&workspace()?, printer)),
        Command::Publish(args) => block_on(args.run(&workspace()?, printer)),
        Command::Verify(args) => block_on(args.run(&cli.global, printer)),
        Command::Inspect(args) => args.run(printer),
        Command::Validate(args) => args.run(printer),
        Command::Schema(args) => args.run(printer),
        Command::Merge(args) => args.run(&workspace()?, printer),
        Command::Init(args) => args.run(&workspace()?, &cli.global, invocation, printer),
        Command::Doctor(args) => block_on(args.run(&cli.global, printer)),
        Command::Completions(args) => args.run(printer),
        Command::Man(args) => args.run(printer),
        Command::Worker => Ok(Status::Done),
    }
}

/// Runs the future of a command; a signal ends it.
fn block_on(command: impl Future<Output = Result<Status, Error>>) -> Result<Status, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::output("start", "the runtime"))?;
    let result = runtime.block_on(interrupt::or_interrupted(command));
    runtime.shutdown_background();
    result
}

/// Says what went wrong: on stderr for a person, who also reads the log of a script, and on stdout for the script.
fn report(error: &Error, printer: &Printer) -> Status {
    let shown = Shown::from(error);
    printer.error(&shown.render());
    if let Some(actions) = printer.actions() {
        actions.tell_error(&shown, printer);
    }
    // A closed stdout leaves the exit status to tell.
    let _printed = printer.json(&error.document());
    error.status()
}

/// Answers a command line that runs nothing: a wrong one, or one that asks for help or the version.
fn not_run(mut error: clap::Error, asks_for_json: bool) -> Status {
    for kind in [ContextKind::InvalidValue, ContextKind::InvalidArg] {
        if let Some(ContextValue::String(text)) = error.get(kind) {
            let text = veiled(text);
            error.insert(kind, ContextValue::String(text));
        }
    }
    if !error.use_stderr() {
        // A closed stream leaves nobody to tell.
        let _printed = error.print();
        return Status::Done;
    }
    let printer = Printer::new(OutputFormat::Human, ColorChoice::Auto, Verbosity::Normal);
    match printer.actions() {
        // A word of the command line may be a command of the runner.
        Some(_) => printer.error(&error.render().to_string()),
        None => {
            let _printed = error.print();
        }
    }
    if asks_for_json {
        let text = error.render().to_string();
        let message = text.lines().next().unwrap_or_default();
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let printer = Printer::new(OutputFormat::Json, ColorChoice::Never, Verbosity::Quiet);
        let _printed = printer.json(&Error::Usage(message.to_owned()).document());
    }
    Status::Usage
}

/// Whether a command line asks for JSON, for when it cannot be understood as a whole.
fn asks_for_json(args: &[OsString]) -> bool {
    let follows = args
        .windows(2)
        .any(|pair| pair[0] == "--output-format" && pair[1] == "json");
    let is_set = std::env::var_os("CONDA_RELEASE_OUTPUT_FORMAT");
    follows
        || args.iter().any(|arg| arg == "--output-format=json")
        || is_set.is_some_and(|format| format == "json")
}

/// How the program was called, for the commands it suggests.
fn invocation(args: &[OsString]) -> String {
    let name = args
        .first()
        .map(Path::new)
        .and_then(Path::file_stem)
        .and_then(|name| name.to_str());
    match name {
        Some("xtask") => "cargo xtask".to_owned(),
        Some("cargo-conda-release") => "cargo conda-release".to_owned(),
        Some(name) => name.to_owned(),
        None => "conda-release".to_owned(),
    }
}

/// Shows what the libraries trace, for `-vv` and `RUST_LOG`.
fn trace(traces: Traces) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A host program may have set a subscriber of its own: then it decides.
    let _set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || traces)
        .try_init();
}
