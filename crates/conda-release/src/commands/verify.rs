//! `verify`: the attestations of packages, of a channel, or of a release.

mod attestations;
mod judge;
mod release;
mod report;
mod targets;

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use cep27::{Subdir, TargetChannel};
use clap::Args;
use conda_attest::Verifier;
use futures::StreamExt as _;

use self::{attestations::Given, judge::Judge, release::Release, report::Report, targets::Targets};
use super::{policy::PolicyArgs, trust::TrustArgs};
use crate::{
    cli::GlobalArgs, config::Config, error::Error, exit::Status, printer::Printer,
    progress::Activity, workspace::Workspace,
};

pub(super) use attestations::{all_beside, beside};

/// Verify the attestations of packages, a channel or a release
///
/// A package is verified when one of its attestations passes every check: the bundle against the
/// trusted root, log and time; the signer against your policy; the statement against the rules of
/// CEP-27, the package's bytes, its name and its own index.json.
///
/// Attestations are those of --bundle, else those beside the package, else, where --channel names
/// where it came from, those that the channel's repodata advertises (CEP-50). A channel's URL stands
/// for all of its packages, a package's URL for that one: each is downloaded, compared with the
/// repodata, verified and removed.
///
/// A release manifest stands for the packages it names. Where its own attestation lies beside it, that is verified
/// too: the manifest has the attested bytes, and every package in it the attested hash. One that has changed since,
/// or has no attestation yet, is said to.
///
/// Policy and trust are taken from the command line, or from a file named with --config: its
/// `[[verify]]` entries, of which any one suffices, and sign.trust. What a checkout configures by
/// itself has no say in what is believed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release verify foo-1.0-0.conda --repo acme/pkgs
  conda-release verify foo-1.0-0.conda --repo acme/pkgs --channel https://prefix.dev/acme
  conda-release verify https://prefix.dev/acme --subdir noarch --owner acme --ref refs/heads/main
  conda-release verify https://mirror.example/acme --mirror-of https://prefix.dev/acme --owner acme
  conda-release verify *.conda --bundle bundles.jsonl --config policy.toml --offline
  conda-release verify channel/ --trust sandbox --identity ID --issuer URL")]
pub struct VerifyArgs {
    /// Packages, a channel's URL or folder, a package's URL, or a release manifest
    #[arg(value_name = "PACKAGE|CHANNEL|MANIFEST", required = true)]
    targets: Vec<String>,

    /// Where the attestations are, if not beside the packages: bundles, JSON lines, arrays, sidecars
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,

    /// The channel that must have been attested, and where attestations that are not at hand are read
    #[arg(long, value_name = "URL")]
    channel: Option<String>,

    /// The channel that must have been attested, where packages come from a mirror of it
    #[arg(long, value_name = "URL")]
    mirror_of: Option<String>,

    /// Only this subdir of a channel, or several; all of them by default
    #[arg(long, value_name = "SUBDIR")]
    subdir: Vec<Subdir>,

    /// Ask nobody: trust material is that of the cache or of this program, everything else is in the files
    #[arg(long)]
    offline: bool,

    /// How many packages are fetched and verified at the same time; by default as suits this machine
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Under whose trust
    #[command(flatten)]
    trust: TrustArgs,

    /// Who may have signed
    #[command(flatten)]
    policy: PolicyArgs,
}

impl VerifyArgs {
    /// Verifies everything, on all cores; what is found is shown as it comes, in the order of the targets.
    ///
    /// # Errors
    /// No policy, no trust, or a target that cannot be read; an attestation that does not verify is
    /// in the report and in the status.
    pub(crate) async fn run(self, global: &GlobalArgs, printer: &Printer) -> Result<Status, Error> {
        let told = global.config.as_deref().map(Config::read).transpose()?;
        let told = global.config.as_deref().zip(told.as_ref());
        let (policy, origin) = self.policy.policy_told(told)?;
        let attested = |url: &Option<String>| url.as_deref().map(channel_named).transpose();
        let (channel, mirror_of) = (attested(&self.channel)?, attested(&self.mirror_of)?);
        let wanted = Wanted {
            expected: mirror_of.or_else(|| channel.clone()),
            channel,
            subdirs: BTreeSet::from_iter(self.subdir),
            offline: self.offline,
        };
        let given = Given::read(&self.bundle)?;
        wanted.check(&self.targets, &given)?;

        let trust = self
            .trust
            .to_verify(told, || Workspace::find(global), self.offline, printer)
            .await?;
        let verifier = Verifier::new(&trust)?;
        let targets = Targets::read(&self.targets, &wanted, &given, printer).await?;
        let mut report = Report::begin(&trust, origin, printer)?;
        for manifest in self.targets.iter().filter(|it| targets::is_manifest(it)) {
            report.release(Release::judge(Path::new(manifest), &verifier, &policy)?)?;
        }
        let activity = Activity::start(printer, "Verifying", targets.subjects.len());
        {
            let judge = Arc::new(Judge::new(verifier, policy, given, self.jobs, &activity));
            let mut entries = futures::stream::iter(targets.subjects)
                .map(|subject| judge.clone().entry(subject))
                .buffered(judge.window());
            while let Some(entry) = entries.next().await {
                activity.step();
                report.add(entry?)?;
            }
        }
        drop(activity);
        report.end()
    }
}

/// What holds for every target.
struct Wanted {
    /// Where attestations that are not at hand are read.
    channel: Option<TargetChannel>,
    /// What must have been attested.
    expected: Option<TargetChannel>,
    /// Of which subdirs; of all if it is empty.
    subdirs: BTreeSet<Subdir>,
    offline: bool,
}

impl Wanted {
    /// Refuses options that a target would have to ignore.
    fn check(&self, targets: &[String], given: &Given) -> Result<(), Error> {
        let refused = |message: String| Err(Error::Usage(message));
        for target in targets {
            let is_url = targets::is_url(target);
            if is_url && self.offline {
                return refused(format!(
                    "--offline asks nobody, and `{target}` is elsewhere"
                ));
            }
            if is_url && self.channel.is_some() {
                return refused(format!(
                    "--channel goes with packages and folders: for a mirror, name with --mirror-of what `{target}` is one of"
                ));
            }
            if !given.is_empty() && !targets::is_package(target) {
                return refused(format!(
                    "--bundle goes with packages: `{target}` names the attestations of its packages itself"
                ));
            }
            if !self.subdirs.is_empty() && !targets::is_channel(target) {
                return refused(format!(
                    "--subdir goes with channels, and `{target}` is none"
                ));
            }
        }
        Ok(())
    }
}

/// A channel as the command line names it, which must not have a secret in it.
fn channel_named(url: &str) -> Result<TargetChannel, Error> {
    url.trim_end_matches('/')
        .parse()
        .map_err(|error: cep27::NameError| Error::Usage(error.to_string()))
}
