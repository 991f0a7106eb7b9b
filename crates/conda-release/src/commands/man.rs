//! `man`: the manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use fs_err as fs;
use serde::Serialize;

use crate::{cli::Cli, error::Error, exit::Status, printer::Printer};

/// Print the manual page, or write those of all commands into a folder
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release man | man -l -
  conda-release man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Where the pages are written; without it, that of the program itself goes to stdout
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    pages: Vec<PathBuf>,
}

impl ManArgs {
    /// Prints one page on stdout, whatever the output format, or names those that it has written.
    pub(crate) fn run(self, printer: &Printer) -> Result<Status, Error> {
        let command = Cli::command().disable_help_subcommand(true);
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            let rendered = Man::new(command).render(&mut page);
            rendered.map_err(Error::output("write", "stdout"))?;
            printer.raw(&page)?;
            return Ok(Status::Done);
        };
        fs::create_dir_all(&folder).map_err(Error::output("create", &folder))?;
        let mut pages = Vec::new();
        write(command, &folder, &mut pages)?;
        let list: Vec<String> = pages.iter().map(|it| it.display().to_string()).collect();
        printer.result(&list.join("\n"))?;
        printer.json(&Document {
            schema_version: 1,
            pages,
        })?;
        Ok(Status::Done)
    }
}

/// Writes the page of a command, and those of its subcommands that are shown.
fn write(mut command: clap::Command, folder: &Path, pages: &mut Vec<PathBuf>) -> Result<(), Error> {
    command.build();
    let page = Man::new(command.clone())
        .generate_to(folder)
        .map_err(Error::output("write", folder))?;
    pages.push(page);
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
    for subcommand in shown.cloned() {
        write(subcommand, folder, pages)?;
    }
    Ok(())
}
