//! The command line. Its types are public, so that a monorepo's own `xtask` can add commands beside ours.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{
    commands::{
        build::BuildArgs, completions::CompletionsArgs, doctor::DoctorArgs, init::InitArgs,
        inspect::InspectArgs, man::ManArgs, merge::MergeArgs, plan::PlanArgs, publish::PublishArgs,
        release::ReleaseArgs, schema::SchemaArgs, sign::SignArgs, validate::ValidateArgs,
        verify::VerifyArgs,
    },
    printer::{ColorChoice, OutputFormat, Verbosity},
};

pub use crate::pipeline::{BuildFlags, PlanFlags, SelectionFlags};

/// From conda recipes to a published channel in which every package carries an attestation that anyone can verify.
#[derive(Debug, Parser)]
#[command(
    name = "conda-release",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = EXIT_STATUS,
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "\
Exit status: 0 done · 1 unexpected · 2 usage · 3 configuration or preflight · 4 build or test ·
5 CEP-27 violation · 6 signing · 7 verification · 8 publishing · 9 incomplete though nothing failed
(running again continues) · 130/143 interrupted. When several apply, the earliest phase wins.";

/// What holds for every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The workspace; found upwards from the current folder by default
    #[arg(long, global = true, value_name = "DIR", env = "CONDA_RELEASE_ROOT")]
    pub root: Option<PathBuf>,

    /// The configuration file instead of `conda-release.toml`
    #[arg(long, global = true, value_name = "FILE", env = "CONDA_RELEASE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where everything is written, relative to the workspace
    #[arg(long, global = true, value_name = "DIR", env = "CONDA_RELEASE_OUTPUT")]
    pub output: Option<PathBuf>,

    /// What stdout carries: text, or one JSON document
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        env = "CONDA_RELEASE_OUTPUT_FORMAT"
    )]
    pub output_format: OutputFormat,

    /// Say less: only errors and warnings
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// When stderr and stdout are coloured
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        env = "CONDA_RELEASE_COLOR"
    )]
    pub color: ColorChoice,
}

impl GlobalArgs {
    /// How much is said on stderr.
    pub fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, _) => Verbosity::Verbose,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(
    missing_docs,
    reason = "a command is described where its arguments are, and that is its help"
)]
pub enum Command {
    Release(ReleaseArgs),
    Plan(PlanArgs),
    Build(BuildArgs),
    Sign(SignArgs),
    Publish(PublishArgs),
    Verify(VerifyArgs),
    Inspect(InspectArgs),
    Validate(ValidateArgs),
    Schema(SchemaArgs),
    Merge(MergeArgs),
    Init(InitArgs),
    Doctor(DoctorArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    /// The process that renders, builds and tests recipes
    #[command(hide = true, name = "__worker")]
    Worker,
}
