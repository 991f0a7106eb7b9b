//! Channels on servers that keep packages, index them by themselves, and have no place for attestations.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use cep27::Sha256;
use rattler_networking::Authentication;
use release_manifest::{PackageKey, PublishResult};
use url::Url;

use crate::credentials::{Secret, stored_token, variable};
use crate::server::Server;
use crate::settings::Settings;
use crate::there::{There, is_same};
use crate::{
    Channel, ChannelLocation, ChannelUrl, Error, Keeps, OpenOptions, Patience, Placed, Present,
    Reporter, Upload, archive,
};

/// How such a server is talked to.
#[async_trait]
pub(crate) trait PackageServer: Send + Sync {
    /// The channel there.
    fn site(&self) -> &Site;

    /// That there is such a channel, which an empty answer to reading it doesn't tell.
    async fn exists(&self) -> Result<(), Error>;

    /// That there is such a channel, and that the credentials may publish to it, as far as that can be told.
    async fn may_publish(&self) -> Result<(), Error> {
        self.exists().await
    }

    /// Uploads a package that the server's index can take.
    async fn upload(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<PublishResult, Error>;
}

/// A channel on such a server, as who publishes there.
pub(crate) struct Site {
    /// As the user named it.
    pub(crate) name: String,
    /// Where the server's API is.
    pub(crate) url: Url,
    pub(crate) server: Server,
    pub(crate) settings: Settings,
    pub(crate) patience: Patience,
    /// What clients read.
    pub(crate) there: There,
    /// Whether other bytes under a published name are replaced.
    pub(crate) force: bool,
}

impl Site {
    /// Prepares for a server whose API is at `url` and whose clients read at `read_at`. What is `given` as credentials
    /// comes before those that are stored. Nobody is asked yet.
    pub(crate) async fn open(
        location: &ChannelLocation,
        url: &Url,
        given: Option<Authentication>,
        read_at: ChannelUrl,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let mut settings = Settings::read_with(options.auth_file.clone()).await?;
        if let Some(authentication) = given {
            settings.prefer(url, &authentication)?;
        }
        let patience = options.patience.clone();
        Ok(Self {
            name: location.to_string(),
            url: url.clone(),
            server: Server::new(url, patience.clone(), &settings)?,
            there: There::new(read_at, patience.clone(), settings.clone()),
            settings,
            patience,
            force: options.force,
        })
    }

    /// The token for the server, if `take` takes what there is: of the kind that is `wanted`, where the variable beside
    /// that was looked at before.
    pub(crate) async fn token(
        &self,
        wanted: (&str, &str),
        take: impl FnOnce(Authentication) -> Option<String>,
    ) -> Result<Secret, Error> {
        stored_token(&self.settings, &self.url, self.server.name(), wanted, take).await
    }

    /// Whether the package is published already, where this hash is under its name.
    ///
    /// # Errors
    /// It is another one, and not to be replaced.
    pub(crate) fn has(&self, upload: &Upload, there: Option<Sha256>) -> Result<bool, Error> {
        match self.force {
            true => Ok(there == Some(upload.sha256)),
            false => is_same(upload, there),
        }
    }
}

/// The URL of a server's API: the one that was given, else the variable's, else the public one.
pub(crate) fn api(options: &OpenOptions, name: &str, public: &str) -> Result<Url, Error> {
    let named = variable(name);
    let url = match (&options.api_url, &named) {
        (Some(url), _) => return Ok(url.clone()),
        (None, Some(named)) => named.expose(),
        (None, None) => public,
    };
    Url::parse(url).map_err(|error| Error::ChannelUrl {
        reason: format!("{name} is no URL: {error}"),
    })
}

/// The error for a channel on another server than the public one, of which clients might read anywhere.
pub(crate) fn read_nowhere(location: &ChannelLocation) -> Error {
    Error::Unsupported {
        channel: location.to_string(),
        reason: "is on a server of its own: the URL at which clients read it must be given as well",
    }
}

/// A channel that has packages and nothing else.
pub(crate) struct PackagesOnly<S>(pub(crate) S);

#[async_trait]
impl<S: PackageServer> Channel for PackagesOnly<S> {
    fn attestations(&self) -> Keeps {
        Keeps::Nothing
    }

    fn url(&self, package: &PackageKey) -> String {
        self.0.site().there.url(package)
    }

    async fn preflight(&self) -> Result<(), Error> {
        self.0.site().there.preflight(self.0.may_publish()).await
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        self.0.site().there.lookup(packages, self.0.exists()).await
    }

    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
        refuse_attestations(upload, &self.0.site().name)?;
        archive::check_upload(upload).await?;
        Ok(Placed {
            result: self.0.upload(upload, reporter).await?,
            url: self.url(&upload.package),
            sidecar_sha256: None,
        })
    }

    /// The server has begun to index when it answers an upload.
    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Refuses attestations for a channel that has no place for them, rather than to drop them.
fn refuse_attestations(upload: &Upload, channel: &str) -> Result<(), Error> {
    match upload.bundles.len() {
        0 => Ok(()),
        found => Err(Error::TooManyAttestations {
            package: Box::new(upload.package.clone()),
            channel: channel.to_owned(),
            found,
            most: 0,
        }),
    }
}
