//! The workspace a command works in: its root, configuration and source.

use std::path::{Component, Path, PathBuf};

use cep27::TargetChannel;
use conda_publish::{ChannelLocation, ChannelType};
use fs_err as fs;
use release_manifest::{Mode, Tool};

use crate::{
    cli::GlobalArgs,
    config::{self, Config},
    error::Error,
    output::OutputFolder,
    source::Checkout,
};

/// What a rehearsal attests where no channel is configured: a name that can never exist (RFC 2606 §2).
pub(crate) const REHEARSAL_CHANNEL: &str = "https://rehearsal.invalid/channel";

/// The workspace a command works in.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    current: PathBuf,
    config: Config,
    output: PathBuf,
    named: Vec<(&'static str, PathBuf)>,
}

impl Workspace {
    /// Finds the workspace and reads its configuration.
    ///
    /// # Errors
    /// No workspace, or a configuration that cannot be used.
    pub(crate) fn find(global: &GlobalArgs) -> Result<Self, Error> {
        let current = std::env::current_dir().map_err(Error::output("read", "."))?;
        let root = match &global.root {
            Some(root) => fs::canonicalize(root).map_err(Error::output("read", root))?,
            None => find_root(&current)?,
        };
        let config = Config::load(&root, global.config.as_deref())?;
        let output = match &global.output {
            Some(output) => current.join(output),
            None => root.join(&config.output),
        };
        let named = [
            ("--root", &global.root),
            ("--config", &global.config),
            ("--output", &global.output),
        ];
        let named = named
            .into_iter()
            .filter_map(|(option, path)| Some((option, path.clone()?)));
        Ok(Self {
            root,
            current,
            config,
            output,
            named: named.collect(),
        })
    }

    /// The workspace, or where none is and none was named, the current folder with the defaults: for
    /// what works on files and keeps no state.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub(crate) fn find_or_here(global: &GlobalArgs) -> Result<Self, Error> {
        match Self::find(global) {
            Err(Error::NoWorkspace(_)) if global.config.is_none() => Self::here(),
            found => found,
        }
    }

    /// The current folder with the defaults.
    ///
    /// # Errors
    /// It has been removed.
    pub(crate) fn here() -> Result<Self, Error> {
        let current = std::env::current_dir().map_err(Error::output("read", "."))?;
        let config = Config::default();
        Ok(Self {
            output: current.join(&config.output),
            root: current.clone(),
            current,
            config,
            named: Vec::new(),
        })
    }

    /// The options that named this workspace: another command needs them too, to mean the same one.
    pub(crate) fn named(&self) -> &[(&'static str, PathBuf)] {
        &self.named
    }

    /// The root: recipes and the plan's paths are relative to it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that the command was given in.
    pub(crate) fn current(&self) -> &Path {
        &self.current
    }

    /// A path as it is shown: relative to the current folder where it lies beneath.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.current)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The configuration file: the named one, else where it is looked for first, whether there is one or not.
    pub(crate) fn config_file(&self) -> PathBuf {
        let named = self.named.iter().find(|(option, _)| *option == "--config");
        named.map_or_else(
            || self.root.join(config::FILE),
            |(_, file)| self.current.join(file),
        )
    }

    /// Everything the tool writes.
    pub(crate) fn output(&self) -> &Path {
        &self.output
    }

    /// Checks that the output folder doesn't hold the workspace: what releases write there is hidden from git and builds.
    ///
    /// # Errors
    /// It is the root or a folder above it.
    pub(crate) fn check_output(&self) -> Result<(), Error> {
        let output = fs::canonicalize(&self.output).unwrap_or_else(|_| self.output.clone());
        match self.root.starts_with(output) {
            false => Ok(()),
            true => Err(Error::Usage(format!(
                "the output folder `{}` contains the workspace: name a folder in it or elsewhere",
                self.shown(&self.output)
            ))),
        }
    }

    /// What belongs to one mode.
    pub(crate) fn folder(&self, mode: Mode) -> OutputFolder {
        OutputFolder::new(&self.output, mode)
    }

    /// What git says of the root.
    ///
    /// # Errors
    /// git cannot read the repository.
    pub(crate) fn checkout(&self) -> Result<Checkout, Error> {
        Checkout::of(&self.root, &self.output)
    }

    /// The recipe patterns: those of the command line, seen from the current folder, else the configured ones.
    pub(crate) fn recipe_patterns(&self, given: &[PathBuf]) -> Vec<String> {
        match given {
            [] => self.config.recipes.clone(),
            given => given
                .iter()
                .map(|recipe| self.seen_from_root(recipe).display().to_string())
                .collect(),
        }
    }

    /// A recipe of the command line: a file or folder as it stands, a glob as seen from the root, where globs begin.
    fn seen_from_root(&self, recipe: &Path) -> PathBuf {
        let path = self.current.join(recipe);
        if path.exists() {
            return path;
        }
        let current = fs::canonicalize(&self.current).unwrap_or_else(|_| self.current.clone());
        let mut seen = PathBuf::new();
        for part in current.join(recipe).components() {
            match part {
                Component::ParentDir => {
                    let _had_one = seen.pop();
                }
                Component::CurDir => {}
                part => seen.push(part),
            }
        }
        seen.strip_prefix(&self.root)
            .map_or(path, Path::to_path_buf)
    }

    /// The channel that is published to: `--to`, else the configured one.
    pub(crate) fn channel(&self, to: Option<&str>) -> Option<String> {
        to.or(self.config.channel.as_deref()).map(str::to_owned)
    }

    /// Where a channel is that was named so: of the kind that `publish.channel-type` says, else of the one that its name tells.
    ///
    /// # Errors
    /// It is none that is known.
    pub(crate) fn location(&self, channel: &str) -> Result<ChannelLocation, Error> {
        let Some(text) = &self.config.publish.channel_type else {
            return Ok(channel.parse()?);
        };
        let channel_type: ChannelType = text
            .parse()
            .map_err(|error| Error::Usage(format!("`publish.channel-type`: {error}")))?;
        Ok(ChannelLocation::of_type(channel, channel_type)?)
    }

    /// The URL that a rehearsal attests: the configured `target-channel`; the channel itself where
    /// clients read where we publish; else a name that says what it is.
    ///
    /// # Errors
    /// A channel that is no channel's URL.
    pub(crate) fn rehearsed_channel(&self, channel: Option<&str>) -> Result<TargetChannel, Error> {
        if let Some(configured) = &self.config.target_channel {
            return Ok(configured.clone());
        }
        let location = channel.map(|it| self.location(it)).transpose()?;
        let text = match (&location, channel) {
            (Some(ChannelLocation::Prefix { server, channel }), _) => format!("{server}{channel}"),
            (Some(_), Some(url)) if url.starts_with("https://") => url.to_owned(),
            _ => REHEARSAL_CHANNEL.to_owned(),
        };
        attestable(&text)
    }

    /// The URL that is attested for real: a prefix server's channel, which clients read where we
    /// publish, or the configured `target-channel`.
    ///
    /// # Errors
    /// None is configured, another is than that of the prefix server's channel, or the channel is no
    /// channel's URL.
    pub(crate) fn attested_channel(
        &self,
        location: &ChannelLocation,
    ) -> Result<TargetChannel, Error> {
        let configured = self.config.target_channel.clone();
        let ChannelLocation::Prefix { server, channel } = location else {
            return configured.ok_or(Error::NoTargetChannel);
        };
        let own = attestable(&format!("{server}{channel}"))?;
        match configured {
            Some(configured) if configured != own => Err(Error::Usage(format!(
                "`target-channel` is {configured}, and what is published to {own} must be attested for it: leave the key out, or publish elsewhere"
            ))),
            _ => Ok(own),
        }
    }

    /// The URL that packages given as files are attested for, of the configured channel.
    ///
    /// # Errors
    /// As [`attested_channel`](Self::attested_channel), and no channel is configured.
    pub(crate) fn configured_channel(&self) -> Result<TargetChannel, Error> {
        match (&self.config.channel, &self.config.target_channel) {
            (Some(channel), _) => self.attested_channel(&self.location(channel)?),
            (None, Some(configured)) => Ok(configured.clone()),
            (None, None) => Err(Error::NoTargetChannel),
        }
    }
}

fn attestable(text: &str) -> Result<TargetChannel, Error> {
    text.parse().map_err(|error| {
        Error::Usage(format!(
            "`{text}` cannot be attested as the target channel: {error}"
        ))
    })
}

/// This program, as plan and manifest name it.
pub(crate) fn tool() -> Tool {
    Tool {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The nearest folder upwards that is configured, is a Cargo workspace, or is a repository.
fn find_root(current: &Path) -> Result<PathBuf, Error> {
    let is_root = |folder: &&Path| {
        !conda_recipes::is_missing(&folder.join(config::FILE))
            || is_cargo_workspace(folder)
            || folder.join(".git").exists()
    };
    let root = current
        .ancestors()
        .find(is_root)
        .ok_or_else(|| Error::NoWorkspace(current.to_owned()))?;
    fs::canonicalize(root).map_err(Error::output("read", root))
}

fn is_cargo_workspace(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml"))
        .ok()
        .and_then(|text| text.parse::<toml::Table>().ok())
        .is_some_and(|manifest| manifest.contains_key("workspace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_below() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let below = root.join("crates/a/src");
        fs::create_dir_all(&below).unwrap();
        fs::write(
            root.join("crates/a/Cargo.toml"),
            "[package]\nname = \"a\"\n",
        )
        .unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace]\n").unwrap();
        assert_eq!(find_root(&below).unwrap(), root);
        fs::write(root.join("crates").join(config::FILE), "").unwrap();
        assert_eq!(find_root(&below).unwrap(), root.join("crates"));
    }
}
