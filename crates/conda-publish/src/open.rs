//! From a channel's location to the channel.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use release_manifest::Mode;
use url::Url;

use crate::anaconda::AnacondaOrg;
use crate::artifactory::Artifactory;
use crate::cloudsmith::Cloudsmith;
use crate::package_server::PackagesOnly;
use crate::prefix::PrefixChannel;
use crate::quetz::Quetz;
use crate::{
    Channel, ChannelLocation, ChannelUrl, Error, FileChannel, Kind, Patience, S3Channel,
    TokenSource,
};

/// How a channel is opened.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// How long servers are waited for.
    pub patience: Patience,
    /// Replaces what is published under the same name, on servers that offer it; never on S3 and in folders.
    pub force: bool,
    /// The URL at which clients read the channel, where it is another than the one that is published to.
    pub read_at: Option<ChannelUrl>,
    /// The URL of the server's API, where it is another than the public one: for anaconda.org and Cloudsmith.
    pub api_url: Option<Url>,
    /// A file of credentials in rattler's format, which is looked into before its own stores.
    pub auth_file: Option<PathBuf>,
    /// The identity of the CI system, for trusted publishing.
    pub identity: Option<Arc<dyn TokenSource>>,
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("patience", &self.patience)
            .field("force", &self.force)
            .field("read_at", &self.read_at)
            .field("api_url", &self.api_url.as_ref().map(Url::as_str))
            .field("auth_file", &self.auth_file)
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

/// Opens a channel to publish to.
///
/// # Errors
/// It can't be used for a live release, or not with these options. Whether a server answers is for
/// [`preflight`](Channel::preflight) to say.
pub async fn open(
    location: &ChannelLocation,
    options: &OpenOptions,
) -> Result<Box<dyn Channel>, Error> {
    match location {
        ChannelLocation::File(_) | ChannelLocation::S3 { .. } if options.force => {
            Err(Error::Unsupported {
                channel: location.to_string(),
                reason: "never replaces what is published: --force is for servers that offer it",
            })
        }
        ChannelLocation::File(path) => {
            Ok(Box::new(FileChannel::open(path, Kind::Target(Mode::Live))?))
        }
        ChannelLocation::Prefix { server, channel } => Ok(Box::new(
            PrefixChannel::open(server, channel, options).await?,
        )),
        ChannelLocation::Quetz { server, channel } => Ok(Box::new(PackagesOnly(
            Quetz::open(location, server, channel, options).await?,
        ))),
        ChannelLocation::Artifactory { server, channel } => Ok(Box::new(PackagesOnly(
            Artifactory::open(location, server, channel, options).await?,
        ))),
        ChannelLocation::AnacondaOrg { owner, label } => Ok(Box::new(PackagesOnly(
            AnacondaOrg::open(location, owner, label, options).await?,
        ))),
        ChannelLocation::Cloudsmith { owner, repository } => Ok(Box::new(PackagesOnly(
            Cloudsmith::open(location, owner, repository, options).await?,
        ))),
        ChannelLocation::S3 { bucket, path } => {
            let patience = options.patience.clone();
            Ok(Box::new(S3Channel::open(bucket, path, patience).await?))
        }
    }
}
