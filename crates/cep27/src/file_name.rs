//! The file names of conda packages (CEP-26).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{NameError, printable};

/// The full file name of a conda package, as in `repodata.json` and on the server:
/// `libgreet-1.0.0-h123_0.conda` (CEP-26, CEP-27 rule 4).
///
/// Always valid: it has a name, version and build of CEP-26's characters and lengths and one of
/// the two [`Format`]s, and is a single path component on every platform.
///
/// ```
/// let file: cep27::FileName = "py-rattler-0.9.0-py312h1a2_0.conda".parse()?;
/// assert_eq!((file.name(), file.version(), file.build()), ("py-rattler", "0.9.0", "py312h1a2_0"));
/// # Ok::<(), cep27::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName {
    text: String,
    name_end: usize,
    version_end: usize,
    build_end: usize,
    format: Format,
}

/// How a conda package is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `.conda`: an uncompressed zip of zstd-compressed archives (CEP-35).
    Conda,
    /// `.tar.bz2`: the older format.
    TarBz2,
}

/// Most characters of a name, a version or a build (CEP-26).
const PART_LIMIT: usize = 64;
/// Most characters of a file name (CEP-26).
const FILE_NAME_LIMIT: usize = 211;

impl FileName {
    /// Puts a file name together.
    ///
    /// # Errors
    /// When a part has a form or a length that CEP-26 forbids.
    pub fn new(name: &str, version: &str, build: &str, format: Format) -> Result<Self, NameError> {
        if let Some(problem) = problems(name, version, build).next() {
            return Err(problem);
        }
        let name_end = name.len();
        let version_end = name_end + 1 + version.len();
        let build_end = version_end + 1 + build.len();
        Ok(Self {
            text: format!("{name}-{version}-{build}{}", format.extension()),
            name_end,
            version_end,
            build_end,
            format,
        })
    }

    /// The package's name: `libgreet`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[..self.name_end]
    }

    /// The package's version: `1.0.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.text[self.name_end + 1..self.version_end]
    }

    /// The package's build string: `h123_0`.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.text[self.version_end + 1..self.build_end]
    }

    /// How the package is packed.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The whole file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Format {
    /// The file name extension with its leading period.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Conda => ".conda",
            Self::TarBz2 => ".tar.bz2",
        }
    }
}

impl FromStr for FileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let parts = Parts::of(text)?;
        Self::new(parts.name, parts.version, parts.build, parts.format)
    }
}

impl TryFrom<String> for FileName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(file: FileName) -> Self {
        file.text
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileName").field(&self.text).finish()
    }
}

const NAME_FORM: &str = "lower-case letters, digits and single `.`, `_`, `-` in between, \
                         starting with a letter, a digit or one `_`";
const VERSION_FORM: &str = "lower-case letters, digits, `.`, `_`, `+` and `!`";
const BUILD_FORM: &str = "letters, digits, `.`, `_` and `+`";

/// Everything that keeps a text from being a file name, in the order of reading.
pub(crate) fn file_name_problems(text: &str) -> Vec<NameError> {
    match Parts::of(text) {
        Ok(parts) => problems(parts.name, parts.version, parts.build).collect(),
        Err(problem) => vec![problem],
    }
}

/// A file name taken apart, its parts not looked at.
struct Parts<'a> {
    name: &'a str,
    version: &'a str,
    build: &'a str,
    format: Format,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if length > FILE_NAME_LIMIT {
            return Err(NameError::FileNameLength {
                length,
                limit: FILE_NAME_LIMIT,
            });
        }
        let (stem, format) = [Format::Conda, Format::TarBz2]
            .into_iter()
            .find_map(|format| Some((text.strip_suffix(format.extension())?, format)))
            .ok_or_else(|| NameError::Extension {
                found: printable(text),
            })?;
        // Only the name may contain hyphens, so the parts are read from the end.
        let mut parts = stem.rsplitn(3, '-');
        let (Some(build), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NameError::Parts {
                found: printable(text),
            });
        };
        Ok(Self {
            name,
            version,
            build,
            format,
        })
    }
}

fn problems(name: &str, version: &str, build: &str) -> impl Iterator<Item = NameError> {
    [
        problem("name", name, NAME_FORM, is_name),
        problem("version", version, VERSION_FORM, is_version),
        problem("build", build, BUILD_FORM, is_build),
    ]
    .into_iter()
    .flatten()
}

fn problem(
    part: &'static str,
    text: &str,
    expected: &'static str,
    is_valid: fn(&str) -> bool,
) -> Option<NameError> {
    let length = text.chars().count();
    if length == 0 || length > PART_LIMIT {
        Some(NameError::PartLength {
            part,
            length,
            limit: PART_LIMIT,
        })
    } else if !is_valid(text) {
        Some(NameError::Part {
            part,
            expected,
            found: printable(text),
        })
    } else {
        None
    }
}

/// A distributable package name: CEP-26's words, which are narrower than its regular expression
/// (that one is case-insensitive and lets `_-a` pass, two consecutive separators).
fn is_name(text: &str) -> bool {
    let is_separator = |byte: u8| matches!(byte, b'.' | b'_' | b'-');
    let bytes = text.as_bytes();
    bytes
        .iter()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || is_separator(*b))
        && !matches!(bytes.first(), Some(b'.' | b'-'))
        && !bytes
            .windows(2)
            .any(|pair| is_separator(pair[0]) && is_separator(pair[1]))
}

fn is_version(text: &str) -> bool {
    text.bytes().all(|b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'+' | b'!')
    })
}

fn is_build(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'+'))
}
