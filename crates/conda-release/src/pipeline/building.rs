//! Building and testing in the worker; every event becomes a record and a line.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use cep27::{Sha256, Subdir};
use conda_recipes::{
    BuildEvent, BuildRequest, PlanRequest, Reporter,
    worker::{Worker, end_leftovers},
};
use fs_err as fs;
use release_manifest::{Event, PackageError, PackageKey, Phase, Progress};

use super::{
    Planning,
    records::Records,
    source_attestations::{SourceTrust, verify_sources},
};
use crate::{
    error::Error,
    printer::{Printer, count, duration, size},
    progress::Activity,
    release::Release,
    shown::Shown,
};

/// Builds and tests what the release still needs.
///
/// When this returns, no process that a recipe started is left.
///
/// # Errors
/// The worker fails as a whole. What fails for a package alone is recorded with it.
pub(crate) async fn build(
    release: &mut Release,
    planning: &Planning,
    worker: &Worker,
    trust: &SourceTrust<'_>,
    printer: &Printer,
) -> Result<(), Error> {
    let nothing = BTreeMap::new();
    // The worker keeps the local channel: it also takes out what the plan no longer makes.
    let others = holds_others(release)?;
    let todo = left_to_do(release, |_| true);
    if todo.is_empty() && !others {
        return Ok(());
    }
    run(release, planning, worker, trust, (todo, &nothing), printer).await
}

/// The part of a plan that one of many machines builds.
pub(crate) struct Part {
    /// The packages to build.
    pub(crate) packages: BTreeSet<PackageKey>,
    /// Packages that other machines built and that were copied to the local channel, with their digests.
    pub(crate) handed: BTreeMap<PackageKey, Sha256>,
}

/// Builds and tests a part of the plan.
///
/// # Errors
/// As [`build`].
pub(crate) async fn build_part(
    release: &mut Release,
    planning: &Planning,
    worker: &Worker,
    trust: &SourceTrust<'_>,
    part: &Part,
    printer: &Printer,
) -> Result<(), Error> {
    let todo = left_to_do(release, |package| part.packages.contains(package));
    if todo.is_empty() {
        return Ok(());
    }
    run(
        release,
        planning,
        worker,
        trust,
        (todo, &part.handed),
        printer,
    )
    .await
}

async fn run(
    release: &mut Release,
    planning: &Planning,
    worker: &Worker,
    trust: &SourceTrust<'_>,
    (Todo { build, test }, handed): (Todo, &BTreeMap<PackageKey, Sha256>),
    printer: &Printer,
) -> Result<(), Error> {
    let source_attestations = verify_sources(release.plan(), &build, trust, printer).await?;
    let request = BuildRequest {
        plan: PlanRequest {
            pinned: release.plan().sources(),
            ..planning.request().clone()
        },
        expected: release.plan().digest(),
        build: build.clone(),
        test: test.clone(),
        good: good(release)
            .into_iter()
            .chain(
                handed
                    .iter()
                    .map(|(package, digest)| (package.clone(), *digest)),
            )
            .collect(),
        source_attestations,
    };
    let total = build.len() * 2 + test.len();
    let lines = Lines {
        records: Records::new(release),
        activity: Activity::start(printer, "Building", total),
        printer,
    };
    let result = worker.build(request, &lines).await;
    let Lines {
        records, activity, ..
    } = lines;
    drop(activity);
    let recorded = records.end();
    for leftover in end_leftovers() {
        printer.warning(&format!(
            "a build or test left process {} (`{}`) running: ended it",
            leftover.pid, leftover.command
        ));
    }
    recorded?;
    result?;
    release.compact()
}

/// The remaining work of a release.
struct Todo {
    /// The packages to build.
    build: BTreeSet<PackageKey>,
    /// The packages that are built and not tested.
    test: BTreeSet<PackageKey>,
}

impl Todo {
    fn is_empty(&self) -> bool {
        self.build.is_empty() && self.test.is_empty()
    }
}

fn left_to_do(release: &Release, which: impl Fn(&PackageKey) -> bool) -> Todo {
    let at = |progress| {
        let packages = release.manifest().packages().iter();
        packages
            .filter(move |package| package.progress == progress && package.skipped.is_none())
            .map(|package| package.key())
            .filter(&which)
            .collect()
    };
    Todo {
        build: at(Progress::Planned),
        test: at(Progress::Built),
    }
}

/// The packages that were built, with the digests of their bytes.
fn good(release: &Release) -> BTreeMap<PackageKey, Sha256> {
    let packages = release.manifest().packages().iter();
    packages
        .filter(|package| package.progress >= Progress::Built)
        .filter_map(|package| Some((package.key(), package.sha256?)))
        .collect()
}

/// Whether the local channel holds packages, or bundles of packages, that the plan does not make.
fn holds_others(release: &Release) -> Result<bool, Error> {
    let packages = release.folder().packages();
    let good = good(release);
    for subdir in Subdir::ALL.iter().copied() {
        let folder = packages.join(subdir.as_str());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::output("read", folder)(error)),
        };
        for entry in entries {
            let name = entry
                .map_err(Error::output("read", &folder))?
                .file_name()
                .to_string_lossy()
                .into_owned();
            let file = [".provenance.sigstore.json", ".sigstore.json"]
                .into_iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name)
                .parse();
            let is_other = |file| {
                let key = PackageKey { subdir, file };
                !good.contains_key(&key)
            };
            if file.is_ok_and(is_other) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Turns events of the worker into records and lines.
struct Lines<'a> {
    records: Records<'a>,
    activity: Activity,
    printer: &'a Printer,
}

impl Lines<'_> {
    fn record(&self, package: &PackageKey, event: Event) {
        self.records.record(package, |_| Ok(event));
    }

    /// Records a failure. The worker has set a package that failed its tests aside: it is no longer built.
    fn failed(&self, package: &PackageKey, error: PackageError) {
        let progress = self.records.read(|release| {
            let package = release.manifest().package(package);
            package.map(|package| package.progress)
        });
        if progress == Some(Progress::Built) {
            let reason = format!("it failed its tests; it is kept in `broken/{package}`");
            let to = Progress::Planned;
            self.record(package, Event::Returned { to, reason });
        }
        self.record(package, Event::Failed { error });
    }

    fn done(&self, package: &PackageKey, steps: usize) {
        self.activity.end(&package.to_string());
        for _ in 0..steps {
            self.activity.step();
        }
    }
}

impl Reporter for Lines<'_> {
    fn report(&self, event: BuildEvent) {
        match event {
            BuildEvent::Planning { message } => self.printer.detail("Worker", &message),
            BuildEvent::Started {
                package,
                phase,
                log: _,
            } => {
                let verb = if phase == Phase::Test {
                    "Testing"
                } else {
                    "Building"
                };
                self.activity.begin(verb, &package.to_string());
            }
            BuildEvent::Built {
                package,
                sha256,
                size: bytes,
                milliseconds,
                log,
            } => {
                self.done(&package, 1);
                let taken = duration(Duration::from_millis(milliseconds));
                self.printer
                    .status("Built", &format!("{package} ({}) in {taken}", size(bytes)));
                let event = Event::Built {
                    sha256,
                    size: bytes,
                    milliseconds,
                    log: Some(log),
                };
                self.record(&package, event);
            }
            BuildEvent::Tested {
                package,
                milliseconds,
            } => {
                self.done(&package, 1);
                let taken = duration(Duration::from_millis(milliseconds));
                self.printer
                    .status("Tested", &format!("{package} in {taken}"));
                self.record(&package, Event::Tested { milliseconds });
            }
            BuildEvent::TestsSkipped { package, reason } => {
                self.done(&package, 1);
                self.printer
                    .status("Untested", &format!("{package}: {reason}"));
                self.record(&package, Event::TestsSkipped { reason });
            }
            BuildEvent::Failed {
                package,
                phase,
                failure,
                log,
                tail,
            } => {
                self.done(&package, 1);
                let during = if phase == Phase::Test {
                    "its tests"
                } else {
                    "its build"
                };
                self.printer
                    .failure("Failed", &format!("{package} in {during}"));
                self.printer.error(&Shown::failure(&failure).render());
                self.printer
                    .excerpt(&format!("The end of the log of {package}"), &tail);
                if let Some(log) = &log {
                    let path = self
                        .records
                        .read(|release| log.under(release.folder().path()));
                    self.printer
                        .error(&format!("             full log: {}", path.display()));
                }
                self.failed(
                    &package,
                    PackageError {
                        phase,
                        code: failure.code,
                        message: failure.message,
                        log,
                    },
                );
            }
            BuildEvent::Blocked { package, by } => {
                self.done(&package, 1);
                let by_names: Vec<String> = by.iter().map(ToString::to_string).collect();
                self.printer.failure(
                    "Blocked",
                    &format!(
                        "{package} by {}: {}",
                        count(by.len(), "package"),
                        by_names.join(", ")
                    ),
                );
                self.record(&package, Event::Blocked { by });
            }
            BuildEvent::Warning { package, message } => match package {
                Some(package) => self.printer.warning(&format!("{package}: {message}")),
                None => self.printer.warning(&message),
            },
        }
    }
}
