//! Channels: where conda packages and their attestations are published.
//!
//! A [`Channel`] is told to [`put`](Channel::put) packages and to [`finish`](Channel::finish) once they are all
//! there. Whatever kind it is, it keeps these promises:
//!
//! - **The bytes that leave are the attested ones.** A package and each of its bundles are opened without
//!   following links and hashed while they are copied; another hash, and nothing becomes visible.
//! - **A published name is immutable.** Other bytes under a known name are [`Error::Conflict`].
//! - **CEP-50's order**: package, hashed sidecar, mutable sidecar, repodata; so that whatever a client learns of
//!   is there.
//! - **Nothing torn.** A file appears under its name when it is whole and on the disk. After a crash at any
//!   moment the same calls again complete the work.
//!
//! [`FileChannel`] is a channel in a folder. [`ChannelReader`] reads one, and [`RemoteChannel`] one over http(s), as
//! conda clients do. [`ChannelLocation`] names every kind of channel that the command line knows.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod anaconda;
mod archive;
mod artifactory;
mod blocking;
mod channel;
mod cloudsmith;
mod credentials;
mod disk;
mod error;
mod file;
#[cfg(test)]
mod fixture;
mod form;
mod github;
mod location;
mod open;
mod package_server;
mod prefix;
mod quetz;
mod reader;
mod release;
mod remote;
mod repodata;
mod retry;
mod s3;
mod server;
mod settings;
mod sidecar;
mod source;
mod store;
mod there;

pub use channel::{Bundle, Channel, Keeps, Placed, Present, Reporter, Upload};
pub use credentials::TokenSource;
pub use error::Error;
pub use file::{FileChannel, Kind};
pub use github::GithubRelease;
pub use location::{ChannelLocation, ChannelType};
pub use open::{OpenOptions, open};
pub use reader::ChannelReader;
pub use release::{Document, KeptRelease, RELEASES, ReleaseKeeper, ReleasePlaced, ReleaseUpload};
pub use remote::{ChannelUrl, Download, Patience, RemoteChannel};
pub use repodata::Listed;
pub use s3::S3Channel;
pub use sidecar::{SIDECAR_LIMIT, Sidecar};
pub use store::{AttestationStore, StoreLocation, open_store};
