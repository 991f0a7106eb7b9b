use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use conda_recipes::{BuildOptions, Error, PackageLink, PlanRequest, cargo_context, find, plan};
use release_manifest::{Digest, Mode, Plan, PlannedPackage, Source, Tool};

/// A folder of recipes.
pub(crate) struct Workspace {
    folder: tempfile::TempDir,
    pub(crate) recipes: Vec<String>,
    pub(crate) links: Vec<PackageLink>,
    pub(crate) options: BuildOptions,
    pub(crate) mode: Mode,
    pub(crate) output: PathBuf,
}

impl Workspace {
    /// For `linux-64`, so that plans are the same wherever the tests run.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let platform = Some("linux-64".parse().unwrap());
        Self {
            output: folder.path().join("target/conda-release/rehearsal"),
            folder,
            recipes: vec!["recipes/*".to_owned()],
            links: Vec::new(),
            options: BuildOptions {
                target_platform: platform,
                build_platform: platform,
                ..BuildOptions::default()
            },
            mode: Mode::Rehearsal,
        }
    }

    /// A workspace with one recipe, `recipes/<name>/recipe.yaml`, for each pair.
    pub(crate) fn with(recipes: &[(&str, &str)]) -> Self {
        let workspace = Self::new();
        for (name, text) in recipes {
            workspace.write(&format!("recipes/{name}/recipe.yaml"), text);
        }
        workspace
    }

    /// A workspace with a copy of a folder of `fixtures` as its only recipe.
    pub(crate) fn fixture(name: &str) -> Self {
        fn copy(from: &Path, to: &Path) {
            fs::create_dir_all(to).unwrap();
            for entry in fs::read_dir(from).unwrap() {
                let (from, to) = {
                    let entry = entry.unwrap();
                    (entry.path(), to.join(entry.file_name()))
                };
                if from.is_dir() {
                    copy(&from, &to);
                } else {
                    fs::copy(&from, &to).unwrap();
                }
            }
        }
        let workspace = Self::new();
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planning/fixtures");
        copy(
            &fixtures.join(name),
            &workspace.root().join("recipes").join(name),
        );
        workspace
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs git in a folder of the workspace, and returns what it printed.
    pub(crate) fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@b.invalid"])
            .args(arguments)
            .current_dir(self.root().join(folder))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes `upstream` a repository with one commit, whose hash it returns.
    pub(crate) fn repository(&self) -> String {
        self.write("upstream/f.txt", "first\n");
        self.git("upstream", &["init", "--quiet", "--initial-branch=main"]);
        self.commit("first")
    }

    /// Commits everything in `upstream`, and returns the commit's hash.
    pub(crate) fn commit(&self, text: &str) -> String {
        self.write("upstream/f.txt", text);
        self.git("upstream", &["add", "--all"]);
        self.git("upstream", &["commit", "--quiet", "--message", text]);
        self.git("upstream", &["rev-parse", "HEAD"])
    }

    pub(crate) fn request(&self) -> Result<PlanRequest, Error> {
        let recipes = find(self.root(), &self.recipes)?;
        Ok(PlanRequest {
            root: self.root().to_owned(),
            output: self.output.clone(),
            cargo: cargo_context(self.root(), &self.links, &recipes)?,
            recipes,
            mode: self.mode,
            source: Source {
                repository: None,
                commit: None,
                dirty: false,
            },
            channel: None,
            published_at: None,
            target_channel: "https://example.org/channel".parse().unwrap(),
            build_numbers: Default::default(),
            timestamp: 1_700_000_000,
            options: self.options.clone(),
            tool: Tool {
                name: "conda-release".to_owned(),
                version: "0.0.0".to_owned(),
            },
            changed: None,
            keep_going: false,
            only: None,
            pinned: Default::default(),
        })
    }

    pub(crate) fn try_plan(&self) -> Result<Plan, Error> {
        self.try_request(&self.request()?)
    }

    /// Plans as `request` says.
    pub(crate) fn try_request(&self, request: &PlanRequest) -> Result<Plan, Error> {
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(plan(request))
            .map(|planned| planned.plan)
    }

    pub(crate) fn plan(&self) -> Plan {
        self.try_plan().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The fingerprint of each package, by name and variant.
    pub(crate) fn fingerprints(&self) -> BTreeMap<String, Digest> {
        let name =
            |package: &PlannedPackage| format!("{} {:?}", package.file.name(), package.variant);
        self.plan()
            .packages
            .iter()
            .map(|package| (name(package), package.fingerprint))
            .collect()
    }
}

/// The packages of this name.
pub(crate) fn packages<'a>(plan: &'a Plan, name: &str) -> Vec<&'a PlannedPackage> {
    plan.packages
        .iter()
        .filter(|package| package.file.name() == name)
        .collect()
}

/// The only package of this name.
pub(crate) fn package<'a>(plan: &'a Plan, name: &str) -> &'a PlannedPackage {
    let found = packages(plan, name);
    assert_eq!(found.len(), 1, "packages called {name}");
    found[0]
}

/// The names behind edges, sorted.
pub(crate) fn names(edges: &[release_manifest::PackageKey]) -> Vec<&str> {
    let mut names: Vec<&str> = edges.iter().map(|key| key.file.name()).collect();
    names.sort_unstable();
    names
}

/// Runs planning to its end; it may read sources and ask git, which needs a runtime.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}
