//! `validate`: the rules of CEP-27 against documents.

use std::{
    io,
    path::{Path, PathBuf},
};

use cep27::{Document, JSON_LIMIT, validate_document};
use clap::Args;
use serde::Serialize;

use crate::{
    error::Error,
    exit::Status,
    foreign::harmless,
    input,
    printer::{OutputFormat, Printer},
};

/// Check statements, predicates, bundles and sidecars against the rules of CEP-27
///
/// Reports every violation with its rule and JSON pointer. It looks at what is attested, not at who
/// attests it: that is `verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release validate statement.json
  conda-release validate target/conda-release/rehearsal/packages/*/*.sigstore.json
  conda-release validate - < statement.json")]
pub struct ValidateArgs {
    /// A statement, predicate, DSSE envelope, bundle or sidecar; `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    documents: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    file: String,
    valid: bool,
    document: Document,
}

impl ValidateArgs {
    /// Validates every file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn run(self, printer: &Printer) -> Result<Status, Error> {
        let documents = self
            .files
            .iter()
            .map(|file| validate(file))
            .collect::<Result<Vec<_>, Error>>()?;
        let status = match documents.iter().all(|entry| entry.valid) {
            true => Status::Done,
            false => Status::Cep27,
        };
        if printer.format() == OutputFormat::Human {
            for entry in &documents {
                printer.result(&lines(entry))?;
            }
        }
        let report = Report {
            schema_version: 1,
            documents,
        };
        printer.json(&report)?;
        Ok(status)
    }
}

fn validate(file: &Path) -> Result<Entry, Error> {
    let bytes = match file == Path::new("-") {
        true => input::read_from(io::stdin().lock(), JSON_LIMIT)
            .map_err(Error::output("read", "standard input"))?,
        false => input::read(file, JSON_LIMIT)?,
    };
    let document = validate_document(&bytes);
    Ok(Entry {
        file: file.display().to_string(),
        valid: document.violations.is_empty(),
        document,
    })
}

fn lines(entry: &Entry) -> String {
    let mark = if entry.valid { "✓" } else { "✗" };
    let mut lines = vec![format!(
        "{mark} {} ({})",
        harmless(&entry.file),
        entry.document.kind
    )];
    lines.extend(
        entry
            .document
            .violations
            .iter()
            .map(|violation| format!("    {violation}")),
    );
    lines.join("\n")
}
