//! The platforms that conda knows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{NameError, printable};

/// The folder of a channel that holds the packages of one platform: `linux-64`, `noarch`.
///
/// Only platforms that conda knows: a subdir becomes part of paths and URLs, so a made-up one is
/// refused although CEP-26 would allow its characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub struct Subdir(&'static str);

impl Subdir {
    /// Packages for every platform.
    pub const NOARCH: Self = Self("noarch");

    /// Every known subdir, sorted.
    pub const ALL: &[Self] = &[
        Self("android-32"),
        Self("android-64"),
        Self("android-aarch64"),
        Self("android-armv7a"),
        Self("emscripten-wasm32"),
        Self("emscripten-wasm64"),
        Self("freebsd-32"),
        Self("freebsd-64"),
        Self("freebsd-arm64"),
        Self("freebsd-ppc64"),
        Self("freebsd-ppc64le"),
        Self("ios-arm64"),
        Self("iossimulator-64"),
        Self("iossimulator-arm64"),
        Self("linux-32"),
        Self("linux-64"),
        Self("linux-aarch64"),
        Self("linux-armv6l"),
        Self("linux-armv7l"),
        Self("linux-loongarch64"),
        Self("linux-ppc"),
        Self("linux-ppc64"),
        Self("linux-ppc64le"),
        Self("linux-riscv32"),
        Self("linux-riscv64"),
        Self("linux-s390x"),
        Self::NOARCH,
        Self("osx-64"),
        Self("osx-arm64"),
        Self("wasi-wasm32"),
        Self("win-32"),
        Self("win-64"),
        Self("win-arm64"),
        Self("zos-z"),
    ];

    /// The subdir as it stands in paths and URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether its packages are for every platform.
    #[must_use]
    pub fn is_noarch(self) -> bool {
        self == Self::NOARCH
    }
}

impl FromStr for Subdir {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::ALL
            .iter()
            .find(|subdir| subdir.0 == text)
            .copied()
            .ok_or_else(|| NameError::Subdir {
                found: printable(text),
            })
    }
}

// Derived, it would ask for input that lives as long as the static names.
impl<'de> Deserialize<'de> for Subdir {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl TryFrom<String> for Subdir {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Subdir> for String {
    fn from(subdir: Subdir) -> Self {
        subdir.0.to_owned()
    }
}

impl fmt::Display for Subdir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}
