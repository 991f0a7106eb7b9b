//! Where a live release goes: the channel that is published to, and the one that clients read.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
};

use cep27::{FileName, TargetChannel};
use conda_publish::{
    Channel, ChannelLocation, ChannelReader, ChannelUrl, Listed, OpenOptions, Patience, Present,
    RemoteChannel, TokenSource,
};
use conda_recipes::Highest;
use release_manifest::{Digest, Manifest, PackageKey, Plan};
use url::Url;

use crate::{error::Error, identity::is_rehearsed, workspace::Workspace};

/// The channel of a live release.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    name: String,
    location: ChannelLocation,
    attested: TargetChannel,
    force: bool,
}

/// Where clients read a channel.
#[derive(Clone, Debug)]
pub(crate) enum ReadAt {
    /// In this folder.
    Folder(PathBuf),
    /// On a server.
    Url(ChannelUrl),
}

impl Target {
    /// The channel that `to` names, else the configured one, and the URL that is attested for it.
    ///
    /// # Errors
    /// None is named, it is none that is known, or it is not said at which URL clients read it.
    pub(crate) fn find(workspace: &Workspace, to: Option<&str>) -> Result<Self, Error> {
        let name = workspace.channel(to).ok_or(Error::NoChannel)?;
        let location = match workspace.location(&name)? {
            ChannelLocation::File(path) => ChannelLocation::File(workspace.current().join(path)),
            location => location,
        };
        let attested = workspace.attested_channel(&location)?;
        if is_rehearsed(attested.as_str()) {
            return Err(Error::Usage(format!(
                "`{attested}` is a rehearsal's channel, which no client can ever read: name yours with `target-channel`"
            )));
        }
        Ok(Self {
            name,
            location,
            attested,
            force: false,
        })
    }

    /// The same, replacing what is published there under the same names, where the server offers it.
    pub(crate) fn with_force(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// The channel as it was named.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The URL that is attested: the one that clients read.
    pub(crate) fn attested(&self) -> &TargetChannel {
        &self.attested
    }

    /// Where it is.
    pub(crate) fn location(&self) -> &ChannelLocation {
        &self.location
    }

    /// Opens it, as who the CI system says we are where an `identity` is given.
    ///
    /// # Errors
    /// It cannot be used for a live release.
    pub(crate) async fn open(
        &self,
        identity: Option<Arc<dyn TokenSource>>,
    ) -> Result<Box<dyn Channel>, Error> {
        let read_at = match self.read_at()? {
            ReadAt::Folder(_) => None,
            ReadAt::Url(url) => Some(url),
        };
        let options = OpenOptions {
            patience: Patience::default(),
            force: self.force,
            read_at,
            identity,
            ..OpenOptions::default()
        };
        Ok(conda_publish::open(&self.location, &options).await?)
    }

    /// What it has under the names of a plan. Nothing is changed, not even where there is no channel yet.
    ///
    /// # Errors
    /// It cannot be asked, which never counts as an empty one.
    pub(crate) async fn existing(
        &self,
        plan: &Plan,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        let names: BTreeSet<PackageKey> = plan.packages.iter().map(|it| it.key()).collect();
        if let ReadAt::Url(_) = self.read_at()? {
            return Ok(self.open(None).await?.lookup(&names).await?);
        }
        let mut existing = BTreeMap::new();
        for listed in self.listed().await? {
            let listed = listed?;
            if names.contains(&listed.package) {
                let present = Present {
                    sha256: listed.sha256,
                    attested: Some(listed.attested),
                    claimed: listed.claimed,
                };
                existing.insert(listed.package, present);
            }
        }
        Ok(existing)
    }

    /// The highest build number that it has of each name and version of a plan, in whatever subdir.
    ///
    /// # Errors
    /// It cannot be read, or a record has no build number: never taken for a channel without the package.
    pub(crate) async fn highest_build_numbers(&self, plan: &Plan) -> Result<Highest, Error> {
        let name = |file: &FileName| (file.name().to_owned(), file.version().to_owned());
        let names: BTreeSet<_> = plan.packages.iter().map(|it| name(&it.file)).collect();
        let mut highest = Highest::new();
        for listed in self.listed().await? {
            let listed = listed?;
            let name = name(&listed.package.file);
            if !names.contains(&name) {
                continue;
            }
            let number = listed
                .build_number
                .ok_or_else(|| Error::NoBuildNumber(listed.package.to_string()))?;
            let known = highest.entry(name).or_default();
            *known = number.max(*known);
        }
        Ok(highest)
    }

    /// Reads the release manifests that it keeps, at most so many and the newest first, until `take` has enough.
    ///
    /// # Errors
    /// The channel cannot be read, or a document there is no manifest: never taken for a channel that keeps none.
    pub(crate) async fn kept_releases(
        &self,
        most: usize,
        mut take: impl FnMut(Manifest) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut next = |plan: Digest, bytes: Option<Vec<u8>>| {
            let Some(bytes) = bytes else {
                return Ok(ControlFlow::Continue(()));
            };
            let path = PathBuf::from(format!("{}/{}", conda_publish::RELEASES, plan.sha256()));
            let manifest = Manifest::from_json(&bytes).map_err(Error::state(path))?;
            Ok::<_, Error>(take(manifest))
        };
        if let ReadAt::Folder(path) = self.read_at()? {
            let Some(reader) = ChannelReader::find(&path)? else {
                return Ok(());
            };
            for plan in reader.kept()?.into_iter().take(most) {
                if next(plan, reader.manifest(plan)?)?.is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let channel = self.open(None).await?;
        let Some(releases) = channel.releases() else {
            return Ok(());
        };
        for plan in releases.kept().await?.into_iter().take(most) {
            if next(plan, releases.manifest(plan).await?)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Every package of the channel as clients see it; none where there is no channel yet.
    async fn listed(&self) -> Result<Vec<Result<Listed, conda_publish::Error>>, Error> {
        match self.read_at()? {
            ReadAt::Folder(path) => {
                let Some(reader) = ChannelReader::find(&path)? else {
                    return Ok(Vec::new());
                };
                reader.check_indexed()?;
                Ok(reader.packages().collect())
            }
            ReadAt::Url(url) => {
                let found = RemoteChannel::published(url, Patience::default()).await?;
                Ok(found.map_or_else(Vec::new, |remote| remote.packages().collect()))
            }
        }
    }

    /// Where clients read it.
    ///
    /// # Errors
    /// The URL is none that clients can read a channel at.
    pub(crate) fn read_at(&self) -> Result<ReadAt, Error> {
        Ok(match &self.location {
            ChannelLocation::File(path) => ReadAt::Folder(path.clone()),
            _ => ReadAt::Url(self.attested.as_str().parse()?),
        })
    }

    /// The URL at which builds find what is published already; nothing while there is no channel yet.
    ///
    /// # Errors
    /// The channel cannot be read.
    pub(crate) async fn published_at(&self) -> Result<Option<String>, Error> {
        match self.read_at()? {
            ReadAt::Folder(path) => {
                let found = ChannelReader::find(&path)?;
                let url = Url::from_directory_path(&path).ok().map(String::from);
                Ok(url.filter(|_| found.is_some()))
            }
            ReadAt::Url(url) => {
                let text = url.as_str().to_owned();
                let found = RemoteChannel::published(url, Patience::default()).await?;
                Ok(found.map(|_| text))
            }
        }
    }
}
