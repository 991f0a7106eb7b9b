//! Planning: what a run asks the worker for, and how its answer differs from what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Instant,
};

use cep27::Subdir;
use clap::{Args, ValueEnum};
use conda_recipes::{
    BuildNumber, BuildOptions, PackageFormat, PlanRequest, Planned, TestMode, worker::Worker,
};
use release_manifest::{Mode, Plan, RelativePath, Tool};

use super::{Selection, SelectionFlags};
use crate::{
    config::Config,
    error::Error,
    printer::{Printer, count, duration},
    release::Stored,
    since::{Since, since},
    source::Checkout,
    target::Target,
    workspace::{Workspace, tool},
};

/// What the commands that plan have in common.
#[derive(Args, Clone, Debug)]
pub struct PlanFlags {
    /// Recipe files, folders or globs to select, with what they need; all recipes of the configuration by default
    #[arg(value_name = "RECIPE")]
    recipes: Vec<PathBuf>,

    /// The channel to publish to
    #[arg(long, value_name = "URL", env = "CONDA_RELEASE_CHANNEL")]
    to: Option<String>,

    /// For real: with the channel's packages, its identity and its trust, instead of a rehearsal
    #[arg(short = 'x', long)]
    execute: bool,

    /// After a failure, go on with what does not need the failed recipe or package
    #[arg(short, long)]
    keep_going: bool,

    /// What of it
    #[command(flatten)]
    selection: SelectionFlags,

    /// How to build
    #[command(flatten)]
    build: BuildFlags,
}

impl PlanFlags {
    /// Whether what does not need what failed goes on.
    pub(crate) fn keep_going(&self) -> bool {
        self.keep_going
    }

    /// What they ask for.
    pub(crate) fn mode(&self) -> Mode {
        match self.execute {
            true => Mode::Live,
            false => Mode::Rehearsal,
        }
    }

    /// Where a live release goes; a rehearsal goes nowhere.
    ///
    /// # Errors
    /// It is live, and no channel can be told.
    pub(crate) fn target(&self, workspace: &Workspace) -> Result<Option<Target>, Error> {
        let find = || Target::find(workspace, self.to.as_deref());
        self.execute.then(find).transpose()
    }
}

/// What the command line says of building; it wins over `[build]` of the configuration.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Build options")]
pub struct BuildFlags {
    /// How many outputs build at the same time; the number of cores by default
    #[arg(short, long, value_name = "N", env = "CONDA_RELEASE_JOBS")]
    jobs: Option<NonZeroUsize>,

    /// The platform that packages are for
    #[arg(long, value_name = "SUBDIR")]
    target_platform: Option<Subdir>,

    /// A variant file, besides those beside the recipes
    #[arg(short = 'm', long, value_name = "FILE")]
    variant_config: Vec<PathBuf>,

    /// A variant value: `python=3.12`, several with commas
    #[arg(long, value_name = "KEY=VALUES", value_parser = variant)]
    variant: Vec<(String, Vec<String>)>,

    /// Which package tests run
    #[arg(long, value_enum, value_name = "WHICH")]
    test: Option<Tests>,

    /// Archive format and level: `conda`, `tar-bz2`, `conda:max`, `conda:19`, …
    #[arg(long, value_name = "FORMAT")]
    package_format: Option<PackageFormat>,

    /// The build number of every package: `3`, `+1` above the channel's highest, or the `next` free one
    #[arg(long, value_name = "NUMBER", env = "CONDA_RELEASE_BUILD_NUMBER")]
    build_number: Option<BuildNumber>,

    /// Keep build folders after a successful build
    #[arg(long)]
    keep_build: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tests {
    Native,
    Skip,
    NativeAndEmulated,
}

fn variant(text: &str) -> Result<(String, Vec<String>), String> {
    let (key, values) = text
        .split_once('=')
        .ok_or_else(|| format!("expected KEY=VALUE[,VALUE…], found `{text}`"))?;
    Ok((
        key.to_owned(),
        values.split(',').map(str::to_owned).collect(),
    ))
}

impl BuildFlags {
    /// The configured options with what the command line says.
    fn over(&self, configured: &BuildOptions) -> BuildOptions {
        let mut options = configured.clone();
        options.jobs = self.jobs.or(options.jobs);
        options.target_platform = self.target_platform.or(options.target_platform);
        options.package_format = self.package_format.unwrap_or(options.package_format);
        options.build_number = self.build_number.or(options.build_number);
        options.keep_build |= self.keep_build;
        options.variants.extend(self.variant_config.iter().cloned());
        options.variant.extend(self.variant.iter().cloned());
        options.test = match self.test {
            None => options.test,
            Some(Tests::Native) => TestMode::Native,
            Some(Tests::Skip) => TestMode::Skip,
            Some(Tests::NativeAndEmulated) => TestMode::NativeAndEmulated,
        };
        options
    }
}

/// What will be planned, and the source it is planned from.
#[derive(Debug)]
pub(crate) struct Planning {
    request: PlanRequest,
    checkout: Checkout,
    /// The recipes that the command line names.
    named: Option<BTreeSet<RelativePath>>,
    /// The other selection options of the command line.
    selection: SelectionFlags,
    /// The file whose change decides about everything, where changes were to be planned.
    decides: Option<String>,
}

impl Planning {
    /// Finds the recipes and gathers everything that decides the plan.
    ///
    /// # Errors
    /// A pattern without recipe, a Cargo workspace that `cargo metadata` refuses, a channel that is none.
    pub(crate) async fn new(
        workspace: &Workspace,
        flags: &PlanFlags,
        target: Option<&Target>,
    ) -> Result<Self, Error> {
        let mode = flags.mode();
        let config = workspace.config();
        let checkout = workspace.checkout()?;
        let (recipes, named) = recipes(workspace, &flags.recipes)?;
        let channel = workspace.channel(flags.to.as_deref());
        let (target_channel, published_at) = match target {
            None => (workspace.rehearsed_channel(channel.as_deref())?, None),
            Some(target) => (target.attested().clone(), target.published_at().await?),
        };
        let options = flags.build.over(&config.build);
        let compared = flags.selection.changed_since();
        let compared = compared.map(|reference| since(workspace, reference, &options));
        let (changed, decides) = match compared.transpose()? {
            None => (None, None),
            Some(Since::Files(changed)) => (Some(changed), None),
            Some(Since::Everything(file)) => (None, Some(file)),
        };
        let request = PlanRequest {
            root: workspace.root().to_owned(),
            output: workspace.folder(mode).path().to_owned(),
            mode,
            source: checkout.source.clone(),
            target_channel,
            published_at,
            channel,
            build_numbers: BTreeMap::new(),
            timestamp: 0,
            options,
            cargo: conda_recipes::cargo_context(workspace.root(), &config.package, &recipes)?,
            tool: tool(),
            recipes,
            changed,
            keep_going: flags.keep_going,
            only: None,
            pinned: BTreeMap::new(),
        };
        Ok(Self {
            request,
            checkout,
            named,
            selection: flags.selection.clone(),
            decides,
        })
    }

    /// What gives a plan again that another job made: its recipes, source, channel and time, and
    /// the options of this command line.
    ///
    /// # Errors
    /// The plan is of another version of this program, another commit, other options or another
    /// channel than this job's; `cargo metadata` or the channel cannot be had.
    pub(crate) async fn following(
        workspace: &Workspace,
        flags: &PlanFlags,
        (plan, path): (&Plan, &Path),
    ) -> Result<Self, Error> {
        let config = workspace.config();
        let checkout = workspace.checkout()?;
        let options = flags.build.over(&config.build);
        let version = |tool: &Tool| format!("{} {}", tool.name, tool.version);
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let channel = flags.to.as_ref().or(plan.channel.as_ref()).cloned();
        let same = [
            ("program", version(&plan.tool), version(&tool())),
            (
                "commit",
                or_none(&plan.source.commit),
                or_none(&checkout.source.commit),
            ),
            (
                "options",
                plan.configuration.to_string(),
                options.digest().to_string(),
            ),
            ("channel", or_none(&plan.channel), or_none(&channel)),
        ];
        if let Some((what, found, expected)) = same.into_iter().find(|(_, a, b)| a != b) {
            return Err(Error::OtherPlan {
                path: path.to_owned(),
                what,
                found,
                expected,
            });
        }
        let published_at = match plan.mode {
            Mode::Rehearsal => None,
            Mode::Live => {
                let target = Target::find(workspace, channel.as_deref())?;
                target.published_at().await?
            }
        };
        let planned = plan.packages.iter().map(|package| &package.recipe);
        let skipped = plan.skipped.iter().map(|skipped| &skipped.recipe);
        let recipes: BTreeSet<PathBuf> = planned
            .chain(skipped)
            .map(|recipe| recipe.under(workspace.root()))
            .collect();
        let recipes = Vec::from_iter(recipes);
        let request = PlanRequest {
            root: workspace.root().to_owned(),
            output: workspace.folder(plan.mode).path().to_owned(),
            mode: plan.mode,
            // What differs from the commit shows in fingerprints, where it is part of a package.
            source: plan.source.clone(),
            target_channel: plan.target_channel.clone(),
            published_at,
            channel: plan.channel.clone(),
            build_numbers: match options.build_number {
                // What was counted on from the channel then, and for which recipes, stands in the plan.
                Some(_) => conda_recipes::build_numbers(plan),
                None => BTreeMap::new(),
            },
            timestamp: plan.timestamp,
            options,
            cargo: conda_recipes::cargo_context(workspace.root(), &config.package, &recipes)?,
            tool: tool(),
            recipes,
            changed: None,
            keep_going: true,
            only: Some(plan.packages.iter().map(|package| package.key()).collect()),
            pinned: plan.sources(),
        };
        Ok(Self {
            request,
            checkout,
            named: None,
            selection: SelectionFlags::default(),
            decides: None,
        })
    }

    /// The request that the last plan answered; a build repeats it.
    pub(crate) fn request(&self) -> &PlanRequest {
        &self.request
    }

    /// What git says of the workspace.
    pub(crate) fn checkout(&self) -> &Checkout {
        &self.checkout
    }

    /// Returns whether the command line selects a part of the plan.
    pub(super) fn selects(&self) -> bool {
        self.named.is_some() || self.request.changed.is_some() || self.selection.has_names()
    }

    /// Returns the outputs of a plan that the command line selects.
    ///
    /// # Errors
    /// A name that no output has.
    pub(crate) fn selection(&self, planned: &Planned) -> Result<Selection, Error> {
        let compares = self.request.changed.is_some();
        self.selection.of(planned, self.named.as_ref(), compares)
    }

    /// The build number that is asked for.
    pub(super) fn build_number(&self) -> Option<BuildNumber> {
        self.request.options.build_number
    }

    /// Has the worker render everything with the numbers of the recipes.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub(super) async fn rendered_as_written(
        &mut self,
        worker: &Worker,
        stored: Option<&Plan>,
    ) -> Result<Planned, Error> {
        let asked = self.request.options.build_number.take();
        let planned = self.rendered(worker, stored).await;
        self.request.options.build_number = asked;
        planned
    }

    /// Has recipes get these build numbers.
    pub(super) fn set_build_numbers(&mut self, numbers: BTreeMap<RelativePath, u64>) {
        self.request.build_numbers = numbers;
    }

    /// Has the worker plan, for `target` where the plan is a live one.
    ///
    /// # Errors
    /// What planning finds wrong with the recipes, and a `SOURCE_DATE_EPOCH` that is no number.
    pub(crate) async fn plan(
        &mut self,
        worker: &Worker,
        stored: Option<&Stored>,
        target: Option<&Target>,
        printer: &Printer,
    ) -> Result<Planned, Error> {
        if let Some(file) = &self.decides {
            printer.status("Changed", &format!("`{file}`, and so everything"));
        }
        let started = Instant::now();
        let planned = self.numbered(worker, stored, target).await?;
        printer.status(
            "Planned",
            &format!(
                "{} of {} in {}",
                count(planned.plan.packages.len(), "package"),
                count(self.request.recipes.len(), "recipe"),
                duration(started.elapsed()),
            ),
        );
        Ok(planned)
    }

    /// Has the worker render everything as it is asked for now.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub(super) async fn rendered(
        &mut self,
        worker: &Worker,
        stored: Option<&Plan>,
    ) -> Result<Planned, Error> {
        let fixed = source_date_epoch()?.or(match self.checkout.source.dirty {
            true => None,
            false => self.checkout.commit_time,
        });
        let fixed = fixed.map(|time| time.clamp(ARCHIVE_TIMES.0, ARCHIVE_TIMES.1));
        let now = jiff::Timestamp::now().as_second();
        // Without a commit's time, packages carry the time of the run that planned them, so that
        // the same command again finds them as it planned them.
        self.request.timestamp = fixed.or(stored.map(|plan| plan.timestamp)).unwrap_or(now);
        let mut planned = worker.plan(self.request.clone()).await?;
        let is_other = |stored: &Plan| stored.digest() != planned.plan.digest();
        if fixed.is_none() && stored.is_some_and(is_other) {
            // Planned again rather than patched: build folders carry the time.
            let again = PlanRequest {
                timestamp: now,
                pinned: planned.plan.sources(),
                ..self.request.clone()
            };
            self.request.timestamp = now;
            planned = worker.plan(again).await?;
        }
        Ok(planned)
    }
}

/// The recipes to plan, and those among them that the command line names. What it names is planned in addition to what the
/// configuration's patterns lead to, so that the plan does not depend on the selection.
fn recipes(
    workspace: &Workspace,
    given: &[PathBuf],
) -> Result<(Vec<PathBuf>, Option<BTreeSet<RelativePath>>), Error> {
    let root = workspace.root();
    let configured = conda_recipes::find(root, &workspace.recipe_patterns(&[]));
    if given.is_empty() {
        return Ok((configured?, None));
    }
    let named = conda_recipes::find(root, &workspace.recipe_patterns(given))?;
    let is_default = workspace.config().recipes == Config::default().recipes;
    let mut recipes = match configured {
        // Nobody said that there are others.
        Err(conda_recipes::Error::MissingRecipe { .. }) if is_default => Vec::new(),
        configured => configured?,
    };
    recipes.extend(named.iter().cloned());
    recipes.sort();
    recipes.dedup();
    let root = fs_err::canonicalize(root).map_err(Error::output("read", root))?;
    let relative = |recipe: &PathBuf| {
        let path = recipe.strip_prefix(&root).unwrap_or(recipe);
        let text = path.to_string_lossy();
        let text = text.replace(std::path::MAIN_SEPARATOR, "/");
        text.parse().map_err(Error::state(recipe))
    };
    let named = named.iter().map(relative).collect::<Result<_, _>>()?;
    Ok((recipes, Some(named)))
}

/// The first and the last second that a package's archive can carry: a `.conda` is a ZIP file, whose
/// times go from 1980 to 2107 (APPNOTE 4.4.6). Earlier and later ones become these.
const ARCHIVE_TIMES: (i64, i64) = (315_532_800, 4_354_819_199);

/// `SOURCE_DATE_EPOCH` of the environment (reproducible-builds.org), in seconds.
fn source_date_epoch() -> Result<Option<i64>, Error> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(None);
    };
    match value.to_str().and_then(|text| text.parse::<i64>().ok()) {
        Some(seconds) if (0..=ARCHIVE_TIMES.1).contains(&seconds) => Ok(Some(seconds)),
        _ => Err(Error::Usage(format!(
            "SOURCE_DATE_EPOCH is `{}`: expected seconds since 1970, until 2107",
            value.display()
        ))),
    }
}
