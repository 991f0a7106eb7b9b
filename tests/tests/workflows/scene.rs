//! What the tests of workflows begin with: a repository, its channel, and who vouches for its jobs.

use std::path::Path;

use channel_servers::prefix::{Access, PrefixOptions, PrefixServer, Publisher};
use end_to_end::{Output, Sigstore, Workspace};
use fs_err as fs;

use crate::{
    model::Texts,
    runner::{Github, REPOSITORY, Ran},
};

/// Who signs in the workflow that others call.
pub(crate) const SIGNER: &str = "conda-release/conda-release/.github/workflows/conda-release.yml@0000000000000000000000000000000000000000";

/// A repository with packages, a channel that trusts it, and the Sigstore that knows its jobs.
pub(crate) struct Scene {
    pub(crate) workspace: Workspace,
    pub(crate) sigstore: Sigstore,
    pub(crate) server: PrefixServer,
    /// What its machines have in their environment besides.
    pub(crate) machine: Texts,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// A repository with these packages, each upon others; `None` where Sigstore is not installed.
    pub(crate) fn new(packages: &[(&str, &[&str])]) -> Option<Self> {
        Self::of(repository(packages), "")
    }

    /// The same, with jobs that are of our workflow.
    pub(crate) fn sharded(packages: &[(&str, &[&str])]) -> Option<Self> {
        Self::of(repository(packages), SIGNER)
    }

    /// A repository whose jobs are of this workflow, or of its own.
    pub(crate) fn of(workspace: Workspace, signer: &str) -> Option<Self> {
        Self::with(workspace, signer, PrefixOptions::default())
    }

    /// The same, with a channel that only who has this token may read, and that this package is in.
    pub(crate) fn private(workspace: Workspace, token: &str, there: &Path) -> Option<Self> {
        let options = PrefixOptions {
            private: true,
            api_keys: [(token.to_owned(), Access::Read)].into(),
            ..PrefixOptions::default()
        };
        let scene = Self::with(workspace, SIGNER, options)?;
        scene.runtime.block_on(scene.server.publish(there));
        Some(scene)
    }

    fn with(workspace: Workspace, signer: &str, options: PrefixOptions) -> Option<Self> {
        let sigstore = Sigstore::start_called(&workspace.git(&["rev-parse", "HEAD"]), signer)?;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(PrefixServer::start(PrefixOptions {
            trusted_root: Some(sigstore.trusted_root()),
            requires_attestation: true,
            publisher: Some(Publisher {
                discovery: sigstore.issuer().to_owned(),
                issuer: sigstore.issuer().to_owned(),
                repository: REPOSITORY.to_owned(),
            }),
            ..options
        }));
        let scene = Self {
            workspace,
            sigstore,
            server,
            machine: Texts::new(),
            runtime,
        };
        fs::write(scene.config(), scene.configuration(REPOSITORY)).unwrap();
        Some(scene)
    }

    /// What `conda-release.toml` says, with addresses that are known too late to be committed with the packages.
    pub(crate) fn configuration(&self, signer: &str) -> String {
        format!(
            "channel = \"{}\"\npublish.channel-type = \"prefix\"\n\n[[verify]]\nrepository = \"{signer}\"\nissuer = \"{}\"\n",
            self.server.channel(),
            self.sigstore.issuer(),
        )
    }

    fn config(&self) -> std::path::PathBuf {
        self.workspace.beside("conda-release.toml")
    }

    /// GitHub, when this happens to the repository.
    pub(crate) fn github(&self, event: &'static str) -> Github<'_> {
        let mut github = Github::new(&self.workspace, Some(&self.sigstore), event);
        github.machine.extend(self.machine.clone());
        let config = self.config().display().to_string();
        github
            .machine
            .insert("CONDA_RELEASE_CONFIG".to_owned(), config);
        let trust = self.sigstore.trust_config().to_owned();
        github
            .machine
            .insert("CONDA_RELEASE_TRUST".to_owned(), trust);
        github.edits.extend([
            (
                "https://prefix.dev/my-channel".to_owned(),
                self.server.channel(),
            ),
            (
                "https://token.actions.githubusercontent.com".to_owned(),
                self.sigstore.issuer().to_owned(),
            ),
        ]);
        github
    }

    /// Whether everything in the channel verifies, and what else is asked.
    pub(crate) fn verify(&self, more: &[&str]) -> Output {
        let channel = self.server.channel();
        let issuer = self.sigstore.issuer();
        let verify = ["verify", &channel, "--repo", REPOSITORY, "--issuer", issuer];
        let mut verify = self.workspace.command([&verify, more].concat());
        verify.env("CONDA_RELEASE_TRUST", self.sigstore.trust_config());
        self.workspace.run_command(verify)
    }

    /// The names of what was uploaded, sorted.
    pub(crate) fn uploaded(&self) -> Vec<String> {
        let uploads = self.server.uploads();
        assert!(uploads.iter().all(|it| it.attested && it.minted));
        let name = |file: &str| file.split('-').next().unwrap().to_owned();
        let mut names: Vec<String> = uploads.iter().map(|it| name(&it.file)).collect();
        names.sort();
        names
    }
}

/// A repository with these packages, each upon others, committed.
pub(crate) fn repository(packages: &[(&str, &[&str])]) -> Workspace {
    let workspace = Workspace::new();
    for (name, needs) in packages {
        let line = format!("env > $PREFIX/{name}.txt");
        let needs: String = needs.iter().map(|need| format!("    - {need}\n")).collect();
        let requirements = match needs.is_empty() {
            true => String::new(),
            false => format!("requirements:\n  host:\n{needs}  run:\n{needs}"),
        };
        workspace.script(name, &[&line], &requirements);
    }
    workspace.commit();
    workspace
}

/// The jobs that ran, with what failed shown.
pub(crate) trait Jobs {
    /// Asserts that all succeeded.
    fn succeed(self) -> Self;
    /// Their names.
    fn names(&self) -> Vec<&str>;
    /// Those that failed.
    fn failed(&self) -> Vec<&str>;
    /// The only one of this name.
    fn job(&self, name: &str) -> &Ran;
}

impl Jobs for Vec<Ran> {
    #[track_caller]
    fn succeed(self) -> Self {
        for ran in &self {
            assert!(ran.succeeded, "{}:\n{}", ran.job, ran.log);
        }
        self
    }

    fn names(&self) -> Vec<&str> {
        self.iter().map(|ran| ran.job.as_str()).collect()
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.iter().filter(|ran| !ran.succeeded);
        failed.map(|ran| ran.job.as_str()).collect()
    }

    #[track_caller]
    fn job(&self, name: &str) -> &Ran {
        let found = self.iter().find(|ran| ran.job == name);
        found.unwrap_or_else(|| panic!("no job {name} among {:?}", self.names()))
    }
}
