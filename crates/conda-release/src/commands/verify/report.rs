//! What came of verifying, as it comes for a person and at the end for a script.

use std::collections::BTreeMap;

use cep27::{FileName, Rule, Sha256, Subdir};
use conda_attest::{Outcome, Predicate, Trust, Verdict};
use release_manifest::{PackageKey, Timestamp};
use serde::Serialize;

use super::{finding::Finding, history::History, release::Release, state::Known, targets::Facts};
use crate::{
    commands::policy::Origin,
    error::{Error, with_causes},
    exit::Status,
    foreign::harmless,
    printer::{OutputFormat, Printer},
    table::table,
};

/// Of the document for scripts.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// What came of verifying.
pub(super) struct Report<'a> {
    printer: &'a Printer,
    document: Document,
    rows: Vec<[String; 5]>,
    status: Status,
    /// How many were passed over, since an earlier audit had verified them.
    known: usize,
}

#[derive(Serialize)]
struct Document {
    schema_version: u32,
    trust: String,
    freshness: Freshness,
    rehearsal: bool,
    policy: Origin,
    targets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    releases: Vec<Release>,
    packages: Vec<Entry>,
    summary: Summary,
}

/// How many packages there are of each kind.
#[derive(Default, Serialize)]
struct Summary {
    packages: usize,
    verified: usize,
    excused: usize,
    findings: BTreeMap<Finding, usize>,
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

/// What is asked of packages besides an attestation that verifies, or instead of one.
#[derive(Default)]
pub(super) struct Rules {
    /// A package without an attestation will do.
    pub(super) allow_missing: bool,
    /// Since when there are attestations.
    pub(super) history: Option<History>,
}

/// What became of judging a package.
pub(super) enum Judgement {
    /// Its attestations were judged.
    Judged {
        /// One for each.
        verdicts: Vec<Verdict>,
        /// The hash of the sidecar that they came in.
        sidecar: Option<Sha256>,
    },
    /// An earlier audit verified it.
    Known(Known),
    /// There was nothing to judge.
    Failed(Failure),
}

/// What came of one package.
#[derive(Serialize)]
pub(super) struct Entry {
    /// Its file name; absent for a record of a channel that names no package.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subdir: Option<Subdir>,
    /// Its path or URL.
    path: String,
    /// The hash that is recorded for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
    finding: Finding,
    verified: bool,
    /// Not verified, and it needn't be.
    excused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// What an earlier audit found, in place of attestations.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Known>,
    attestations: Vec<Verdict>,
    #[serde(skip)]
    sidecar: Option<Sha256>,
}

/// Why there is no verdict, or none that is enough.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failure {
    #[serde(skip)]
    pub(super) finding: Finding,
    /// A stable name for scripts.
    pub(super) code: String,
    pub(super) message: String,
}

impl Failure {
    /// A finding that says everything.
    pub(super) fn new(finding: Finding, message: impl Into<String>) -> Self {
        Self {
            finding,
            code: finding.code().to_owned(),
            message: message.into(),
        }
    }

    /// There is no attestation.
    pub(super) fn none(message: impl Into<String>) -> Self {
        Self::new(Finding::NoAttestation, message)
    }

    /// A package or its attestations cannot be had from a channel.
    pub(super) fn of(error: &conda_publish::Error) -> Self {
        use conda_publish::Error;
        let finding = match error {
            Error::Advertised { .. } | Error::AttestationsHash { .. } => {
                Finding::InvalidAttestation
            }
            _ => Finding::Unavailable,
        };
        Self {
            finding,
            code: error.code().to_owned(),
            message: with_causes(error),
        }
    }
}

impl Entry {
    pub(super) fn new(facts: Facts, judgement: Judgement, rules: &Rules) -> Self {
        let Facts {
            file,
            subdir,
            path,
            sha256,
            claimed,
        } = facts;
        let (attestations, sidecar, known, error) = match judgement {
            Judgement::Judged { verdicts, sidecar } => (verdicts, sidecar, None, None),
            Judgement::Known(known) => (Vec::new(), None, Some(known), None),
            Judgement::Failed(failure) => (Vec::new(), None, None, Some(failure)),
        };
        let mut entry = Self {
            finding: match (&error, &known) {
                (Some(failure), _) => failure.finding,
                (None, Some(_)) => Finding::Verified,
                (None, None) => Finding::of(&attestations),
            },
            file,
            subdir,
            path,
            sha256,
            verified: false,
            excused: false,
            error,
            known,
            attestations,
            sidecar,
        };
        if entry.finding == Finding::NoAttestation && entry.error.is_none() {
            entry.error = Some(only_provenance());
        }
        if let Some(history) = &rules.history {
            entry.judge_age(history, claimed);
        }
        entry.verified = entry.finding == Finding::Verified;
        entry.excused = match entry.finding {
            Finding::Historic => true,
            Finding::NoAttestation => rules.allow_missing,
            _ => false,
        };
        entry
    }

    /// Looks at when its attestation was signed, or at what is known of a package without one.
    fn judge_age(&mut self, history: &History, claimed: Option<Timestamp>) {
        let failure = match self.finding {
            Finding::Verified => self.signed_at().and_then(|it| history.refuses(it)),
            Finding::NoAttestation => {
                let package = self.subdir.zip(self.file.as_ref());
                Some(history.without(package, self.sha256, claimed))
            }
            _ => None,
        };
        if let Some(failure) = failure {
            self.finding = failure.finding;
            self.error = Some(failure);
        }
    }

    /// The attestation that verifies the package; of several the latest.
    fn proof(&self) -> Option<&conda_attest::Evidence> {
        let proofs = self.attestations.iter().filter(|it| it.verifies_package());
        let evidence = proofs.filter_map(|it| it.signed.as_ref());
        evidence.max_by_key(|signed| signed.signed_at)
    }

    fn signed_at(&self) -> Option<Timestamp> {
        let known = self.known.as_ref().map(|known| known.signed_at);
        known.or_else(|| self.proof().map(|signed| signed.signed_at))
    }

    /// What a later audit may pass over: a package of a channel on a server, verified under hashes that its repodata
    /// has.
    pub(super) fn to_keep(&self) -> Option<Known> {
        let signed = self.proof()?;
        Some(Known {
            package: PackageKey {
                subdir: self.subdir?,
                file: self.file.clone()?,
            },
            sha256: self.sha256?,
            attestations_sha256: self.sidecar?,
            identity: signed.identity.clone(),
            issuer: signed.issuer.clone(),
            signed_at: signed.signed_at,
            target_channel: signed.target_channel.clone(),
        })
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
            false if self.excused => Status::Done,
            false if self.attestations.iter().any(only_breaks_rules) => Status::Cep27,
            false => Status::Verify,
        }
    }

    /// ✓, ✗ or · for what is excused, with every check that failed; where there are several attestations, what each is.
    fn lines(&self) -> String {
        let mark_of = match self.excused {
            true => "·",
            false => mark(self.verified),
        };
        let mut lines = vec![format!("{mark_of} {}", harmless(&self.path))];
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

    /// Package, finding, signer, time and channel, as far as they are known.
    fn row(&self) -> [String; 5] {
        let file = self.file.as_ref().map(ToString::to_string);
        let [by, at, channel] = match (&self.known, self.evidence()) {
            (Some(known), _) => signer(&known.identity, known.signed_at, &known.target_channel),
            (None, Some(it)) => signer(&it.identity, it.signed_at, &it.target_channel),
            (None, None) => Default::default(),
        };
        [
            file.unwrap_or_else(|| self.path.clone()),
            self.finding.to_string(),
            by,
            at,
            channel,
        ]
    }

    /// What is proved of its attestations: of the one that verifies it, else of any.
    fn evidence(&self) -> Option<&conda_attest::Evidence> {
        let mut any = self.attestations.iter().filter_map(|it| it.signed.as_ref());
        self.proof().or_else(|| any.next())
    }
}

fn signer(identity: &str, signed_at: Timestamp, channel: &Option<String>) -> [String; 3] {
    let channel = channel.as_deref().unwrap_or("(none)");
    [
        identity.to_owned(),
        signed_at.to_string(),
        channel.to_owned(),
    ]
}

impl<'a> Report<'a> {
    /// Says under whose trust and by which policy.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(super) fn begin(
        trust: &Trust,
        policy: Origin,
        targets: Vec<String>,
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
                schema_version: SCHEMA_VERSION,
                trust: trust.name().to_owned(),
                freshness: Freshness {
                    code: freshness.code(),
                    as_of: freshness.as_of().map(|time| time.to_string()),
                    why: freshness.why().map(str::to_owned),
                },
                rehearsal: trust.is_sandbox(),
                policy,
                targets,
                releases: Vec::new(),
                packages: Vec::new(),
                summary: Summary::default(),
            },
            rows: Vec::new(),
            status: Status::Done,
            known: 0,
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
        self.known += usize::from(entry.known.is_some());
        self.document.summary.count(&entry);
        match self.printer.format() {
            OutputFormat::Json => {
                self.document.packages.push(entry);
                Ok(())
            }
            OutputFormat::Human => {
                self.rows.push(entry.row());
                self.printer.result(&entry.lines())
            }
        }
    }

    /// Says what was found, who signed what, and how many were verified.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub(super) fn end(self) -> Result<Status, Error> {
        if !self.rows.is_empty() {
            self.printer
                .result(&format!("\n{}", table(&HEADERS, self.rows)))?;
        }
        let summary = self.document.summary.line(self.known);
        self.printer.result(&format!("\n{summary}"))?;
        self.printer.json(&self.document)?;
        Ok(self.status)
    }
}

const HEADERS: [&str; 5] = ["PACKAGE", "FINDING", "SIGNED BY", "AT", "FOR CHANNEL"];

impl Summary {
    fn count(&mut self, entry: &Entry) {
        self.packages += 1;
        self.verified += usize::from(entry.verified);
        self.excused += usize::from(entry.excused);
        *self.findings.entry(entry.finding).or_default() += 1;
    }

    /// `8 of 10 verified: 1 no_attestation, 1 other_channel; 5 by an earlier audit`.
    fn line(&self, known: usize) -> String {
        let mut line = format!("{} of {} verified", self.verified, self.packages);
        let others = self.findings.iter();
        let others = others.filter(|(finding, _)| **finding != Finding::Verified);
        let others: Vec<String> = others
            .map(|(finding, count)| format!("{count} {finding}"))
            .collect();
        if !others.is_empty() {
            line.push_str(&format!(": {}", others.join(", ")));
        }
        if self.excused > 0 {
            line.push_str(&format!("; {} excused", self.excused));
        }
        if known > 0 {
            line.push_str(&format!("; {known} by an earlier audit"));
        }
        line
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
        finding: Finding::NoAttestation,
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
