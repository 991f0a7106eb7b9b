//! What the job that plans writes for those that build.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use cep27::Subdir;
use clap::{Args, ValueEnum};
use conda_recipes::Platform;
use release_manifest::{
    DOCUMENT_LIMIT, Digest, MATRIX_LIMIT, Manifest, Matrices, PackageKey, Plan, Sharding, Shards,
    Skipped,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{PLAN, SHARDS, tell_jobs};
use crate::{
    error::Error, input, output::write_atomically, printer::Printer, table::table,
    workspace::Workspace,
};

/// How a plan is cut for many machines.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Many machines")]
pub(crate) struct PlanningArgs {
    /// Cut the plan for at most N jobs at the same time, and write it with a matrix for each of four waves
    #[arg(long, value_name = "N")]
    shards: Option<NonZeroUsize>,

    /// What decides which job builds a package; `cost` by default
    #[arg(long, value_enum, value_name = "WHAT")]
    shard_by: Option<ShardBy>,

    /// The manifest of an earlier release, which says how long packages took; the last one in OUTPUT by default
    #[arg(long, value_name = "MANIFEST")]
    history: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShardBy {
    /// The time it is expected to take: all jobs are equally busy; needs --shards
    Cost,
    /// Its recipe and build platform
    Recipe,
    /// Its build platform
    Platform,
}

impl PlanningArgs {
    /// How to cut, if the plan is to be cut.
    ///
    /// # Errors
    /// What was asked for together cannot be.
    pub(crate) fn sharding(&self) -> Result<Option<Sharding>, Error> {
        let jobs = self.shards.map(NonZeroUsize::get);
        if let Some(jobs) = jobs.filter(|&jobs| jobs > MATRIX_LIMIT) {
            return Err(Error::Usage(format!(
                "--shards {jobs}: a matrix has at most {MATRIX_LIMIT} jobs"
            )));
        }
        match (self.shard_by, jobs) {
            (None, None) => match self.history {
                Some(_) => Err(Error::Usage("--history is for --shards".to_owned())),
                None => Ok(None),
            },
            (None | Some(ShardBy::Cost), Some(jobs)) => Ok(Some(Sharding::Cost(jobs))),
            (Some(ShardBy::Cost), None) => Err(Error::Usage(
                "--shard-by cost needs --shards: for how many jobs".to_owned(),
            )),
            (Some(ShardBy::Recipe), jobs) => {
                Ok(Some(Sharding::Recipe(jobs.unwrap_or(MATRIX_LIMIT))))
            }
            (Some(ShardBy::Platform), None) => Ok(Some(Sharding::Platform)),
            (Some(ShardBy::Platform), Some(_)) => Err(Error::Usage(
                "--shard-by platform makes one job a build platform: leave --shards out".to_owned(),
            )),
        }
    }

    /// Cuts a plan, writes plan, shards and matrices into `folder`, and shows and exports what later jobs need.
    ///
    /// `last` is the manifest that an earlier release left here.
    ///
    /// # Errors
    /// The plan cannot be cut, a platform has no runner, the history is no manifest, the folder cannot be written.
    pub(crate) fn write(
        &self,
        sharding: Sharding,
        (plan, left_out): (&Plan, BTreeMap<PackageKey, Skipped>),
        last: Option<&Manifest>,
        folder: &Path,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<(), Error> {
        let named = match &self.history {
            None => None,
            Some(path) => {
                let bytes = input::read(path, DOCUMENT_LIMIT)?;
                Some(Manifest::from_json(&bytes).map_err(Error::shard(path))?)
            }
        };
        let runners = runners(plan, workspace)?;
        let runner = |platform| runners.get(&platform).cloned().unwrap_or_default();
        let history = named.as_ref().or(last);
        let (shards, matrices) = Shards::cut(plan, left_out, sharding, history, runner)?;
        write_atomically(&folder.join(PLAN), &plan.to_json())?;
        write_atomically(&folder.join(SHARDS), &shards.to_json())?;
        let lines = matrices.lines();
        let named: Vec<(String, &str)> = (1..)
            .zip(&lines)
            .map(|(wave, line)| (format!("matrix-{wave}"), line.as_str()))
            .collect();
        for (name, line) in &named {
            let text = format!("{line}\n");
            write_atomically(&folder.join(format!("{name}.json")), text.as_bytes())?;
        }
        let (plan_digest, shards_digest) = (shards.plan_digest, shards.digest());
        let digests = [
            ("plan-digest", plan_digest.to_string()),
            ("shards-digest", shards_digest.to_string()),
        ];
        let of_digests = digests.iter().map(|(name, digest)| (*name, &**digest));
        let of_matrices = named.iter().map(|(name, line)| (&**name, *line));
        tell_jobs(of_digests.chain(of_matrices))?;
        printer.status("Written", &format!("`{}`", workspace.shown(folder)));
        for (name, digest) in digests {
            printer.status("Digest", &format!("--{name} {digest}"));
        }
        printer.result(&shown(&shards, &matrices))?;
        let raw = |(name, line): &(String, &str)| {
            let raw = RawValue::from_string((*line).to_owned()).ok()?;
            Some((name.clone(), raw))
        };
        printer.json(&Document {
            schema_version: 1,
            plan_digest,
            shards_digest,
            folder,
            matrices: named.iter().filter_map(raw).collect(),
        })
    }
}

/// What `plan --shards` prints for a script.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    plan_digest: Digest,
    shards_digest: Digest,
    folder: &'a Path,
    #[serde(flatten)]
    matrices: BTreeMap<String, Box<RawValue>>,
}

/// The jobs as a person reads them.
fn shown(shards: &Shards, matrices: &Matrices) -> String {
    let rows = shards
        .shards
        .iter()
        .zip(matrices.jobs())
        .map(|(shard, job)| {
            let from: Vec<String> = job.from.iter().map(ToString::to_string).collect();
            [
                shard.shard.to_string(),
                shard.wave.to_string(),
                job.build_platform.to_string(),
                job.runs_on.clone(),
                job.packages.to_string(),
                job.minutes.to_string(),
                from.join(" "),
            ]
        });
    table(
        &[
            "SHARD>",
            "WAVE>",
            "BUILT ON",
            "RUNS ON",
            "PACKAGES>",
            "MINUTES>",
            "FROM",
        ],
        rows,
    )
}

/// The machine that builds on each platform of a plan: the configured one, else GitHub's.
fn runners(plan: &Plan, workspace: &Workspace) -> Result<BTreeMap<Subdir, String>, Error> {
    let options = &workspace.config().build;
    let built_on: BTreeSet<Subdir> = plan.packages.iter().map(|it| it.build_platform).collect();
    // Elsewhere, another machine than this one would be the default.
    let unsaid = options
        .platforms
        .iter()
        .find(|platform| platform.build.or(options.build_platform).is_none());
    if let (Some(platform), true) = (unsaid, built_on.len() > 1) {
        return Err(Error::Usage(format!(
            "packages for {} are built on the machine that plans, and jobs on several: name its `build` in `build.platforms`",
            platform.target
        )));
    }
    let builds = |platform: &Platform, wanted: Subdir| {
        let build = platform.build.or(options.build_platform);
        build.is_none_or(|build| build == wanted)
    };
    let configured = |wanted: Subdir| {
        let platforms = options.platforms.iter().filter(|it| builds(it, wanted));
        platforms.filter_map(|it| it.runner.clone()).next()
    };
    let mut runners = BTreeMap::new();
    for platform in built_on {
        let known = || hosted(platform.as_str()).map(str::to_owned);
        let runner = configured(platform).or_else(known).ok_or_else(|| {
            Error::Usage(format!(
                "no runner is known that builds on {platform}: name one with `runner` in `build.platforms`"
            ))
        })?;
        runners.insert(platform, runner);
    }
    Ok(runners)
}

/// GitHub's own runners (<https://docs.github.com/en/actions/reference/runners/github-hosted-runners>).
fn hosted(platform: &str) -> Option<&'static str> {
    Some(match platform {
        "linux-64" => "ubuntu-24.04",
        "linux-aarch64" => "ubuntu-24.04-arm",
        "osx-64" => "macos-15-intel",
        "osx-arm64" => "macos-15",
        "win-64" => "windows-2025",
        "win-arm64" => "windows-11-arm",
        _ => return None,
    })
}
