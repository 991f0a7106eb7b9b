//! The live half of a release: who signs it, under whose trust, and into which channel.

use std::{collections::BTreeMap, sync::Arc};

use clap::Args;
use conda_attest::{Evidence, Policy, Purpose, Trust, TrustOptions};
use conda_publish::{
    AttestationStore, Channel, ChannelLocation, GithubRelease, Keeps, Patience, Present,
    StoreLocation, TokenSource,
};
use release_manifest::{Event, PackageKey, Progress, Published, Skipped, Source};

use crate::{
    commands::{
        policy::configured_policy,
        trust::{self, Instance, TrustArgs},
    },
    error::Error,
    exit::Status,
    identity::{CiIdentity, IdentityArgs, Signer},
    pipeline::{self, PublishOptions, Wanted},
    printer::Printer,
    release::Release,
    run::check_live,
    target::Target,
    workspace::Workspace,
};

/// What the commands that publish for real have in common.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Live releases")]
pub(crate) struct PublishingArgs {
    /// With --execute: replace other bytes under a published name, on servers that offer it
    #[arg(long)]
    pub(crate) force: bool,

    /// With --execute: publish to a channel that has no place for attestations
    #[arg(long)]
    pub(crate) without_attestation: bool,

    /// With --execute: end without waiting until clients see the packages
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// With --execute: add the attested release manifest to the assets of the release of this tag on GitHub
    #[arg(long, value_name = "TAG")]
    pub(crate) github_release: Option<String>,
}

impl PublishingArgs {
    /// The release on GitHub that was named, of the repository that is released.
    ///
    /// # Errors
    /// The repository is none of GitHub's.
    async fn github_release(&self, source: &Source) -> Result<Option<GithubRelease>, Error> {
        let Some(tag) = &self.github_release else {
            return Ok(None);
        };
        let repository = source.repository.as_deref().unwrap_or_default();
        let place = repository
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'));
        let Some((owner, name)) = place.and_then(|(_, path)| path.split_once('/')) else {
            return Err(Error::Usage(format!(
                "--github-release adds to a release of the repository that is checked out: expected a remote `https://github.com/<owner>/<repository>`, found `{repository}`"
            )));
        };
        Ok(Some(
            GithubRelease::open(owner, name, tag, &Patience::default()).await?,
        ))
    }

    async fn check_github_release(&self, workspace: &Workspace) -> Result<(), Error> {
        match self.github_release(&workspace.checkout()?.source).await? {
            Some(page) => Ok(page.preflight().await?),
            None => Ok(()),
        }
    }
}

/// Who attests a live release, and under whose trust.
pub(crate) struct Attester<'a> {
    workspace: &'a Workspace,
    trust: Trust,
    identity: &'a IdentityArgs,
    printer: &'a Printer,
}

/// An attester and a channel, of which everything is known that can be before anything is built.
pub(crate) struct Live<'a> {
    /// Who attests.
    pub(crate) attester: Attester<'a>,
    target: Target,
    publishing: &'a PublishingArgs,
}

impl<'a> Live<'a> {
    /// Has everything that can be known before anything is built: the trust material, refreshed; where it is needed,
    /// that there is an identity, of which no token is asked for yet; the channel, its credentials and what it does with
    /// attestations.
    ///
    /// # Errors
    /// All that stands in the way, together.
    pub(crate) async fn prepare(
        workspace: &'a Workspace,
        target: &Target,
        (trust, identity): (&TrustArgs, &'a IdentityArgs),
        needs_identity: bool,
        publishing: &'a PublishingArgs,
        printer: &'a Printer,
    ) -> Result<Self, Error> {
        let target = target.clone().with_force(publishing.force);
        let asked = match ask(workspace, &target, publishing).await {
            Ok(()) => publishing.check_github_release(workspace).await,
            error => error,
        };
        let attester = Attester::prepare(workspace, trust, identity, needs_identity, printer).await;
        match (asked, attester) {
            (Ok(()), Ok(attester)) => Ok(Self {
                attester,
                target,
                publishing,
            }),
            (asked, attester) => {
                let errors = [asked.err(), attester.err()];
                Err(Error::Preflight(errors.into_iter().flatten().collect()))
            }
        }
    }

    /// Warns of what is left out since the channel has it, but without an attestation: a run that was killed leaves it so.
    pub(crate) fn warn_of_unattested(
        &self,
        release: &Release,
        existing: &BTreeMap<PackageKey, Present>,
    ) {
        if self.publishing.without_attestation {
            return;
        }
        let is_unattested =
            |key: &PackageKey| existing.get(key).and_then(|it| it.attested) == Some(false);
        for package in release.manifest().packages() {
            let key = package.key();
            let skipped = package.skipped.as_ref();
            let is_left_out = skipped.is_some_and(|it| it.reason != Skipped::NOT_SELECTED);
            if is_left_out && is_unattested(&key) {
                self.attester.printer.warning(&format!(
                    "{key} is left out, as the channel has it, but without an attestation: the same command adds it where the package was built and attested; else raise its build number"
                ));
            }
        }
    }

    /// Publishes what is attested, and waits until clients see it.
    ///
    /// # Errors
    /// The channel as a whole cannot be asked or written.
    pub(crate) async fn publish(
        &self,
        release: &mut Release,
        keep_going: bool,
    ) -> Result<Status, Error> {
        let (workspace, printer) = (self.attester.workspace, self.attester.printer);
        let target = &self.target;
        pipeline::hold_back(release, Progress::Attested, keep_going, printer)?;
        pipeline::require_whole(release, workspace, keep_going)?;
        let any_ready = !pipeline::ready(release, Progress::Attested, keep_going).is_empty();
        if any_ready
            || pipeline::whole_waits(release) && target.open(None).await?.releases().is_some()
        {
            let (channel, options) = open(workspace, target, self.publishing, keep_going).await?;
            let channel = channel.as_ref();
            pipeline::publish_to(release, channel, &options, printer).await?;
            pipeline::publish_whole(release, channel, printer).await?;
        }
        if let Some(page) = self
            .publishing
            .github_release(&release.plan().source)
            .await?
        {
            pipeline::add_to_assets(release, &page, printer).await?;
        }
        let status = pipeline::outcome(release, Progress::Published);
        match workspace.config().publish.wait && !self.publishing.no_wait {
            true => Ok(status.and(self.see(release).await?)),
            false => Ok(status),
        }
    }

    /// Waits until clients see what is published and was not seen yet.
    ///
    /// # Errors
    /// Clients find something else than what was published.
    async fn see(&self, release: &mut Release) -> Result<Status, Error> {
        let is_unseen = |published: &Published| published.seen.is_none();
        let packages = release.manifest().packages().iter();
        let unseen: Vec<PackageKey> = packages
            .filter(|package| package.published.as_ref().is_some_and(is_unseen))
            .map(|package| package.key())
            .collect();
        if unseen.is_empty() {
            return Ok(Status::Done);
        }
        let Attester {
            workspace,
            trust,
            printer,
            ..
        } = &self.attester;
        let target = &self.target;
        let channel = target.open(None).await?;
        let keeps = keeps_attestations(channel.as_ref(), workspace, target, self.publishing)?;
        let wanted = unseen.iter().filter_map(|package| {
            let recorded = release.manifest().package(package)?;
            let wanted = Wanted::of(recorded, channel.as_ref(), keeps > 0);
            Some((package.clone(), wanted))
        });
        let within = workspace.config().publish.visible_within;
        let sight = pipeline::see(wanted.collect(), target, trust, within, printer).await?;
        for package in &sight.seen {
            release.record(package, Event::Seen)?;
        }
        for (package, error) in &sight.unattested {
            pipeline::take_back(release, package, error)?;
        }
        release.compact()?;
        Ok(sight.status)
    }
}

impl<'a> Attester<'a> {
    /// Loads the trust material, and looks for an identity where one is needed: no token is asked for yet.
    ///
    /// # Errors
    /// The trust material cannot be had, or there is no identity.
    pub(crate) async fn prepare(
        workspace: &'a Workspace,
        trust: &TrustArgs,
        identity: &'a IdentityArgs,
        needs_identity: bool,
        printer: &'a Printer,
    ) -> Result<Self, Error> {
        let trust = load(trust, identity, workspace, printer).await?;
        if needs_identity {
            Signer::detect(identity.token().as_ref(), &trust, printer)?;
        }
        Ok(Self {
            workspace,
            trust,
            identity,
            printer,
        })
    }

    /// Takes back what no longer holds of what an earlier run recorded; of what was published only where it is known
    /// what the channel has. Whoever signed it is compared with who signs
    /// now once that is known.
    ///
    /// # Errors
    /// It was another trust's release, or the journal cannot be written.
    pub(crate) fn check(
        &self,
        release: &mut Release,
        existing: Option<&BTreeMap<PackageKey, Present>>,
    ) -> Result<(), Error> {
        release.stands_under(self.trust.name())?;
        let who = (Policy::Anyone, &(|_: &Evidence| true) as _);
        check_live(
            release,
            self.workspace,
            &self.trust,
            who,
            existing,
            self.printer,
        )
    }

    /// Attests what is tested, as the identity that is found now; and what an earlier run attested as another one.
    ///
    /// # Errors
    /// There is no identity, or no certificate.
    pub(crate) async fn sign(&self, release: &mut Release, keep_going: bool) -> Result<(), Error> {
        let (workspace, printer) = (self.workspace, self.printer);
        pipeline::hold_back(release, Progress::Tested, keep_going, printer)?;
        let wants = |release: &_| pipeline::wants_attestation(release, workspace, keep_going);
        let to_sign = wants(release);
        let mut signer = self.readmit(release, to_sign).await?;
        if signer.is_none() && wants(release) {
            // Looking at what was there took something back.
            signer = self.readmit(release, true).await?;
        }
        let Some(signer) = signer else {
            return Ok(());
        };
        pipeline::sign_as(
            release,
            workspace,
            &self.trust,
            &signer,
            keep_going,
            printer,
        )
        .await
    }

    /// Takes back what was attested by somebody who may not have, as the configuration says, or else by another than
    /// the current identity, which is given where it was found.
    ///
    /// # Errors
    /// There is no identity, and the configuration does not say whose attestations are acceptable.
    pub(crate) async fn readmit(
        &self,
        release: &mut Release,
        needs_identity: bool,
    ) -> Result<Option<Signer>, Error> {
        let policy = configured_policy(self.workspace)?;
        let packages = release.manifest().packages();
        let is_waiting = packages
            .iter()
            .any(|package| package.progress == Progress::Attested);
        if !needs_identity && (policy.is_some() || !is_waiting) {
            if let Some(policy) = policy {
                self.admit(release, policy, &|_| true)?;
            }
            return Ok(None);
        }
        let signer =
            Signer::find(self.identity.token().as_ref(), &self.trust, self.printer).await?;
        match policy {
            Some(policy) => self.admit(release, policy, &|_| true)?,
            None => self.admit(release, Policy::Anyone, &|proved| signer.has_signed(proved))?,
        }
        Ok(Some(signer))
    }

    /// Verifies again every attestation that is about to leave (invariant 4); one that is not acceptable is made anew.
    fn admit(
        &self,
        release: &mut Release,
        policy: Policy,
        signed_by: &(dyn Fn(&Evidence) -> bool + Sync),
    ) -> Result<(), Error> {
        let known = pipeline::Known {
            trust: Some(&self.trust),
            policy,
            signed_by,
            asks_for_provenance: self.workspace.config().sign.provenance,
            last: Progress::Attested,
            ..pipeline::Known::built()
        };
        pipeline::check_unpublished(release, &known, self.printer)
    }
}

/// Asks a channel and the stores beside it for what publishing needs, with the credentials that are at hand. A token that
/// is minted from an identity is for later, when no build can see it.
///
/// # Errors
/// What publishing would miss.
pub(crate) async fn ask(
    workspace: &Workspace,
    target: &Target,
    publishing: &PublishingArgs,
) -> Result<(), Error> {
    let channel = target.open(None).await?;
    stores(workspace).await?;
    let is_minted =
        matches!(target.location(), ChannelLocation::Prefix { .. }) && CiIdentity::is_there();
    if !is_minted {
        channel.preflight().await?;
    }
    keeps_attestations(channel.as_ref(), workspace, target, publishing).map(drop)
}

/// Opens a channel to publish to as who the CI system says we are, where it says that, and asks it and the stores
/// beside it for everything that publishing needs.
///
/// # Errors
/// All that stands in the way, together.
pub(crate) async fn open(
    workspace: &Workspace,
    target: &Target,
    publishing: &PublishingArgs,
    keep_going: bool,
) -> Result<(Box<dyn Channel>, PublishOptions), Error> {
    let identity: Arc<dyn TokenSource> = Arc::new(CiIdentity);
    let channel = target.open(Some(identity)).await?;
    let keeps = keeps_attestations(channel.as_ref(), workspace, target, publishing)?;
    let asked = channel.preflight().await.map_err(Error::from);
    match (asked, stores(workspace).await) {
        (Ok(()), Ok(stores)) => {
            let options = PublishOptions {
                concurrency: workspace.config().publish.concurrency,
                deadline: workspace.config().publish.deadline,
                force: publishing.force,
                attestations: keeps,
                stores,
                keep_going,
            };
            Ok((channel, options))
        }
        (asked, stores) => {
            let errors = [asked.err(), stores.err()];
            Err(Error::Preflight(errors.into_iter().flatten().collect()))
        }
    }
}

/// The stores that attestations go to besides the channel, each of which answered that it can be used.
async fn stores(workspace: &Workspace) -> Result<Vec<Box<dyn AttestationStore>>, Error> {
    let mut stores = Vec::new();
    for name in &workspace.config().publish.stores {
        let location = match name.parse()? {
            StoreLocation::Folder(path) => StoreLocation::Folder(workspace.root().join(path)),
            location => location,
        };
        let store = conda_publish::open_store(&location, &Patience::default()).await?;
        store.preflight().await?;
        stores.push(store);
    }
    Ok(stores)
}

/// How many attestations the channel takes with a package. One that takes too few is published to only where a store
/// takes them all, or by who says so.
fn keeps_attestations(
    channel: &dyn Channel,
    workspace: &Workspace,
    target: &Target,
    publishing: &PublishingArgs,
) -> Result<usize, Error> {
    let has_store = !workspace.config().publish.stores.is_empty();
    let needed = 1 + usize::from(workspace.config().sign.provenance);
    match channel.attestations() {
        _ if publishing.without_attestation => Ok(0),
        Keeps::Nothing if has_store => Ok(0),
        Keeps::Native { most } if has_store => Ok(most),
        Keeps::Nothing => Err(Error::KeepsNoAttestations(target.name().to_owned())),
        Keeps::Native { most } if most < needed => Err(Error::KeepsTooFew {
            channel: target.name().to_owned(),
            most,
        }),
        Keeps::Native { .. } | Keeps::Sidecars => Ok(usize::MAX),
    }
}

/// The trust material of the instance that signs.
async fn load(
    trust: &TrustArgs,
    identity: &IdentityArgs,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<Trust, Error> {
    let Instance::Sigstore(source) = trust.to_sign(true, workspace)? else {
        return Err(Error::Usage(
            "the sandbox signs rehearsals alone".to_owned(),
        ));
    };
    let options = TrustOptions {
        audience: identity.audience(workspace),
        ..TrustOptions::new(Purpose::Sign)
    };
    let trust = trust::load(&source, &options).await?;
    trust::announce(&trust, printer);
    Ok(trust)
}
