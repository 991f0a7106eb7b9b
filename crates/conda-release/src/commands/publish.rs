//! `publish`: packages with their attestations into a channel.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use cep27::FileName;
use clap::Args;
use conda_attest::{PackageFile, Policy, Verifier, bundles_in, read_bundle};
use conda_publish::{Bundle, ChannelLocation, FileChannel, Kind, Upload};
use release_manifest::{Mode, PackageKey, Progress, PublishResult};
use serde::Serialize;

use super::{policy::PolicyArgs, trust::TrustArgs, verify::beside};
use crate::{
    error::Error,
    exit::Status,
    identity::IdentityArgs,
    live::{Live, PublishingArgs},
    pipeline,
    printer::Printer,
    run::{Run, check_rehearsal, ended, show},
    target::Target,
    workspace::Workspace,
};

/// Publish packages with their attestations
///
/// Without --execute only a folder can be published to: it is marked as a rehearsal's, and a live
/// release refuses it. Every attestation is verified before anything is copied.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release publish                       the release, into the rehearsal's channel
  conda-release publish --to /srv/channel     the release, into a folder
  conda-release publish *.conda --to channel --attestation *.sigstore.json --trust sandbox --identity ID --issuer URL")]
pub struct PublishArgs {
    /// Packages to publish; those of the release by default
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PathBuf>,

    /// The channel: a folder, which is made where there is none
    #[arg(long, value_name = "URL")]
    to: Option<String>,

    /// The attestations of PACKAGE, one bundle a file; beside each by default
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "packages")]
    attestation: Vec<PathBuf>,

    /// The channel that must have been attested; only with PACKAGE
    #[arg(long, value_name = "URL", requires = "packages")]
    channel: Option<String>,

    /// Publish for real instead of rehearsing
    #[arg(short = 'x', long)]
    execute: bool,

    /// After a failure, go on with what does not need the failed package
    #[arg(short, long)]
    keep_going: bool,

    /// How it is published
    #[command(flatten)]
    publishing: PublishingArgs,

    /// Who signed what the release has, where `[[verify]]` does not say it
    #[command(flatten)]
    identity: IdentityArgs,

    /// Under whose trust
    #[command(flatten)]
    trust: TrustArgs,

    /// Who may have signed
    #[command(flatten)]
    policy: PolicyArgs,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    channel: PathBuf,
    packages: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    package: PackageKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<PublishResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl PublishArgs {
    /// Publishes what was asked for.
    ///
    /// # Errors
    /// Whatever concerns the run as a whole; what concerns a package is in the manifest or report, and in the status.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if self.execute && self.packages.is_empty() {
            return self.publish_live(workspace, printer).await;
        }
        let target = self
            .to
            .as_deref()
            .map(|to| folder(to, workspace))
            .transpose()?;
        match target {
            None if self.packages.is_empty() => self.publish_release(workspace, printer).await,
            None => Err(Error::Usage(
                "say with --to where PACKAGE is published".to_owned(),
            )),
            Some(folder) if self.packages.is_empty() => {
                self.copy_release(&folder, workspace, printer).await
            }
            Some(folder) => self.publish_files(&folder, workspace, printer).await,
        }
    }

    /// The live release, into the channel it was planned for.
    async fn publish_live(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let target = Target::find(workspace, self.to.as_deref())?;
        let (mut release, _lock) = Run::resume(workspace, Mode::Live, printer)?;
        release.is_for(target.attested())?;
        let who = (&self.trust, &self.identity);
        let live = Live::prepare(workspace, &target, who, &self.publishing, printer).await?;
        let existing = target.existing(release.plan()).await?;
        live.attester.check(&mut release, Some(&existing))?;
        live.attester.readmit(&mut release, false).await?;
        let status = live.publish(&mut release, self.keep_going).await?;
        release.compact()?;
        show(&release, workspace, printer)?;
        Ok(ended(status, printer))
    }

    /// The release, into its own channel.
    async fn publish_release(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let (mut release, _lock) = Run::resume(workspace, Mode::Rehearsal, printer)?;
        let channel = check_rehearsal(&mut release, workspace, printer)?;
        pipeline::publish(&mut release, &channel, self.keep_going, printer).await?;
        release.compact()?;
        show(&release, workspace, printer)?;
        Ok(ended(
            pipeline::outcome(&release, Progress::Published),
            printer,
        ))
    }

    /// The release, into a folder of somebody's.
    async fn copy_release(
        self,
        to: &Path,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let (mut release, _lock) = Run::resume(workspace, Mode::Rehearsal, printer)?;
        check_rehearsal(&mut release, workspace, printer)?;
        let status = pipeline::outcome(&release, Progress::Attested);
        if status != Status::Done && !self.keep_going {
            show(&release, workspace, printer)?;
            return Ok(ended(status, printer));
        }
        let keys = pipeline::reached(&release, Progress::Attested, self.keep_going);
        let uploads: Vec<Upload> = keys
            .iter()
            .filter_map(|key| pipeline::upload(&release, key))
            .collect();
        put(to, uploads, printer)
            .await
            .map(|copied| status.and(copied))
    }

    /// Packages and attestations that were made elsewhere.
    async fn publish_files(
        self,
        to: &Path,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let policy = self.policy.policy()?;
        let trust = self
            .trust
            .to_verify(None, || Ok(workspace.clone()), false, printer)
            .await?;
        if trust.is_github() {
            return Err(Error::Usage(
                "what GitHub's instance for private repositories vouches for is in no public log, and is not published: attest with another --trust".to_owned(),
            ));
        }
        let verifier = Verifier::new(&trust)?;
        let channel = match self.channel {
            Some(channel) => channel,
            None => workspace
                .rehearsed_channel(workspace.channel(None).as_deref())?
                .as_str()
                .to_owned(),
        };
        let given = self
            .attestation
            .iter()
            .map(|file| Attestation::read(file))
            .collect::<Result<Vec<_>, _>>()?;
        let mut uploads = Vec::new();
        let mut refused = Vec::new();
        for path in &self.packages {
            let package = PackageFile::read(path)?;
            let beside = match given.is_empty() {
                true => vec![Attestation::read(&beside(path))?],
                false => Vec::new(),
            };
            let candidates = given.iter().chain(&beside);
            match proven(&package, candidates, &verifier, &policy, &channel) {
                Ok(bundles) => uploads.push(Upload {
                    source: package.path.clone(),
                    package: package.key(),
                    sha256: package.sha256,
                    bundles,
                }),
                Err(reason) => {
                    printer.failure("Refused", &format!("{}: {reason}", path.display()));
                    refused.push(Entry {
                        package: package.key(),
                        url: None,
                        result: None,
                        error: Some(reason),
                    });
                }
            }
        }
        if !refused.is_empty() {
            printer
                .warning("nothing was published: every package needs an attestation that verifies");
            let report = Report {
                schema_version: 1,
                channel: to.to_owned(),
                packages: refused,
            };
            printer.json(&report)?;
            return Ok(Status::Verify);
        }
        put(to, uploads, printer).await
    }
}

/// The folder that `--to` names.
fn folder(to: &str, workspace: &Workspace) -> Result<PathBuf, Error> {
    match to.parse::<ChannelLocation>()? {
        ChannelLocation::File(path) => Ok(workspace.current().join(path)),
        other => Err(Error::NotAvailable {
            what: "`publish`".to_owned(),
            target: format!("{} (`{to}`)", other.kind()),
            instead: "publish to a folder: `--to /path/of/a/channel`",
        }),
    }
}

/// A file that was given as the attestation of a package.
struct Attestation {
    file: Bundle,
    bundles: Vec<Vec<u8>>,
    /// The packages that it speaks of.
    about: Vec<FileName>,
}

impl Attestation {
    fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_bundle(path)?;
        let statements = cep27::validate_document(&bytes).statements;
        Ok(Self {
            bundles: bundles_in(&bytes).map_err(Error::no_bundle(path))?,
            about: statements.into_iter().map(|it| it.file).collect(),
            file: Bundle {
                path: path.to_owned(),
                sha256: pipeline::hash(&bytes),
            },
        })
    }
}

/// The bundles that prove a package, each a file of its own: matched by what they say, never by
/// their place. Where none speaks of the package, each says why it proves nothing.
fn proven<'a>(
    package: &PackageFile,
    candidates: impl Iterator<Item = &'a Attestation> + Clone,
    verifier: &Verifier,
    policy: &Policy,
    channel: &str,
) -> Result<Vec<Bundle>, String> {
    let names = |attestation: &&Attestation| attestation.about.contains(&package.file);
    let is_named = candidates.clone().any(|attestation| names(&attestation));
    let mut bundles = Vec::new();
    let mut is_attested = false;
    let mut reasons = Vec::new();
    for attestation in candidates.filter(|attestation| !is_named || names(attestation)) {
        let file = attestation.file.path.display();
        let [bundle] = &attestation.bundles[..] else {
            reasons.push(format!("`{file}` holds several bundles: give one a file"));
            continue;
        };
        let verdict = verifier.verify(package, bundle, policy, Some(channel));
        let is_logged = verdict.signed.as_ref().is_some_and(|signed| signed.logged);
        is_attested |= verdict.verifies_package() && is_logged;
        match verdict.passed() {
            true if is_logged => bundles.push(attestation.file.clone()),
            true => reasons.push(format!("`{file}` is in no log that everybody can see")),
            false => reasons.push(format!("`{file}`: {verdict}")),
        }
    }
    if !is_attested && reasons.is_empty() {
        reasons.push("there is provenance, but no publish attestation (CEP-27)".to_owned());
    }
    match is_attested {
        true => Ok(bundles),
        false => Err(reasons.join("; ")),
    }
}

/// Publishes into a folder whose names are immutable, which it marks as a rehearsal's.
async fn put(to: &Path, uploads: Vec<Upload>, printer: &Printer) -> Result<Status, Error> {
    let channel = FileChannel::open(to, Kind::Target(Mode::Rehearsal))?;
    let mut report = Report {
        schema_version: 1,
        channel: to.to_owned(),
        packages: Vec::new(),
    };
    for upload in uploads {
        let started = Instant::now();
        let entry = match channel.put(&upload).await {
            Ok(placed) => {
                let line = pipeline::line(&upload.package, placed.result, started.elapsed());
                printer.status("Published", &line);
                let (url, result) = (Some(placed.url), Some(placed.result));
                Entry {
                    package: upload.package,
                    url,
                    result,
                    error: None,
                }
            }
            Err(error) => {
                let error = Some(pipeline::failed(&upload.package, &error, printer));
                Entry {
                    package: upload.package,
                    url: None,
                    result: None,
                    error,
                }
            }
        };
        report.packages.push(entry);
    }
    channel.finish().await?;
    printer.json(&report)?;
    match report.packages.iter().any(|entry| entry.error.is_some()) {
        true => Ok(Status::Publish),
        false => Ok(Status::Done),
    }
}
