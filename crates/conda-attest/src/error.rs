//! What goes wrong while signing, and while reading what is to be verified.

use std::path::PathBuf;
use std::sync::Arc;

use cep27::{FileName, Sha256};

use crate::{Provider, Sought};

/// Why packages could not be attested, or an attestation could not be read.
///
/// That an attestation does not *verify* is not an error of this crate but a
/// [`Verdict`](crate::Verdict).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// A package is a link, a folder, a device: anything but a regular file.
    #[error("{} is not a regular file, and links are not followed", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
    },

    /// A path whose last part is not a conda file name.
    #[error("{} does not have the name of a conda package", path.display())]
    FileName {
        /// The path as given.
        path: PathBuf,
        /// The rule of CEP-26 that it breaks, where it is text at all.
        source: Option<cep27::NameError>,
    },

    /// The bytes of a package are not those that were built.
    #[error("{file} has changed since it was built: expected sha256 {expected}, found {found}")]
    Changed {
        /// The package.
        file: FileName,
        /// The hash taken when it was built.
        expected: Sha256,
        /// The hash of the file as it is now.
        found: Sha256,
    },

    /// The archive of a package cannot be read as far as its `info/index.json`.
    #[error("cannot read info/index.json of {file}: {reason}")]
    Archive {
        /// The package.
        file: FileName,
        /// What is wrong with the archive.
        reason: String,
    },

    /// `info/index.json` inside a package contradicts the file's name or folder.
    #[error("info/index.json of {file} says {field} `{found}`, expected `{expected}`")]
    Index {
        /// The package.
        file: FileName,
        /// `name`, `version`, `build` or `subdir`.
        field: &'static str,
        /// What the file's name or folder says.
        expected: String,
        /// What the package says of itself.
        found: String,
    },

    /// A trust configuration, trusted root or signing configuration is unusable.
    #[error("{} is not a usable {what}: {reason}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What it was read as.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// A TUF repository answered with trust material that does not verify: wrong signatures,
    /// hashes or versions, expired or malformed metadata. An older copy is no way out.
    #[error("what {url} says for {trust} does not verify: {reason}")]
    TrustRefused {
        /// The name of the trust material.
        trust: String,
        /// The repository.
        url: String,
        /// What does not hold.
        reason: String,
    },

    /// No trust material can be had that is fresh enough for its purpose.
    #[error("no trust material for {trust}: {reason}")]
    TrustUnavailable {
        /// The name of the trust material.
        trust: String,
        /// What was tried, and what came of it.
        reason: String,
    },

    /// A trusted root without signing configuration can verify but not sign.
    #[error("{trust} has no signing configuration, so it can verify but not sign")]
    NoSigningConfig {
        /// The name of the trust material.
        trust: String,
    },

    /// A signing configuration offers no service of a kind that is needed.
    #[error(
        "the signing configuration of {trust} names no {service} that is valid now and of a supported version"
    )]
    NoService {
        /// The name of the trust material.
        trust: String,
        /// `certificate authority`, `transparency log`, `timestamp authority`.
        service: &'static str,
    },

    /// A signing configuration asks for services in a way that cannot be met.
    #[error("the signing configuration of {trust} cannot be met for {service}: {reason}")]
    Selector {
        /// The name of the trust material.
        trust: String,
        /// `transparency log`, `timestamp authority`.
        service: &'static str,
        /// What is asked for, and what there is.
        reason: String,
    },

    /// A service that is neither https nor on loopback.
    #[error("{service} at {url} is neither https nor on loopback")]
    Insecure {
        /// What the URL is for.
        service: &'static str,
        /// The URL.
        url: String,
    },

    /// There is nobody to sign as.
    #[error("no identity to sign with{}", listed(sought))]
    NoIdentity {
        /// What was looked for, in that order.
        sought: Vec<Sought>,
    },

    /// Text that is not an identity token.
    #[error("not an identity token ({provider}): {reason}")]
    Token {
        /// Where it comes from.
        provider: Provider,
        /// What is wrong; never a part of the token.
        reason: String,
    },

    /// The identity token had ended before anything was signed with it.
    #[error(
        "the identity token of {} ({provider}) expired at {expired_at}",
        cep27::printable(subject)
    )]
    TokenExpired {
        /// Where it comes from.
        provider: Provider,
        /// Whose token it is.
        subject: String,
        /// When it ended.
        expired_at: jiff::Timestamp,
    },

    /// The identity token begins in the future.
    #[error(
        "the identity token of {} ({provider}) is not valid before {not_before}",
        cep27::printable(subject)
    )]
    TokenNotYetValid {
        /// Where it comes from.
        provider: Provider,
        /// Whose token it is.
        subject: String,
        /// When it begins.
        not_before: jiff::Timestamp,
    },

    /// The identity token at hand has ended, and its provider makes no other.
    #[error("the identity token ({provider}) expired at {expired_at} and cannot be renewed")]
    CannotRenew {
        /// Where it comes from.
        provider: Provider,
        /// When it ended.
        expired_at: jiff::Timestamp,
        /// Why there is no newer one, where one was looked for.
        source: Option<Box<Error>>,
    },

    /// The identity token is for somebody else.
    #[error(
        "the identity token ({provider}) is for the audience {}, expected `{expected}`",
        cep27::printable(found)
    )]
    Audience {
        /// Where it comes from.
        provider: Provider,
        /// The audience of the Sigstore instance.
        expected: String,
        /// The audiences of the token.
        found: String,
    },

    /// A token for the public Sigstore would be sent to another instance, which could sign with it
    /// in its owner's name.
    #[error(
        "{url} is not the public Sigstore, so a token with the audience `sigstore` must not go \
         there: configure an audience of its own"
    )]
    SharedAudience {
        /// The certificate authority that would have received the token.
        url: String,
    },

    /// No identity token could be had.
    #[error("no identity token from {endpoint}: {reason}")]
    Identity {
        /// Who was asked.
        endpoint: String,
        /// What it answered.
        reason: String,
    },

    /// A service answered with an error, or not at all.
    #[error("{service} at {url}: {reason}")]
    Service {
        /// What kind of service.
        service: &'static str,
        /// Its address.
        url: String,
        /// What it answered.
        reason: String,
        /// Whether asking again may help.
        transient: bool,
    },

    /// The time for the whole batch ran out while a request was being repeated.
    #[error("gave up after {attempts} attempts, as the time for signing is over")]
    Deadline {
        /// How often it was tried.
        attempts: u32,
        /// The last answer.
        source: Box<Error>,
    },

    /// The batch has no valid certificate any more, and a new one was refused.
    #[error("no certificate to sign with")]
    NoCertificate(#[source] Arc<Error>),

    /// The certificate says something else than the token it was made for, or than the source.
    #[error("the signing certificate says {claim} `{found}`, expected `{expected}`")]
    Certificate {
        /// Which claim.
        claim: &'static str,
        /// What the token or the source says.
        expected: String,
        /// What the certificate says.
        found: String,
    },

    /// The certificate names another repository or commit than the one that was built.
    #[error("the signing certificate is of another source: {reason}")]
    Source {
        /// What was expected and what was found.
        reason: String,
    },

    /// The key could not be made or did not sign.
    #[error("cannot sign {what}: {reason}")]
    Key {
        /// What was to be signed.
        what: String,
        /// What the cryptographic library said.
        reason: String,
    },

    /// A bundle just made does not verify, so it was not written.
    #[error("the new attestation of {file} does not verify: {verdict}")]
    Refused {
        /// The package.
        file: FileName,
        /// Every check, and which failed.
        verdict: Box<crate::Verdict>,
    },

    /// The bundle just made of a release's statement does not verify, so it was not written.
    #[error("the new attestation of the release does not verify: {verdict}")]
    ReleaseRefused {
        /// Every check, and which failed.
        verdict: Box<crate::Verdict>,
    },

    /// Something that is not a Sigstore bundle of a DSSE statement.
    #[error("not a Sigstore bundle: {reason}")]
    Bundle {
        /// What is wrong.
        reason: String,
    },

    /// A policy that cannot be meant.
    #[error("unusable identity policy: {reason}")]
    Policy {
        /// What is wrong, and what would be right.
        reason: String,
    },

    /// The runtime is shutting down, or a check panicked.
    #[error("a task of the signer did not finish")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    /// A stable, machine-readable name of what went wrong.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NotAFile { .. } => "not_a_file",
            Self::FileName { .. } => "file_name",
            Self::Changed { .. } => "package_changed",
            Self::Archive { .. } => "package_archive",
            Self::Index { .. } => "package_index",
            Self::Trust { .. } => "trust",
            Self::TrustRefused { .. } => "trust_refused",
            Self::TrustUnavailable { .. } => "trust_unavailable",
            Self::Selector { .. } => "selector",
            Self::NoSigningConfig { .. } => "no_signing_config",
            Self::NoService { .. } => "no_service",
            Self::Insecure { .. } => "insecure_url",
            Self::NoIdentity { .. } => "no_identity",
            Self::Token { .. } => "token",
            Self::TokenExpired { .. } => "token_expired",
            Self::TokenNotYetValid { .. } => "token_not_yet_valid",
            Self::CannotRenew { .. } => "token_not_renewable",
            Self::Audience { .. } => "token_audience",
            Self::SharedAudience { .. } => "shared_audience",
            Self::Identity { .. } => "identity_provider",
            Self::Service { .. } => "service",
            Self::Deadline { .. } => "deadline",
            Self::NoCertificate(_) => "no_certificate",
            Self::Certificate { .. } => "certificate",
            Self::Source { .. } => "source",
            Self::Key { .. } => "key",
            Self::Refused { .. } | Self::ReleaseRefused { .. } => "refused",
            Self::Bundle { .. } => "bundle",
            Self::Policy { .. } => "policy",
            Self::Task(_) => "task",
        }
    }

    /// Whether asking again may help: too many requests, a failing service, a lost connection.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Service {
                transient: true,
                ..
            }
        )
    }

    /// Whether signing had to stop because the identity token ended and its provider makes no
    /// other: what is signed stays signed, and the same command with a new token continues.
    #[must_use]
    pub fn is_renewal_failure(&self) -> bool {
        match self {
            Self::CannotRenew { .. } => true,
            Self::NoCertificate(error) => error.is_renewal_failure(),
            _ => false,
        }
    }

    /// What to do about it, where that is known. It may have several lines.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::NoIdentity { sought } => {
                let remedy = sought.iter().find_map(|sought| sought.remedy.clone());
                return Some(remedy.unwrap_or_else(|| {
                    "sign in a CI system that gives out identity tokens, name a file with one by \
                     --identity-token, or log in at a terminal"
                        .to_owned()
                }));
            }
            Self::TokenExpired { .. } => "get a new token; most live five minutes or less",
            Self::TokenNotYetValid { .. } => "set the clock of this machine",
            Self::CannotRenew { .. } => {
                "what is signed stays signed: the same command with a new token continues"
            }
            Self::Audience { .. } => {
                "ask for a token with the audience of the Sigstore instance, and no other"
            }
            Self::TrustRefused { .. } => {
                "see whether this machine's clock is right, and that no login page answers instead; \
                 else wait until the repository is mended, and trust no older copy meanwhile"
            }
            Self::TrustUnavailable { .. } => {
                "let this machine reach the repository by https, or name a file with --trust"
            }
            Self::NoSigningConfig { .. } => {
                "name a trust_config.json, or the signing_config.json beside the root"
            }
            Self::Selector { .. } | Self::NoService { .. } => {
                "have the instance's operator correct its signing configuration"
            }
            Self::Insecure { .. } => "use https",
            Self::SharedAudience { .. } => {
                "name the audience that the instance is configured for with --audience or `sign.audience`"
            }
            Self::Identity { .. } | Self::Service { .. } => {
                "let this machine reach it; if it can, see whether it is up and run again"
            }
            Self::NoCertificate(error) => return error.help(),
            _ => return None,
        };
        Some(help.to_owned())
    }

    /// Wraps an I/O error with what was attempted, for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

fn listed(sought: &[Sought]) -> String {
    sought
        .iter()
        .map(|sought| format!("\n  {sought}"))
        .collect()
}

/// An error with its causes: reqwest's own text, for one, names only the outermost.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
