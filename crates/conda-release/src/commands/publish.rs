//! `publish`: packages with their attestations into a channel.

mod given;
mod proving;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use conda_attest::{Trust, Verifier};
use conda_publish::{ChannelLocation, FileChannel, Kind, Upload};
use release_manifest::{Mode, PackageKey, Progress, PublishResult};
use serde::Serialize;

use self::{
    given::Given,
    proving::{Proved, Proving},
};
use super::{
    policy::{PolicyArgs, configured_policy},
    trust::TrustArgs,
    verify::all_beside,
};
use crate::{
    error::{Error, with_causes},
    exit::Status,
    guard::EventArgs,
    identity::IdentityArgs,
    live::{self, Live, PublishingArgs},
    pipeline::{self, Fate, Item, Wanted},
    printer::Printer,
    run::{Run, check_rehearsal, ended, show},
    target::Target,
    workspace::Workspace,
};

/// Publish packages with their attestations
///
/// With --execute, the live release, or PACKAGE with the attestations that were made for it here or elsewhere, into the
/// channel that --to or the configuration names. Without it only a folder can be published to: it is marked as a
/// rehearsal's, and a live release refuses it. Every attestation is verified before anything is uploaded.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release publish                       the release, into the rehearsal's channel
  conda-release publish --to /srv/channel     the release, into a folder
  conda-release publish -x --to https://prefix.dev/my-channel
  conda-release publish -x *.conda --to https://prefix.dev/my-channel --attestation *.jsonl --repo acme/pkgs
  conda-release publish *.conda --to channel --attestation *.sigstore.json --trust sandbox --identity ID --issuer URL")]
pub struct PublishArgs {
    /// Packages to publish; those of the release by default
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PathBuf>,

    /// The channel: a folder, which is made where there is none
    #[arg(long, value_name = "URL")]
    to: Option<String>,

    /// The attestations of PACKAGE: bundles, JSON lines, arrays, sidecars, globs of them; beside each by default
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

    /// What it may be for
    #[command(flatten)]
    event: EventArgs,

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
    channel: String,
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
        if self.execute {
            self.event.check()?;
            return match self.packages.is_empty() {
                true => self.publish_live(workspace, printer).await,
                false => self.publish_files_live(workspace, printer).await,
            };
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
            Some(folder) => self.rehearse_files(&folder, workspace, printer).await,
        }
    }

    /// The live release, into the channel it was planned for.
    async fn publish_live(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let target = Target::find(workspace, self.to.as_deref())?;
        let (mut release, _lock) = Run::resume(workspace, Mode::Live, printer)?;
        release.is_for(target.attested())?;
        let who = (&self.trust, &self.identity);
        // Who may have signed is the configuration's to say, else the current identity is compared with.
        let needs_identity = configured_policy(workspace)?.is_none();
        let publishing = &self.publishing;
        let live =
            Live::prepare(workspace, &target, who, needs_identity, publishing, printer).await?;
        let existing = target.existing(release.plan()).await?;
        live.attester.check(&mut release, Some(&existing))?;
        live.warn_of_unattested(&release, &existing);
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
        pipeline::publish(&mut release, &channel, workspace, self.keep_going, printer).await?;
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

    /// Packages and attestations that were made elsewhere, into a folder of somebody's.
    async fn rehearse_files(
        self,
        to: &Path,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => workspace
                .rehearsed_channel(workspace.channel(None).as_deref())?
                .as_str()
                .to_owned(),
        };
        let policy = self.policy.clone().policy()?;
        let trust = self.trust(workspace, printer).await?;
        let given = self.given()?;
        let proving = Proving {
            given: &given,
            verifier: Verifier::new(&trust)?,
            policy,
            channel: &channel,
            target: &to.display().to_string(),
            printer,
        };
        // The files of what is published are needed until here.
        match proving.prove(&self.packages)? {
            Some(proved) => {
                let uploads = proved.into_iter().map(|proved| proved.upload).collect();
                put(to, uploads, printer).await
            }
            None => Ok(Status::Verify),
        }
    }

    /// Packages and attestations that were made elsewhere, into a channel that exists.
    async fn publish_files_live(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        let target = Target::find(workspace, self.to.as_deref())?;
        let target = target.with_force(self.publishing.force);
        let channel = target.attested().as_str();
        if self.channel.as_ref().is_some_and(|it| it != channel) {
            return Err(Error::Usage(format!(
                "what is published to `{}` must be attested for {channel}: leave --channel out",
                target.name()
            )));
        }
        let policy = self.policy.clone().policy()?;
        let trust = self.trust(workspace, printer).await?;
        if trust.is_sandbox() {
            return Err(Error::Usage(
                "what a rehearsal attested is never published for real".to_owned(),
            ));
        }
        let given = self.given()?;
        let proving = Proving {
            given: &given,
            verifier: Verifier::new(&trust)?,
            policy,
            channel,
            target: target.name(),
            printer,
        };
        let Some(proved) = proving.prove(&self.packages)? else {
            return Ok(Status::Verify);
        };
        let (channel, options) = live::open(workspace, &target, &self.publishing, true).await?;
        let mut wanted = BTreeMap::new();
        let items = proved.into_iter().map(|Proved { upload, made }| {
            let expected = Wanted {
                sha256: Some(upload.sha256),
                made: (options.attestations > 0).then_some(made),
                source: None,
                is_final: false,
            };
            wanted.insert(upload.package.clone(), expected);
            Item {
                upload,
                after: BTreeSet::new(),
            }
        });
        let items = items.collect();
        let mut fates = pipeline::upload_all(items, channel.as_ref(), &options, printer).await?;
        wanted.retain(|package, wanted| match fates.get(package) {
            Some(Fate::Placed(placed, _)) => {
                wanted.is_final = pipeline::is_final(channel.as_ref(), placed.result);
                true
            }
            _ => false,
        });
        let mut seen = Status::Done;
        if !wanted.is_empty() && !self.publishing.no_wait && workspace.config().publish.wait {
            let within = workspace.config().publish.visible_within;
            let sight = pipeline::see(wanted, &target, &trust, within, printer).await?;
            let unattested = sight.unattested.into_iter();
            fates.extend(unattested.map(|(package, error)| (package, Fate::Failed(error))));
            seen = sight.status;
        }
        let packages = fates.into_iter().map(Entry::from).collect();
        let status = Report::of(target.name(), packages).end(printer)?;
        Ok(status.and(seen))
    }

    /// Under whose trust attestations are judged that come from elsewhere.
    async fn trust(&self, workspace: &Workspace, printer: &Printer) -> Result<Trust, Error> {
        let workspace = || Ok(workspace.clone());
        let trust = self
            .trust
            .to_verify(None, workspace, false, printer)
            .await?;
        match trust.is_github() {
            true => Err(Error::Usage(
                "what GitHub's instance for private repositories vouches for is in no public log, and is not published: attest with another --trust".to_owned(),
            )),
            false => Ok(trust),
        }
    }

    /// The attestations that were given, or lie beside the packages.
    fn given(&self) -> Result<Given, Error> {
        match self.attestation.is_empty() {
            true => {
                let packages = self.packages.iter();
                let beside: Vec<PathBuf> = packages.flat_map(|path| all_beside(path)).collect();
                Given::read(&beside)
            }
            false => Given::read(&self.attestation),
        }
    }
}

impl Report {
    fn of(channel: &str, packages: Vec<Entry>) -> Self {
        Self {
            schema_version: 1,
            channel: channel.to_owned(),
            packages,
        }
    }

    /// Shows it, and says how the command ends.
    fn end(&self, printer: &Printer) -> Result<Status, Error> {
        printer.json(self)?;
        match self.packages.iter().any(|entry| entry.error.is_some()) {
            true => Ok(Status::Publish),
            false => Ok(Status::Done),
        }
    }
}

impl From<(PackageKey, Fate)> for Entry {
    fn from((package, fate): (PackageKey, Fate)) -> Self {
        let (url, result, error) = match fate {
            Fate::Placed(placed, _) => (Some(placed.url), Some(placed.result), None),
            Fate::Failed(error) => (None, None, Some(with_causes(&error))),
            Fate::Blocked(by) => {
                let by: Vec<String> = by.iter().map(ToString::to_string).collect();
                (None, None, Some(format!("blocked by {}", by.join(", "))))
            }
            Fate::Left => (None, None, Some("no time was left for it".to_owned())),
        };
        Self {
            package,
            url,
            result,
            error,
        }
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

/// Publishes into a folder whose names are immutable, which it marks as a rehearsal's.
async fn put(to: &Path, uploads: Vec<Upload>, printer: &Printer) -> Result<Status, Error> {
    let channel = FileChannel::open(to, Kind::Target(Mode::Rehearsal))?;
    let mut packages = Vec::new();
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
        packages.push(entry);
    }
    channel.finish().await?;
    Report::of(&to.display().to_string(), packages).end(printer)
}
