//! How packages are packed.

use std::{fmt, str::FromStr};

use cep27::Format;
use rattler_conda_types::compression_level::CompressionLevel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Archive format and compression level, written as in rattler-build's `--package-format`: `conda`, `tar-bz2`, `conda:max`,
/// `conda:min`, `conda:19`, `tar-bz2:9`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[schemars(with = "String")]
#[serde(try_from = "String", into = "String")]
pub struct PackageFormat {
    archive: Format,
    level: Level,
}

/// zstd takes -7 to 22, bzip2 1 to 9; [`PackageFormat`] is made only with what its format takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Level {
    Min,
    Default,
    Max,
    Number(i32),
}

impl PackageFormat {
    /// The archive format.
    pub fn archive(self) -> Format {
        self.archive
    }

    /// The compression level, valid for the format.
    pub fn compression(self) -> CompressionLevel {
        match self.level {
            Level::Min => CompressionLevel::Lowest,
            Level::Default => CompressionLevel::Default,
            Level::Max => CompressionLevel::Highest,
            Level::Number(number) => CompressionLevel::Numeric(number),
        }
    }
}

impl Default for PackageFormat {
    fn default() -> Self {
        Self {
            archive: Format::Conda,
            level: Level::Default,
        }
    }
}

impl fmt::Display for PackageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.archive {
            Format::Conda => "conda",
            Format::TarBz2 => "tar-bz2",
        })?;
        match self.level {
            Level::Default => Ok(()),
            Level::Min => f.write_str(":min"),
            Level::Max => f.write_str(":max"),
            Level::Number(number) => write!(f, ":{number}"),
        }
    }
}

impl FromStr for PackageFormat {
    type Err = InvalidPackageFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPackageFormat(text.to_owned());
        let (name, level) = text.split_once(':').unwrap_or((text, "default"));
        let (archive, levels) = match name {
            "conda" => (Format::Conda, -7..=22),
            "tar-bz2" | "tarbz2" => (Format::TarBz2, 1..=9),
            _ => return Err(invalid()),
        };
        let level = match level {
            "min" => Level::Min,
            "default" => Level::Default,
            "max" => Level::Max,
            number => {
                let number = number.parse().map_err(|_| invalid())?;
                if !levels.contains(&number) {
                    return Err(invalid());
                }
                Level::Number(number)
            }
        };
        Ok(Self { archive, level })
    }
}

impl TryFrom<String> for PackageFormat {
    type Error = InvalidPackageFormat;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PackageFormat> for String {
    fn from(format: PackageFormat) -> Self {
        format.to_string()
    }
}

/// A text that is no [`PackageFormat`].
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[error(
    "expected a package format (`conda` or `tar-bz2`, optionally with `:min`, `:max`, or a level: -7 to 22 for conda, 1 to 9 for tar-bz2), found `{0}`"
)]
pub struct InvalidPackageFormat(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_formats_are_read_back_as_written() {
        for text in [
            "conda",
            "tar-bz2",
            "conda:min",
            "conda:max",
            "conda:19",
            "conda:-7",
            "tar-bz2:9",
        ] {
            assert_eq!(text.parse::<PackageFormat>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_level_that_the_format_does_not_take_is_refused() {
        for text in [
            "conda:23",
            "tar-bz2:0",
            "tar-bz2:10",
            "zip",
            "conda:",
            "conda:fast",
        ] {
            assert!(text.parse::<PackageFormat>().is_err(), "{text}");
        }
    }
}
