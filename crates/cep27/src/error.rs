//! What keeps a text from being one of this crate's names.

use thiserror::Error;

use crate::Subdir;

/// Why a text is not one of the names of this crate: a [`FileName`](crate::FileName), a
/// [`Subdir`], a [`Sha256`](crate::Sha256) or a [`TargetChannel`](crate::TargetChannel).
///
/// Messages are safe to print: what they quote went through [`printable`](crate::printable), and
/// a channel is never quoted before it is known to carry no credentials.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// The file name has more characters than CEP-26 allows.
    #[error("expected a file name of at most {limit} characters, found {length}")]
    FileNameLength {
        /// Characters found.
        length: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// The file name ends in neither `.conda` nor `.tar.bz2`.
    #[error("expected a file name ending in `.conda` or `.tar.bz2`, found `{found}`")]
    Extension {
        /// The file name.
        found: String,
    },
    /// The file name has no three parts separated by hyphens.
    #[error("expected a file name of the form `name-version-build`, found `{found}`")]
    Parts {
        /// The file name.
        found: String,
    },
    /// A part of the file name is empty or longer than CEP-26 allows.
    #[error("expected a {part} of 1 to {limit} characters, found {length}")]
    PartLength {
        /// `name`, `version` or `build`.
        part: &'static str,
        /// Characters found.
        length: usize,
        /// Characters allowed.
        limit: usize,
    },
    /// A part of the file name has a character or a form that CEP-26 forbids.
    #[error("expected a {part} of {expected}, found `{found}`")]
    Part {
        /// `name`, `version` or `build`.
        part: &'static str,
        /// What CEP-26 asks of it.
        expected: &'static str,
        /// The part as found.
        found: String,
    },
    /// The subdir is no platform that conda knows.
    #[error("expected a known subdir such as `linux-64` or `noarch`, found `{found}`{}", did_you_mean(.found))]
    Subdir {
        /// The text found.
        found: String,
    },
    /// The digest is not a SHA-256 in lower-case hexadecimal.
    #[error("expected a SHA-256 of 64 lower-case hexadecimal characters, found `{found}`")]
    Sha256 {
        /// The text found.
        found: String,
    },
    /// The channel is no absolute URL, or longer than CEP-27 allows.
    #[error("expected a target channel URL of 1 to {limit} characters, found {found}")]
    ChannelUrl {
        /// What is wrong with it, without quoting it.
        found: String,
        /// Characters allowed.
        limit: usize,
    },
    /// The channel is not reached over `http` or `https`.
    #[error("expected a target channel under `http://` or `https://`, found the scheme `{found}`")]
    ChannelScheme {
        /// The scheme.
        found: String,
    },
    /// The channel carries what must not be published: credentials, a token, a query, a fragment.
    #[error("expected a target channel without {found}")]
    ChannelCarries {
        /// What it carries, by kind.
        found: &'static str,
    },
    /// The channel ends in a slash (CEP-27 rule 7).
    #[error("expected a target channel without trailing slash: `{expected}`")]
    ChannelSlash {
        /// The same channel without the slash.
        expected: String,
    },
    /// The channel is a URL that parsers read differently from how it is written.
    #[error("expected the target channel in its normal form `{expected}`")]
    ChannelForm {
        /// The normal form.
        expected: String,
    },
}

fn did_you_mean(found: &str) -> String {
    let folded = found.to_lowercase().replace('_', "-");
    Subdir::ALL
        .iter()
        .find(|subdir| subdir.as_str() == folded)
        .map(|subdir| format!(" (did you mean `{subdir}`?)"))
        .unwrap_or_default()
}
