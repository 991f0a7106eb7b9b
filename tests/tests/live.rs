//! Releases for real: the program as a job of GitHub Actions runs it, with the real Fulcio, Rekor and timestamp
//! authority on loopback, into channels that exist.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use end_to_end::{COMMIT, IDENTITY, Output, Server, Sigstore, Workspace, step_outputs};
use serde_json::Value;

const CHANNEL: &str = "https://conda.acme.example/pkgs";
const LIVE: &str = "target/conda-release/live";

/// A workspace without a repository, whose packages are attested for [`CHANNEL`].
fn workspace(packages: &[&str]) -> Workspace {
    let workspace = Workspace::plain();
    workspace.config(&format!("target-channel = \"{CHANNEL}\""));
    for package in packages {
        workspace.package(package);
    }
    workspace
}

/// Runs the program in a job that may have identity tokens.
fn run(workspace: &Workspace, sigstore: &Sigstore, args: &[&str]) -> Output {
    let mut command = workspace.command(args);
    command.envs(sigstore.job());
    command.env("CONDA_RELEASE_TRUST", sigstore.trust_config());
    workspace.run_command(command)
}

fn release(workspace: &Workspace, sigstore: &Sigstore, to: &Path, args: &[&str]) -> Output {
    let to = to.display().to_string();
    let args = [&["release", "-x", "--to", to.as_str()][..], args].concat();
    run(workspace, sigstore, &args)
}

/// Whether everything in a folder's channel was attested by the job, for the channel.
fn verify(workspace: &Workspace, sigstore: &Sigstore, channel: &Path) -> Output {
    let channel = channel.display().to_string();
    let args = [
        "verify",
        &channel,
        "--repo",
        "acme/pkgs",
        "--issuer",
        sigstore.issuer(),
        "--channel",
        CHANNEL,
    ];
    run(workspace, sigstore, &args)
}

fn manifest(workspace: &Workspace) -> Value {
    let path = workspace.path(LIVE).join("release-manifest.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn results(workspace: &Workspace) -> Vec<String> {
    let manifest = manifest(workspace);
    let packages = manifest["packages"].as_array().unwrap();
    let result = |package: &Value| {
        let published = package["published"]["result"].as_str();
        let name = package["file"].as_str().unwrap().split('-').next().unwrap();
        let result = published.or(package["skipped"].as_object().map(|_| "skipped"));
        let error = package["error"]["code"].as_str();
        format!("{name} {}", result.or(error).unwrap_or("nothing"))
    };
    packages.iter().map(result).collect()
}

#[test]
fn one_command_builds_attests_publishes_and_looks_as_a_client() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = workspace(&["one", "two"]);
    let channel = workspace.beside("channel");
    release(&workspace, &sigstore, &channel, &[])
        .ends(0)
        .says(IDENTITY)
        .says("Seen 2 packages");
    assert_eq!(results(&workspace), ["one uploaded", "two uploaded"]);
    assert_eq!(manifest(&workspace)["mode"], "live");
    verify(&workspace, &sigstore, &channel).ends(0);

    // The release is attested as a whole, and kept in the channel with its packages.
    let recorded = manifest(&workspace);
    let kept = recorded["release"]["url"].as_str().unwrap();
    let kept = Path::new(kept.strip_prefix("file://").unwrap());
    assert!(kept.starts_with(&channel), "{}", kept.display());
    let verified = verify(&workspace, &sigstore, kept).ends(0);
    assert!(
        verified.stdout.contains("attested with its packages by"),
        "{verified}"
    );
    assert!(verified.stdout.ends_with("2 of 2 verified\n"), "{verified}");

    // The same again does nothing: no build, no signature, no upload.
    let again = release(&workspace, &sigstore, &channel, &[]).ends(0);
    for verb in ["Built", "Attested", "Published", "Seen"] {
        assert!(!again.mentions(verb), "{verb}: {}", again.stderr);
    }
    assert_eq!(manifest(&workspace), recorded);
}

#[test]
fn what_nobody_looked_for_is_looked_for_by_the_next_run() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = workspace(&["one"]);
    let channel = workspace.beside("channel");
    let unseen = release(&workspace, &sigstore, &channel, &["--no-wait"]).ends(0);
    assert!(!unseen.mentions("Seen"), "{}", unseen.stderr);
    let seen = release(&workspace, &sigstore, &channel, &[]).ends(0);
    assert!(!seen.mentions("Built"), "{}", seen.stderr);
    seen.says("Seen 1 package");
    let again = release(&workspace, &sigstore, &channel, &[]).ends(0);
    assert!(!again.mentions("Seen"), "{}", again.stderr);
}

#[test]
fn build_numbers_count_on_from_what_the_channel_has() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let fresh = || {
        let workspace = workspace(&["one"]);
        workspace.recipe(
            "pair",
            "recipe:\n  name: pair\n  version: \"1.0\"\nbuild:\n  number: 2\noutputs:\n  - package:\n      name: left\n    build:\n      noarch: generic\n      script: mkdir -p $PREFIX/share && touch $PREFIX/share/left\n  - package:\n      name: right\n    build:\n      number: 1\n      noarch: generic\n      script: mkdir -p $PREFIX/share && touch $PREFIX/share/right\n    requirements:\n      run:\n        - ${{ pin_subpackage(\"left\", exact=true) }}\n",
        );
        workspace
    };
    let numbers = |workspace: &Workspace| -> Vec<String> {
        let manifest = manifest(workspace);
        let packages = manifest["packages"].as_array().unwrap();
        let number = |package: &Value| {
            let file = package["file"].as_str().unwrap();
            let (name, _) = file.split_once('-').unwrap();
            let (_, number) = file.rsplit_once('_').unwrap();
            format!("{name} {}", number.trim_end_matches(".conda"))
        };
        packages.iter().map(number).collect()
    };
    let first = fresh();
    let channel = first.beside("channel");
    // Nothing is there to be above of: the recipes' own.
    let above = ["--build-number", "+3"];
    release(&first, &sigstore, &channel, &above).ends(0);
    assert_eq!(numbers(&first), ["left 2", "one 0", "right 2"]);

    let second = fresh();
    let to = channel.display().to_string();
    run(
        &second,
        &sigstore,
        &["build", "-x", "--to", &to, "--build-number", "+3"],
    )
    .ends(0);
    assert_eq!(numbers(&second), ["left 5", "one 3", "right 5"]);
    // What was begun is continued with its numbers.
    let continued = release(&second, &sigstore, &channel, &above).ends(0);
    assert!(!continued.mentions("Built"), "{}", continued.stderr);
    assert_eq!(numbers(&second), ["left 5", "one 3", "right 5"]);
    // The pin follows the number.
    let mut left = second.packages_in(format!("{LIVE}/packages")).into_iter();
    let left = left.rfind(|name| name.starts_with("left-")).unwrap();
    let build = left.trim_end_matches(".conda").rsplit('-').next().unwrap();
    let index = fs::read_to_string(channel.join("noarch/repodata.json")).unwrap();
    assert!(index.contains(&format!("left ==1.0 {build}")), "{index}");

    let third = fresh();
    release(&third, &sigstore, &channel, &["--build-number", "next"]).ends(0);
    assert_eq!(numbers(&third), ["left 6", "one 4", "right 6"]);
    verify(&third, &sigstore, &channel).ends(0);

    // A rehearsal asks nobody.
    third.run(["plan", "--build-number", "next"]).ends(0);
    // A channel that does not answer is no empty one.
    let plan = [
        "plan",
        "-x",
        "--build-number",
        "next",
        "--to",
        "quetz://127.0.0.1:9/pkgs",
    ];
    let unreachable = run(&third, &sigstore, &plan).ends(3);
    assert!(!unreachable.stdout.contains("one-1"), "{unreachable}");
}

#[test]
fn an_unreadable_channel_never_restarts_build_numbers() {
    let workspace = workspace(&["one"]);
    let channel = workspace.beside("channel");
    let record = r#"{"name":"one","version":"1.0.0","build":"h4616a5c_4","build_number":4,"subdir":"noarch"}"#;
    let repodata = format!(r#"{{"packages.conda":{{"one-1.0.0-h4616a5c_4.conda":{record}}}}}"#);
    for subdir in ["noarch", "linux-64"] {
        fs::create_dir_all(channel.join(subdir)).unwrap();
    }
    fs::write(channel.join("noarch/repodata.json"), &repodata).unwrap();
    fs::write(channel.join("linux-64/repodata.json"), r#"{"packages":{}}"#).unwrap();
    let server = Server::of(&channel);
    workspace.config(&format!("target-channel = \"{}\"", server.channel()));
    let on_server = "artifactory://conda.acme.example/pkgs".to_owned();
    let in_folder = channel.display().to_string();
    let plan = |to: &str| {
        let args = [
            "plan",
            "-x",
            "--build-number",
            "+1",
            "--to",
            to,
            "--output-format",
            "json",
        ];
        let mut command = workspace.command(args);
        command.env("ARTIFACTORY_TOKEN", "token");
        workspace.run_command(command)
    };
    for to in [&on_server, &in_folder] {
        let planned = plan(to).ends(0).json();
        assert_eq!(planned["plan"]["packages"][0]["build_number"], 5);
    }

    let noarch = channel.join("noarch/repodata.json");
    for (content, code) in [
        (
            Some("<html><title>Sign in</title></html>"),
            "repodata_invalid",
        ),
        (Some(&repodata[..repodata.len() / 2]), "repodata_invalid"),
        (Some(""), "repodata_invalid"),
        (Some(r#"{"error":"sign in first"}"#), "repodata_invalid"),
        (None, "repodata_missing"),
    ] {
        match content {
            Some(content) => fs::write(&noarch, content).unwrap(),
            None => fs::remove_file(&noarch).unwrap(),
        }
        for to in [&on_server, &in_folder] {
            assert_eq!(
                plan(to).ends(3).json()["error"]["code"],
                code,
                "{to}: {content:?}"
            );
        }
    }
}

#[test]
fn a_fresh_machine_builds_and_publishes_only_what_the_channel_has_not() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let first = workspace(&["one", "two"]);
    let channel = first.beside("channel");
    release(&first, &sigstore, &channel, &[]).ends(0);

    let fresh = workspace(&["one", "two", "three", "four"]);
    // A package of another name builds upon one that is in the channel alone.
    fresh.recipe(
        "five",
        "package:\n  name: five\n  version: \"1.0\"\nbuild:\n  noarch: generic\n  script: cp $PREFIX/share/one.txt $PREFIX/share/five.txt\nrequirements:\n  host:\n    - one\n",
    );
    let plan = run(
        &fresh,
        &sigstore,
        &["plan", "-x", "--to", &channel.display().to_string()],
    );
    let plan = plan.ends(0);
    assert!(plan.stdout.contains("in the channel"), "{plan}");
    let released = release(&fresh, &sigstore, &channel, &[]).ends(0);
    assert_eq!(
        results(&fresh),
        [
            "five uploaded",
            "four uploaded",
            "one skipped",
            "three uploaded",
            "two skipped"
        ]
    );
    assert!(
        !released.mentions("Built noarch/one"),
        "{}",
        released.stderr
    );
    verify(&fresh, &sigstore, &channel).ends(0);
    // What was left out stays left out.
    release(&fresh, &sigstore, &channel, &[]).ends(0);
}

#[test]
fn a_conflict_is_named_and_holds_up_nothing_else() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let ours = workspace(&["one", "two"]);
    let channel = ours.beside("channel");
    let to = channel.display().to_string();
    run(&ours, &sigstore, &["build", "-x", "--to", &to]).ends(0);
    // Somebody else publishes the same name after it was built here.
    let theirs = workspace(&[]);
    theirs.script(
        "one",
        &["mkdir -p $PREFIX/share && echo other > $PREFIX/share/one.txt"],
        "",
    );
    release(&theirs, &sigstore, &channel, &[]).ends(0);
    for _ in 0..2 {
        release(&ours, &sigstore, &channel, &[])
            .ends(8)
            .says("one-")
            .says("is already published with other content");
        assert_eq!(results(&ours), ["one conflict", "two uploaded"]);
    }
    verify(&ours, &sigstore, &channel).ends(0);
}

#[test]
fn build_sign_and_publish_are_the_steps_of_a_release() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = workspace(&["one"]);
    let channel = workspace.beside("channel");
    let to = channel.display().to_string();
    // Building asks nobody who we are.
    workspace.run(["build", "-x", "--to", &to]).ends(0);
    run(&workspace, &sigstore, &["publish", "-x", "--to", &to]).ends(9);
    run(&workspace, &sigstore, &["sign", "-x"]).ends(0);
    assert_eq!(workspace.packages_in(&channel), Vec::<String>::new());
    run(&workspace, &sigstore, &["publish", "-x", "--to", &to]).ends(0);
    verify(&workspace, &sigstore, &channel).ends(0);

    // What the channel has already is left out of each step.
    let fresh = self::workspace(&["one", "two"]);
    fresh.run(["build", "-x", "--to", &to]).ends(0);
    run(&fresh, &sigstore, &["sign", "-x"]).ends(0);
    run(&fresh, &sigstore, &["publish", "-x", "--to", &to]).ends(0);
    assert_eq!(results(&fresh), ["one skipped", "two uploaded"]);
}

#[test]
fn packages_with_attestations_are_published_by_a_policy() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = workspace(&["one"]);
    let channel = workspace.beside("channel");
    let to = channel.display().to_string();
    workspace.run(["build", "-x", "--to", &to]).ends(0);
    let packages = format!("{LIVE}/packages");
    let name = workspace.packages_in(&packages).remove(0);
    let package = format!("{packages}/noarch/{name}");
    run(
        &workspace,
        &sigstore,
        &["sign", "-x", &package, "--channel", CHANNEL],
    )
    .ends(0);
    let publish = ["publish", "-x", &package, "--to", &to];
    let by = |repository| {
        let policy = ["--repo", repository, "--issuer", sigstore.issuer()];
        run(&workspace, &sigstore, &[&publish[..], &policy].concat())
    };
    run(&workspace, &sigstore, &publish)
        .ends(3)
        .says("no identity policy");
    by("acme/others").ends(7).says("nothing was published");
    assert!(!channel.exists());
    by("acme/pkgs").ends(0).says("1 new").says("Seen 1 package");
    verify(&workspace, &sigstore, &channel).ends(0);
    by("acme/pkgs").ends(0).says("already there");
}

#[test]
fn what_is_missing_is_told_before_anything_is_built_and_together() {
    let workspace = Workspace::plain();
    workspace.package("one");
    workspace
        .run(["release", "-x"])
        .ends(3)
        .says("no channel to publish to");
    let channel = workspace.beside("channel").display().to_string();
    workspace
        .run(["release", "-x", "--to", &channel])
        .ends(3)
        .says("no channel to attest packages for");
    workspace.config(&format!("target-channel = \"{CHANNEL}\""));
    let signing = ["--trust", "nowhere/trust_config.json"];
    let unready = [
        &["release", "-x", "--to", "https://prefix.dev.example/c"][..],
        &signing,
    ]
    .concat();
    workspace.run(&unready).ends(3).says("expected one of");
    let unready = [&["release", "-x", "--to", &channel][..], &signing].concat();
    let said = workspace.run(&unready).ends(3).says("trust_config.json");
    assert!(!said.mentions("Built"), "{}", said.stderr);
}

#[test]
fn only_a_clean_checkout_is_released_and_by_no_event_of_strangers() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = Workspace::with_one_package();
    workspace.commit();
    workspace.config(&format!("target-channel = \"{CHANNEL}\""));
    let channel = workspace.beside("channel");
    release(&workspace, &sigstore, &channel, &[])
        .ends(3)
        .says("files differ from the commit")
        .says("--allow-dirty");
    workspace.commit();
    let to = channel.display().to_string();
    let commands: [&[&str]; 6] = [
        &["release", "-x", "--to", &to],
        &["plan", "-x", "--to", &to],
        &["build", "-x", "--to", &to],
        &["sign", "-x"],
        &["publish", "-x", "--to", &to],
        &["sign", "one-1.0-h123_0.conda", "--trust", "staging"],
    ];
    for event in [
        "pull_request",
        "pull_request_target",
        "workflow_run",
        "issue_comment",
    ] {
        for command in commands {
            let mut command = workspace.command(command);
            command.envs(sigstore.job()).env("GITHUB_EVENT_NAME", event);
            workspace
                .run_command(command)
                .ends(3)
                .says(event)
                .says("--allow-event");
        }
    }
    assert!(!channel.exists());
}

#[test]
fn what_is_attested_is_the_commit_that_was_built() {
    let workspace = Workspace::with_one_package();
    workspace.config(&format!("target-channel = \"{CHANNEL}\""));
    workspace.git(&["remote", "add", "origin", "https://github.com/acme/pkgs"]);
    workspace.commit();
    let channel = workspace.beside("channel");
    {
        let Some(elsewhere) = Sigstore::start(COMMIT) else {
            return;
        };
        release(&workspace, &elsewhere, &channel, &[])
            .ends(6)
            .says("commit");
        assert_eq!(workspace.packages_in(&channel), Vec::<String>::new());
    }
    let commit = workspace.git(&["rev-parse", "HEAD"]);
    let Some(sigstore) = Sigstore::start(&commit) else {
        return;
    };
    // Another instance of Sigstore: what stands under the first is no part of it.
    release(&workspace, &sigstore, &channel, &[])
        .ends(3)
        .says("its trust is");
    release(
        &workspace,
        &sigstore,
        &channel,
        &["--output", "target/other"],
    )
    .ends(0);
    verify(&workspace, &sigstore, &channel).ends(0);
}

#[test]
fn many_machines_release_what_the_channel_has_not() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let first = workspace(&["one"]);
    let channel = first.beside("channel");
    release(&first, &sigstore, &channel, &[]).ends(0);

    let machines = workspace(&["one", "two"]);
    machines.recipe(
        "three",
        "package:\n  name: three\n  version: \"1.0\"\nbuild:\n  noarch: generic\n  script: cp $PREFIX/share/one.txt $PREFIX/share/three.txt\nrequirements:\n  host:\n    - one\n",
    );
    let to = channel.display().to_string();
    let planned = machines.run([
        "plan",
        "-x",
        "--to",
        &to,
        "--shards",
        "2",
        "--output-format",
        "json",
    ]);
    let shards_digest = planned.ends(0).json()["shards_digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let (shards, built) = (machines.beside("shards"), machines.beside("built"));
    fs::rename(machines.path(LIVE).join("shards"), &shards).unwrap();
    let plan = shards.join("plan.json").display().to_string();
    let outputs = machines.beside("outputs");
    fs::create_dir(&built).unwrap();
    fs::write(&outputs, "").unwrap();
    for shard in ["1", "2"] {
        fs::remove_dir_all(machines.path("target")).unwrap();
        let mut build = machines.command(["build", "--plan", &plan, "--shard", shard]);
        build.env("GITHUB_OUTPUT", &outputs);
        machines.run_command(build).ends(0);
        let folder = format!("shard-{shard}");
        fs::rename(machines.path(LIVE).join(&folder), built.join(folder)).unwrap();
    }
    fs::remove_dir_all(machines.path("target")).unwrap();

    // For real, nothing that anybody could have replaced is believed.
    let built = built.display().to_string();
    let merge = ["merge", "--plan", &plan, &built];
    machines.run(merge).ends(2).says("--shards-digest");
    let merge = [&merge[..], &["--shards-digest", &shards_digest]].concat();
    machines
        .run(&merge)
        .ends(3)
        .says("with the digest that its job printed");
    let digests = step_outputs(&fs::read_to_string(outputs).unwrap());
    let digests = serde_json::to_string(&digests).unwrap();
    machines
        .run([&merge[..], &["--digests", &digests]].concat())
        .ends(0);

    run(&machines, &sigstore, &["sign", "-x"]).ends(0);
    run(&machines, &sigstore, &["publish", "-x", "--to", &to]).ends(0);
    assert_eq!(
        results(&machines),
        ["one skipped", "three uploaded", "two uploaded"]
    );
    assert_eq!(manifest(&machines)["isolation"], "separate-job");
    verify(&machines, &sigstore, &channel).ends(0);
}

#[test]
fn what_a_killed_run_left_without_attestation_is_warned_of_elsewhere_and_mended_where_it_was_made()
{
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let killed = workspace(&["one"]);
    let channel = killed.beside("channel");
    let to = channel.display().to_string();
    killed.run(["build", "-x", "--to", &to]).ends(0);
    run(&killed, &sigstore, &["sign", "-x"]).ends(0);
    // So far it came, and another one indexes what is there.
    let packages = format!("{LIVE}/packages");
    let name = killed.packages_in(&packages).remove(0);
    release(&workspace(&["other"]), &sigstore, &channel, &[]).ends(0);
    let left = channel.join("noarch").join(&name);
    fs::copy(killed.path(&packages).join("noarch").join(&name), left).unwrap();
    release(&workspace(&["another"]), &sigstore, &channel, &[]).ends(0);

    let fresh = workspace(&["one", "two"]);
    release(&fresh, &sigstore, &channel, &[])
        .ends(0)
        .says(&format!(
            "noarch/{name} is left out, as the channel has it, but without an attestation"
        ));
    assert_eq!(results(&fresh), ["one skipped", "two uploaded"]);
    verify(&fresh, &sigstore, &channel).ends(7);

    let mended = release(&killed, &sigstore, &channel, &[]).ends(0);
    assert!(!mended.mentions("Built"), "{mended}");
    assert_eq!(results(&killed), ["one identical"]);
    verify(&killed, &sigstore, &channel).ends(0);
    let fresh = release(&workspace(&["one"]), &sigstore, &channel, &[]).ends(0);
    assert!(!fresh.mentions("without an attestation"), "{fresh}");
}
