//! `cep27-validate`: the CEP-27 rules from the command line. A thin shell over [`cep27`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use cep27::{Document, JSON_LIMIT, ascii_json, printable, validate_document};
use serde_json::{Value, json};

const HELP: &str = "\
Check CEP-27 publish attestations of conda packages

Usage: cep27-validate [--json] FILE...

Each FILE is a statement, a publish predicate, a DSSE envelope, a Sigstore bundle or a CEP-50
sidecar; which of them is found out. Every violation is printed, with the rule that is broken and
a JSON pointer to where. Signatures are not verified.

Arguments:
  FILE...    Files to check; `-` is standard input

Options:
  --json     Print one JSON document
  --help     Print this help
  --version  Print the version

Examples:
  cep27-validate libgreet-1.0.0-h123_0.conda.sigstore.json
  curl -s https://prefix.dev/my-channel/linux-64/libgreet-1.0.0-h123_0.conda.sigs | cep27-validate -

Exit status:
  0  every file is valid
  1  the report could not be written
  2  usage
  3  a file could not be read
  5  a rule is broken
";

/// Exit statuses, those of `conda-release`.
mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const UNEXPECTED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const UNREADABLE: u8 = 3;
    pub(crate) const VIOLATION: u8 = 5;
}

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let status = match Command::parse(std::env::args_os().skip(1)) {
        Ok(command) => command.run(&mut out, &mut err),
        Err(message) => writeln!(
            err,
            "error: {message}\n\nFor more, try `cep27-validate --help`."
        )
        .map(|()| exit::USAGE),
    };
    // Nobody is left to tell when writing failed: the reader has closed the pipe.
    ExitCode::from(status.unwrap_or(exit::UNEXPECTED))
}

/// What the command line asks for.
enum Command {
    Help,
    Version,
    Validate { files: Vec<OsString>, json: bool },
}

impl Command {
    fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut files, mut json, mut only_files) = (Vec::new(), false, false);
        for argument in arguments {
            match argument.to_str() {
                Some("--") if !only_files => only_files = true,
                Some("--help" | "-h") if !only_files => return Ok(Self::Help),
                Some("--version" | "-V") if !only_files => return Ok(Self::Version),
                Some("--json") if !only_files => json = true,
                Some(option) if !only_files && option.len() > 1 && option.starts_with('-') => {
                    return Err(format!("unexpected option `{}`", printable(option)));
                }
                _ => files.push(argument),
            }
        }
        if files.is_empty() {
            return Err("expected at least one file, found none".to_owned());
        }
        Ok(Self::Validate { files, json })
    }

    /// Does it, and returns the exit status.
    fn run(self, out: &mut impl Write, err: &mut impl Write) -> io::Result<u8> {
        match self {
            Self::Help => {
                out.write_all(HELP.as_bytes())?;
                Ok(exit::DONE)
            }
            Self::Version => {
                writeln!(out, "cep27-validate {}", env!("CARGO_PKG_VERSION"))?;
                Ok(exit::DONE)
            }
            Self::Validate { files, json } => {
                let results: Vec<Checked> = files.into_iter().map(Checked::of).collect();
                if json {
                    let files: Vec<Value> = results.iter().map(Checked::to_json).collect();
                    let report = json!({ "schema_version": 1, "files": files });
                    writeln!(out, "{}", ascii_json(&report)?)?;
                } else {
                    results
                        .iter()
                        .try_for_each(|result| result.print(out, err))?;
                }
                // As everywhere in conda-release, of several causes the earliest phase wins.
                let statuses = results.iter().map(Checked::status);
                Ok(statuses
                    .filter(|status| *status != exit::DONE)
                    .min()
                    .unwrap_or(exit::DONE))
            }
        }
    }
}

/// A file and what came of it.
struct Checked {
    file: String,
    result: io::Result<Document>,
}

impl Checked {
    fn of(file: OsString) -> Self {
        let result = if file == "-" {
            read(io::stdin())
        } else {
            File::open(&file).and_then(read)
        };
        Self {
            file: file.to_string_lossy().into_owned(),
            result: result.map(|bytes| validate_document(&bytes)),
        }
    }

    fn status(&self) -> u8 {
        match &self.result {
            Ok(document) if document.violations.is_empty() => exit::DONE,
            Ok(_) => exit::VIOLATION,
            Err(_) => exit::UNREADABLE,
        }
    }

    fn to_json(&self) -> Value {
        match &self.result {
            Ok(document) => json!({
                "file": self.file,
                "kind": document.kind,
                "valid": document.violations.is_empty(),
                "violations": document.violations,
                "statements": document.statements,
            }),
            Err(error) => json!({ "file": self.file, "error": error.to_string() }),
        }
    }

    fn print(&self, out: &mut impl Write, err: &mut impl Write) -> io::Result<()> {
        let file = printable(&self.file);
        let document = match &self.result {
            Ok(document) => document,
            Err(error) => return writeln!(err, "error: {file} could not be read: {error}"),
        };
        match document.violations.len() {
            0 => writeln!(out, "{file}: {}, valid", document.kind)?,
            1 => writeln!(out, "{file}: {}, 1 violation", document.kind)?,
            count => writeln!(out, "{file}: {}, {count} violations", document.kind)?,
        }
        for violation in &document.violations {
            writeln!(out, "  {violation}")?;
            if let Some(explanation) = &violation.explanation {
                writeln!(out, "    note: {explanation}")?;
            }
        }
        for statement in &document.statements {
            let channel = statement
                .target_channel
                .as_deref()
                .map_or("any channel".into(), printable);
            writeln!(out, "  {} for {channel}", statement.file)?;
        }
        Ok(())
    }
}

/// Reads no more than tells that a document is too large.
fn read(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(JSON_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
