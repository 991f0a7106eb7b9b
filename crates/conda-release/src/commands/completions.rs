//! `completions`: what a shell completes.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, error::Error, exit::Status, printer::Printer};

/// Print what a shell needs to complete the command line
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release completions bash > ~/.local/share/bash-completion/completions/conda-release
  conda-release completions zsh > \"${fpath[1]}/_conda-release\"
  conda-release completions fish > ~/.config/fish/completions/conda-release.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the script on stdout, whatever the output format: it is for a shell.
    pub(crate) fn run(self, printer: &Printer) -> Result<Status, Error> {
        let mut command = shown();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        printer.raw(&script)?;
        Ok(Status::Done)
    }
}

/// The command line without what is hidden, which some shells would complete all the same.
fn shown() -> clap::Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|it| !it.is_hide_set());
    clap::Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .propagate_version(true)
        .args(all.get_arguments().cloned())
        .subcommands(shown.cloned())
}
