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

/// The environment of a job that may have identity tokens, with a copy of the trust configuration. It outlives the services.
struct Job {
    variables: Vec<(String, String)>,
    trust_config: PathBuf,
}

impl Job {
    /// Starts the services for a job at the current commit. Returns them, the job, and the channel that it publishes to; nothing
    /// where the services are not installed.
    fn start(workspace: &Workspace) -> Option<(Sigstore, Self, String)> {
        let sigstore = Sigstore::start(&head(workspace))?;
        let trust_config = workspace.beside("trust_config.json");
        fs::copy(sigstore.trust_config(), &trust_config).unwrap();
        let variables = sigstore.job();
        let job = Self {
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            trust_config,
        };
        let to = workspace.beside("channel").display().to_string();
        Some((sigstore, job, to))
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
    let Some((sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
    let channel = workspace.beside("channel");
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
    assert!(contents(&channel) == published, "the channel is as it was");
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
    assert!(
        after == before,
        "log, channel and packages are as they were"
    );
}

#[test]
fn what_waits_to_be_seen_is_judged_by_the_commit_it_was_released_from() {
    let workspace = workspace(&["one"], "");
    let Some((sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
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
    let Some((_sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
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

/// Twenty packages, each of which runs with the one before.
fn twenty() -> Workspace {
    let workspace = workspace(&[], "");
    for number in 0..20 {
        let rest = match number {
            0 => String::new(),
            _ => format!("requirements:\n  run: [p{:02}]\n", number - 1),
        };
        let name = format!("p{number:02}");
        let install = format!("mkdir -p $PREFIX/share && echo {name} > $PREFIX/share/{name}.txt");
        workspace.script(&name, &[&install], &rest);
    }
    workspace.commit();
    workspace
}

/// The packages of a live manifest that have come this far.
fn at(workspace: &Workspace, progress: &str) -> usize {
    let manifest = manifest(workspace);
    let packages = manifest["packages"].as_array().unwrap().iter();
    packages
        .filter(|package| package["progress"] == progress)
        .count()
}

#[test]
fn naming_one_recipe_keeps_the_signed_packages_of_the_others() {
    let workspace = twenty();
    let Some((_sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
    job.run(&workspace, &["build", "-x", "--to", &to]).ends(0);
    job.run(&workspace, &["sign", "-x"]).ends(0);
    assert_eq!(at(&workspace, "attested"), 20);
    let packages = workspace.path(LIVE).join("packages/noarch");
    let is_kept = |(path, _): &(PathBuf, Vec<u8>)| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".conda") || name.ends_with(".sigstore.json")
    };
    let signed = || -> Vec<_> { contents(&packages).into_iter().filter(is_kept).collect() };
    let before = signed();
    assert_eq!(before.len(), 40);

    commit_elsewhere(&workspace);
    let build = ["build", "-x", "--to", &to, "recipes/p07"];
    let built = job.run(&workspace, &build).ends(0);
    assert!(!built.mentions("Built"), "{built}");
    assert!(signed() == before, "the signed packages are as they were");
    assert_eq!(at(&workspace, "attested"), 20);

    // The attested package of a recipe that changed is none of this plan any more, selected or not.
    workspace.write("recipes/p19/note.txt", "new");
    workspace.commit();
    job.run(&workspace, &build)
        .ends(0)
        .says("the plan no longer has 1 attested package: noarch/p19-1.0.0-");
    assert_eq!(at(&workspace, "attested"), 19);
}

#[test]
fn naming_one_recipe_keeps_the_packages_of_the_others_in_a_rehearsal() {
    let workspace = twenty();
    workspace.run(["release"]).ends(0);
    let channel = contents(&workspace.rehearsal("channel"));
    workspace.run(["build", "recipes/p00"]).ends(0);
    workspace.run(["release", "recipes/p00"]).ends(0);
    workspace.assert_sound();
    assert!(
        contents(&workspace.rehearsal("channel")) == channel,
        "the channel is as it was"
    );

    // One whose recipe changed is not of this plan, and is not built either: it does not go without a word.
    workspace.write("recipes/p19/note.txt", "new");
    workspace
        .run(["release", "recipes/p00"])
        .ends(0)
        .says("the plan no longer has 1 attested package: noarch/p19-1.0.0-");
    let kept = contents(&workspace.rehearsal("kept"));
    let is_of = |name: &str| kept.iter().any(|(path, _)| path.ends_with(name));
    assert!(is_of("release-manifest.json"), "{kept:?}");
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}

#[test]
fn a_named_recipe_is_built_with_what_it_needs() {
    let workspace = twenty();
    workspace.run(["release", "recipes/p02"]).ends(0);
    let published = workspace.packages_in(format!("{REHEARSAL}/channel"));
    assert_eq!(published.len(), 3, "{published:?}");
    // One that the patterns of the configuration do not match is planned in addition.
    workspace.write(
        "elsewhere/recipe.yaml",
        "package:\n  name: elsewhere\n  version: 1.0.0\nbuild:\n  noarch: generic\n  script: mkdir -p $PREFIX/share && touch $PREFIX/share/e\nrequirements:\n  run: [p02]\n",
    );
    workspace.run(["release", "elsewhere"]).ends(0);
    let published = workspace.packages_in(format!("{REHEARSAL}/channel"));
    assert_eq!(published.len(), 4, "{published:?}");

    let alone = Workspace::plain();
    alone.write(
        "recipe.yaml",
        "package:\n  name: alone\n  version: 1.0.0\nbuild:\n  noarch: generic\n  script: mkdir -p $PREFIX/share && touch $PREFIX/share/a\n",
    );
    alone.run(["release", "./recipe.yaml"]).ends(0);
    alone.assert_sound();
}

#[test]
fn attested_packages_that_a_plan_no_longer_has_are_kept_until_they_are_pruned() {
    let workspace = workspace(&["one", "two", "three"], "");
    let Some((sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
    job.run(&workspace, &["build", "-x", "--to", &to]).ends(0);
    job.run(&workspace, &["sign", "-x"]).ends(0);
    let packages = workspace.path(LIVE).join("packages/noarch");
    let files_of = |folder: &Path, name: &str| -> Vec<Vec<u8>> {
        let files = contents(folder).into_iter();
        files
            .filter(|(path, _)| {
                let file = path.file_name().unwrap().to_str().unwrap();
                file.starts_with(&format!("{name}-1.0.0-"))
            })
            .map(|(_, content)| content)
            .collect()
    };
    let before = ["one", "two"].map(|name| files_of(&packages, name));

    fs::remove_dir_all(workspace.path("recipes/one")).unwrap();
    let bumped = fs::read_to_string(workspace.path("recipes/two/recipe.yaml")).unwrap();
    workspace.write("recipes/two/recipe.yaml", &bumped.replace("1.0.0", "1.0.1"));
    workspace.commit();
    let build = ["build", "-x", "--to", &to];
    job.run(&workspace, &["plan", "-x", "--to", &to])
        .ends(0)
        .says("this plan no longer has 2 attested packages");
    job.run(&workspace, &build)
        .ends(0)
        .says("the plan no longer has 2 attested packages: noarch/one-1.0.0-");
    let kept = workspace.path(LIVE).join("kept");
    assert_eq!(["one", "two"].map(|name| files_of(&kept, name)), before);
    let again = job.run(&workspace, &build).ends(0);
    assert!(!again.mentions("no longer has"), "{again}");

    // The records are a manifest of their own, and the packages can be published from there.
    let folder = fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    let records = fs::read(folder.join("release-manifest.json")).unwrap();
    let records = release_manifest::Manifest::from_json(&records).unwrap();
    let [one, _] = records.packages() else {
        panic!("{records:?}");
    };
    let file = one.key().under(&folder.join("packages"));
    let policy = ["--repo", "acme/pkgs", "--issuer", sigstore.issuer()];
    let publish = ["publish", "-x", file.to_str().unwrap(), "--to", &to];
    job.run(&workspace, &[&publish[..], &policy].concat())
        .ends(0);

    job.run(&workspace, &[&build[..], &["--prune"]].concat())
        .ends(0)
        .says("Removed 2 packages");
    assert!(contents(&kept).is_empty());
}

#[test]
fn a_package_for_another_channel_keeps_its_first_attestation() {
    let workspace = workspace(&["one"], "");
    // Another configuration is not another commit.
    workspace.write(".gitignore", "target/\nconda-release.toml\n");
    workspace.git(&["rm", "--quiet", "--cached", "conda-release.toml"]);
    workspace.commit();
    let Some((_sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
    job.run(&workspace, &["build", "-x", "--to", &to]).ends(0);
    job.run(&workspace, &["sign", "-x"]).ends(0);
    let attested = manifest(&workspace)["packages"][0]["attestation"].clone();
    workspace.config("target-channel = \"https://conda.acme.example/other\"");
    let built = job
        .run(&workspace, &["build", "-x", "--to", &to])
        .ends(0)
        .says("the plan no longer has 1 attested package");
    assert!(!built.mentions("Built noarch/one"), "{built}");
    assert_eq!(at(&workspace, "tested"), 1);
    let kept = contents(&workspace.path(LIVE).join("kept"));
    let bundle = attested["bundle"].as_str().unwrap();
    let package = bundle.trim_end_matches(".sigstore.json");
    for file in [bundle, package] {
        assert!(kept.iter().any(|(path, _)| path.ends_with(file)), "{file}");
    }
    job.run(&workspace, &["sign", "-x"]).ends(0);
    assert_eq!(at(&workspace, "attested"), 1);
}

#[test]
fn a_rehearsal_says_and_keeps_what_leaves_its_channel() {
    let workspace = workspace(&["one", "two"], "");
    workspace.run(["release"]).ends(0);
    let one = fs::read(workspace.published("one")).unwrap();
    fs::remove_dir_all(workspace.path("recipes/one")).unwrap();
    workspace.commit();
    workspace
        .run(["release"])
        .ends(0)
        .says("the plan no longer has 1 attested package");
    workspace.assert_sound();
    let kept = contents(&workspace.rehearsal("kept"));
    assert!(kept.iter().any(|(_, content)| *content == one));
}

#[test]
fn a_live_package_is_not_published_without_what_it_runs_with() {
    let workspace = twenty();
    let to = workspace.beside("channel").display().to_string();
    workspace.run(["build", "-x", "--to", &to]).ends(0);
    workspace
        .run(["plan", "-x", "--to", &to, "--only", "p02"])
        .ends(3)
        .says("p01");
    let planned = workspace
        .run(["plan", "-x", "--to", &to, "recipes/p02"])
        .ends(0);
    let selected = planned
        .stdout
        .lines()
        .filter(|line| line.contains("unchanged"));
    assert_eq!(selected.count(), 3, "{planned}");
}

#[test]
fn what_waits_for_failed_tests_says_so_everywhere() {
    let workspace = workspace(&["free"], "");
    workspace
        .script(
            "broken",
            &["mkdir -p $PREFIX/share && touch $PREFIX/share/broken"],
            "tests:\n  - script: [\"false\"]\n",
        )
        .script(
            "waits",
            &["mkdir -p $PREFIX/share && touch $PREFIX/share/waits"],
            "requirements:\n  run: [broken]\n",
        )
        .script(
            "follows",
            &["mkdir -p $PREFIX/share && touch $PREFIX/share/follows"],
            "requirements:\n  run: [waits]\n",
        );
    workspace.commit();
    let broken = |workspace: &Workspace| vec![workspace.recorded("broken").key()];
    let released = workspace.run(["release", "-k"]).ends(4);
    for name in ["waits", "follows"] {
        let package = workspace.recorded(name);
        assert_eq!(package.blocked_by, broken(&workspace), "{name}");
        let line = format!("Blocked {} by", package.key());
        assert!(released.mentions(&line), "{line}\n{released}");
    }
    assert!(
        released.mentions("2 packages blocked by what failed"),
        "{released}"
    );
    assert!(
        released.stdout.contains(", blocked by broken"),
        "{released}"
    );
    let report = fs::read_to_string(workspace.rehearsal("report.html")).unwrap();
    assert!(report.contains("blocked"), "the report says so");
    assert!(workspace.recorded("free").published.is_some());

    // Without it nothing is released, and every package says why.
    workspace.write("recipes/free/note.txt", "new").commit();
    workspace.run(["release"]).ends(4);
    for name in ["waits", "follows", "free"] {
        assert_eq!(
            workspace.recorded(name).blocked_by,
            broken(&workspace),
            "{name}"
        );
    }
}

#[test]
fn the_manifest_and_the_report_have_direct_dependencies_alone() {
    let workspace = workspace(&["a"], "");
    for (name, host, run) in [("b", "a", "a"), ("c", "b", "a, b"), ("d", "c", "a, b, c")] {
        let install = format!("mkdir -p $PREFIX/share && touch $PREFIX/share/{name}");
        let rest = format!("requirements:\n  host: [{host}]\n  run: [{run}]\n");
        workspace.script(name, &[&install], &rest);
    }
    workspace.commit().run(["release"]).ends(0);
    for (name, on) in [
        ("a", None),
        ("b", Some("a")),
        ("c", Some("b")),
        ("d", Some("c")),
    ] {
        let package = workspace.recorded(name);
        let names: Vec<_> = package.depends_on.iter().map(|it| it.file.name()).collect();
        assert_eq!(names, Vec::from_iter(on), "{name}");
    }
    let report = fs::read_to_string(workspace.rehearsal("report.html")).unwrap();
    assert!(
        report.contains("3 dependencies"),
        "of four packages in a row"
    );
}

/// The names and build numbers of what a plan makes, without what is not selected.
fn numbers(output: &Output) -> Vec<String> {
    let decisions = output.json();
    let decisions = decisions["decisions"].as_array().unwrap().iter();
    let number = |decision: &Value| {
        let package = decision["package"].as_str().unwrap();
        let name = decision["output"].as_str().unwrap();
        let number = package
            .trim_end_matches(".conda")
            .rsplit('_')
            .next()
            .unwrap();
        let verdict = decision["verdict"].as_str().unwrap();
        format!("{name} {number} {verdict}")
    };
    let mut numbers: Vec<String> = decisions.map(number).collect();
    numbers.sort();
    numbers
}

#[test]
fn a_build_number_is_for_what_is_selected_and_pins_follow_the_channel() {
    let workspace = workspace(&["gamma"], "");
    workspace.recipe(
        "pair",
        "recipe:\n  name: pair\n  version: 1.0.0\noutputs:\n  - package:\n      name: alpha\n    build:\n      noarch: generic\n      script: mkdir -p $PREFIX/share && touch $PREFIX/share/alpha\n",
    );
    workspace.script(
        "beta",
        &["mkdir -p $PREFIX/share && touch $PREFIX/share/beta"],
        "requirements:\n  host: [alpha]\n  run: [alpha]\n",
    );
    workspace.commit();
    let Some((_sigstore, job, to)) = Job::start(&workspace) else {
        return;
    };
    let release = ["release", "-x", "--to", &to];
    job.run(
        &workspace,
        &[&release[..], &["--build-number", "5"]].concat(),
    )
    .ends(0);

    let only = ["--only", "beta", "--build-number", "+1"];
    let plan = ["plan", "-x", "--to", &to, "--output-format", "json"];
    let planned = job.run(&workspace, &[&plan[..], &only].concat()).ends(0);
    assert_eq!(
        numbers(&planned),
        [
            "alpha 5 not_selected",
            "beta 6 build",
            "gamma 5 not_selected"
        ]
    );
    job.run(&workspace, &[&release[..], &only].concat()).ends(0);
    // Once more: above what the channel has now.
    let exactly = ["recipes/beta", "--build-number", "9"];
    let planned = job.run(&workspace, &[&plan[..], &exactly].concat()).ends(0);
    assert_eq!(
        numbers(&planned),
        [
            "alpha 5 not_selected",
            "beta 9 build",
            "gamma 5 not_selected"
        ]
    );
    let planned = job.run(&workspace, &[&plan[..], &only].concat()).ends(0);
    assert!(
        numbers(&planned).contains(&"beta 7 build".to_owned()),
        "{planned}"
    );
}
