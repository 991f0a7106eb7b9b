//! What came of verifying, as it comes for a person and at the end for a script.

use cep27::{FileName, Rule};
use conda_attest::{Outcome, Predicate, Trust, Verdict};
use serde::Serialize;

use super::release::Release;
use crate::{
    commands::policy::Origin,
    error::{Error, with_causes},
    exit::Status,
    foreign::harmless,
    printer::{OutputFormat, Printer},
    table::table,
};

/// What came of verifying.
pub(super) struct Report<'a> {
    printer: &'a Printer,
    document: Document,
    rows: Vec<[String; 4]>,
    status: Status,
    verified: usize,
    count: usize,
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    trust: String,
    freshness: Freshness,
    rehearsal: bool,
    policy: Origin,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    releases: Vec<Release>,
    packages: Vec<Entry>,
}

/// How old the trust material is.
#[derive(Serialize)]
struct Freshness {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// What came of one package.
#[derive(Serialize)]
pub(super) struct Entry {
    /// Its file name; absent for a record of a channel that names no package.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileName>,
    /// Its path or URL.
    path: String,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    attestations: Vec<Verdict>,
}

/// Why there is no verdict, or none that is enough.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    /// A stable name for scripts.
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    /// There is no attestation.
    pub(super) fn none(message: impl Into<String>) -> Self {
        Self {
            code: "no_attestation".to_owned(),
            message: message.into(),
        }
    }

    /// A package or its attestations cannot be had from a channel.
    pub(super) fn of(error: &conda_publish::Error) -> Self {
        Self {
            code: error.code().to_owned(),
            message: with_causes(error),
        }
    }
}

impl Entry {
    pub(super) fn new(
        file: Option<FileName>,
        path: String,
        outcome: Result<Vec<Verdict>, Failure>,
    ) -> Self {
        let (attestations, error) = match outcome {
            Ok(attestations) => (attestations, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let verified = attestations.iter().any(Verdict::verifies_package);
        let only_built = !verified && attestations.iter().any(Verdict::passed);
        Self {
            file,
            path,
            verified,
            error: error.or_else(|| only_built.then(only_provenance)),
            attestations,
        }
    }

    /// A package whose attestations break the rules of CEP-27 and are good otherwise is that
    /// rather than unverified. An attestation of something else (rule 8) is no attestation of it.
    fn status(&self) -> Status {
        let only_breaks_rules = |verdict: &Verdict| {
            let mut failed = verdict
                .checks
                .iter()
                .filter(|check| matches!(check.result, Outcome::Failed { .. }));
            let mut violations = verdict.violations.iter();
            violations.any(|violation| violation.rule != Rule::Match)
                && failed.all(|check| check.code == "statement")
        };
        match self.verified {
            true => Status::Done,
            false if self.attestations.iter().any(only_breaks_rules) => Status::Cep27,
            false => Status::Verify,
        }
    }

    /// ✓ or ✗, with every check that failed; where there are several attestations, what each is.
    fn lines(&self) -> String {
        let mut lines = vec![format!("{} {}", mark(self.verified), harmless(&self.path))];
        if let Some(Failure { message, .. }) = &self.error {
            lines.push(format!("    {}", harmless(message)));
        }
        match self.attestations.as_slice() {
            [verdict] => lines.extend(failures(verdict, "    ")),
            several => {
                for verdict in several {
                    let by = verdict
                        .signed
                        .as_ref()
                        .map(|signed| format!(", signed by {}", harmless(&signed.identity)));
                    lines.push(format!(
                        "    {} {}{}",
                        mark(verdict.passed()),
                        kind(verdict.predicate),
                        by.unwrap_or_default()
                    ));
                    lines.extend(failures(verdict, "        "));
                }
            }
        }
        lines.join("\n")
    }

    /// Package, signer, time and channel, of a package that is verified.
    fn row(&self) -> Option<[String; 4]> {
        let proof = self.attestations.iter().find(|it| it.verifies_package())?;
        let signed = proof.signed.as_ref()?;
        let channel = signed.target_channel.clone();
        Some([
            self.file.as_ref()?.to_string(),
            signed.identity.clone(),
            signed.signed_at.to_string(),
            channel.unwrap_or_else(|| "(none)".to_owned()),
        ])
    }
}

impl<'a> Report<'a> {
    /// Says under whose trust and by which policy.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(super) fn begin(
        trust: &Trust,
        policy: Origin,
        printer: &'a Printer,
    ) -> Result<Self, Error> {
        if trust.is_sandbox() {
            printer.result("REHEARSAL: signed by a sandbox on somebody's machine, which proves nothing to others\n")?;
        }
        printer.result(&format!(
            "policy: {policy}, under the trust of `{}`",
            harmless(trust.name())
        ))?;
        let freshness = trust.freshness();
        Ok(Self {
            printer,
            document: Document {
                schema_version: 1,
                trust: trust.name().to_owned(),
                freshness: Freshness {
                    code: freshness.code(),
                    as_of: freshness.as_of().map(|time| time.to_string()),
                    why: freshness.why().map(str::to_owned),
                },
                rehearsal: trust.is_sandbox(),
                policy,
                releases: Vec::new(),
                packages: Vec::new(),
            },
            rows: Vec::new(),
            status: Status::Done,
            verified: 0,
            count: 0,
        })
    }

    /// Takes what came of a release as a whole; its packages are told of by themselves.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(super) fn release(&mut self, release: Release) -> Result<(), Error> {
        self.status = self.status.and(release.status());
        self.printer.result(&release.lines())?;
        self.document.releases.push(release);
        Ok(())
    }

    /// Takes what came of one package.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Error> {
        self.status = self.status.and(entry.status());
        self.verified += usize::from(entry.verified);
        self.count += 1;
        match self.printer.format() {
            OutputFormat::Json => {
                self.document.packages.push(entry);
                Ok(())
            }
            OutputFormat::Human => {
                self.rows.extend(entry.row());
                self.printer.result(&entry.lines())
            }
        }
    }

    /// Says who signed what, and how many were verified.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(super) fn end(self) -> Result<Status, Error> {
        if !self.rows.is_empty() {
            self.printer.result(&format!(
                "\n{}",
                table(&["PACKAGE", "SIGNED BY", "AT", "FOR CHANNEL"], self.rows)
            ))?;
        }
        self.printer
            .result(&format!("\n{} of {} verified", self.verified, self.count))?;
        self.printer.json(&self.document)?;
        Ok(self.status)
    }
}

pub(super) fn failures<'a>(
    verdict: &'a Verdict,
    margin: &'a str,
) -> impl Iterator<Item = String> + 'a {
    verdict.checks.iter().filter_map(move |check| {
        let Outcome::Failed { message, .. } = &check.result else {
            return None;
        };
        Some(format!("{margin}{}: {}", check.name, harmless(message)))
    })
}

fn only_provenance() -> Failure {
    Failure {
        code: "no_publish_attestation".to_owned(),
        message: "it is attested how the package was built, but not that anybody published it"
            .to_owned(),
    }
}

fn kind(predicate: Predicate) -> &'static str {
    match predicate {
        Predicate::Publish => "publish attestation",
        Predicate::Provenance => "provenance",
        Predicate::Release => "release attestation",
        Predicate::Other => "something else",
    }
}

fn mark(good: bool) -> &'static str {
    if good { "✓" } else { "✗" }
}
