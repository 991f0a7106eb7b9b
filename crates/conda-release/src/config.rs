//! The configuration file: `conda-release.toml`, or `[workspace.metadata.conda-release]`.

use std::{
    num::NonZeroUsize,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use cep27::TargetChannel;
use conda_recipes::{BuildOptions, PackageLink, is_missing};
use fs_err as fs;
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use crate::error::{ConfigError, Error};

/// The name of the configuration file at the root of the workspace.
pub const FILE: &str = "conda-release.toml";

/// The manifest of a Cargo workspace, which can hold the configuration instead.
pub(crate) const CARGO: &str = "Cargo.toml";

/// The key of its workspace's metadata.
pub(crate) const METADATA: &str = "conda-release";

/// What a release is made of, with the defaults for everything the file leaves out.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Globs that name folders with a `recipe.yaml`, or recipe files; relative to the root.
    #[serde(deserialize_with = "at_least_one")]
    pub recipes: Vec<String>,
    /// Where `--execute` publishes.
    pub channel: Option<String>,
    /// The URL that clients read the channel at: what is attested.
    #[schemars(with = "Option<String>")]
    pub target_channel: Option<TargetChannel>,
    /// Everything the tool writes; relative to the root.
    pub output: PathBuf,
    /// How recipes are rendered, built and tested.
    pub build: BuildOptions,
    /// How packages are attested.
    pub sign: Sign,
    /// Identities whose attestations are acceptable; any one suffices.
    pub verify: Vec<Verify>,
    /// How packages are published.
    pub publish: Publish,
    /// Which workspace member a recipe packages.
    pub package: Vec<PackageLink>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            recipes: vec!["recipes/*".to_owned()],
            channel: None,
            target_channel: None,
            output: PathBuf::from("target/conda-release"),
            build: BuildOptions::default(),
            sign: Sign::default(),
            verify: Vec::new(),
            publish: Publish::default(),
            package: Vec::new(),
        }
    }
}

/// `[sign]`: how packages are attested.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sign {
    /// The Sigstore instance of a live release.
    pub trust: Option<String>,
    /// The audience of its identity tokens.
    pub audience: Option<String>,
    /// How many attestations are made at the same time.
    pub concurrency: NonZeroUsize,
    /// A SLSA provenance statement beside each attestation.
    pub provenance: bool,
}

impl Default for Sign {
    fn default() -> Self {
        Self {
            trust: None,
            audience: None,
            concurrency: NonZeroUsize::new(32).unwrap_or(NonZeroUsize::MIN),
            provenance: false,
        }
    }
}

/// `[[verify]]`: one acceptable identity. All keys that are given must match.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Verify {
    /// The certificate's subject (SAN); in it, `*` stands for any text without `/` and `@`.
    pub identity: Option<String>,
    /// The certificate's issuer (OID …57264.1.8).
    pub issuer: Option<String>,
    /// The source repository (OID …57264.1.12): `owner/name` or a URL.
    pub repository: Option<String>,
    /// The owner's immutable id (OID …57264.1.17).
    pub owner_id: Option<String>,
    /// The repository's immutable id (OID …57264.1.15).
    pub repository_id: Option<String>,
    /// The caller's workflow (OID …57264.1.18).
    pub workflow: Option<String>,
    /// The workflow that signs (SAN, OID …57264.1.9).
    pub signer_workflow: Option<String>,
    /// The full git reference (OID …57264.1.14).
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    /// The deployment environment (OID …57264.1.23).
    pub environment: Option<String>,
}

/// `[publish]`: how packages are published.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Publish {
    /// The kind of server, where the URL doesn't tell: `prefix`, `quetz` or `artifactory`.
    pub channel_type: Option<String>,
    /// How many uploads run at the same time.
    pub concurrency: Option<NonZeroUsize>,
    /// How long all uploads of a release may take: `"4h"`, `"90m"`.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// Attestation stores beside the channel: a folder, or `github://<owner>/<repository>`.
    pub stores: Vec<String>,
    /// Action for a recipe that changed since its package was published, where that is known: the build number was not raised.
    pub changed: OnChanged,
    /// Attests the release as a whole, and publishes its manifest where the channel keeps such.
    pub manifest: bool,
    /// Waits until clients see the packages.
    pub wait: bool,
    /// How long that may take: `"5m"`, `"90s"`.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub visible_within: Duration,
}

/// Action for a recipe that changed since its package was published.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum OnChanged {
    /// A warning that names the package.
    #[default]
    Warn,
    /// An error, before anything is built.
    Error,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            channel_type: None,
            concurrency: None,
            deadline: Duration::from_secs(4 * 3600),
            stores: Vec::new(),
            changed: OnChanged::default(),
            manifest: true,
            wait: true,
            visible_within: Duration::from_secs(300),
        }
    }
}

/// A list with something in it: a release of nothing would end well and do nothing.
fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let recipes = Vec::<String>::deserialize(deserializer)?;
    match recipes.is_empty() {
        false => Ok(recipes),
        true => Err(de::Error::custom(
            "expected at least one recipe, folder or glob, found none",
        )),
    }
}

/// A time span as people write it.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let known = text.parse::<SignedDuration>().ok();
    known
        .and_then(|span| Duration::try_from(span).ok())
        .filter(|span| !span.is_zero())
        .ok_or_else(|| {
            de::Error::custom(format!(
                "expected a time span such as `4h` or `90m`, found `{text}`"
            ))
        })
}

/// The JSON schema of the configuration file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

impl Config {
    /// Reads the configuration of the workspace at `root`, from `file` if one is named.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, or has a wrong value or unknown key, with its line
    /// and column; two configurations at once; and a key that is for live releases alone, which
    /// this version does not do.
    pub fn load(root: &Path, file: Option<&Path>) -> Result<Self, Error> {
        Ok(Self::find(root, file)?.unwrap_or_default())
    }

    /// Reads the configuration as [`load`](Self::load) does; none where all of it is defaults.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn find(root: &Path, file: Option<&Path>) -> Result<Option<Self>, Error> {
        let own = root.join(FILE);
        let cargo = root.join(CARGO);
        let own = match file {
            Some(file) => Some(file.to_owned()),
            None => (!is_missing(&own)).then_some(own),
        };
        let in_cargo = match is_missing(&cargo) {
            true => None,
            false => Self::from_cargo(&cargo)?,
        };
        match (own, in_cargo) {
            (Some(file), Some(_)) => Err(ConfigError::Twice { file, cargo }.into()),
            (Some(file), None) => parse(&file).map(Some),
            (None, in_cargo) => Ok(in_cargo),
        }
    }

    /// Reads one file, wherever it is, for what is told to be believed.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn read(file: &Path) -> Result<Self, Error> {
        parse(file)
    }

    /// `[workspace.metadata.conda-release]` of a Cargo.toml, if it has one.
    fn from_cargo(file: &Path) -> Result<Option<Self>, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Cargo {
            workspace: Workspace,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Workspace {
            metadata: Metadata,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "kebab-case")]
        struct Metadata {
            conda_release: Option<Config>,
        }
        Ok(parse::<Cargo>(file)?.workspace.metadata.conda_release)
    }
}

/// Reads a TOML file; errors show the line they are about.
fn parse<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(file).map_err(ConfigError::Read)?;
    toml::from_str(&text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let (line, column) = position(&text, span.start);
        ConfigError::Invalid {
            file: file.to_owned(),
            line,
            column,
            message: message(error.message()),
            nearest: nearest_key(error.message()),
            text: without_secret(text, &span, error.message()),
            span,
        }
        .into()
    })
}

/// The text to show around an error: a channel that is refused for the secret in it is masked.
fn without_secret(mut text: String, span: &Range<usize>, message: &str) -> String {
    let carries_secret = message.starts_with(CARRIES_SECRET);
    if let (true, Some(value)) = (carries_secret, text.get(span.clone())) {
        text.replace_range(span.clone(), &"*".repeat(value.len()));
    }
    text
}

/// How cep27 begins its refusal of a channel with a token or credentials.
const CARRIES_SECRET: &str = "expected a target channel without ";

/// Line and column, from one, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

/// The message in one line; of an unknown key without the list of known ones, which fills a screen.
fn message(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join("; ");
    match line.split_once(", expected one of ") {
        Some((unknown, _)) if line.starts_with("unknown field") => {
            unknown.replacen("unknown field", "unknown key", 1)
        }
        _ => line,
    }
}

/// The known key that an unknown one was probably meant to be.
///
/// serde names the unknown key first and then the known ones, each in backticks.
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message
        .starts_with("unknown field")
        .then(|| quoted.next())
        .flatten()?;
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Error> {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(FILE), text).unwrap();
        Config::load(root.path(), None)
    }

    fn invalid(text: &str) -> (usize, usize, String, Option<String>) {
        match load(text).unwrap_err() {
            Error::Config(error) => match *error {
                ConfigError::Invalid {
                    line,
                    column,
                    message,
                    nearest,
                    ..
                } => (line, column, message, nearest),
                other => panic!("{other}"),
            },
            other => panic!("{other}"),
        }
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let config = load("").unwrap();
        assert_eq!(config.recipes, ["recipes/*"]);
        assert_eq!(config.output, Path::new("target/conda-release"));
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one_with_its_place() {
        let (line, column, message, nearest) = invalid("output = \"x\"\nrecipe = []\n");
        assert_eq!((line, column), (2, 1));
        assert_eq!(message, "unknown key `recipe`");
        assert_eq!(nearest.as_deref(), Some("recipes"));
        let (line, _, _, nearest) = invalid("[build]\njobs = 2\npakage-format = \"conda\"\n");
        assert_eq!((line, nearest.as_deref()), (3, Some("package-format")));
    }

    #[test]
    fn a_key_like_no_other_gets_no_guess() {
        assert_eq!(invalid("zzzzzzzzzz = 1").3, None);
    }

    #[test]
    fn a_wrong_value_names_its_place() {
        let (line, column, message, _) = invalid("[sign]\nconcurrency = 0\n");
        assert_eq!((line, column), (2, 15));
        assert!(message.contains("nonzero"), "{message}");
        let (line, _, message, _) = invalid("recipes = []");
        assert_eq!(line, 1);
        assert!(message.contains("at least one"), "{message}");
        let (_, _, message, _) = invalid("target-channel = \"https://prefix.dev/t/x/\"");
        assert!(!message.is_empty());
    }

    #[test]
    fn a_time_span_is_written_as_people_write_it() {
        let config = load("[publish]\ndeadline = \"90m\"\n").unwrap();
        assert_eq!(config.publish.deadline, Duration::from_secs(90 * 60));
        for wrong in ["soon", "0s", "-1h", "1 month", ""] {
            let (line, _, message, _) = invalid(&format!("[publish]\ndeadline = \"{wrong}\"\n"));
            assert_eq!(line, 2);
            assert!(message.contains("a time span such as `4h`"), "{message}");
        }
    }

    #[test]
    fn a_secret_in_a_channel_is_in_neither_message_nor_excerpt() {
        for channel in [
            "https://prefix.dev/t/tk-1234/acme",
            "https://user:tk-1234@prefix.dev/acme",
            "https://prefix.dev/acme?token=tk-1234",
        ] {
            let error = load(&format!("target-channel = \"{channel}\"")).unwrap_err();
            let shown = crate::shown::Shown::from(&error).render();
            assert!(shown.contains("1 │ target-channel = "), "{shown}");
            assert!(!shown.contains("tk-1234"), "{shown}");
        }
    }

    #[test]
    fn two_configurations_are_an_error() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(FILE), "").unwrap();
        let cargo = "[workspace.metadata.conda-release]\noutput = \"out\"\n";
        fs::write(root.path().join("Cargo.toml"), cargo).unwrap();
        let error = Config::load(root.path(), None).unwrap_err();
        assert!(
            matches!(error, Error::Config(error) if matches!(*error, ConfigError::Twice { .. }))
        );
    }

    #[test]
    fn cargo_metadata_is_a_place_for_it() {
        let root = tempfile::tempdir().unwrap();
        let cargo =
            "[package]\nname = \"x\"\n[workspace.metadata.conda-release]\noutput = \"out\"\n";
        fs::write(root.path().join("Cargo.toml"), cargo).unwrap();
        let config = Config::load(root.path(), None).unwrap();
        assert_eq!(config.output, Path::new("out"));
    }
}
