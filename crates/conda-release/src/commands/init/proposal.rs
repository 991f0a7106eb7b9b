//! What `init` would write, from what it has found and what is wished.

use std::path::{Component, Path, PathBuf};

use conda_publish::ChannelLocation;
use toml_edit::{Array, DocumentMut, value};

use super::{
    Ci,
    change::{Change, State},
    github, gitlab, recipe,
    repository::Repository,
    xtask::Xtask,
};
use crate::{
    config::{self, Config},
    error::Error,
    tool::tool,
};

/// What the command line says.
pub(super) struct Wishes {
    pub(super) channel: Option<String>,
    pub(super) target_channel: Option<String>,
    pub(super) ci: Option<Ci>,
    pub(super) xtask: Option<bool>,
}

/// All that would be written, and what would not.
pub(super) struct Proposal {
    /// The files, in the order of writing.
    pub(super) changes: Vec<Change>,
    /// The lockfile that recipes build with, which cargo writes.
    pub(super) lockfile: Option<Lockfile>,
    /// Members with programs that get no recipe.
    pub(super) skipped: Vec<Skipped>,
    /// What a person should know.
    pub(super) notes: Vec<String>,
    /// Who answers to `cargo xtask`.
    pub(super) xtask: Xtask,
    /// Whether live releases have somewhere to go.
    pub(super) has_channel: bool,
}

/// A lockfile that does not exist.
pub(super) struct Lockfile {
    pub(super) path: PathBuf,
    pub(super) is_written: bool,
}

/// A member that gets no recipe.
pub(super) struct Skipped {
    pub(super) member: String,
    pub(super) reason: String,
}

/// How a CI system runs us.
pub(super) struct Job {
    /// The workspace, from the top of the repository, where that is another folder.
    pub(super) folder: Option<String>,
    /// Whether the repository has its own `cargo xtask release`.
    pub(super) has_xtask: bool,
    /// Whether there is a channel to release to.
    pub(super) is_live: bool,
    /// The variables with the credentials of that channel.
    pub(super) secrets: &'static [&'static str],
}

impl Job {
    /// What releases.
    pub(super) fn command(&self) -> &'static str {
        match self.has_xtask {
            true => "cargo xtask release",
            false => "cargo conda-release release",
        }
    }

    /// The command that makes [`command`](Self::command) one, if anything has to.
    pub(super) fn install(&self) -> Option<String> {
        (!self.has_xtask).then(Self::install_program)
    }

    /// The command that installs this version of the program, for jobs that hand it on.
    pub(super) fn install_program() -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!("cargo install --locked cargo-conda-release@{version}")
    }
}

impl Proposal {
    /// Makes the proposal; nothing is written.
    ///
    /// # Errors
    /// A wish that cannot be, or a file that would be added to and cannot.
    pub(super) fn new(
        repository: &Repository,
        config: Option<&Config>,
        wishes: &Wishes,
    ) -> Result<Self, Error> {
        let channel = channel(config, wishes)?;
        let xtask = Xtask::decide(repository, wishes.xtask)?;
        let mut proposal = Self {
            changes: Vec::new(),
            lockfile: None,
            skipped: Vec::new(),
            notes: Vec::new(),
            xtask,
            has_channel: channel.is_some(),
        };
        let file = repository.root.join(config::FILE);
        if config.is_none() || file.exists() {
            let change = Change::starter(file, configuration(wishes))?;
            proposal.changes.push(change);
        }
        if !repository.ignores_output {
            let file = repository.root.join(".gitignore");
            let change = Change::addition(file, |text| Ok(with_line(text, "/target/")))?;
            proposal.changes.push(change);
        }
        proposal.recipes(repository, &config.cloned().unwrap_or_default())?;
        proposal.changes.extend(xtask.changes(repository)?);
        if xtask == Xtask::Theirs {
            proposal.notes.push(format!(
                "`cargo xtask` is yours and stays so: with `conda-release = \"{}\"` among its dependencies it can have \
                 our commands too, see https://docs.rs/conda-release; until then, `cargo conda-release` has them",
                env!("CARGO_PKG_VERSION")
            ));
        }
        proposal.workflow(
            repository,
            channel.as_ref(),
            wishes.ci.unwrap_or(repository.ci),
        )?;
        Ok(proposal)
    }

    /// Starter recipes for members with programs that no recipe packages.
    fn recipes(&mut self, repository: &Repository, config: &Config) -> Result<(), Error> {
        let has_none = |(name, member): &(&String, &conda_recipes::Member)| {
            let mut packaged = repository.cargo.packaged.values();
            !member.binaries.is_empty() && *name != "xtask" && packaged.all(|it| it != *name)
        };
        let mut is_built = false;
        for (name, member) in repository.cargo.members.iter().filter(has_none) {
            let Some(folder) = config.recipes.iter().find_map(|it| plain_folder(it)) else {
                return Err(Error::Usage(format!(
                    "no place for a recipe of `{name}`: `recipes` of the configuration has no pattern like `recipes/*`"
                )));
            };
            match recipe::starter(name, member, repository, &folder)? {
                Ok(text) => {
                    let file = repository.root.join(folder).join(name).join("recipe.yaml");
                    self.changes.push(Change::starter(file, text)?);
                    is_built = true;
                }
                Err(reason) => {
                    self.notes.push(format!(
                        "no starter recipe for the member `{name}`: {reason}"
                    ));
                    self.skipped.push(Skipped {
                        member: name.clone(),
                        reason,
                    });
                }
            }
        }
        let path = repository.root.join("Cargo.lock");
        if is_built && repository.keeps_lockfile && !path.exists() {
            self.lockfile = Some(Lockfile {
                path,
                is_written: false,
            });
        }
        Ok(())
    }

    /// What the CI system reads.
    fn workflow(
        &mut self,
        repository: &Repository,
        channel: Option<&ChannelLocation>,
        ci: Ci,
    ) -> Result<(), Error> {
        let folder = repository.root.strip_prefix(&repository.top).ok();
        let folder = folder
            .map(|it| it.to_string_lossy().replace('\\', "/"))
            .filter(|it| !it.is_empty());
        let job = Job {
            folder,
            has_xtask: self.xtask.has_us(),
            is_live: channel.is_some(),
            secrets: channel.map_or(&[], ChannelLocation::credential_variables),
        };
        let top = &repository.top;
        let (file, text) = match ci {
            Ci::None => return Ok(()),
            Ci::Github => (github::FILE, github::workflow(&repository.branch, &job)?),
            Ci::Gitlab => {
                let entry = Change::starter(top.join(gitlab::ENTRY), gitlab::entry()?)?;
                let has_us = entry.after.contains(gitlab::FILE);
                if !has_us {
                    self.notes.push(format!(
                        "`{}` is yours and stays so: add `local: {}` to its `include`",
                        gitlab::ENTRY,
                        gitlab::FILE
                    ));
                }
                self.changes.push(entry);
                (gitlab::FILE, gitlab::jobs(&job)?)
            }
        };
        if channel.is_none() {
            self.notes.push(
                "no channel is named (--to, or `channel` in the configuration): the workflow only rehearses"
                    .to_owned(),
            );
        }
        self.changes.push(Change::generated(top.join(file), text)?);
        Ok(())
    }

    /// Whether everything is as it would be.
    pub(super) fn is_current(&self) -> bool {
        let is_current = |change: &Change| change.state() == State::Current;
        self.lockfile.is_none() && self.changes.iter().all(is_current)
    }

    /// Whether there is something to write.
    pub(super) fn has_work(&self, force: bool) -> bool {
        self.lockfile.is_some() || self.changes.iter().any(|change| change.is_due(force))
    }

    /// Writes what is due.
    ///
    /// # Errors
    /// A file that cannot be written; those before it are, and the next run goes on.
    pub(super) fn write(&mut self, repository: &Repository, force: bool) -> Result<(), Error> {
        let due = |change: &&mut Change| change.is_due(force);
        for change in self.changes.iter_mut().filter(due) {
            change.write()?;
        }
        if let Some(lockfile) = &mut self.lockfile {
            let mut cargo = tool("cargo");
            cargo.arg("generate-lockfile").arg("--quiet");
            let status = cargo.current_dir(&repository.root).status();
            lockfile.is_written = status.is_ok_and(|status| status.success());
            if !lockfile.is_written {
                self.notes.push(
                    "`cargo generate-lockfile` failed: recipes build only with a Cargo.lock"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// The channel of live releases: the configured one, which is the user's to change, or the wished one.
fn channel(config: Option<&Config>, wishes: &Wishes) -> Result<Option<ChannelLocation>, Error> {
    let configured = config.and_then(|config| config.channel.as_deref());
    let wished = wishes.channel.as_deref();
    if let (Some(config), Some(wished)) = (config, wished)
        && config.channel.as_deref() != Some(wished)
    {
        return Err(Error::Usage(
            "--to: the configuration is yours: say there what `channel` is, and run this again"
                .to_owned(),
        ));
    }
    let location = wished
        .or(configured)
        .map(str::parse::<ChannelLocation>)
        .transpose()?;
    let target = wishes.target_channel.as_deref();
    if let Some(target) = target {
        target
            .parse::<cep27::TargetChannel>()
            .map_err(|error| Error::Usage(format!("--target-channel: {error}")))?;
    }
    let is_attestable = match &location {
        None | Some(ChannelLocation::Prefix { .. }) => true,
        Some(_) => target.is_some() || config.is_some_and(|it| it.target_channel.is_some()),
    };
    match is_attestable {
        true => Ok(location),
        false => Err(Error::Usage(
            "that channel's URL is not what clients read: name that with --target-channel"
                .to_owned(),
        )),
    }
}

/// The text of the configuration: what is wished, and what everything else is called.
fn configuration(wishes: &Wishes) -> String {
    let mut config = DocumentMut::new();
    config["recipes"] = value(Array::from_iter(["recipes/*"]));
    for (key, wish) in [
        ("channel", &wishes.channel),
        ("target-channel", &wishes.target_channel),
    ] {
        if let Some(wish) = wish {
            config[key] = value(wish);
        }
    }
    format!("# `conda-release schema config` prints every key with its meaning.\n{config}")
}

/// The folder that a pattern names all folders of.
fn plain_folder(pattern: &str) -> Option<PathBuf> {
    let folder = Path::new(pattern.strip_suffix("/*")?.trim_start_matches("./"));
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(part) if !part.to_string_lossy().contains(['*', '?', '[', '{']));
    folder.components().all(is_plain).then(|| folder.to_owned())
}

/// The text with a line at its end.
fn with_line(text: &str, line: &str) -> String {
    let text = text.trim_end_matches('\n');
    match text {
        "" => format!("{line}\n"),
        text => format!("{text}\n{line}\n"),
    }
}
