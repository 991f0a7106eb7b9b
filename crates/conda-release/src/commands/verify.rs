//! `verify`: the attestations of packages, of a channel, or of a release.

mod attestations;
mod finding;
mod history;
mod judge;
mod pace;
mod release;
mod report;
mod state;
mod targets;

use std::{collections::BTreeSet, num::NonZeroUsize, path::PathBuf, sync::Arc};

use cep27::{Subdir, TargetChannel};
use clap::Args;
use conda_attest::Verifier;
use futures::StreamExt as _;
use release_manifest::Timestamp;

use self::{
    attestations::Given,
    history::History,
    judge::Judge,
    pace::Pace,
    release::Release,
    report::{Report, Rules},
    state::{Basis, StateFile},
    targets::Targets,
};
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
/// Every package of a channel gets a finding, in the table and as JSON: verified, no_attestation,
/// invalid_attestation, other_identity, other_channel, other_package, unavailable and a few more. Of a
/// package without an attestation only its channel says how old it is, and a channel may say anything.
/// So --attested-since by itself excuses nothing: an attestation counts if a trusted clock says that it
/// was signed since then, and a package without one is excused if --baseline, a report that you made
/// earlier, has those very bytes without one.
///
/// A release manifest stands for the packages it names; the URL of one that a channel keeps, for those packages in that
/// channel. Where its own attestation lies beside it, that is verified too: the manifest has the attested bytes, and every
/// package in it the attested hash. One that has changed since, or has no attestation yet, is said to.
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
  conda-release verify https://prefix.dev/acme --owner acme --state acme.audit --output-format json
  conda-release verify https://prefix.dev/acme --owner acme --attested-since 2026-03-01 --baseline before.json
  conda-release verify https://mirror.example/acme --mirror-of https://prefix.dev/acme --owner acme
  conda-release verify *.conda --bundle bundles.jsonl --config policy.toml --offline
  conda-release verify channel/ --trust sandbox --identity ID --issuer URL")]
pub struct VerifyArgs {
    /// Packages, a channel's URL or folder, a package's URL, or a release manifest or its URL
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

    /// Packages of a channel need no attestation; those that have one are verified all the same
    #[arg(long, conflicts_with = "attested_since")]
    allow_missing: bool,

    /// Attestations count from this day or moment (UTC) on, by the time at which the log and trusted clocks saw them
    #[arg(long, value_name = "DATE", value_parser = history::moment)]
    attested_since: Option<Timestamp>,

    /// What `verify --output-format json` said of the channel earlier: packages that had no attestation then need none
    #[arg(long, value_name = "REPORT", requires = "attested_since")]
    baseline: Option<PathBuf>,

    /// Where to note which packages of a channel's URL are verified, so that they are not fetched again
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

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
        self.check_audit()?;
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
        let baseline = self.baseline.as_deref();
        let history = self
            .attested_since
            .map(|since| History::new(since, baseline, &self.targets))
            .transpose()?;

        let trust = self
            .trust
            .to_verify(told, || Workspace::find(global), self.offline, printer)
            .await?;
        let rules = Rules {
            allow_missing: self.allow_missing,
            history,
        };
        let (mut state, memory) = match &self.state {
            None => Default::default(),
            Some(file) => {
                let attested = wanted.expected.as_ref().map(TargetChannel::as_str);
                let channel = self.targets.first().map(String::as_str).unwrap_or_default();
                let basis = Basis::new(&trust, &policy, channel, attested);
                let (state, memory) = StateFile::open(file, &basis, printer)?;
                (Some(state), memory)
            }
        };
        let verifier = Verifier::new(&trust)?;
        let targets = Targets::read(&self.targets, &wanted, &given, printer).await?;
        let audits = self
            .targets
            .iter()
            .any(|target| targets::is_channel_url(target));
        let mut report = Report::begin(&trust, origin, self.targets, printer)?;
        for documents in targets.releases {
            report.release(Release::judge(documents, &verifier, &policy))?;
        }
        let total = targets.subjects.len();
        let activity = Activity::start_rated(printer, "Verifying", total);
        let mut pace = Pace::start(printer, &activity, total, audits);
        {
            let judge = Judge::new(verifier, policy, given, self.jobs, &activity)
                .with_rules(rules)
                .with_memory(memory);
            let judge = Arc::new(judge);
            let mut entries = futures::stream::iter(targets.subjects)
                .map(|subject| judge.clone().entry(subject))
                .buffered(judge.window());
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                if let (Some(state), Some(known)) = (&mut state, entry.to_keep()) {
                    state.keep(&known)?;
                }
                pace.step();
                report.add(entry)?;
            }
        }
        pace.end();
        drop(activity);
        report.end()
    }
}

impl VerifyArgs {
    /// Refuses options for channels where a target is none.
    fn check_audit(&self) -> Result<(), Error> {
        let refused = |message: String| Err(Error::Usage(message));
        for (option, given) in [
            ("--allow-missing", self.allow_missing),
            ("--baseline", self.baseline.is_some()),
        ] {
            let mut targets = self.targets.iter();
            if given && let Some(target) = targets.find(|target| !targets::is_channel(target)) {
                return refused(format!(
                    "{option} goes with channels, and `{target}` is none"
                ));
            }
        }
        match (&self.state, self.targets.as_slice()) {
            (None, _) => Ok(()),
            (Some(_), [url]) if targets::is_channel_url(url) => Ok(()),
            (Some(_), _) => refused(
                "--state goes with one channel's URL: what is at hand is not fetched".to_owned(),
            ),
        }
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
