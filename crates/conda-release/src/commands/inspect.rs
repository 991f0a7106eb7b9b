//! `inspect`: what an attestation says.

use std::path::{Path, PathBuf};

use clap::Args;
use conda_attest::{Inspection, bundles_in, inspect, read_bundle};
use release_manifest::{DOCUMENT_LIMIT, Manifest};
use serde::Serialize;

use super::verify::beside;
use crate::{
    error::Error,
    exit::Status,
    foreign::harmless,
    input,
    printer::{OutputFormat, Printer},
};

/// Show what an attestation says
///
/// Reads, and proves nothing: that is `verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release inspect foo-1.0-0.conda
  conda-release inspect foo-1.0-0.conda.sigstore.json
  conda-release inspect target/conda-release/rehearsal/release-manifest.json --output-format json")]
pub struct InspectArgs {
    /// Bundles, packages with a bundle beside them, or a release manifest
    #[arg(value_name = "BUNDLE|PACKAGE|MANIFEST", required = true)]
    targets: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    attestations: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    file: String,
    says: Inspection,
}

impl InspectArgs {
    /// Shows every attestation.
    ///
    /// # Errors
    /// A file that cannot be read, or is no bundle.
    pub(crate) fn run(self, printer: &Printer) -> Result<Status, Error> {
        let mut attestations = Vec::new();
        for target in &self.targets {
            for file in bundle_files(target)? {
                let bundles = bundles_in(&read_bundle(&file)?).map_err(Error::no_bundle(&file))?;
                for bundle in bundles {
                    let says = inspect(&bundle).map_err(Error::no_bundle(&file))?;
                    attestations.push(Entry {
                        file: file.display().to_string(),
                        says,
                    });
                }
            }
        }
        if printer.format() == OutputFormat::Human {
            let shown: Vec<String> = attestations.iter().map(lines).collect();
            printer.result(&shown.join("\n\n"))?;
        }
        let report = Report {
            schema_version: 1,
            attestations,
        };
        printer.json(&report)?;
        Ok(Status::Done)
    }
}

/// The files with bundles that a target names.
fn bundle_files(target: &Path) -> Result<Vec<PathBuf>, Error> {
    let name = target
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    if name.parse::<cep27::FileName>().is_ok() {
        return Ok(vec![beside(target)]);
    }
    let is_bundle = name.ends_with(".sigstore.json") || !name.ends_with(".json");
    let bytes = input::read(target, DOCUMENT_LIMIT)?;
    let looks_like_manifest = |value: &serde_json::Value| value.get("plan_digest").is_some();
    if is_bundle || !serde_json::from_slice(&bytes).is_ok_and(|value| looks_like_manifest(&value)) {
        return Ok(vec![target.to_owned()]);
    }
    let manifest = Manifest::from_json(&bytes).map_err(Error::state(target))?;
    let folder = target.parent().unwrap_or(Path::new(""));
    let attestations = manifest
        .packages()
        .iter()
        .filter_map(|package| package.attestation.as_ref());
    Ok(attestations
        .map(|attestation| attestation.bundle.under(folder))
        .collect())
}

/// One attestation as a person reads it.
fn lines(entry: &Entry) -> String {
    let Entry { file, says } = entry;
    let mut said: Vec<(String, String)> = Vec::new();
    let mut say = |name: &str, value: &str| said.push((harmless(name), harmless(value)));
    let subject = &says.statement["subject"][0];
    say("package", subject["name"].as_str().unwrap_or("(none)"));
    say(
        "sha256",
        subject["digest"]["sha256"].as_str().unwrap_or("(none)"),
    );
    say(
        "predicate",
        says.statement["predicateType"].as_str().unwrap_or("(none)"),
    );
    say(
        "for channel",
        says.statement["predicate"]["targetChannel"]
            .as_str()
            .unwrap_or("(none)"),
    );
    say("signed by", says.identity.as_deref().unwrap_or("(nobody)"));
    say(
        "vouched for by",
        says.issuer.as_deref().unwrap_or("(nobody)"),
    );
    for (claim, value) in &says.claims {
        say(claim, value);
    }
    let (from, until) = (says.certificate_not_before, says.certificate_not_after);
    say("certificate", &format!("{from} to {until}"));
    for time in &says.times {
        say("time", &format!("{} ({})", time.time, time.source));
    }
    for entry in &says.log_entries {
        let origin = entry.origin.as_deref().unwrap_or(&entry.log_id);
        say(
            "log entry",
            &format!("{} in {origin} ({})", entry.index, entry.kind),
        );
    }
    say("bundle", &says.media_type);
    for (name, link) in &says.links {
        say(name, link);
    }
    let width = said.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = vec![harmless(file)];
    lines.extend(
        said.iter()
            .map(|(name, value)| format!("  {name:>width$}  {value}")),
    );
    lines.join("\n")
}
