//! `schema`: print a JSON schema.

use clap::{Args, ValueEnum};

use crate::{error::Error, exit::Status, printer::Printer};

/// Print a JSON schema
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  conda-release schema manifest\n  conda-release schema predicate > predicate.schema.json"
)]
pub struct SchemaArgs {
    /// Which one
    #[arg(value_enum)]
    name: Name,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// The configuration file
    Config,
    /// The plan
    Plan,
    /// What `plan` prints: the plan, and what is done about each output
    Decisions,
    /// The release manifest
    Manifest,
    /// An entry of the journal
    Journal,
    /// Which job builds what of a plan
    Shards,
    /// CEP-27's predicate
    Predicate,
}

impl SchemaArgs {
    /// Prints the schema on stdout, whatever the output format: it is JSON.
    pub(crate) fn run(self, printer: &Printer) -> Result<Status, Error> {
        use release_manifest::{SchemaName, schema};
        let text = match self.name {
            Name::Predicate => cep27::PREDICATE_SCHEMA.to_owned(),
            Name::Config => format!("{:#}", crate::config::schema()),
            Name::Plan => format!("{:#}", schema(SchemaName::Plan)),
            Name::Decisions => format!("{:#}", schema(SchemaName::Decisions)),
            Name::Manifest => format!("{:#}", schema(SchemaName::Manifest)),
            Name::Journal => format!("{:#}", schema(SchemaName::Journal)),
            Name::Shards => format!("{:#}", schema(SchemaName::Shards)),
        };
        let text = format!("{}\n", text.trim_end());
        printer.raw(text.as_bytes())?;
        Ok(Status::Done)
    }
}
