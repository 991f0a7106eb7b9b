//! `inspect`: what an attestation says.

use std::path::{Path, PathBuf};

use clap::Args;
use conda_attest::{Inspection, bundles_in, inspect, read_bundle};
use release_manifest::{DOCUMENT_LIMIT, Manifest};
use serde::Serialize;
use serde_json::Value;

use super::verify::{all_beside, beside};
use crate::{
    error::Error,
    exit::Status,
    foreign::harmless,
    input,
    printer::{OutputFormat, Printer},
};

/// Show what an attestation says
///
/// Who signed with which workflow, at which commit, when by which clocks, and where to look further.
/// Reads, and proves nothing: that is `verify`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release inspect foo-1.0-0.conda
  conda-release inspect foo-1.0-0.conda.sigstore.json
  conda-release inspect target/conda-release/rehearsal/release-manifest.json --output-format json")]
pub struct InspectArgs {
    /// Bundles or sidecars, packages with some beside them, or a release manifest
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
        let beside_it = all_beside(target);
        return Ok(match beside_it.is_empty() {
            true => vec![beside(target)],
            false => beside_it,
        });
    }
    let is_bundle = name.ends_with(".sigstore.json") || !name.ends_with(".json");
    let bytes = input::read(target, DOCUMENT_LIMIT)?;
    let looks_like_manifest = |value: &Value| value.get("plan_digest").is_some();
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
        .flat_map(|attestation| {
            let provenance = attestation.provenance.iter();
            let provenance = provenance.map(|provenance| &provenance.bundle);
            std::iter::once(&attestation.bundle).chain(provenance)
        })
        .map(|bundle| bundle.under(folder))
        .collect())
}

/// What people call the claims of a certificate, in the order in which they are of interest.
pub(crate) const CLAIMS: [(&str, &str); 16] = [
    ("source_repository_uri", "repository"),
    ("source_repository_digest", "commit"),
    ("source_repository_ref", "ref"),
    ("build_config_uri", "workflow"),
    ("build_config_digest", "workflow commit"),
    ("build_signer_uri", "signer workflow"),
    ("build_signer_digest", "signer commit"),
    ("build_trigger", "trigger"),
    ("runner_environment", "runner"),
    ("deployment_environment", "environment"),
    ("run_invocation_uri", "run"),
    ("source_repository_visibility", "visibility"),
    ("source_repository_identifier", "repository id"),
    ("source_repository_owner_uri", "owner"),
    ("source_repository_owner_identifier", "owner id"),
    ("token_subject", "token subject"),
];

/// One attestation as a person reads it.
fn lines(entry: &Entry) -> String {
    let Entry { file, says } = entry;
    let mut said: Vec<(String, String)> = Vec::new();
    let mut say = |name: &str, value: &str| said.push((harmless(name), harmless(value)));
    let text = |value: &Value| value.as_str().unwrap_or("(none)").to_owned();
    let (subject, predicate) = (&says.statement["subject"][0], &says.statement["predicate"]);
    say("package", &text(&subject["name"]));
    say("sha256", &text(&subject["digest"]["sha256"]));
    say("predicate", &text(&says.statement["predicateType"]));
    match predicate.get("buildDefinition") {
        Some(built) => {
            say("built by", &text(&predicate["runDetails"]["builder"]["id"]));
            say("recipe", &text(&built["externalParameters"]["recipe"]));
            let sources = built["resolvedDependencies"].as_array();
            for source in sources.into_iter().flatten() {
                say("source", &text(&source["uri"]));
            }
        }
        None => say("for channel", &text(&predicate["targetChannel"])),
    }
    say("signed by", says.identity.as_deref().unwrap_or("(nobody)"));
    say(
        "vouched for by",
        says.issuer.as_deref().unwrap_or("(nobody)"),
    );
    let named = |claim: &str| CLAIMS.iter().find(|(name, _)| *name == claim);
    for (claim, name) in CLAIMS {
        if let Some(value) = says.claims.get(claim) {
            say(name, value);
        }
    }
    for (claim, value) in &says.claims {
        if named(claim).is_none() {
            say(claim, value);
        }
    }
    let (from, until) = (says.certificate_not_before, says.certificate_not_after);
    say("certificate", &format!("{from} to {until}"));
    for time in &says.times {
        let source = match time.source {
            "rfc3161" => "timestamp authority",
            "log" => "transparency log",
            other => other,
        };
        say("time", &format!("{} ({source})", time.time));
    }
    for entry in &says.log_entries {
        let origin = entry.origin.as_deref().unwrap_or(&entry.log_id);
        say(
            "log entry",
            &format!("{} in {origin} ({})", entry.index, entry.kind),
        );
    }
    say("bundle", &says.media_type);
    // A link that is a claim itself has been said.
    let is_claim = |url: &String| says.claims.values().any(|claim| claim == url);
    for (name, link) in says.links.iter().filter(|(_, link)| !is_claim(link)) {
        say(&format!("see {}", name.replace('_', " ")), link);
    }
    let width = said.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut lines = vec![harmless(file)];
    lines.extend(
        said.iter()
            .map(|(name, value)| format!("  {name:>width$}  {value}")),
    );
    lines.join("\n")
}
