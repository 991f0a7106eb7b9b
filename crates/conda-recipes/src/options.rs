//! The build options: what `[build]` of the configuration and the command line decide.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use cep27::Subdir;
use release_manifest::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildNumber, PackageFormat, build_number::Written};

/// The keys of `[build]`. Every one has a default.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct BuildOptions {
    /// Channels that build, host and test environments are solved from, after the local one: names on conda.anaconda.org, URLs
    /// or absolute folders. Empty by default: a recipe that needs nothing reaches nothing.
    pub channels: Vec<String>,
    /// What the order of the channels means to the solver.
    pub channel_priority: ChannelPriority,
    /// The platforms to plan for; empty means the one this runs on.
    pub platforms: Vec<Platform>,
    /// Plans for this platform alone: the entry of [`platforms`](Self::platforms) with this target, else a new one.
    #[schemars(with = "Option<String>")]
    pub target_platform: Option<Subdir>,
    /// The machine that builds, where no entry of [`platforms`](Self::platforms) says so; the current one by default.
    #[schemars(with = "Option<String>")]
    pub build_platform: Option<Subdir>,
    /// The platform, of several planned for, whose builds make the `noarch` packages; the first by default.
    #[schemars(with = "Option<String>")]
    pub noarch_build_platform: Option<Subdir>,
    /// Variant files that hold for every recipe, relative to the root. They win over the file beside a recipe, and later ones
    /// over earlier ones.
    pub variants: Vec<PathBuf>,
    /// Variant values that win over every variant file.
    pub variant: BTreeMap<String, Vec<String>>,
    /// Ignores `variants.yaml` and `conda_build_config.yaml` beside the recipes.
    pub ignore_recipe_variants: bool,
    /// How many outputs build at the same time; the number of cores by default.
    pub jobs: Option<NonZeroUsize>,
    /// Which package tests run.
    pub test: TestMode,
    /// Which packages of the target channel are not built again.
    pub skip_existing: SkipExisting,
    /// Archive format and compression level of the packages.
    pub package_format: PackageFormat,
    /// Threads that compress one package; rattler-build's own choice by default.
    pub compression_threads: Option<u32>,
    /// How many files are read and written at the same time; rattler-build's own choice by default.
    pub io_concurrency: Option<NonZeroUsize>,
    /// Turns rattler-build's experimental recipe features on.
    pub experimental: bool,
    /// Ignores packages in channels that are newer than this RFC 3339 time.
    pub exclude_newer: Option<String>,
    /// How much of the environment reaches build scripts.
    pub env_isolation: EnvironmentIsolation,
    /// Runs build scripts in rattler-build's sandbox.
    pub sandbox: Option<Sandbox>,
    /// Extra keys for `about.json`.
    pub extra_meta: BTreeMap<String, serde_json::Value>,
    /// Stores the recipe and the rendered recipe inside the package.
    pub include_recipe: bool,
    /// Makes a build prefix found in a binary file an error.
    pub error_prefix_in_binary: bool,
    /// Allows symbolic links in packages for Windows.
    pub allow_symlinks_on_windows: bool,
    /// Put before the build string of every output whose recipe names none.
    pub build_string_prefix: Option<String>,
    /// Replaces the build number of every recipe: `3`, `"+1"` above the channel's highest, or the `"next"` free one.
    #[schemars(with = "Option<Written>")]
    pub build_number: Option<BuildNumber>,
    /// Keeps build folders after a successful build.
    pub keep_build: bool,
    /// Environment variables that reach the worker besides the allow-listed ones.
    pub pass_env: Vec<String>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            channel_priority: ChannelPriority::default(),
            platforms: Vec::new(),
            target_platform: None,
            build_platform: None,
            noarch_build_platform: None,
            variants: Vec::new(),
            variant: BTreeMap::new(),
            ignore_recipe_variants: false,
            jobs: None,
            test: TestMode::default(),
            skip_existing: SkipExisting::default(),
            package_format: PackageFormat::default(),
            compression_threads: None,
            io_concurrency: None,
            experimental: false,
            exclude_newer: None,
            env_isolation: EnvironmentIsolation::default(),
            sandbox: None,
            extra_meta: BTreeMap::new(),
            include_recipe: true,
            error_prefix_in_binary: false,
            allow_symlinks_on_windows: false,
            build_string_prefix: None,
            build_number: None,
            keep_build: false,
            pass_env: Vec::new(),
        }
    }
}

impl BuildOptions {
    /// The digest of the options that decide the outcome: not how many jobs run, how many files are open, what is kept, or what
    /// the machines are called.
    pub fn digest(&self) -> Digest {
        let nameless = |platform: &Platform| Platform {
            runner: None,
            ..platform.clone()
        };
        let outcome = Self {
            platforms: self.platforms.iter().map(nameless).collect(),
            jobs: None,
            compression_threads: None,
            io_concurrency: None,
            keep_build: false,
            ..self.clone()
        };
        // A struct of strings, numbers and string maps always has a JSON form.
        Digest::of(&serde_json::to_vec(&outcome).unwrap_or_default())
    }

    /// The digest of those among them that an output doesn't show once it is rendered.
    pub(crate) fn packaging(&self) -> Digest {
        let unseen = Self {
            platforms: Vec::new(),
            target_platform: None,
            build_platform: None,
            noarch_build_platform: None,
            variants: Vec::new(),
            variant: BTreeMap::new(),
            ignore_recipe_variants: false,
            skip_existing: SkipExisting::default(),
            build_string_prefix: None,
            build_number: None,
            ..self.clone()
        };
        unseen.digest()
    }
}

/// A platform to plan for.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Platform {
    /// The platform that packages are for.
    #[schemars(with = "String")]
    pub target: Subdir,
    /// The platform that builds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub build: Option<Subdir>,
    /// The CI runner that builds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
}

/// What the order of channels means to the solver.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelPriority {
    /// The first channel that has a package is the only one for it.
    #[default]
    Strict,
    /// Earlier channels are exhausted first, whatever the version.
    Flexible,
    /// The highest version wins, from any channel.
    Disabled,
}

impl From<ChannelPriority> for rattler_solve::ChannelPriority {
    fn from(priority: ChannelPriority) -> Self {
        match priority {
            ChannelPriority::Strict => Self::Strict,
            ChannelPriority::Flexible => Self::Flexible,
            ChannelPriority::Disabled => Self::Disabled,
        }
    }
}

/// Which package tests run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestMode {
    /// Those for the platform of this machine, and of `noarch` packages.
    #[default]
    Native,
    /// None.
    Skip,
    /// All, whatever runs them.
    NativeAndEmulated,
}

/// Which packages of the target channel are not built again.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipExisting {
    /// Those whose file name is there.
    #[default]
    Name,
    /// Those whose file name is there with the same bytes.
    Identical,
    /// None: everything is built.
    None,
}

/// How much of the environment reaches build scripts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentIsolation {
    /// Build variables and a short list of others; HOME is the work folder.
    #[default]
    Strict,
    /// What conda-build lets through: compiler flags, locale and HOME too.
    CondaBuild,
    /// Everything the worker has.
    None,
}

impl From<EnvironmentIsolation> for rattler_build_script::EnvironmentIsolation {
    fn from(isolation: EnvironmentIsolation) -> Self {
        match isolation {
            EnvironmentIsolation::Strict => Self::Strict,
            EnvironmentIsolation::CondaBuild => Self::CondaBuild,
            EnvironmentIsolation::None => Self::None,
        }
    }
}

/// rattler-build's sandbox around build scripts.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sandbox {
    /// Allows network access.
    pub allow_network: bool,
    /// Readable paths besides the default ones.
    pub allow_read: Vec<PathBuf>,
    /// Readable and executable paths besides the default ones.
    pub allow_read_execute: Vec<PathBuf>,
    /// Writable paths besides the default ones.
    pub allow_read_write: Vec<PathBuf>,
    /// Starts from nothing instead of the default paths.
    pub overwrite_defaults: bool,
}

impl From<&Sandbox> for rattler_build_script::SandboxArguments {
    fn from(sandbox: &Sandbox) -> Self {
        Self {
            sandbox: true,
            allow_network: sandbox.allow_network,
            allow_read: sandbox.allow_read.clone(),
            allow_read_execute: sandbox.allow_read_execute.clone(),
            allow_read_write: sandbox.allow_read_write.clone(),
            overwrite_default_sandbox_config: sandbox.overwrite_defaults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_way_to_the_worker() {
        let options = BuildOptions {
            target_platform: Some("linux-64".parse().unwrap()),
            variant: BTreeMap::from([("python".to_owned(), vec!["3.12".to_owned()])]),
            package_format: "conda:max".parse().unwrap(),
            sandbox: Some(Sandbox {
                allow_network: true,
                ..Sandbox::default()
            }),
            ..BuildOptions::default()
        };
        let json = serde_json::to_string(&options).unwrap();
        assert_eq!(
            serde_json::from_str::<BuildOptions>(&json).unwrap(),
            options
        );
    }

    #[test]
    fn nothing_needs_to_be_said_and_an_unknown_key_is_refused_by_name() {
        assert_eq!(
            serde_json::from_str::<BuildOptions>("{}").unwrap(),
            BuildOptions::default()
        );
        let error = serde_json::from_str::<BuildOptions>(r#"{"channel": []}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `channel`"), "{error}");
    }

    #[test]
    fn only_options_that_decide_the_outcome_change_the_digest() {
        let on = |runner: Option<&str>| Platform {
            target: "linux-64".parse().unwrap(),
            build: None,
            runner: runner.map(str::to_owned),
        };
        let base = BuildOptions {
            platforms: vec![on(None)],
            ..BuildOptions::default()
        };
        let same = BuildOptions {
            jobs: NonZeroUsize::new(7),
            keep_build: true,
            platforms: vec![on(Some("large"))],
            ..base.clone()
        };
        let other = BuildOptions {
            build_number: Some(BuildNumber::Exactly(1)),
            ..base.clone()
        };
        assert_eq!(base.digest(), same.digest());
        assert_ne!(base.digest(), other.digest());
    }
}
