//! What goes wrong says what was expected and names the fix, ends with its documented status, and loses nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::PathBuf;

use end_to_end::{Gate, Mount, Output, Workspace, in_namespace, repodata};
use fs_err as fs;
use insta::assert_snapshot;
use release_manifest::{Mode, Phase, Progress};
use serde_json::Value;

/// Runs a command that cannot do what it should, for a person and for a script: it ends with `status`, prints
/// nothing but the reason, and the one JSON document has the stable `code` and a way out.
#[track_caller]
fn refused(workspace: &Workspace, args: &[&str], status: i32, code: &str) -> Output {
    let json = workspace
        .run([args, &["--output-format", "json"]].concat())
        .ends(status);
    let error = &json.json()["error"];
    assert_eq!(error["code"], code, "{json}");
    assert_eq!(error["exit_status"], status, "{json}");
    assert!(!error["message"].as_str().unwrap().is_empty(), "{json}");
    assert!(
        !json.stderr.is_empty() && !json.stderr.contains("\"schema_version\""),
        "{json}"
    );

    let human = workspace.run(args).ends(status);
    assert_eq!(human.stdout, "", "{human}");
    for said in [&error["message"], &error["help"]] {
        let said = said.as_str().unwrap_or_default();
        assert!(human.mentions(said), "expected `{said}` in {human}");
    }
    human
}

/// A workspace whose one package was released, and a digest of what is there to lose.
fn released() -> (Workspace, State) {
    let workspace = Workspace::with_one_package();
    workspace.commit();
    workspace.run(["release"]).ends(0);
    let state = State::of(&workspace);
    (workspace, state)
}

/// What a release has achieved, and a later one must not lose.
#[derive(Debug, PartialEq)]
struct State {
    manifest: String,
    channel: Value,
    packages: Vec<String>,
}

impl State {
    fn of(workspace: &Workspace) -> Self {
        Self {
            manifest: fs::read_to_string(workspace.rehearsal("release-manifest.json")).unwrap(),
            channel: workspace.repodata("noarch"),
            packages: workspace.packages_in("target/conda-release/rehearsal/packages"),
        }
    }
}

mod configuration {
    use super::*;

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest_known_one() {
        let (workspace, before) = released();
        workspace.config("output = \"target/conda-release\"\n[build]\npakage-format = \"conda\"\n");
        let output = refused(&workspace, &["release"], 3, "config_invalid");
        assert_snapshot!(workspace.redact(&output.stderr));
        assert_eq!(State::of(&workspace), before);
    }

    #[test]
    fn a_wrong_value_names_its_place() {
        let workspace = Workspace::with_one_package();
        workspace.config("[sign]\nconcurrency = 0\n");
        refused(&workspace, &["release"], 3, "config_invalid")
            .says("conda-release.toml:2:15")
            .says("expected a nonzero");
    }

    #[test]
    fn what_is_no_toml_names_its_place() {
        let workspace = Workspace::with_one_package();
        workspace.config("recipes = [\n");
        refused(&workspace, &["plan"], 3, "config_invalid").says("conda-release.toml:");
    }

    #[test]
    fn two_configurations_are_one_too_many() {
        let (workspace, before) = released();
        workspace.write(
            "Cargo.toml",
            "[workspace]\n[workspace.metadata.conda-release]\noutput = \"out\"\n",
        );
        refused(&workspace, &["release"], 3, "config_twice")
            .says("conda-release.toml`")
            .says("`[workspace.metadata.conda-release]`")
            .says("help: keep one of them");
        assert_eq!(State::of(&workspace), before);
    }

    #[test]
    fn a_configuration_that_is_not_there_is_named() {
        let workspace = Workspace::with_one_package();
        refused(
            &workspace,
            &["release", "--config", "other.toml"],
            3,
            "config_unreadable",
        )
        .says("other.toml");
    }

    #[test]
    fn a_workspace_that_is_not_there_is_named() {
        let workspace = Workspace::with_one_package();
        refused(&workspace, &["release", "--root", "nowhere"], 3, "output")
            .says("cannot read `nowhere`")
            .says("name a file or folder that exists");
    }

    #[test]
    fn a_channel_with_a_token_in_it_is_refused_and_not_repeated() {
        let workspace = Workspace::with_one_package();
        let url = "https://prefix.dev/t/tk-1234567890/acme";
        let output = workspace.run(["release", "--to", url]).ends(3);
        assert!(!output.stderr.contains("tk-1234567890"), "{output}");
    }
}

mod recipes {
    use super::*;

    #[test]
    fn broken_yaml_shows_the_line() {
        let (workspace, before) = released();
        workspace.recipe("broken", "package:\n  name: broken\n version: 1\n");
        let output = refused(&workspace, &["release"], 3, "invalid_recipe");
        assert_snapshot!(workspace.redact(&output.stderr));
        assert_eq!(State::of(&workspace), before);
    }

    #[test]
    fn an_unknown_section_shows_the_line_and_the_known_ones() {
        let workspace = Workspace::new();
        workspace.recipe(
            "odd",
            "package:\n  name: odd\n  version: 1\nbuidl:\n  noarch: generic\n",
        );
        let output = refused(&workspace, &["plan"], 3, "invalid_recipe");
        assert_snapshot!(workspace.redact(&output.stderr));
    }

    #[test]
    fn a_missing_recipe_says_where_it_was_looked_for() {
        let (workspace, before) = released();
        refused(
            &workspace,
            &["release", "recipes/nope"],
            3,
            "missing_recipe",
        )
        .says("no recipe found for")
        .says("recipes/nope`")
        .says("`recipes` takes folders with a recipe.yaml");
        assert_eq!(State::of(&workspace), before);
    }

    #[test]
    fn a_cycle_is_printed_all_the_way_round() {
        let (workspace, before) = released();
        for (name, needs) in [("a", "b"), ("b", "c"), ("c", "a")] {
            let needs = format!("requirements:\n  host:\n    - {needs}\n");
            workspace.script(name, &["true"], &needs);
        }
        let output =
            refused(&workspace, &["release"], 3, "dependency_cycle").says("break the cycle");
        let names =
            ["a", "b", "c", "a"].map(|name| format!("noarch/{name}-1.0.0-h4616a5c_0.conda"));
        assert!(output.mentions(&names.join(" → ")), "{output}");
        assert_eq!(State::of(&workspace), before);
    }

    #[test]
    fn two_recipes_of_one_package_are_both_named() {
        let workspace = Workspace::new();
        workspace.package("one");
        let text = fs::read_to_string(workspace.path("recipes/one/recipe.yaml")).unwrap();
        workspace.recipe("two", &text);
        refused(&workspace, &["plan"], 3, "duplicate_output")
            .says("recipes/one/recipe.yaml")
            .says("recipes/two/recipe.yaml");
    }
}

mod builds {
    use super::*;

    /// `bad`, whose script prints forty lines and fails; `after`, which needs it; and `good`, which does not.
    fn with_a_bad_script() -> Workspace {
        let workspace = Workspace::new();
        workspace
            .script(
                "bad",
                &["for i in $(seq 40); do echo line $i >&2; done", "false"],
                "",
            )
            .script("after", &["true"], "requirements:\n  host:\n    - bad\n")
            .package("good")
            .commit();
        workspace
    }

    fn progress(workspace: &Workspace, name: &str) -> Progress {
        let manifest = workspace.manifest();
        let mut packages = manifest.packages().iter();
        packages
            .find(|package| package.file.name() == name)
            .unwrap()
            .progress
    }

    #[test]
    fn a_failing_script_shows_its_end_its_recipe_and_its_log() {
        let workspace = with_a_bad_script();
        let output = workspace
            .run(["release"])
            .ends(4)
            .says("the build script of `bad-1.0.0-h4616a5c_0.conda` failed")
            .says("recipes/bad/recipe.yaml")
            .says("Blocked noarch/after-1.0.0-h4616a5c_0.conda");
        let tail: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| line.trim_start().starts_with('│'))
            .collect();
        assert_eq!(tail.len(), 30, "{output}");
        assert!(output.stderr.contains("│ line 40\n"), "{output}");
        let log = output
            .stderr
            .lines()
            .find_map(|line| line.trim().strip_prefix("full log: "));
        let log = fs::read_to_string(workspace.path(log.unwrap())).unwrap();
        assert!(
            log.contains("line 1\n") && log.contains("line 40\n"),
            "{log}"
        );
    }

    #[test]
    fn what_does_not_need_the_failed_package_is_built_and_nothing_is_signed() {
        let workspace = with_a_bad_script();
        workspace.run(["release"]).ends(4);
        let all = ["good", "bad", "after"].map(|name| progress(&workspace, name));
        assert_eq!(
            all,
            [Progress::Tested, Progress::Planned, Progress::Planned]
        );
        assert!(!workspace.rehearsal("sandbox").exists());
        assert_eq!(
            workspace.packages_in("target/conda-release/rehearsal/channel"),
            [""; 0]
        );
    }

    #[test]
    fn with_keep_going_the_others_are_published_and_the_status_still_tells() {
        let workspace = with_a_bad_script();
        workspace.run(["release", "--keep-going"]).ends(4);
        assert_eq!(progress(&workspace, "good"), Progress::Published);
        let channel = repodata(&workspace.rehearsal("channel"), "noarch");
        let names: Vec<&String> = channel["packages.conda"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert_eq!(names, ["good-1.0.0-h4616a5c_0.conda"]);
    }

    #[test]
    fn after_the_fix_the_same_command_continues() {
        let workspace = with_a_bad_script();
        workspace.run(["release"]).ends(4);
        let built = |workspace: &Workspace| {
            let manifest = workspace.manifest();
            let mut packages = manifest.packages().iter();
            packages
                .find(|package| package.file.name() == "good")
                .unwrap()
                .times
                .built
        };
        let before = built(&workspace);
        workspace.package("bad").commit();
        let output = workspace.run(["release"]).ends(0);
        assert!(!output.mentions("Built noarch/good"), "{output}");
        assert_eq!(built(&workspace), before);
        let all = ["good", "bad", "after"].map(|name| progress(&workspace, name));
        assert_eq!(all, [Progress::Published; 3]);
    }

    #[test]
    fn a_failing_package_test_keeps_the_package_to_look_at() {
        let workspace = Workspace::new();
        let install = "mkdir -p $PREFIX/share && touch $PREFIX/share/one.txt";
        let test = "tests:\n  - script:\n      - echo tested it\n      - false\n";
        workspace.script("one", &[install], test).commit();
        let broken = workspace.rehearsal("broken/noarch/one-1.0.0-h4616a5c_0.conda");
        // The same again is told the same: what failed is built and tested anew.
        for _ in 0..2 {
            let output = workspace
                .run(["release"])
                .ends(4)
                .says("a test of `one-1.0.0-h4616a5c_0.conda` failed")
                .says("│ tested it")
                .says(&format!("the package is kept as `{}`", broken.display()));
            assert!(!output.mentions("warning"), "{output}");
            assert!(broken.is_file());
            assert_eq!(
                workspace.packages_in("target/conda-release/rehearsal/packages"),
                [""; 0]
            );
            let manifest = workspace.manifest();
            let package = &manifest.packages()[0];
            let error = package.error.as_ref().unwrap();
            assert_eq!(
                (package.progress, error.phase),
                (Progress::Planned, Phase::Test)
            );
        }

        workspace.package("one").commit();
        workspace.run(["release"]).ends(0);
        assert_eq!(progress(&workspace, "one"), Progress::Published);
    }

    #[test]
    fn a_package_without_the_expected_files_is_a_failed_test_too() {
        let workspace = Workspace::new();
        let test = "tests:\n  - package_contents:\n      files:\n        - share/missing.txt\n";
        workspace
            .script(
                "one",
                &["mkdir -p $PREFIX/share && touch $PREFIX/share/one.txt"],
                test,
            )
            .commit();
        workspace.run(["release"]).ends(4).says("share/missing.txt");
        assert_eq!(
            workspace
                .packages_in("target/conda-release/rehearsal/broken")
                .len(),
            1
        );
    }

    #[test]
    fn a_failed_release_is_still_one_json_document() {
        let workspace = with_a_bad_script();
        let output = workspace
            .run(["release", "--output-format", "json"])
            .ends(4);
        let manifest = output.json();
        let packages = manifest["packages"].as_array().unwrap();
        let bad = packages
            .iter()
            .find(|package| package["recipe"] == "recipes/bad/recipe.yaml")
            .unwrap();
        assert_eq!(bad["error"]["code"], "script_failed");
        let log = workspace.rehearsal(bad["error"]["log"].as_str().unwrap());
        assert!(log.is_file(), "{}", log.display());
        assert!(output.stderr.contains("│ line 40\n"), "{output}");
    }

    #[test]
    fn a_failed_rebuild_takes_nothing_out_of_the_channel() {
        let (workspace, before) = released();
        workspace.script("one", &["false"], "").commit();
        workspace.run(["release"]).ends(4);
        assert_eq!(workspace.repodata("noarch"), before.channel);
    }
}

mod state {
    use super::*;

    #[test]
    fn a_manifest_of_a_newer_version_is_left_alone() {
        let (workspace, _) = released();
        let file = workspace.rehearsal("release-manifest.json");
        let newer = fs::read_to_string(&file)
            .unwrap()
            .replace("\"schema_version\": 2", "\"schema_version\": 3");
        fs::write(&file, &newer).unwrap();
        for command in ["release", "plan", "build", "sign", "publish"] {
            refused(&workspace, &[command], 3, "state_invalid")
                .says("expected a manifest of schema version 2, which this tool supports, found version 3")
                .says("a newer version wrote it: use that version, or another --output");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    }

    #[test]
    fn a_damaged_manifest_says_what_to_remove() {
        let (workspace, before) = released();
        let file = workspace.rehearsal("release-manifest.json");
        fs::write(&file, &before.manifest[..before.manifest.len() / 2]).unwrap();
        refused(&workspace, &["release"], 3, "state_invalid")
            .says("release-manifest.json`")
            .says("to plan afresh");
        fs::remove_file(&file).unwrap();
        workspace.run(["release"]).ends(0);
    }

    #[test]
    fn a_manifest_of_the_other_mode_is_another_releases() {
        let (workspace, _) = released();
        let file = workspace.rehearsal("release-manifest.json");
        let live = fs::read_to_string(&file)
            .unwrap()
            .replace("\"mode\": \"rehearsal\"", "\"mode\": \"live\"");
        fs::write(&file, &live).unwrap();
        assert_eq!(workspace.manifest().mode, Mode::Live);
        for command in ["release", "sign", "publish"] {
            refused(&workspace, &[command], 3, "other_release")
                .says("its mode is `live`, expected `rehearsal`")
                .says("give this release another --output");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), live);
    }

    #[test]
    fn a_package_that_changed_after_it_was_signed_is_not_published() {
        let workspace = Workspace::with_two_packages();
        workspace.run(["build"]).ends(0);
        workspace.run(["sign"]).ends(0);
        let package = workspace
            .packages_in("target/conda-release/rehearsal/packages")
            .remove(0);
        let file = workspace.rehearsal("packages/noarch").join(&package);
        let mut bytes = fs::read(&file).unwrap();
        bytes.extend(b"and more");
        fs::write(&file, bytes).unwrap();
        workspace
            .run(["publish"])
            .ends(9)
            .says(&format!("warning noarch/{package}"))
            .says("taken back to planned")
            .says("Unfinished `release` does what is left");
        assert_eq!(
            workspace.packages_in("target/conda-release/rehearsal/channel"),
            [""; 0]
        );

        workspace.run(["release"]).ends(0);
        assert_eq!(
            workspace
                .packages_in("target/conda-release/rehearsal/channel")
                .len(),
            2
        );
    }

    #[test]
    fn a_second_run_at_the_same_time_is_told_the_process_of_the_first() {
        let workspace = Workspace::new();
        let gate = Gate::new(&workspace, "gate");
        workspace.script("slow", &[&gate.line()], "").commit();
        let first = workspace.start(["release"]);
        gate.wait();
        let folder = workspace.path("target/conda-release");
        for command in ["release", "plan", "build", "sign", "publish"] {
            refused(&workspace, &[command], 3, "locked")
                .says(&format!(
                    "another run (process {}) is at work in `{}`",
                    first.pid(),
                    folder.display()
                ))
                .says("give this run a folder of its own with --output");
        }
        gate.open();
        first.wait().ends(0);
        workspace.run(["release"]).ends(0);
    }
}

mod places {
    use super::*;

    #[test]
    fn an_output_folder_that_cannot_be_written_is_named_before_anything_is_built() {
        let workspace = Workspace::with_one_package();
        let output = workspace.beside("output");
        fs::create_dir(&output).unwrap();
        for format in ["human", "json"] {
            let args = [
                "release",
                "--output",
                output.to_str().unwrap(),
                "--output-format",
                format,
            ];
            let command = workspace.command(args);
            let Some(output) = in_namespace(&command, &[Mount::ReadOnly(output.clone())], "true")
            else {
                return;
            };
            let output = output
                .ends(3)
                .says("Read-only file system")
                .says("or choose another output folder with --output");
            match format {
                "json" => assert_eq!(output.json()["error"]["code"], "output", "{output}"),
                _ => assert_eq!(output.stdout, "", "{output}"),
            }
        }
    }

    #[test]
    fn a_full_disk_is_named_and_a_run_with_more_room_continues() {
        let workspace = Workspace::with_one_package();
        workspace.commit();
        let folder = workspace.beside("output");
        fs::create_dir(&folder).unwrap();
        let path = folder.to_str().unwrap();
        let command = workspace.command(["release", "--output", path]);
        let again = format!(
            "mount -o remount,size=64m '{path}' && '{}' release --output '{path}' && echo continued",
            end_to_end::program().display()
        );
        // Room for the plan, and not for the build.
        let mounts = [Mount::Small(folder.clone(), 48 << 10)];
        let Some(output) = in_namespace(&command, &mounts, &again) else {
            return;
        };
        assert!(matches!(output.status, Some(3 | 4)), "{output}");
        let output = output
            .says("No space left on device")
            .says("Finished rehearsal");
        assert!(output.stdout.ends_with("continued\n"), "{output}");
    }

    #[test]
    fn a_full_disk_while_publishing_shows_clients_nothing_half_done_and_is_continued() {
        let (workspace, _) = released();
        let channel: PathBuf = workspace.beside("channel");
        fs::create_dir(&channel).unwrap();
        let path = channel.to_str().unwrap();
        let command = workspace.command(["publish", "--to", path]);
        // Room for the channel's own files, and not for the package with its attestations.
        let mounts = [Mount::Small(channel.clone(), 24 << 10)];
        let after = format!(
            "cat '{path}/noarch/repodata.json'; mount -o remount,size=1m '{path}' \\
             && '{}' publish --to '{path}' && cat '{path}/noarch/repodata.json'",
            end_to_end::program().display()
        );
        let Some(output) = in_namespace(&command, &mounts, &after) else {
            return;
        };
        let output = output
            .ends(8)
            .says("No space left on device")
            .says("free some space on that disk and run the same command again: it continues");
        let indexes: Vec<Value> = serde_json::Deserializer::from_str(&output.stdout)
            .into_iter()
            .map(|index| index.unwrap())
            .collect();
        let listed = |index: &Value| {
            index["packages.conda"]
                .as_object()
                .map_or(0, |all| all.len())
        };
        assert_eq!(
            indexes.iter().map(listed).collect::<Vec<_>>(),
            [0, 1],
            "{output}"
        );
    }

    #[test]
    fn a_path_too_long_to_build_in_says_by_how_much() {
        let workspace = Workspace::with_one_package();
        let long = format!("{}/{}", "d".repeat(200), "e".repeat(100));
        refused(
            &workspace,
            &["release", "--output", &long],
            3,
            "path_too_long",
        )
        .says("is too long to build `one` in")
        .says("choose an `output` folder that is at least");
    }

    #[test]
    fn a_file_where_the_output_folder_should_be_is_named() {
        let workspace = Workspace::with_one_package();
        workspace.write("out", "a file");
        refused(&workspace, &["release", "--output", "out"], 3, "output").says("out`");
        assert_eq!(fs::read_to_string(workspace.path("out")).unwrap(), "a file");
    }

    #[test]
    fn a_folder_without_a_workspace_says_what_makes_one() {
        let workspace = Workspace::plain();
        let folder = workspace.beside("elsewhere");
        fs::create_dir(&folder).unwrap();
        let mut command = workspace.command(["release"]);
        command.current_dir(&folder);
        workspace
            .run_command(command)
            .ends(3)
            .says("no workspace found at or above")
            .says("name the workspace with --root");
    }
}

mod usage {
    use super::*;

    #[test]
    fn wrong_command_lines_end_with_2_and_say_what_is_wrong() {
        let workspace = Workspace::with_one_package();
        for (args, says) in [
            (&["frobnicate"][..], "unrecognized subcommand 'frobnicate'"),
            (&["relase"], "'release'"),
            (
                &["release", "--jobs", "0"],
                "invalid value '0' for '--jobs <N>'",
            ),
            (&["release", "--keep-goin"], "'--keep-going'"),
            (&["release", "-q", "-v"], "cannot be used with"),
            (
                &["build", "--variant", "python"],
                "expected KEY=VALUE[,VALUE…], found `python`",
            ),
            (
                &["sign", "a-1-0.conda", "--channel", "nonsense"],
                "expected a target channel URL",
            ),
            (&["verify"], "<PACKAGE|CHANNEL|MANIFEST>..."),
            (&["verify", "x.conda", "--identity", "me"], "--issuer <URL>"),
            (
                &[
                    "verify",
                    "x.conda",
                    "--identity",
                    "me",
                    "--issuer",
                    "i",
                    "--allow-any-identity",
                ],
                "cannot be used with",
            ),
            (&["publish", "x.conda"], "--to"),
            (
                &["schema", "sql"],
                "[possible values: config, plan, decisions, manifest, journal, shards, predicate]",
            ),
            (&[], "Usage: conda-release"),
        ] {
            let output = workspace.run(args).ends(2).says(says);
            assert_eq!(output.stdout, "", "{output}");
            let json = workspace
                .run([args, &["--output-format=json"]].concat())
                .ends(2);
            assert_eq!(json.json()["error"]["code"], "usage", "{json}");
            assert_eq!(json.json()["error"]["exit_status"], 2, "{json}");
        }
        assert!(!workspace.path("target").exists());
    }

    #[test]
    fn json_asked_for_by_the_environment_holds_for_wrong_command_lines_too() {
        let workspace = Workspace::with_one_package();
        let mut command = workspace.command(["frobnicate"]);
        command.env("CONDA_RELEASE_OUTPUT_FORMAT", "json");
        let output = workspace.run_command(command).ends(2);
        assert_eq!(
            output.json()["error"]["message"],
            "unrecognized subcommand 'frobnicate'"
        );
    }
}
