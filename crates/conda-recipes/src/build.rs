//! The build phase: walks the plan with as many jobs as allowed, and decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};

use cep27::Sha256;
use rattler_build_core::{
    console_utils::LoggingOutputHandler,
    metadata::Output,
    tool_configuration::{Configuration, JobserverEnv},
};
use rattler_build_networking::BaseClient;
use rattler_conda_types::Subdir;
use release_manifest::{Digest, PackageKey, Phase, Plan, PlannedPackage, RelativePath};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tracing::instrument::WithSubscriber as _;

use crate::{
    BuildEvent, BuildOptions, Error, Failure, PlanRequest, Reporter, TestMode, build_phase,
    failure,
    local_channel::LocalChannel,
    log::{Begin, OutputLog},
    network,
    own_output::OwnOutput,
    package_caches::{CacheFolders, PackageCaches},
    plan::{self, Planned, Rendered},
    schedule::{Node, Schedule, Step},
    sources::JobSources,
    test_phase,
};

/// What building starts from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BuildRequest {
    /// What was planned. Rendered again, it must give the same plan.
    pub plan: PlanRequest,
    /// The digest of the plan that was shown.
    pub expected: Digest,
    /// The packages to build, and then to test.
    pub build: BTreeSet<PackageKey>,
    /// The packages that are built and good, and still to test.
    pub test: BTreeSet<PackageKey>,
    /// The packages that an earlier run built, those of `test` among them, with their digests. What `packages/<subdir>/` has under
    /// any other name goes.
    pub good: BTreeMap<PackageKey, Sha256>,
    /// The results of verifying source attestations, for each package to build whose recipe requires one.
    /// Such a package is not built where there is no result, or a failure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_attestations: BTreeMap<PackageKey, Result<(), Failure>>,
}

/// Builds and tests. What goes wrong with a package is an event: packages that don't need it go on.
///
/// On return `packages` holds exactly the good packages of the plan: no file of another plan, none that failed.
///
/// # Errors
/// The plan cannot be made, or is not the expected one; the output folder cannot be written.
pub(crate) async fn build(
    request: &BuildRequest,
    caches: &CacheFolders,
    reporter: &dyn Reporter,
) -> Result<(), Error> {
    reporter.report(BuildEvent::Planning {
        message: "rendering the recipes".to_owned(),
    });
    let (Planned { plan, .. }, rendered) = plan::render(&request.plan).await?;
    let found = plan.digest();
    if found != request.expected {
        return Err(Error::PlanChanged {
            expected: request.expected,
            found,
        });
    }
    let known: BTreeSet<_> = plan.packages.iter().map(|package| package.key()).collect();
    let named = request.build.iter().chain(&request.test);
    if let Some(package) = named
        .chain(request.good.keys())
        .find(|package| !known.contains(package))
    {
        return Err(Error::NotPlanned {
            package: package.clone(),
        });
    }

    check_platforms(&plan, request)?;
    check_sandbox(&request.plan.options)?;
    OwnOutput::new(&request.plan.output).protect()?;

    let mut good = request.good.clone();
    good.retain(|package, _| !request.build.contains(package));
    let channel = LocalChannel::new(&request.plan.output, good.clone());
    let unusable = |source| Error::Channel {
        path: request.plan.packages(),
        source,
    };
    let mut good: BTreeSet<_> = good.into_keys().collect();
    channel.retain(&good).map_err(unusable)?;

    let options = &request.plan.options;
    let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let jobs = options.jobs.unwrap_or(cores);
    let sources = JobSources::new(&request.plan.output);
    let to_build = rendered
        .iter()
        .filter(|rendered| request.build.contains(&rendered.planned.key()))
        .map(|rendered| &rendered.output);
    let tool = configuration(
        options,
        &caches.shared,
        share(cores, jobs, request.build.len() + request.test.len()),
        sources.client(network::client()?, to_build),
    )?;
    let caches = PackageCaches::create(caches, &plan).map_err(unusable)?;
    let work = Arc::new(Work {
        output: request.plan.output.clone(),
        root: request.plan.root.clone(),
        test: options.test,
        outputs: rendered
            .into_iter()
            .map(|Rendered { planned, output }| (planned.key(), output))
            .collect(),
        source_attestations: request.source_attestations.clone(),
        plan,
        channel,
        caches,
        sources,
        tool,
    });
    let Ended { built, failed } = run(&work, request, jobs, reporter).await?;
    // Only now, when no other build may have it in use.
    good.extend(built);
    for package in &failed {
        work.channel.set_aside(package).map_err(unusable)?;
        good.remove(package);
    }
    work.channel.write_index(&good).map_err(unusable)?;
    work.caches.remove().map_err(unusable)?;
    if !work.tool.no_clean {
        work.channel.remove_jobs().map_err(unusable)?;
    }
    Ok(())
}

/// Scripts run on this machine, whatever the plan calls it: a package that another one builds cannot be built here.
fn check_platforms(plan: &Plan, request: &BuildRequest) -> Result<(), Error> {
    let here = Subdir::current().map_or("unknown", |here| here.as_str());
    let elsewhere = request
        .build
        .union(&request.test)
        .filter_map(|key| plan.package(key))
        .find(|package| package.build_platform.as_str() != here);
    match elsewhere {
        None => Ok(()),
        Some(package) => Err(Error::InvalidOption {
            option: "platforms",
            reason: format!(
                "`{}` is built on {}, and this machine is {here}",
                package.key(),
                package.build_platform
            ),
        }),
    }
}

/// rattler-build runs scripts in a sandbox through a program of its own, which is not part of this one.
fn check_sandbox(options: &BuildOptions) -> Result<(), Error> {
    let program = format!("rattler-sandbox{}", std::env::consts::EXE_SUFFIX);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = || std::env::split_paths(&path).any(|folder| folder.join(&program).is_file());
    if options.sandbox.is_none() || is_there() {
        return Ok(());
    }
    Err(Error::InvalidOption {
        option: "sandbox",
        reason: format!("expected the program `{program}` in PATH, found none"),
    })
}

/// What every job needs.
struct Work {
    output: PathBuf,
    root: PathBuf,
    test: TestMode,
    plan: Plan,
    outputs: BTreeMap<PackageKey, Output>,
    source_attestations: BTreeMap<PackageKey, Result<(), Failure>>,
    channel: LocalChannel,
    caches: PackageCaches,
    sources: JobSources,
    tool: Configuration,
}

/// The packages of a run that were built, and those that failed.
#[derive(Default)]
struct Ended {
    built: BTreeSet<PackageKey>,
    failed: BTreeSet<PackageKey>,
}

/// A node of the run: one phase of one package.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Job {
    phase: Phase,
    package: PackageKey,
}

/// Runs all jobs.
async fn run(
    work: &Arc<Work>,
    request: &BuildRequest,
    jobs: NonZeroUsize,
    reporter: &dyn Reporter,
) -> Result<Ended, Error> {
    let (list, nodes) = jobs_of(&work.plan, &request.build, &request.test)?;
    let mut schedule = Schedule::new(nodes, jobs);
    let mut end = Ended::default();
    let mut settled = BTreeSet::new();
    let mut tasks = JoinSet::new();
    let mut running = HashMap::new();
    loop {
        match schedule.next() {
            Step::Start(node) => {
                let Job { phase, package } = list[node].clone();
                let log = log_of(&package)?;
                reporter.report(BuildEvent::Started {
                    package,
                    phase,
                    log,
                });
                let handle = tasks.spawn(Arc::clone(work).job(list[node].clone()));
                running.insert(handle.id(), node);
            }
            Step::Blocked(node, by) => {
                let package = &list[node].package;
                // A package whose build failed or is blocked has been reported; its tests are silent.
                if settled.insert(package.clone()) {
                    let by: BTreeSet<_> = by
                        .into_iter()
                        .map(|node| list[node].package.clone())
                        .collect();
                    reporter.report(BuildEvent::Blocked {
                        package: package.clone(),
                        by: by.into_iter().collect(),
                    });
                }
            }
            Step::Wait => {
                let Some(ended) = tasks.join_next_with_id().await else {
                    break;
                };
                let (id, event) = match ended {
                    Ok((id, event)) => (id, Ok(event)),
                    Err(error) => (error.id(), Err(error)),
                };
                let Some(node) = running.remove(&id) else {
                    break;
                };
                let Job { phase, package } = list[node].clone();
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        let failure = failure::plain(
                            "panicked",
                            format!("rattler-build panicked on `{}`: {error}", package.file),
                        );
                        let log = Some(log_of(&package)?);
                        BuildEvent::Failed {
                            package: package.clone(),
                            phase,
                            failure,
                            log,
                            tail: Vec::new(),
                        }
                    }
                };
                let succeeded = !matches!(event, BuildEvent::Failed { .. });
                if !succeeded {
                    settled.insert(package.clone());
                    end.failed.insert(package);
                } else if phase == Phase::Build {
                    end.built.insert(package);
                }
                reporter.report(event);
                schedule.finish(node, succeeded);
            }
            Step::Done => break,
        }
    }
    Ok(end)
}

/// The jobs in the plan's build order, each package's tests right after its build.
fn jobs_of(
    plan: &Plan,
    build: &BTreeSet<PackageKey>,
    test: &BTreeSet<PackageKey>,
) -> Result<(Vec<Job>, Vec<Node>), Error> {
    let mut list = Vec::new();
    for package in plan.build_order()? {
        for (phase, wanted) in [
            (Phase::Build, build.contains(&package)),
            (
                Phase::Test,
                build.contains(&package) || test.contains(&package),
            ),
        ] {
            if wanted {
                list.push(Job {
                    phase,
                    package: package.clone(),
                });
            }
        }
    }
    let places: HashMap<_, _> = list
        .iter()
        .enumerate()
        .map(|(node, job)| (job, node))
        .collect();
    let place = |phase, package: &PackageKey| {
        places
            .get(&Job {
                phase,
                package: package.clone(),
            })
            .copied()
    };
    let nodes = list
        .iter()
        .map(|job| {
            let Some(planned) = plan.package(&job.package) else {
                return Node::default();
            };
            let upon = match job.phase {
                Phase::Build => &planned.builds_on,
                _ => &planned.test_needs,
            };
            let own = (job.phase == Phase::Test).then_some(&job.package);
            Node {
                needs: upon
                    .iter()
                    .chain(own)
                    .filter_map(|package| place(Phase::Build, package))
                    .collect(),
                doubts: upon
                    .iter()
                    .filter(|&package| *package != job.package)
                    .filter_map(|package| place(Phase::Test, package))
                    .collect(),
                folder: (job.phase == Phase::Build).then(|| planned.build_folder.clone()),
            }
        })
        .collect();
    Ok((list, nodes))
}

impl Work {
    /// Does one job, whose lines go to the log of its package. Says what came of it.
    async fn job(self: Arc<Self>, job: Job) -> BuildEvent {
        let Job { phase, package } = job;
        let begin = if phase == Phase::Build {
            Begin::Anew
        } else {
            Begin::Append
        };
        let (Some(relative), Some(output), Some(planned)) = (
            log_of(&package).ok(),
            self.outputs.get(&package),
            self.plan.package(&package),
        ) else {
            let failure = failure::plain("not_planned", format!("`{package}` is not in the plan"));
            return BuildEvent::Failed {
                package,
                phase,
                failure,
                log: None,
                tail: Vec::new(),
            };
        };
        let log = match OutputLog::open(&relative.under(&self.output), begin) {
            Ok(log) => log,
            Err(error) => {
                let failure = failure::io("unwritable_log", "cannot write the log", &error);
                return BuildEvent::Failed {
                    package,
                    phase,
                    failure,
                    log: None,
                    tail: Vec::new(),
                };
            }
        };
        let ended = match phase {
            Phase::Build => {
                self.build(planned, output, &relative)
                    .with_subscriber(log.subscriber())
                    .await
            }
            _ => {
                self.test(planned, output)
                    .with_subscriber(log.subscriber())
                    .await
            }
        };
        ended.unwrap_or_else(|failure| {
            log.failure(&failure);
            let failure = self.with_excerpt(&package, *failure);
            BuildEvent::Failed {
                package,
                phase,
                failure,
                log: Some(relative),
                tail: log.tail(),
            }
        })
    }

    async fn build(
        &self,
        planned: &PlannedPackage,
        output: &Output,
        log: &RelativePath,
    ) -> Result<BuildEvent, Box<Failure>> {
        let mut verified = output.clone();
        if JobSources::requires_attestation(output) {
            match self.source_attestations.get(&planned.key()) {
                Some(Ok(())) => JobSources::without_attestations(&mut verified),
                Some(Err(failure)) => return Err(Box::new(failure.clone())),
                None => {
                    let message = "the attestation of a source was not verified";
                    return Err(Box::new(failure::plain("unverified_source", message)));
                }
            }
        }
        let built = build_phase::build(
            planned,
            verified,
            &self.channel,
            &self.caches,
            &self.sources,
            &self.tool,
        );
        let build_phase::Built {
            sha256,
            size,
            milliseconds,
        } = match built.await {
            Ok(built) => built,
            Err(failure) => {
                let moved = self.sources.moved(&planned.key(), output, &failure).await;
                return Err(moved.map_or(failure, Box::new));
            }
        };
        Ok(BuildEvent::Built {
            package: planned.key(),
            sha256,
            size,
            milliseconds,
            log: log.clone(),
        })
    }

    async fn test(
        &self,
        planned: &PlannedPackage,
        output: &Output,
    ) -> Result<BuildEvent, Box<Failure>> {
        let package = planned.key();
        if let Some(reason) = test_phase::skipped(output, self.test) {
            return Ok(BuildEvent::TestsSkipped { package, reason });
        }
        let milliseconds =
            test_phase::test(planned, output, &self.channel, &self.caches, &self.tool).await?;
        Ok(BuildEvent::Tested {
            package,
            milliseconds,
        })
    }

    /// Adds the place in the recipe where the output stands.
    fn with_excerpt(&self, package: &PackageKey, failure: Failure) -> Failure {
        let excerpt = self
            .plan
            .package(package)
            .and_then(|planned| failure::excerpt(&self.root, &planned.recipe, planned.file.name()));
        Failure {
            excerpt: failure.excerpt.or(excerpt),
            ..failure
        }
    }
}

/// `logs/<subdir>/<file>.log`
fn log_of(package: &PackageKey) -> Result<RelativePath, Error> {
    Ok(format!("logs/{package}.log").parse()?)
}

/// The cores for each script when `work` scripts run, `jobs` at a time: rattler-build would promise all cores to each.
fn share(cores: NonZeroUsize, jobs: NonZeroUsize, work: usize) -> usize {
    (cores.get() / jobs.get().min(work.max(1))).max(1)
}

/// rattler-build's configuration for the whole run. It is shared by clone: it carries the lock of the output folder.
fn configuration(
    options: &BuildOptions,
    shared_cache: &Path,
    cpu_count: usize,
    client: BaseClient,
) -> Result<Configuration, Error> {
    let hidden =
        indicatif::MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
    let mut tool = Configuration::builder()
        .with_cache_dir(shared_cache.to_owned())
        .with_reqwest_client(client)
        .with_logging_output_handler(LoggingOutputHandler::default().with_multi_progress(hidden))
        .with_keep_build(options.keep_build)
        .with_compression_threads(options.compression_threads)
        .with_io_concurrency_limit(options.io_concurrency.map(NonZeroUsize::get))
        .with_channel_priority(options.channel_priority.into())
        .with_error_prefix_in_binary(options.error_prefix_in_binary)
        .with_allow_symlinks_on_windows(options.allow_symlinks_on_windows)
        .finish();
    // A CPU_COUNT of the user's own is rattler-build's to read.
    if std::env::var_os("CPU_COUNT").is_none() {
        tool.jobserver = Some(JobserverEnv {
            makeflags: String::new(),
            cpu_count: Some(cpu_count),
        });
    }
    Ok(tool)
}
