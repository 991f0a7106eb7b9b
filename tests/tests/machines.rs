//! Many machines: a plan is cut, each shard is built by a job of its own, and what they made is joined.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use end_to_end::{Output, Workspace, step_outputs};
use fs_err as fs;
use release_manifest::{Digest, Isolation, Manifest, Package, Plan, Progress, Shards};
use serde_json::{Value, json};

/// The machines of a release, one after another: each finds an empty output folder under the same path.
struct Machines<'a> {
    workspace: &'a Workspace,
    /// What the job that plans handed on.
    planned: PathBuf,
    /// What build jobs handed over, each in a folder of its own.
    built: PathBuf,
}

impl<'a> Machines<'a> {
    /// Plans with these options on a machine of its own.
    fn plan(workspace: &'a Workspace, options: &[&str]) -> Self {
        Self::plan_ends(workspace, options, 0)
    }

    /// Plans with these options on a machine of its own, which ends with this status.
    fn plan_ends(workspace: &'a Workspace, options: &[&str], status: i32) -> Self {
        let machines = Self {
            planned: workspace.beside("planned"),
            built: workspace.beside("built"),
            workspace,
        };
        for folder in [&machines.planned, &machines.built] {
            let _was_there = fs::remove_dir_all(folder);
        }
        fs::create_dir(&machines.built).unwrap();
        machines.fresh();
        workspace.run([&["plan"], options].concat()).ends(status);
        fs::rename(workspace.rehearsal("shards"), &machines.planned).unwrap();
        machines
    }

    /// A new machine, with the same folders.
    fn fresh(&self) {
        let _was_there = fs::remove_dir_all(self.workspace.path("target"));
    }

    fn plan_file(&self) -> String {
        self.planned.join("plan.json").display().to_string()
    }

    fn shards(&self) -> Shards {
        let plan = Plan::from_json(&fs::read(self.plan_file()).unwrap()).unwrap();
        let shards = fs::read(self.planned.join("shards.json")).unwrap();
        Shards::from_json(&shards, &plan).unwrap()
    }

    /// Builds a shard on a machine of its own, upon what is built already.
    fn build(&self, shard: u32, options: &[&str]) -> Output {
        self.fresh();
        let output = self.build_here(shard, options);
        let handed = self.workspace.rehearsal(format!("shard-{shard}"));
        if handed.exists() {
            fs::rename(handed, self.folder(shard)).unwrap();
        }
        output
    }

    fn build_here(&self, shard: u32, options: &[&str]) -> Output {
        let (plan, number) = (self.plan_file(), shard.to_string());
        let from = self.built.display().to_string();
        let args = [
            "build", "--plan", &plan, "--shard", &number, "--from", &from,
        ];
        self.workspace.run([&args, options].concat())
    }

    /// Where a shard's job handed over what it built.
    fn folder(&self, shard: u32) -> PathBuf {
        self.built.join(format!("shard-{shard}"))
    }

    fn build_all(&self) {
        for shard in self.shards().shards {
            self.build(shard.shard, &[]).ends(0);
        }
    }

    /// Merges what was handed over, on a machine of its own.
    fn merge(&self, options: &[&str]) -> Output {
        self.fresh();
        self.merge_here(options)
    }

    fn merge_here(&self, options: &[&str]) -> Output {
        let (plan, built) = (self.plan_file(), self.built.display().to_string());
        let args = ["merge", "--plan", &plan, &built];
        self.workspace.run([&args, options].concat())
    }

    /// Changes the manifest that a shard handed over.
    fn edit(&self, shard: u32, change: impl FnOnce(&mut Value)) {
        let path = self.folder(shard).join("release-manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    }
}

/// Recipes of which each builds upon up to two others before it, chosen by chance; always the same for the same count.
fn random_recipes(count: u64) -> Workspace {
    let workspace = Workspace::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |below: u64| {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for number in 0..count {
        let needs: Vec<u64> = (0..draw(3).min(number)).map(|_| draw(number)).collect();
        let list = |needs: &[u64]| -> String {
            let lines = needs.iter().map(|need| format!("    - p{need}\n"));
            lines.collect()
        };
        let requirements = match needs.is_empty() {
            true => String::new(),
            false => format!("requirements:\n  host:\n{0}  run:\n{0}", list(&needs)),
        };
        add(&workspace, &format!("p{number}"), &requirements);
    }
    workspace.commit();
    workspace
}

/// Adds a recipe that needs no tool but a shell, whose other sections are `rest`.
fn add(workspace: &Workspace, name: &str, rest: &str) {
    let line = format!("echo {name} > $PREFIX/{name}.txt");
    workspace.script(name, &[&line], rest);
}

/// What one machine and many agree in: all but times.
fn agreed(manifest: &Manifest) -> Vec<Package> {
    let mut packages = manifest.packages().to_vec();
    for package in &mut packages {
        package.times = Default::default();
    }
    packages
}

fn one_machine_and_many_agree(count: u64, cuts: &[usize]) {
    let workspace = random_recipes(count);
    workspace.run(["build"]).ends(0);
    let alone = workspace.manifest();
    assert_eq!(alone.packages().len(), usize::try_from(count).unwrap());
    for jobs in cuts {
        let machines = Machines::plan(&workspace, &["--shards", &jobs.to_string()]);
        let shards = machines.shards();
        let waves = shards.shards.last().unwrap().wave;
        assert_eq!(*jobs > 1, waves > 1, "{jobs} jobs: {waves} waves");
        machines.build_all();
        machines.merge(&[]).ends(0);
        let merged = workspace.manifest();
        assert_eq!(agreed(&merged), agreed(&alone), "{jobs} jobs");
        assert_eq!(merged.plan_digest, alone.plan_digest);
        assert_eq!(merged.isolation, Isolation::SeparateJob);
    }
}

#[test]
fn one_machine_and_many_make_the_same() {
    one_machine_and_many_agree(12, &[1, 4, 16]);
}

#[test]
#[ignore = "minutes: sixty recipes, four times"]
fn one_machine_and_many_make_the_same_of_sixty_recipes() {
    one_machine_and_many_agree(60, &[1, 4, 16]);
}

/// `a` and `b` for themselves, `c` upon `b`: with `--shard-by recipe` three shards in two waves.
fn three() -> Workspace {
    let workspace = Workspace::new();
    add(&workspace, "a", "");
    add(&workspace, "b", "");
    add(&workspace, "c", "requirements:\n  host:\n    - b\n");
    workspace.commit();
    workspace
}

const BY_RECIPE: &[&str] = &["--shard-by", "recipe"];

/// The number of the shard that builds the only package of this name.
fn shard_of(machines: &Machines<'_>, name: &str) -> u32 {
    let shards = machines.shards().shards.into_iter();
    let mut found = shards.filter(|shard| {
        let mut packages = shard.packages.iter();
        packages.any(|package| package.file.name() == name)
    });
    found.next().unwrap().shard
}

#[test]
fn what_was_merged_is_signed_and_published() {
    let workspace = three();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    machines.build_all();
    machines.merge(&[]).ends(0);
    let page = fs::read_to_string(workspace.rehearsal("report.html")).unwrap();
    assert!(page.contains("3 packages tested"), "{page}");
    for package in workspace.manifest().packages() {
        assert!(page.contains(&package.key().to_string()), "{page}");
    }
    workspace.run(["sign"]).ends(0);
    workspace.run(["publish"]).ends(0);
    let manifest = workspace.manifest();
    for package in manifest.packages() {
        assert_eq!(package.progress, Progress::Published);
        assert!(package.attestation.is_some());
        assert!(
            workspace
                .rehearsal(package.log.as_ref().unwrap().as_str())
                .is_file()
        );
    }
    assert_eq!(
        workspace.packages_in(workspace.rehearsal("channel")).len(),
        3
    );
    workspace.assert_sound();

    // Merging the same again takes nothing back.
    machines.merge_here(&[]).ends(0);
    assert_eq!(agreed(&workspace.manifest()), agreed(&manifest));
}

#[test]
fn the_job_that_plans_says_what_the_others_need() {
    let workspace = three();
    let outputs = workspace.beside("outputs");
    let mut command =
        workspace.command(["plan", "--shard-by", "recipe", "--output-format", "json"]);
    fs::write(&outputs, "").unwrap();
    command.env("GITHUB_OUTPUT", &outputs);
    let document = workspace.run_command(command).ends(0).json();
    let written =
        |name: &str| fs::read_to_string(workspace.rehearsal("shards").join(name)).unwrap();
    let plan = Plan::from_json(written("plan.json").as_bytes()).unwrap();
    let shards = Shards::from_json(written("shards.json").as_bytes(), &plan).unwrap();
    assert_eq!(document["plan_digest"], json!(plan.digest()));
    assert_eq!(document["shards_digest"], json!(shards.digest()));
    let outputs = step_outputs(&fs::read_to_string(outputs).unwrap());
    assert_eq!(outputs["plan-digest"], plan.digest().to_string());
    assert_eq!(outputs["shards-digest"], shards.digest().to_string());
    for (wave, jobs) in [(1, 2), (2, 1), (3, 0), (4, 0)] {
        let matrix = written(&format!("matrix-{wave}.json"));
        assert_eq!(matrix.trim_end(), outputs[&*format!("matrix-{wave}")]);
        let matrix: Value = serde_json::from_str(&matrix).unwrap();
        assert_eq!(
            matrix["include"].as_array().unwrap().len(),
            jobs,
            "{matrix}"
        );
        assert_eq!(document[format!("matrix-{wave}")], matrix);
    }

    // What the others could not hear is an error.
    let mut command = workspace.command(["plan", "--shard-by", "recipe"]);
    command.env("GITHUB_OUTPUT", workspace.beside("gone"));
    workspace.run_command(command).ends(3).says("gone");
}

#[test]
fn what_is_not_selected_is_built_by_nobody() {
    let workspace = three();
    let machines = Machines::plan(&workspace, &["--shards", "2", "--up-to", "c"]);
    let shards = machines.shards();
    let left_out: Vec<&str> = shards.left_out.keys().map(|it| it.file.name()).collect();
    assert_eq!(left_out, ["a"]);
    machines.build_all();
    machines.merge(&[]).ends(0);
    workspace.run(["sign"]).ends(0);
    workspace.run(["publish"]).ends(0);
    for package in workspace.manifest().packages() {
        let is_left_out = package.file.name() == "a";
        assert_eq!(package.skipped.is_some(), is_left_out, "{}", package.file);
        let is_published = package.progress == Progress::Published;
        assert_eq!(is_published, !is_left_out, "{}", package.file);
    }
}

#[test]
fn the_rest_is_built_without_what_cannot_be_planned() {
    let workspace = three();
    workspace.recipe("torn", "package: {name: torn, version: '1'}\nbuilt: {}\n");
    // One output of two can be planned: a build job must not trip over the other.
    let output = |name: &str, needs: &str| {
        format!(
            "  - package: {{name: {name}}}\n    build: {{number: 0, script: \"echo > $PREFIX/{name}\"}}\n    \
             requirements: {{host: [{needs}]}}\n"
        )
    };
    let halves = [output("half", "a"), output("other-half", "torn")].concat();
    workspace.recipe(
        "halves",
        &format!("recipe: {{version: '1'}}\noutputs:\n{halves}"),
    );
    workspace.commit();
    workspace
        .run(["plan", "--shards", "2"])
        .ends(3)
        .says("torn");
    assert!(!workspace.rehearsal("shards").exists());

    let machines = Machines::plan_ends(&workspace, &["--shards", "2", "--keep-going"], 3);
    machines.build_all();
    machines.merge(&[]).ends(0);
    let manifest = workspace.manifest();
    let names = manifest.packages().iter().map(|package| {
        assert_eq!(package.progress, Progress::Tested, "{}", package.file);
        package.file.name()
    });
    assert_eq!(BTreeSet::from_iter(names), ["a", "b", "c", "half"].into());
}

#[test]
fn the_runner_is_the_configured_one() {
    let workspace = three();
    let platform = workspace
        .run(["plan", "--output-format", "json"])
        .ends(0)
        .json();
    let platform = platform["plan"]["packages"][0]["build_platform"]
        .as_str()
        .unwrap()
        .to_owned();
    let runs_on = || {
        workspace.run(["plan", "--shards", "1"]).ends(0);
        let matrix = fs::read(workspace.rehearsal("shards/matrix-1.json")).unwrap();
        let matrix: Value = serde_json::from_slice(&matrix).unwrap();
        matrix["include"][0]["runs-on"].as_str().unwrap().to_owned()
    };
    if platform == "linux-64" {
        assert_eq!(runs_on(), "ubuntu-24.04");
    }
    workspace.config(&format!(
        "[build]\nplatforms = [{{ target = \"{platform}\", runner = \"our-machine\" }}]\n"
    ));
    assert_eq!(runs_on(), "our-machine");
}

#[test]
fn a_lost_shard_is_named_and_built_alone() {
    let workspace = three();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    machines.build_all();
    let lost = shard_of(&machines, "a");
    fs::remove_dir_all(machines.folder(lost)).unwrap();
    machines
        .merge(&[])
        .ends(9)
        .says(&format!("shard {lost}: build it with"));
    workspace.run(["sign"]).ends(9);
    machines.build(lost, &[]).ends(0);
    machines.merge(&[]).ends(0);
}

#[test]
fn a_failed_build_is_one_failure_in_the_jobs_after_it_too() {
    let workspace = three();
    workspace.script("b", &["exit 1"], "");
    workspace.commit();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    let (a, b, c) = (
        shard_of(&machines, "a"),
        shard_of(&machines, "b"),
        shard_of(&machines, "c"),
    );
    machines.build(a, &[]).ends(0);
    machines.build(b, &[]).ends(4);
    assert!(machines.folder(b).join("logs/noarch").is_dir());
    machines
        .build(c, &[])
        .ends(9)
        .says("which no earlier shard built");
    machines
        .merge(&[])
        .ends(9)
        .says(&format!("shard {b} left 1 package unbuilt or untested"));
    let merged = workspace.manifest();
    assert_eq!(merged.packages()[0].progress, Progress::Tested);
    // Why is for people: it is on the page, with the log, and decides nothing.
    assert!(merged.packages().iter().all(|it| it.error.is_none()));
    let page = || fs::read_to_string(workspace.rehearsal("report.html")).unwrap();
    let first = page();
    for part in [
        "1 of 3 packages failed",
        "What waits for it",
        "The end of its log",
    ] {
        assert!(first.contains(part), "{part} is not in {first}");
    }

    // What a shard calls a log is one, or is left alone.
    let manifest = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    machines.edit(b, |manifest| {
        let mut packages = manifest["packages"].as_array_mut().unwrap().iter_mut();
        let failed = packages.find(|it| it["error"].is_object()).unwrap();
        failed["error"]["log"] = json!("release-manifest.json");
        failed["error"]["message"] = json!("<script>alert(1)</script>");
    });
    machines.merge(&[]).ends(9);
    assert_eq!(
        fs::read(workspace.rehearsal("release-manifest.json")).unwrap(),
        manifest
    );
    let page = page();
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(!page.contains("The end of its log"), "{page}");
}

#[test]
fn a_shard_is_continued_by_the_same_command_and_no_other() {
    let workspace = three();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    let (a, b) = (shard_of(&machines, "a"), shard_of(&machines, "b"));
    machines.build_here(a, &[]).ends(0);
    let first = fs::read(workspace.rehearsal("release-manifest.json")).unwrap();
    let again = machines.build_here(a, &[]).ends(0);
    assert!(!again.mentions("Built"), "{again}");
    assert_eq!(
        fs::read(workspace.rehearsal("release-manifest.json")).unwrap(),
        first
    );
    machines
        .build_here(b, &[])
        .ends(3)
        .says(&format!("its part is `shard {a}`, expected `shard {b}`"));
    // A shard is no release to sign or to merge into.
    workspace
        .run(["sign"])
        .ends(3)
        .says("expected `the whole plan`");
    machines
        .merge_here(&[])
        .ends(3)
        .says("expected `the whole plan`");
}

#[test]
fn a_shard_is_built_upon_what_earlier_ones_handed_over() {
    let workspace = three();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    let (b, c) = (shard_of(&machines, "b"), shard_of(&machines, "c"));
    machines
        .build(c, &[])
        .ends(3)
        .says(&format!("shard {c} needs packages of shard {b}"));
    machines.build(b, &[]).ends(0);
    let package = machines.folder(b).join("packages/noarch");
    let package = fs::read_dir(package)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let good = fs::read(&package).unwrap();
    fs::write(&package, [&good[..], b"more"].concat()).unwrap();
    machines.build(c, &[]).ends(3).says("expected at most");
    fs::write(&package, &good[..good.len() - 1]).unwrap();
    machines.build(c, &[]).ends(3).says("bytes with sha256");
    fs::write(&package, &good).unwrap();
    let digest = format!("{b}={}", Digest::of(b"other"));
    machines
        .build(c, &["--digest", &digest])
        .ends(3)
        .says(&format!("the job that built shard {b} said"));
    machines.build(c, &[]).ends(0);
}

#[test]
fn a_shard_follows_its_plan_and_no_other() {
    let workspace = three();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    let other = Digest::of(b"other").to_string();
    for (options, says) in [
        (
            &["--plan-digest", &other][..],
            "is another plan: its digest is",
        ),
        (
            &["--shards-digest", &other],
            "is another plan: its digest is",
        ),
        (&["--test", "skip"], "is another plan: its options is"),
        (
            &["--to", "https://prefix.dev/other"],
            "is another plan: its channel is",
        ),
    ] {
        machines.build(1, options).ends(3).says(says);
    }
    machines.build(7, &[]).ends(3).says("there is no shard 7");
    let plan = machines.plan_file();
    let build = ["build", "--plan", &plan];
    workspace.run(build).ends(2).says("--shard");
    workspace
        .run([&build[..], &["--shard", "1", "-x"]].concat())
        .ends(2)
        .says("--execute");
    let digest = machines.shards().plan_digest.to_string();
    machines.build(1, &["--plan-digest", &digest]).ends(0);

    // The recipes are others than those that were planned.
    add(&workspace, "b", "tests:\n  - script:\n      - echo hello\n");
    machines.build(1, &[]).ends(3).says("plan");
    workspace.commit();
    machines.build(1, &[]).ends(3).says("its commit is");
}

#[test]
fn no_build_and_no_recipe_sees_an_identity() {
    let workspace = Workspace::new();
    workspace.script("spy", &["env > $PREFIX/environment.txt", "env"], "");
    workspace.commit();
    let machines = Machines::plan(&workspace, &["--shards", "1"]);
    machines.fresh();
    let plan = machines.plan_file();
    let build = |name: &str| {
        let mut command = workspace.command(["build", "--plan", &plan, "--shard", "1"]);
        command.env("GITHUB_ACTIONS", "true").env(name, "hunter2");
        workspace.run_command(command)
    };
    for name in [
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "SIGSTORE_ID_TOKEN",
        "ACME_ID_TOKEN",
    ] {
        build(name).ends(3).says(name).says("is built without any");
    }
    // What identifies on other systems cannot be taken away there: it doesn't reach the recipe.
    build("CIRCLE_OIDC_TOKEN").ends(0);
    let log = fs::read_dir(workspace.rehearsal("shard-1/logs/noarch")).unwrap();
    let log = fs::read_to_string(log.into_iter().next().unwrap().unwrap().path()).unwrap();
    assert!(log.contains("PREFIX="), "{log}");
    for text in ["hunter2", "GITHUB_ACTIONS", "OIDC"] {
        assert!(!log.contains(text), "{text}: {log}");
    }
}

/// Everything that a shard may try, one after the other: each is refused by name, and changes nothing.
#[test]
fn shards_that_are_not_taken() {
    let workspace = three();
    let machines = Machines::plan(&workspace, BY_RECIPE);
    machines.build_all();
    let kept = workspace.beside("kept");
    copy(&machines.built, &kept);
    let a = shard_of(&machines, "a");
    let b = shard_of(&machines, "b");
    let package_of = |shard: u32| {
        let folder = machines.folder(shard).join("packages/noarch");
        fs::read_dir(folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    let own = |manifest: &mut Value| -> usize {
        let packages = manifest["packages"].as_array().unwrap();
        packages
            .iter()
            .position(|it| it["progress"] == "tested")
            .unwrap()
    };
    type Change<'a> = Box<dyn Fn() + 'a>;
    let edit = |change: fn(&mut Value, usize)| -> Change<'_> {
        let machines = &machines;
        Box::new(move || {
            machines.edit(a, |manifest| {
                let at = own(manifest);
                change(manifest, at);
            });
        })
    };
    let other = format!("sha256:{}", "0".repeat(64));
    let table: Vec<(&str, Change<'_>, &str)> = vec![
        (
            "another plan",
            edit(|it, _| it["plan_digest"] = json!(format!("sha256:{}", "0".repeat(64)))),
            "expected a shard of plan",
        ),
        (
            "a shard that claims to have published",
            edit(|it, at| {
                let taken = json!({"at": "2026-01-01T00:00:00Z", "milliseconds": 1});
                it["packages"][at]["progress"] = json!("published");
                it["packages"][at]["times"]["attested"] = taken.clone();
                it["packages"][at]["times"]["published"] = taken;
                it["packages"][at]["published"] = json!({
                    "url": "file:///channel/x", "at": "2026-01-01T00:00:00Z", "result": "uploaded",
                });
                it["packages"][at]["attestation"] = json!({
                    "bundle": "packages/x.sigstore.json", "bundle_sha256": "0".repeat(64),
                    "identity": "me", "issuer": "https://issuer.example",
                    "signed_at": "2026-01-01T00:00:00Z", "certificate_not_after": "2026-01-01T00:00:00Z",
                });
            }),
            "the shard may not tell of",
        ),
        (
            "another file",
            edit(|it, at| it["packages"][at]["file"] = json!("other-1.0.0-0.conda")),
            "is not part of this release",
        ),
        (
            "a path that leads out",
            edit(|it, at| it["packages"][at]["log"] = json!("../../etc/passwd")),
            "leads upwards",
        ),
        (
            "a log in place of the state",
            edit(|it, at| it["packages"][at]["log"] = json!("release-manifest.json")),
            "the shard may not tell of",
        ),
        (
            "a subdir that leads out",
            edit(|it, at| it["packages"][at]["subdir"] = json!("../noarch")),
            "../noarch",
        ),
        (
            "a package of another shard",
            edit(|it, at| {
                let packages = it["packages"].as_array_mut().unwrap();
                let mut other = packages[at].clone();
                let others = (0..packages.len()).find(|place| *place != at).unwrap();
                for key in ["file", "recipe", "variant", "depends_on", "fingerprint"] {
                    other[key] = packages[others][key].clone();
                }
                packages[others] = other;
            }),
            "it was not its to build",
        ),
        (
            "another recipe",
            edit(|it, at| it["packages"][at]["recipe"] = json!("recipes/other/recipe.yaml")),
            "recipe",
        ),
        (
            "another source",
            edit(|it, _| it["source"]["commit"] = json!("0".repeat(40))),
            "source",
        ),
        (
            "no shard",
            edit(|it, _| drop(it.as_object_mut().unwrap().remove("shard"))),
            "the manifest of no shard",
        ),
        (
            "a foreign number",
            edit(|it, _| it["shard"] = json!(9)),
            "there is no shard 9",
        ),
        (
            "the number of another shard",
            Box::new(|| machines.edit(a, |it| it["shard"] = json!(b))),
            "it was not its to build",
        ),
        (
            "another package",
            Box::new(|| fs::write(package_of(a), b"other").unwrap()),
            "bytes with sha256",
        ),
        (
            "other bytes of the same length",
            Box::new(|| {
                let package = package_of(a);
                let mut bytes = fs::read(&package).unwrap();
                bytes[100] ^= 1;
                fs::write(package, bytes).unwrap();
            }),
            "bytes with sha256",
        ),
        (
            "a longer package",
            Box::new(|| {
                let package = package_of(a);
                let longer = [fs::read(&package).unwrap(), b"more".to_vec()].concat();
                fs::write(package, longer).unwrap();
            }),
            "expected at most",
        ),
        (
            "no package",
            Box::new(|| fs::remove_file(package_of(a)).unwrap()),
            "cannot copy",
        ),
        (
            "a shard that is there twice",
            Box::new(|| copy(&machines.folder(a), &machines.built.join("again"))),
            "is there twice",
        ),
        #[cfg(unix)]
        (
            "a link in place of the package",
            Box::new(|| {
                let package = package_of(a);
                let moved = workspace.beside("moved.conda");
                fs::rename(&package, &moved).unwrap();
                std::os::unix::fs::symlink(moved, package).unwrap();
            }),
            "a link on the way to it",
        ),
        #[cfg(unix)]
        (
            "a link in place of a folder",
            Box::new(|| {
                let folder = machines.folder(a).join("packages");
                let moved = workspace.beside("moved");
                let _was_there = fs::remove_dir_all(&moved);
                fs::rename(&folder, &moved).unwrap();
                std::os::unix::fs::symlink(moved, folder).unwrap();
            }),
            "a link on the way to it",
        ),
        #[cfg(unix)]
        (
            "a link in place of the manifest",
            Box::new(|| {
                let path = machines.folder(a).join("release-manifest.json");
                let moved = workspace.beside("moved.json");
                fs::rename(&path, &moved).unwrap();
                std::os::unix::fs::symlink(moved, path).unwrap();
            }),
            "a link on the way to it",
        ),
        #[cfg(unix)]
        (
            "a pipe in place of the package",
            Box::new(|| {
                let package = package_of(a);
                fs::remove_file(&package).unwrap();
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &package,
                    rustix::fs::FileType::Fifo,
                    0o600.into(),
                    0,
                )
                .unwrap();
            }),
            "expected a regular file",
        ),
    ];
    let mut taken = Vec::new();
    for (name, change, says) in table {
        change();
        let refused = machines.merge(&[]);
        let is_named = refused.mentions(&format!("shard-{a}")) || refused.mentions("again");
        let is_left_alone = !workspace.rehearsal("release-manifest.json").exists();
        if refused.status != Some(3) || !refused.mentions(says) || !is_named || !is_left_alone {
            taken.push(format!("{name}: {refused}"));
        }
        fs::remove_dir_all(&machines.built).unwrap();
        copy(&kept, &machines.built);
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
    for options in [
        ["--plan-digest", &other],
        ["--shards-digest", &other],
        ["--digest", &format!("{a}={other}")],
        [
            "--digests",
            &json!({ format!("shard-{a}"): other }).to_string(),
        ],
    ] {
        machines.merge(&options).ends(3);
    }
    // The assignment is what the digest stands for.
    let digest = machines.shards().digest().to_string();
    machines.merge(&["--shards-digest", &digest]).ends(0);
    let path = machines.planned.join("shards.json");
    let mut shards: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    shards["left_out"] = json!({});
    let swapped = shards["shards"][0]["packages"].take();
    shards["shards"][0]["packages"] = shards["shards"][1]["packages"].take();
    shards["shards"][1]["packages"] = swapped;
    fs::write(&path, shards.to_string()).unwrap();
    machines
        .merge(&["--shards-digest", &digest])
        .ends(3)
        .says("is another plan: its digest is");
    machines.merge(&[]).ends(3).says("it was not its to build");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(from, to).unwrap()),
        }
    }
}

#[test]
fn what_cannot_be_cut_is_said_before_anything_is_planned() {
    let workspace = three();
    for (options, says) in [
        (&["--shards", "257"][..], "at most 256 jobs"),
        (&["--shards", "0"], "number would be zero"),
        (&["--shard-by", "cost"], "needs --shards"),
        (
            &["--shard-by", "platform", "--shards", "2"],
            "leave --shards out",
        ),
        (&["--history", "manifest.json"], "--history is for --shards"),
    ] {
        workspace
            .run([&["plan"], options].concat())
            .ends(2)
            .says(says);
    }
    assert!(!workspace.rehearsal("shards").exists());
}
