//! What names a package.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use cep27::{FileName, Subdir};
use serde::{Deserialize, Serialize};

use crate::Error;

/// What names a package within a channel, a plan or a manifest: `linux-64/libgreet-1.0.0-h1_0.conda`.
///
/// Keys sort as their text does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PackageKey {
    /// The folder of the channel.
    pub subdir: Subdir,
    /// The file within it.
    pub file: FileName,
}

impl PackageKey {
    /// Where the package lies beneath a channel's folder. Pure: nothing is looked up.
    #[must_use]
    pub fn under(&self, folder: &Path) -> PathBuf {
        folder.join(self.subdir.as_str()).join(self.file.as_str())
    }

    /// The key as a file system that ignores case sees it.
    pub(crate) fn folded(&self) -> String {
        self.to_string().to_lowercase()
    }
}

impl FromStr for PackageKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let name = |source| Error::PackageKey {
            found: cep27::printable(text),
            source,
        };
        let (subdir, file) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self {
            subdir: subdir.parse().map_err(name)?,
            file: file.parse().map_err(name)?,
        })
    }
}

impl TryFrom<String> for PackageKey {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<PackageKey> for String {
    fn from(key: PackageKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PackageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.subdir, self.file))
    }
}
