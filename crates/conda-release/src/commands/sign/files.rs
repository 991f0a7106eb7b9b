//! Attesting files, without any state but the bundles beside them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use cep27::{Sha256, TargetChannel};
use conda_attest::{
    PackageFile, Policy, Purpose, SignOptions, Signed, TokenFacts, Trust, TrustOptions,
    TrustSource, Verifier,
};
use rayon::prelude::*;
use release_manifest::{Mode, Timestamp};
use serde::Serialize;

use crate::{
    attesting::Attesting,
    commands::trust,
    error::{Error, with_causes},
    exit::Status,
    identity::{IdentityArgs, Signer, is_rehearsed},
    output::OutputLock,
    pipeline,
    printer::{Printer, count},
    table::table,
    workspace::Workspace,
};

/// Packages to attest, and for which channel.
pub(super) struct Files {
    packages: Vec<PackageFile>,
    channel: TargetChannel,
}

/// What came of it, for scripts.
#[derive(Serialize)]
struct Report {
    schema_version: u32,
    trust: String,
    rehearsal: bool,
    target_channel: TargetChannel,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Token>,
    packages: Vec<Entry>,
}

/// What the identity token says of itself.
#[derive(Serialize)]
struct Token {
    provider: &'static str,
    issuer: String,
    subject: String,
    audience: Vec<String>,
    expires_at: String,
}

/// What came of one package.
#[derive(Serialize)]
struct Entry {
    package: PathBuf,
    result: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<Attestation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

#[derive(Clone, Copy, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It has a new attestation.
    Attested,
    /// It has the attestation that would be made.
    Kept,
    /// No attestation could be made.
    Failed,
    /// The identity ended first: the same command with a new token continues.
    Left,
}

/// What the new attestation proves.
#[derive(Serialize)]
struct Attestation {
    bundle_sha256: Sha256,
    identity: String,
    issuer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_index: Option<u64>,
    signed_at: Timestamp,
    certificate_not_after: Timestamp,
    retries: u32,
}

#[derive(Serialize)]
struct Failure {
    code: &'static str,
    message: String,
}

impl Files {
    /// Hashes the packages and looks into them, on all cores.
    ///
    /// # Errors
    /// One of them is no package, or is named twice.
    pub(super) fn read(paths: &[PathBuf], channel: TargetChannel) -> Result<Self, Error> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = paths.iter().find(|path| !seen.insert(real(path))) {
            return Err(Error::Usage(format!(
                "`{}` is named twice",
                twice.display()
            )));
        }
        let packages = paths
            .par_iter()
            .map(PackageFile::read)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { packages, channel })
    }

    /// Attests them under the sandbox.
    ///
    /// # Errors
    /// No certificate can be had, or the sandbox does not start.
    pub(super) async fn rehearse(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let options = self.options(workspace);
        workspace.check_output()?;
        let _lock = OutputLock::take(workspace.output())?;
        let sandbox = workspace.folder(Mode::Rehearsal).sandbox();
        let checkout = workspace.checkout()?;
        pipeline::with_sandbox(&sandbox, &checkout, async |trust, identity| {
            let lines = Attesting::start(printer, self.packages.len());
            let results =
                conda_attest::sign(trust, identity, self.packages, &options, &lines).await?;
            drop(lines);
            let report = Report::of(trust, self.channel, None, results);
            report.end(workspace, printer)
        })
        .await
    }

    /// Attests them under an instance that exists.
    ///
    /// # Errors
    /// Its trust material cannot be refreshed, there is no identity, or no certificate can be had.
    pub(super) async fn sign(
        self,
        source: &TrustSource,
        identity: &IdentityArgs,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if is_rehearsed(self.channel.as_str()) {
            return Err(Error::Usage(format!(
                "`{}` is a rehearsal's channel, which no client can ever read: name yours with --channel",
                self.channel
            )));
        }
        conda_recipes::worker::guard_parent().map_err(Error::output("guard", "this process"))?;
        let options = TrustOptions {
            audience: identity.audience(workspace),
            ..TrustOptions::new(Purpose::Sign)
        };
        let trust = trust::load(source, &options).await?;
        trust::announce(&trust, printer);
        let signer = Signer::find(identity.token().as_ref(), &trust, printer).await?;
        let options = self.options(workspace);
        let kept = self.signed_by(&signer, &Verifier::new(&trust)?);
        let packages = self.packages.iter().cloned();
        let (kept, missing): (Vec<_>, Vec<_>) =
            packages.partition(|package| kept.contains(&package.path));
        for package in &kept {
            let shown = workspace.shown(&package.path);
            printer.status(
                "Kept",
                &format!("{shown}: attested by this identity before"),
            );
        }
        let lines = Attesting::start(printer, missing.len());
        let results = conda_attest::sign(&trust, &signer, missing, &options, &lines).await?;
        drop(lines);
        let mut report = Report::of(&trust, self.channel, Some(signer.facts()), results);
        report.packages.extend(kept.into_iter().map(Entry::kept));
        let place = |entry: &Entry| {
            let mut packages = self.packages.iter();
            packages.position(|package| package.path == entry.package)
        };
        report.packages.sort_by_cached_key(place);
        report.end(workspace, printer)
    }

    /// The packages whose bundle beside them is what would be made again: it verifies, for this
    /// channel, and was signed by this identity.
    fn signed_by(&self, signer: &Signer, verifier: &Verifier) -> BTreeSet<PathBuf> {
        let is_signed = |package: &&PackageFile| {
            let Ok(bundle) = conda_attest::read_bundle(&package.bundle_path()) else {
                return false;
            };
            let channel = Some(self.channel.as_str());
            // Whoever it was is compared with the token below.
            let verdict = verifier.verify(*package, &bundle, &Policy::Anyone, channel);
            let is_good = verdict.verifies_package();
            is_good
                && verdict
                    .signed
                    .is_some_and(|proved| signer.has_signed(&proved))
        };
        let packages = self.packages.par_iter();
        packages
            .filter(is_signed)
            .map(|package| package.path.clone())
            .collect()
    }

    fn options(&self, workspace: &Workspace) -> SignOptions {
        SignOptions {
            concurrency: workspace.config().sign.concurrency,
            ..SignOptions::new(self.channel.clone())
        }
    }
}

impl Report {
    fn of(
        trust: &Trust,
        target_channel: TargetChannel,
        identity: Option<TokenFacts>,
        results: Vec<(PackageFile, Result<Signed, conda_attest::Error>)>,
    ) -> Self {
        Self {
            schema_version: 1,
            trust: trust.name().to_owned(),
            rehearsal: trust.is_sandbox(),
            target_channel,
            identity: identity.map(Token::from),
            packages: results.into_iter().map(Entry::from).collect(),
        }
    }

    /// Shows it, and says how the command ends.
    fn end(&self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let rows = self.packages.iter().filter_map(|entry| {
            let attestation = entry.attestation.as_ref()?;
            let index = attestation.log_index;
            Some([
                workspace.shown(&entry.package),
                index.map_or_else(String::new, |index| index.to_string()),
                workspace.shown(entry.bundle.as_deref()?),
            ])
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            printer.result(&table(&["PACKAGE", "LOG>", "BUNDLE"], rows))?;
        }
        printer.json(self)?;
        let is = |outcome| move |entry: &&Entry| entry.result == outcome;
        let left = self.packages.iter().filter(is(Outcome::Left)).count();
        if left > 0 {
            let left = count(left, "package");
            let message = format!("{left} left: the same command with a new token continues");
            printer.failure("Unfinished", &message);
        }
        Ok(
            match self
                .packages
                .iter()
                .any(|entry| is(Outcome::Failed)(&entry))
            {
                true => Status::Sign,
                false if left > 0 => Status::Incomplete,
                false => Status::Done,
            },
        )
    }
}

impl From<TokenFacts> for Token {
    fn from(facts: TokenFacts) -> Self {
        Self {
            provider: facts.provider.code(),
            issuer: facts.issuer,
            subject: facts.subject,
            audience: facts.audience,
            expires_at: facts.expires_at.to_string(),
        }
    }
}

impl Entry {
    fn kept(package: PackageFile) -> Self {
        Self {
            bundle: Some(package.bundle_path()),
            package: package.path,
            result: Outcome::Kept,
            attestation: None,
            error: None,
        }
    }
}

impl From<(PackageFile, Result<Signed, conda_attest::Error>)> for Entry {
    fn from((package, result): (PackageFile, Result<Signed, conda_attest::Error>)) -> Self {
        let package = package.path;
        match result {
            Ok(signed) => Self {
                package,
                result: Outcome::Attested,
                bundle: Some(signed.bundle),
                attestation: Some(Attestation {
                    bundle_sha256: signed.bundle_sha256,
                    identity: signed.identity,
                    issuer: signed.issuer,
                    log_index: signed.log_index,
                    signed_at: signed.signed_at,
                    certificate_not_after: signed.certificate_not_after,
                    retries: signed.retries,
                }),
                error: None,
            },
            Err(error) => Self {
                package,
                result: match error.is_renewal_failure() {
                    true => Outcome::Left,
                    false => Outcome::Failed,
                },
                bundle: None,
                attestation: None,
                error: Some(Failure {
                    code: error.code(),
                    message: with_causes(&error),
                }),
            },
        }
    }
}

/// A path that two names of one file share; one that leads nowhere is said to when it is read.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
