//! Commands that are part of the design and not of this version.

use clap::Args;

use crate::error::Error;

/// Whatever is given: the answer does not depend on it.
#[derive(Args, Debug)]
pub struct LaterArgs {
    /// Ignored
    #[arg(hide = true)]
    rest: Vec<String>,

    /// Ignored
    #[arg(long, hide = true)]
    check: bool,
}

impl LaterArgs {
    /// Says that the command cannot be had yet, and what does its work until then.
    pub(crate) fn run(self, command: &str, instead: &'static str) -> Error {
        let target = match self.rest.is_empty() {
            true => "this version".to_owned(),
            false => format!("`{}` in this version", self.rest.join(" ")),
        };
        Error::NotAvailable {
            what: format!("`{command}`"),
            target,
            instead,
        }
    }
}
