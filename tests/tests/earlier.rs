//! What a release does to earlier work: what was attested and published before stands.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use end_to_end::{Output, REHEARSAL, Sigstore, Workspace};
use fs_err as fs;
use serde_json::Value;

const CHANNEL: &str = "https://conda.acme.example/pkgs";
const LIVE: &str = "target/conda-release/live";
const REMOTE: &str = "https://github.com/acme/pkgs";

/// A committed workspace with these packages, whose remote is that of the jobs that sign.
fn workspace(packages: &[&str], config: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.config(&format!("target-channel = \"{CHANNEL}\"\n{config}"));
    for package in packages {
        workspace.package(package);
    }
    workspace.git(&["remote", "add", "origin", REMOTE]);
    workspace.commit();
    workspace
}

/// Commits ten times to files that no recipe uses.
fn commit_elsewhere(workspace: &Workspace) {
    for number in 0..10 {
        workspace.write("README.md", &format!("{number}\n"));
        workspace.commit();
    }
}

fn head(workspace: &Workspace) -> String {
    workspace.git(&["rev-parse", "HEAD"])
}

/// What a job that may have identity tokens gets, and where the trust configuration lies. It outlives the services.
struct Job {
    variables: Vec<(String, String)>,
    trust_config: PathBuf,
}

impl Job {
    fn new(workspace: &Workspace, sigstore: &Sigstore) -> Self {
        let trust_config = workspace.beside("trust_config.json");
        fs::copy(sigstore.trust_config(), &trust_config).unwrap();
        let variables = sigstore.job();
        Self {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            trust_config,
        }
    }

    fn run(&self, workspace: &Workspace, args: &[&str]) -> Output {
        let mut command = workspace.command(args);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("CONDA_RELEASE_TRUST", &self.trust_config);
        workspace.run_command(command)
    }
}

fn manifest(workspace: &Workspace) -> Value {
    let path = workspace.path(LIVE).join("release-manifest.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The files of a folder with their contents, by path.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), fs::read(path).unwrap())),
        }
    }
    found.sort();
    found
}

#[track_caller]
fn assert_nothing_was_done(output: &Output) {
    for word in [
        "Built",
        "Attested",
        "Published",
        "Seen",
        "warning",
        "taken back",
    ] {
        assert!(!output.mentions(word), "{word}\n{output}");
    }
}

#[test]
fn commits_to_other_files_change_nothing_of_a_live_release() {
    let workspace = workspace(&["one", "two"], "sign.provenance = true");
    let Some(sigstore) = Sigstore::start(&head(&workspace)) else {
        return;
    };
    let job = Job::new(&workspace, &sigstore);
    let channel = workspace.beside("channel");
    let to = channel.display().to_string();
    let release = ["release", "-x", "--to", &to];
    job.run(&workspace, &release)
        .ends(0)
        .says("Seen 2 packages");
    let released_from = head(&workspace);
    let published = contents(&channel);

    commit_elsewhere(&workspace);
    // Whatever asks it for something fails from now on.
    drop(sigstore);
    let again = job.run(&workspace, &release).ends(0);
    assert_nothing_was_done(&again);
    assert_eq!(contents(&channel), published);
    let manifest = manifest(&workspace);
    assert_eq!(manifest["source"]["commit"], head(&workspace));
    for package in manifest["packages"].as_array().unwrap() {
        assert_eq!(package["progress"], "published");
        assert_eq!(package["source"]["commit"], released_from);
    }
}

#[test]
fn commits_to_other_files_change_nothing_of_a_rehearsal() {
    let workspace = workspace(&["one", "two"], "sign.provenance = true");
    workspace.run(["release"]).ends(0);
    let folders = ["sandbox", "channel", "packages"];
    let before = folders.map(|folder| contents(&workspace.rehearsal(folder)));
    commit_elsewhere(&workspace);
    let again = workspace.run(["release"]).ends(0);
    assert_nothing_was_done(&again);
    let after = folders.map(|folder| contents(&workspace.rehearsal(folder)));
    assert_eq!(after, before);
}

#[test]
fn what_waits_to_be_seen_is_judged_by_the_commit_it_was_released_from() {
    let workspace = workspace(&["one"], "");
    let Some(sigstore) = Sigstore::start(&head(&workspace)) else {
        return;
    };
    let job = Job::new(&workspace, &sigstore);
    let to = workspace.beside("channel").display().to_string();
    let release = ["release", "-x", "--to", &to];
    job.run(&workspace, &[&release[..], &["--no-wait"]].concat())
        .ends(0);
    commit_elsewhere(&workspace);
    drop(sigstore);
    let seen = job.run(&workspace, &release).ends(0).says("Seen 1 package");
    assert!(!seen.mentions("taken back"), "{seen}");
}

#[test]
fn an_attested_package_is_published_as_it_is_after_another_commit() {
    let workspace = workspace(&["one"], "publish.manifest = false");
    let Some(sigstore) = Sigstore::start(&head(&workspace)) else {
        return;
    };
    let job = Job::new(&workspace, &sigstore);
    let to = workspace.beside("channel").display().to_string();
    job.run(&workspace, &["build", "-x", "--to", &to]).ends(0);
    job.run(&workspace, &["sign", "-x"]).ends(0);
    let attested = manifest(&workspace)["packages"][0]["attestation"].clone();
    let built_from = head(&workspace);

    commit_elsewhere(&workspace);
    let released = job
        .run(&workspace, &["release", "-x", "--to", &to])
        .ends(0)
        .says("Seen 1 package");
    assert!(!released.mentions("Attested"), "{released}");
    let package = &manifest(&workspace)["packages"][0];
    assert_eq!(package["attestation"], attested);
    assert_eq!(package["source"]["commit"], built_from);
}

#[test]
fn a_package_without_attestation_is_built_from_the_commit_that_its_attestation_will_name() {
    let workspace = workspace(&["one"], "");
    let to = workspace.beside("channel").display().to_string();
    workspace.run(["build", "-x", "--to", &to]).ends(0);
    commit_elsewhere(&workspace);
    let planned = workspace.run(["plan", "-x", "--to", &to]).ends(0);
    assert!(
        planned.stdout.contains("build: built from another commit"),
        "{planned}"
    );
    workspace
        .run(["build", "-x", "--to", &to])
        .ends(0)
        .says("Built noarch/one-1.0.0-");
    let package = &manifest(&workspace)["packages"][0];
    assert_eq!(package["source"]["commit"], head(&workspace));
}

#[test]
fn provenance_states_the_commit_and_time_of_the_build() {
    let workspace = workspace(&["one"], "sign.provenance = true");
    let at = |time: &str, command: &str| {
        let mut command = workspace.command([command]);
        command.env("SOURCE_DATE_EPOCH", time);
        workspace.run_command(command).ends(0)
    };
    at("1700000000", "build");
    let built_from = head(&workspace);
    commit_elsewhere(&workspace);
    let released = at("1800000000", "release");
    assert!(!released.mentions("Built"), "{released}");

    let attestation = workspace.recorded("one").attestation.unwrap();
    let bundle = attestation.provenance.unwrap().bundle;
    let bundle = fs::read(bundle.under(&workspace.rehearsal(""))).unwrap();
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let statement: Value = serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap();
    let definition = &statement["predicate"]["buildDefinition"];
    let parameters = &definition["internalParameters"];
    assert_eq!(
        parameters["sourceDateEpoch"], 1_700_000_000,
        "{statement:#}"
    );
    let commit = &definition["resolvedDependencies"][0]["digest"]["gitCommit"];
    assert_eq!(*commit, built_from, "{statement:#}");
}

#[test]
fn a_manifest_of_version_1_is_continued() {
    let workspace = workspace(&["one", "two"], "");
    workspace.run(["release"]).ends(0);
    let current = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    workspace.forge(|manifest| {
        manifest["schema_version"] = 1.into();
        manifest.as_object_mut().unwrap().remove("timestamp");
        for package in manifest["packages"].as_array_mut().unwrap() {
            let package = package.as_object_mut().unwrap();
            package.remove("timestamp").unwrap();
            package.remove("source").unwrap();
        }
    });
    let again = workspace.run(["release"]).ends(0);
    assert_nothing_was_done(&again);
    let mut current: Value = serde_json::from_slice(&current).unwrap();
    for package in current["packages"].as_array_mut().unwrap() {
        package.as_object_mut().unwrap().remove("timestamp");
    }
    let continued = fs::read(workspace.path(REHEARSAL).join("release-manifest.json")).unwrap();
    let continued: Value = serde_json::from_slice(&continued).unwrap();
    assert_eq!(continued, current);
}
