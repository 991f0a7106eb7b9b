//! Stores of attestations beside the channel, where they are found by the package's digest alone.

mod folder;
mod github;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use async_trait::async_trait;
use cep27::Sha256;
use release_manifest::PackageKey;
use url::Url;

use self::folder::FolderStore;
use self::github::GithubStore;
use crate::{Bundle, Error, Patience};

/// Somewhere attestations are kept, whatever channel their package is on.
///
/// All methods may be called from many tasks at once, and each is safe to repeat.
#[async_trait]
pub trait AttestationStore: Send + Sync {
    /// Asks for everything that storing needs, before anything is stored. Nothing that lasts is changed.
    async fn preflight(&self) -> Result<(), Error>;

    /// Stores an attestation of the package with this hash.
    ///
    /// One that is there already is not stored again, as far as the store can tell.
    async fn put(&self, package: &PackageKey, sha256: Sha256, bundle: &Bundle)
    -> Result<(), Error>;
}

/// A store of attestations as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A folder: `file:///path`, or a plain path as it was given.
    Folder(PathBuf),
    /// GitHub's attestation store of a repository: `github://<owner>/<repository>`.
    Github {
        /// The user or organisation.
        owner: String,
        /// The repository.
        repository: String,
    },
}

impl StoreLocation {
    /// The forms in which a store can be named.
    pub const FORMS: &[&str] = &["a path", "file:///<path>", "github://<owner>/<repository>"];
}

impl FromStr for StoreLocation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = match text.split_once("://") {
            None => (!text.is_empty()).then(|| Self::Folder(text.into())),
            Some(("file", _)) => Url::parse(text)
                .ok()
                .filter(|url| url.query().is_none() && url.fragment().is_none())
                .and_then(|url| url.to_file_path().ok())
                .map(Self::Folder),
            Some(("github", path)) => match path.split_once('/') {
                Some((owner, repository)) if is_name(owner) && is_name(repository) => {
                    Some(Self::Github {
                        owner: owner.to_owned(),
                        repository: repository.to_owned(),
                    })
                }
                _ => None,
            },
            Some(_) => None,
        };
        known.ok_or_else(|| Error::Store {
            found: cep27::printable(text),
            forms: Self::FORMS.join(", "),
        })
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Github { owner, repository } => f.pad(&format!("github://{owner}/{repository}")),
        }
    }
}

/// Opens a store of attestations.
///
/// # Errors
/// It can't be used. Whether it answers is for [`preflight`](AttestationStore::preflight) to say.
pub async fn open_store(
    location: &StoreLocation,
    patience: &Patience,
) -> Result<Box<dyn AttestationStore>, Error> {
    Ok(match location {
        StoreLocation::Folder(path) => Box::new(FolderStore::new(path.clone())),
        StoreLocation::Github { owner, repository } => {
            Box::new(GithubStore::open(owner, repository, patience).await?)
        }
    })
}

/// What GitHub allows in the names of owners and repositories.
fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_store_is_known_and_shown_as_it_was_named() {
        for (text, expected) in [
            ("attestations", StoreLocation::Folder("attestations".into())),
            (
                "github://Acme/pkgs.conda",
                StoreLocation::Github {
                    owner: "Acme".to_owned(),
                    repository: "pkgs.conda".to_owned(),
                },
            ),
        ] {
            let location: StoreLocation = text.parse().unwrap();
            assert_eq!(location, expected);
            assert_eq!(location.to_string(), text);
        }
        let location: StoreLocation = "file:///srv/a%20b".parse().unwrap();
        assert_eq!(location, StoreLocation::Folder("/srv/a b".into()));
    }

    #[test]
    fn other_forms_are_refused_with_those_there_are() {
        for text in [
            "",
            "github://acme",
            "github://acme/",
            "github://acme/..",
            "github://acme/pkgs/more",
            "github://acme/pkgs?x",
            "github://user:key@acme/pkgs",
            "https://github.com/acme/pkgs",
            "file://host/path",
        ] {
            let message = text.parse::<StoreLocation>().unwrap_err().to_string();
            for form in StoreLocation::FORMS {
                assert!(message.contains(form), "{text}: {message}");
            }
        }
    }
}
