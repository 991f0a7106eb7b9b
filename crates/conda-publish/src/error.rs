//! What goes wrong while publishing and reading channels.

use std::io::ErrorKind;
use std::path::PathBuf;

use cep27::Sha256;
use release_manifest::PackageKey;

use crate::sidecar::SIDECAR_LIMIT;

/// Why something could not be published or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// A link stands where a file or folder of its own is needed.
    #[error("{} is a link, which is not followed", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },

    /// Something else than a regular file (a folder, a pipe, a device) stands where one is needed.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },

    /// Something else than a folder stands where one is needed.
    #[error("{} is not a folder", path.display())]
    NotAFolder {
        /// What is there.
        path: PathBuf,
    },

    /// A folder's path is not Unicode, which neither URLs nor the indexer can carry.
    #[error("the path {} is not valid Unicode", path.display())]
    NotUnicode {
        /// The path.
        path: PathBuf,
    },

    /// The package's file changed since it was attested.
    #[error("{package} is not the package that was attested: expected sha256 {expected}, found {found} in {}", path.display())]
    PackageChanged {
        /// The package.
        package: Box<PackageKey>,
        /// The file that was read.
        path: PathBuf,
        /// The attested hash.
        expected: Sha256,
        /// The hash of the file.
        found: Sha256,
    },

    /// A bundle changed since it was verified.
    #[error("the attestation of {package} is not the one that was verified: expected sha256 {expected}, found {found} in {}", path.display())]
    BundleChanged {
        /// The package it belongs to.
        package: Box<PackageKey>,
        /// The file that was read.
        path: PathBuf,
        /// The verified hash.
        expected: Sha256,
        /// The hash of the file.
        found: Sha256,
    },

    /// A document of a release changed since it was verified.
    #[error("{} is not what was verified: expected sha256 {expected}, found {found}", path.display())]
    DocumentChanged {
        /// The file that was read.
        path: PathBuf,
        /// The verified hash.
        expected: Sha256,
        /// The hash of the file.
        found: Sha256,
    },

    /// A bundle's file doesn't hold one JSON object.
    #[error("the attestation of {package} in {} is not a bundle: {reason}", path.display())]
    Bundle {
        /// The package it belongs to.
        package: Box<PackageKey>,
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The archive can't be indexed, or it says to be another package.
    #[error("{} cannot be published as {package}: {reason}", path.display())]
    Archive {
        /// The name it was to have.
        package: Box<PackageKey>,
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The channel has other bytes under this name (invariant 7: published names are immutable).
    #[error(
        "{package} is already published with other content: the channel has sha256 {there}, this one is {here}"
    )]
    Conflict {
        /// The name.
        package: Box<PackageKey>,
        /// The hash in the channel.
        there: Sha256,
        /// The hash that was to be published.
        here: Sha256,
    },

    /// The folder has content, and it is not a channel's.
    #[error("{} is neither empty nor a conda channel: it has {found} but no noarch/repodata.json", path.display())]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },

    /// The folder is a channel for another purpose: a rehearsal's packages never go into a live channel, nor the
    /// other way round (invariant 5).
    #[error("{} is {found}; it cannot be used as {expected}", path.display())]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// What it was opened as.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },

    /// The marker file of a channel can't be understood.
    #[error("the marker file {} is invalid: {reason}", path.display())]
    Marker {
        /// The marker file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A target was told to forget packages.
    #[error("{} is not a mirror of a plan: what is published there stays", path.display())]
    NotAMirror {
        /// The channel.
        path: PathBuf,
    },

    /// A sidecar in the channel breaks CEP-50.
    #[error("the sidecar {} is invalid: {reason}", path.display())]
    Sidecar {
        /// The sidecar.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A sidecar would grow beyond [`SIDECAR_LIMIT`].
    #[error(
        "the attestations of {package} would take {size} bytes, more than the {SIDECAR_LIMIT} that clients read"
    )]
    SidecarFull {
        /// The package.
        package: Box<PackageKey>,
        /// The size it would have, in bytes.
        size: u64,
    },

    /// An archive in the channel that would make indexing fail.
    #[error("{} cannot be indexed: {reason}", path.display())]
    Unindexable {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Writing the repodata of a subdir failed.
    #[error("cannot index {}", path.display())]
    Index {
        /// The subdir's folder.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The repodata of a subdir can't be read.
    #[error("{at} is not valid repodata: {reason}")]
    Repodata {
        /// The repodata's file or URL.
        at: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A channel has no repodata where every channel has some (CEP-26).
    #[error("{at} is missing{}", beside.as_ref().map_or_else(String::new, |it| format!(", but {it} exists")))]
    RepodataMissing {
        /// The missing file or URL.
        at: String,
        /// Part of the channel that was found instead.
        beside: Option<String>,
    },

    /// The channel's repodata has no such package.
    #[error("{package} is not in the repodata of {channel}")]
    NotListed {
        /// The package.
        package: Box<PackageKey>,
        /// The channel's folder or URL.
        channel: String,
    },

    /// The repodata advertises attestations under something else than a hash.
    #[error(
        "the repodata record of {package} has a malformed attestations_sha256: expected 64 lower-case hexadecimal digits, found {found}"
    )]
    AttestationsHash {
        /// The package.
        package: Box<PackageKey>,
        /// What the record has.
        found: String,
    },

    /// The repodata advertises attestations that can't be had: a failed retrieval, never "no attestation" (CEP-50).
    #[error("the attestations of {package} are advertised but unusable: {reason}")]
    Advertised {
        /// The package.
        package: Box<PackageKey>,
        /// What is wrong with them.
        reason: String,
    },

    /// A channel did not answer, or not with what can be used, however often it was asked.
    #[error("cannot fetch {url}: {reason} ({attempts} attempts)")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// How often.
        attempts: u32,
        /// What went wrong the last time.
        reason: String,
    },

    /// A channel answered that it has not, or does not give, what was asked for.
    #[error("cannot fetch {url}: the server answers with HTTP status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },

    /// A channel sent more than there can be.
    #[error("cannot fetch {url}: it is larger than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The most that is read, in bytes.
        limit: u64,
    },

    /// A channel, or a mirror of it, led to where no request may go.
    #[error("cannot fetch {url}: it leads to {to}, which {reason}")]
    Forbidden {
        /// What was asked for.
        url: String,
        /// Scheme and host of where it leads to.
        to: String,
        /// What is wrong with that.
        reason: &'static str,
    },

    /// A channel served other bytes than its repodata says.
    #[error("{package} is not what the repodata says: expected sha256 {expected}, found {found}")]
    NotAsListed {
        /// The package.
        package: Box<PackageKey>,
        /// The hash in the repodata.
        expected: Sha256,
        /// The hash of what was served.
        found: Sha256,
    },

    /// The URL is not one that a channel is read at.
    #[error("the channel's URL cannot be used: {reason}")]
    ChannelUrl {
        /// What is wrong with it.
        reason: String,
    },

    /// rattler's `config.toml` can't be used.
    #[error("cannot use rattler's configuration")]
    RattlerConfig {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The stored credentials can't be read.
    #[error("cannot read rattler's stored credentials")]
    Credentials {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A channel was named in a form that is not known.
    #[error("cannot tell what kind of channel \"{found}\" is: expected one of {forms}")]
    Location {
        /// What was named.
        found: String,
        /// The forms there are.
        forms: String,
    },

    /// A store of attestations was named in a form that is not known.
    #[error("cannot tell what kind of attestation store \"{found}\" is: expected one of {forms}")]
    Store {
        /// What was named.
        found: String,
        /// The forms there are.
        forms: String,
    },

    /// A channel's URL has something in it that must not end up in logs and attestations.
    #[error("the channel's URL must not have {found} in it")]
    LocationSecret {
        /// What kind of thing, never the thing itself.
        found: &'static str,
    },

    /// A server refused what it was asked to do, for good.
    #[error("{server} refuses {what}: {reason} (HTTP status {status})")]
    Refused {
        /// The server's host.
        server: String,
        /// The package, or what else was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it says, made harmless and short; where it says nothing, what the status means.
        reason: String,
        /// What a person can do about it.
        help: &'static str,
    },

    /// A server could not be asked to do something, however often it was tried.
    #[error("cannot reach {server} for {what}: {reason} ({attempts} attempts)")]
    NotSent {
        /// The server's host.
        server: String,
        /// The package, or what else was asked for.
        what: String,
        /// How often.
        attempts: u32,
        /// What went wrong the last time.
        reason: String,
    },

    /// A server leads elsewhere, where nothing is sent and no credential goes.
    #[error("{server} leads to {to}: nothing is sent there")]
    Redirected {
        /// The server's host.
        server: String,
        /// Scheme and host of where it leads to.
        to: String,
    },

    /// A server's answer is not what its protocol says.
    #[error("{server} answers {what} with what is not understood: {reason}")]
    Answer {
        /// The server's host.
        server: String,
        /// The package, or what else was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },

    /// There are no credentials for a server, or of a kind it doesn't take.
    #[error("no credentials for {server}: {reason}")]
    NoCredentials {
        /// The server's host.
        server: String,
        /// What was looked for, and where.
        reason: String,
    },

    /// The identity of the CI system could not be exchanged for a publishing token.
    #[error("cannot mint a publishing token at {server}: {reason}")]
    Mint {
        /// The server's host.
        server: String,
        /// What went wrong.
        reason: String,
    },

    /// A package has more attestations than the channel takes.
    #[error("{package} has {found} attestations, {channel} takes {most}")]
    TooManyAttestations {
        /// The package.
        package: Box<PackageKey>,
        /// The channel.
        channel: String,
        /// How many it has.
        found: usize,
        /// How many the channel takes.
        most: usize,
    },

    /// A channel that takes an attestation only with its package has the package, and not the attestation.
    #[error(
        "{channel} has the bytes of {package} already, without the attestation that was made for them"
    )]
    Unattested {
        /// The package.
        package: Box<PackageKey>,
        /// The channel.
        channel: String,
    },

    /// This kind of channel can't be asked for what was asked.
    #[error("{channel} {reason}")]
    Unsupported {
        /// The channel.
        channel: String,
        /// What it can't.
        reason: &'static str,
    },

    /// The runtime shut down before the work was done.
    #[error("publishing was stopped")]
    Stopped,
}

impl Error {
    /// A stable name for machines, in snake_case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::Link { .. } => "link",
            Self::NotAFile { .. } => "not_a_file",
            Self::NotAFolder { .. } => "not_a_folder",
            Self::NotUnicode { .. } => "not_unicode",
            Self::PackageChanged { .. } => "package_changed",
            Self::BundleChanged { .. } => "bundle_changed",
            Self::DocumentChanged { .. } => "document_changed",
            Self::Bundle { .. } => "bundle_invalid",
            Self::Archive { .. } => "archive_invalid",
            Self::Conflict { .. } => "conflict",
            Self::ForeignFolder { .. } => "foreign_folder",
            Self::OtherKind { .. } => "other_kind_of_channel",
            Self::Marker { .. } => "marker_invalid",
            Self::NotAMirror { .. } => "not_a_mirror",
            Self::Sidecar { .. } => "sidecar_invalid",
            Self::SidecarFull { .. } => "sidecar_full",
            Self::Unindexable { .. } => "unindexable",
            Self::Index { .. } => "index_failed",
            Self::Repodata { .. } => "repodata_invalid",
            Self::RepodataMissing { .. } => "repodata_missing",
            Self::NotListed { .. } => "not_listed",
            Self::AttestationsHash { .. } => "attestations_hash_malformed",
            Self::Advertised { .. } => "attestations_unusable",
            Self::Unreachable { .. } => "channel_unreachable",
            Self::Status { .. } => "channel_status",
            Self::TooLarge { .. } => "too_large",
            Self::Forbidden { .. } => "forbidden_address",
            Self::NotAsListed { .. } => "not_as_listed",
            Self::ChannelUrl { .. } => "channel_url_invalid",
            Self::RattlerConfig { .. } => "rattler_config",
            Self::Credentials { .. } => "credentials",
            Self::Location { .. } => "location_unknown",
            Self::Store { .. } => "store_unknown",
            Self::LocationSecret { .. } => "location_secret",
            Self::Refused { .. } => "refused",
            Self::NotSent { .. } => "not_sent",
            Self::Redirected { .. } => "redirected",
            Self::Answer { .. } => "answer_invalid",
            Self::NoCredentials { .. } => "no_credentials",
            Self::Mint { .. } => "mint_failed",
            Self::TooManyAttestations { .. } => "too_many_attestations",
            Self::Unattested { .. } => "unattested",
            Self::Unsupported { .. } => "unsupported",
            Self::Stopped => "stopped",
        }
    }

    /// What a person can do about it, where that is known.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } => help_with(source.kind()),
            Self::Index { source, .. } => io_kind(source.as_ref()).and_then(help_with),
            Self::Conflict { .. } => Some(
                "raise the package's build number or version; a published name keeps its content for ever",
            ),
            Self::PackageChanged { .. }
            | Self::BundleChanged { .. }
            | Self::DocumentChanged { .. } => {
                Some("run the same command again: what changed is built and signed anew")
            }
            Self::ForeignFolder { .. } => {
                Some("name a new or empty folder, or an existing channel")
            }
            Self::OtherKind { .. } => {
                Some("name another folder; a rehearsal and a live release never share one")
            }
            Self::Status {
                status: 401 | 403, ..
            } => Some(
                "give the credentials for that host as rattler-based tools read them: with `RATTLER_AUTH_FILE`, or once with `pixi auth login`",
            ),
            Self::Status { .. }
            | Self::Answer { .. }
            | Self::Repodata { .. }
            | Self::RepodataMissing { beside: None, .. }
            | Self::TooLarge { .. } => Some(
                "check that the URL is the channel's, and that nothing answers in its place, as a sign-in page or a proxy does",
            ),
            Self::RepodataMissing {
                beside: Some(_), ..
            } => Some(
                "index the channel again, for instance with `rattler-index`, or restore the file",
            ),
            Self::Refused { help, .. } => Some(help),
            Self::TooManyAttestations { most: 0, .. } => Some(
                "name an attestation store beside the channel, or publish with --without-attestation",
            ),
            Self::Unattested { .. } => Some(
                "raise the package's build number; or run the same command with --force, or after the package is deleted there: the server takes an attestation only together with its package",
            ),
            Self::NoCredentials { .. } => Some(
                "give a key in the environment variable that the message names, or store one for that host as rattler-based tools read it",
            ),
            Self::Redirected { .. } | Self::Forbidden { .. } => {
                Some("name the channel by the URL that the server itself has")
            }
            Self::Mint { .. } => Some(
                "check that the channel's trusted publisher names this repository and workflow; a failed exchange is never replaced by an API key",
            ),
            Self::Unreachable { .. } | Self::NotSent { .. } => {
                Some("check the URL, the network and its proxy, and run the same command again")
            }
            Self::Sidecar { .. } | Self::Unindexable { .. } => {
                Some("repair or remove that file: one like it fails the index of its whole subdir")
            }
            _ => None,
        }
    }
}

/// What a person can do where the operating system refused.
fn help_with(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("free some space on that disk and run the same command again: it continues")
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            Some("name a folder that you may write to")
        }
        _ => None,
    }
}

/// What the operating system said at the bottom of an error, if it was that.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind)
}

/// An error and what it comes from, down to the bottom.
pub(crate) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The first of them that is of this type.
pub(crate) fn cause<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// Every message on the way to the bottom, each once.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut messages: Vec<String> = causes(error).map(ToString::to_string).collect();
    messages.dedup();
    messages.join(": ")
}
