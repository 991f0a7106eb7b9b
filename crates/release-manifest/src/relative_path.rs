//! Paths that stay beneath their folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A path that stays beneath the folder it is relative to, written with `/` on every platform.
///
/// Not empty; no empty, `.` or `..` component; not absolute, no drive, no backslash and no control
/// characters. It says nothing of links: who opens the file must not follow them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

/// Most bytes of a path: Linux' `PATH_MAX`.
const LIMIT: usize = 4096;

impl RelativePath {
    /// The path with `/` between its components.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path beneath this folder. Touches no file system.
    #[must_use]
    pub fn under(&self, folder: &Path) -> PathBuf {
        folder.join(self.0.split('/').collect::<PathBuf>())
    }
}

impl FromStr for RelativePath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for RelativePath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        match fault(&text) {
            None => Ok(Self(text)),
            Some(fault) => Err(Error::RelativePath {
                found: cep27::printable(&text),
                fault,
            }),
        }
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

fn fault(text: &str) -> Option<&'static str> {
    let has_drive = matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if text.len() > LIMIT {
        Some("is longer than 4096 bytes")
    } else if text.starts_with('/') || has_drive {
        Some("is absolute")
    } else if text.contains('\\') {
        Some("has a backslash")
    } else if text.chars().any(char::is_control) {
        Some("has a control character")
    } else if text.split('/').any(|component| component == "..") {
        Some("leads upwards")
    } else if text
        .split('/')
        .any(|component| matches!(component, "" | "."))
    {
        Some("has an empty or `.` component")
    } else {
        None
    }
}
