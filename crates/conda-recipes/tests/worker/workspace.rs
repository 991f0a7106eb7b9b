//! A workspace with recipes, in a temporary folder, and what came of building it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    future::Future,
    path::{Path, PathBuf},
    sync::Mutex,
};

use conda_recipes::{
    BuildEvent, BuildOptions, BuildRequest, CargoContext, Error, Failure, PlanRequest, Reporter,
    find,
    worker::{Worker, WorkerEnvironment},
};
use release_manifest::{Mode, PackageKey, Plan, Source, Tool};
use tempfile::TempDir;

/// The argument that makes this binary a worker.
pub(crate) const SERVE: &str = "serve-worker";

pub(crate) struct Workspace {
    folder: TempDir,
    pub(crate) options: BuildOptions,
    /// What the release has in its environment besides what this process has.
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl Workspace {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            options: BuildOptions::default(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.root().join("out")
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.root().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
        self
    }

    pub(crate) fn recipe(&self, name: &str, text: &str) -> &Self {
        self.file(&format!("recipes/{name}/recipe.yaml"), text)
    }

    /// A `noarch` package whose script is `lines`, and whose other sections are `rest`.
    pub(crate) fn script(&self, name: &str, lines: &[&str], rest: &str) -> &Self {
        let script: String = lines
            .iter()
            .map(|line| format!("    - {}\n", serde_json::to_string(line).unwrap()))
            .collect();
        self.recipe(
            name,
            &format!("package:\n  name: {name}\n  version: '1'\nbuild:\n  noarch: generic\n  script:\n{script}{rest}"),
        )
    }

    pub(crate) fn request(&self) -> PlanRequest {
        PlanRequest {
            root: self.root().to_owned(),
            output: self.output(),
            recipes: find(self.root(), &["recipes/*".to_owned()]).unwrap(),
            mode: Mode::Rehearsal,
            source: Source {
                repository: None,
                commit: None,
                dirty: false,
            },
            channel: None,
            published_at: None,
            target_channel: "https://example.com/channel".parse().unwrap(),
            build_numbers: Default::default(),
            timestamp: 1_700_000_000,
            options: self.options.clone(),
            cargo: CargoContext::default(),
            tool: Tool {
                name: "tests".to_owned(),
                version: "1".to_owned(),
            },
            changed: None,
            keep_going: false,
            only: None,
            pinned: Default::default(),
        }
    }

    pub(crate) fn worker(&self) -> Worker {
        let own = std::env::vars_os().filter(|(name, _)| name != "CPU_COUNT");
        let more = self
            .environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let cache = self.root().join("cache").into_os_string();
        let variables = own.chain([("RATTLER_CACHE_DIR".into(), cache)]).chain(more);
        let environment =
            WorkerEnvironment::from_variables(variables, &self.options.pass_env).unwrap();
        Worker::new(
            std::env::current_exe().unwrap(),
            vec![SERVE.into()],
            environment,
        )
    }

    pub(crate) fn try_plan(&self) -> Result<Plan, Error> {
        block_on(self.worker().plan(self.request())).map(|planned| planned.plan)
    }

    pub(crate) fn plan(&self) -> Plan {
        self.try_plan()
            .unwrap_or_else(|error| panic!("{:#?}", Failure::from(&error)))
    }

    /// The request to build all of the plan.
    pub(crate) fn build_request(&self) -> BuildRequest {
        let plan = self.plan();
        BuildRequest {
            plan: self.request(),
            expected: plan.digest(),
            build: plan.packages.iter().map(|package| package.key()).collect(),
            test: BTreeSet::new(),
            good: BTreeMap::new(),
            source_attestations: Default::default(),
        }
    }

    pub(crate) fn try_build(&self, request: BuildRequest) -> Result<Run, Error> {
        let events = Events::default();
        block_on(self.worker().build(request, &events))?;
        Ok(Run::new(self, events.0.into_inner().unwrap()))
    }

    /// Builds all of the plan.
    pub(crate) fn build(&self) -> Run {
        self.try_build(self.build_request())
            .unwrap_or_else(|error| panic!("{:#?}", Failure::from(&error)))
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

#[derive(Default)]
pub(crate) struct Events(pub(crate) Mutex<Vec<BuildEvent>>);

impl Reporter for Events {
    fn report(&self, event: BuildEvent) {
        self.0.lock().unwrap().push(event);
    }
}

/// What a build reported and left.
#[derive(Debug)]
pub(crate) struct Run {
    output: PathBuf,
    pub(crate) events: Vec<BuildEvent>,
}

impl Run {
    pub(crate) fn new(workspace: &Workspace, events: Vec<BuildEvent>) -> Self {
        Self {
            output: workspace.output(),
            events,
        }
    }

    /// The events as short words, in order, without the beginnings: `built lib`, `blocked app by lib`.
    pub(crate) fn ends(&self) -> Vec<String> {
        let name = |package: &PackageKey| package.file.name().to_owned();
        self.events
            .iter()
            .filter_map(|event| match event {
                BuildEvent::Built { package, .. } => Some(format!("built {}", name(package))),
                BuildEvent::Tested { package, .. } => Some(format!("tested {}", name(package))),
                BuildEvent::TestsSkipped { package, .. } => {
                    Some(format!("untested {}", name(package)))
                }
                BuildEvent::Failed {
                    package, failure, ..
                } => Some(format!("failed {}: {}", name(package), failure.code)),
                BuildEvent::Blocked { package, by } => {
                    let by: Vec<_> = by.iter().map(name).collect();
                    Some(format!("blocked {} by {}", name(package), by.join(" ")))
                }
                BuildEvent::Planning { .. }
                | BuildEvent::Started { .. }
                | BuildEvent::Warning { .. } => None,
            })
            .collect()
    }

    /// The digests of the packages that were built, as the next run of a release gets them.
    pub(crate) fn good(&self) -> BTreeMap<PackageKey, cep27::Sha256> {
        self.events
            .iter()
            .filter_map(|event| match event {
                BuildEvent::Built {
                    package, sha256, ..
                } => Some((package.clone(), *sha256)),
                _ => None,
            })
            .collect()
    }

    /// The hash of each package that was built, as it was reported, by file.
    pub(crate) fn hashes(&self) -> Vec<(PackageKey, String)> {
        let mut hashes: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match event {
                BuildEvent::Built {
                    package, sha256, ..
                } => Some((package.clone(), sha256.to_string())),
                _ => None,
            })
            .collect();
        hashes.sort();
        hashes
    }

    pub(crate) fn key(&self, name: &str) -> PackageKey {
        let started = self.events.iter().find_map(|event| match event {
            BuildEvent::Started { package, .. } if package.file.name() == name => {
                Some(package.clone())
            }
            _ => None,
        });
        started.unwrap_or_else(|| panic!("{name} was not started: {:#?}", self.events))
    }

    pub(crate) fn failure(&self, name: &str) -> (&Failure, &[String]) {
        let failed = self.events.iter().find_map(|event| match event {
            BuildEvent::Failed {
                package,
                failure,
                tail,
                ..
            } if package.file.name() == name => Some((failure, tail.as_slice())),
            _ => None,
        });
        failed.unwrap_or_else(|| panic!("{name} did not fail: {:#?}", self.events))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.output
            .join("packages")
            .join(self.key(name).to_string())
    }

    /// The failures of packages, with the last lines of their logs.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failures = self.events.iter().filter_map(|event| match event {
            BuildEvent::Failed { failure, tail, .. } => {
                Some(format!("{failure:?}\n{}", tail.join("\n")))
            }
            _ => None,
        });
        failures.collect()
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs_err::read_to_string(
            self.output
                .join("logs")
                .join(format!("{}.log", self.key(name))),
        )
        .unwrap()
    }

    /// The record of a package in the local channel.
    pub(crate) fn record(&self, name: &str) -> Option<serde_json::Value> {
        let key = self.key(name);
        let repodata = self
            .output
            .join(format!("packages/{}/repodata.json", key.subdir));
        let repodata: serde_json::Value =
            serde_json::from_slice(&fs_err::read(repodata).unwrap()).unwrap();
        repodata["packages.conda"]
            .get(key.file.to_string())
            .cloned()
    }
}
