//! From a channel's location to the channel.

use std::fmt;
use std::sync::Arc;

use release_manifest::Mode;

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
    /// The identity of the CI system, for trusted publishing.
    pub identity: Option<Arc<dyn TokenSource>>,
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("patience", &self.patience)
            .field("force", &self.force)
            .field("read_at", &self.read_at)
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
        ChannelLocation::File(path) => {
            if options.force {
                return Err(Error::Unsupported {
                    channel: location.to_string(),
                    reason: "never replaces what is published: --force is for servers that offer it",
                });
            }
            Ok(Box::new(FileChannel::open(path, Kind::Target(Mode::Live))?))
        }
        ChannelLocation::S3 { bucket, path } => {
            if options.force {
                return Err(Error::Unsupported {
                    channel: location.to_string(),
                    reason: "never replaces what is published: --force is for servers that offer it",
                });
            }
            let patience = options.patience.clone();
            Ok(Box::new(S3Channel::open(bucket, path, patience).await?))
        }
        other => Err(Error::Unsupported {
            channel: other.to_string(),
            reason: "cannot be published to by this version",
        }),
    }
}
