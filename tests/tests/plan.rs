//! `plan` and what it shares with `build` and `release`: what is selected, by name and by what changed, and what goes on without
//! what cannot be planned.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use end_to_end::{Output, Workspace};
use release_manifest::Progress;
use serde_json::Value;

/// `chain` needs `second` needs `first`; `alone` stands alone.
fn workspace() -> Workspace {
    let workspace = Workspace::with_two_packages();
    workspace
        .script("chain", &["true"], "requirements:\n  run:\n    - second\n")
        .package("alone")
        .commit();
    workspace
}

/// The verdict about each output by its name.
fn verdicts(output: &Output) -> BTreeMap<String, String> {
    let document = output.json();
    let decisions = document["decisions"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    decisions
        .map(|decision| (text(&decision["output"]), text(&decision["verdict"])))
        .collect()
}

/// The names of the outputs that would be built.
#[track_caller]
fn built(workspace: &Workspace, args: &[&str]) -> Vec<String> {
    let args = [&["plan", "--output-format", "json"], args].concat();
    let verdicts = verdicts(&workspace.run(args).ends(0));
    let built = verdicts.into_iter().filter(|(_, it)| it == "build");
    built.map(|(name, _)| name).collect()
}

/// How far each package is, by its name.
fn progress(workspace: &Workspace) -> Vec<(String, Progress)> {
    let manifest = workspace.manifest();
    let packages = manifest.packages().iter();
    packages
        .map(|package| (package.file.name().to_owned(), package.progress))
        .collect()
}

#[test]
fn outputs_are_selected_by_name_and_glob() {
    let workspace = workspace();
    for (args, expected) in [
        (&[][..], &["alone", "chain", "first", "second"][..]),
        (&["--only", "alone"], &["alone"]),
        (&["--only", "f*", "--only", "alone"], &["alone", "first"]),
        (&["--up-to", "second"], &["first", "second"]),
        (&["--up-to", "chain"], &["chain", "first", "second"]),
        (
            &["--up-to", "second", "--only", "alone"],
            &["alone", "first", "second"],
        ),
        (&["--exclude", "{chain,alone}"], &["first", "second"]),
        (
            &["--up-to", "*", "--exclude", "chain"],
            &["alone", "first", "second"],
        ),
    ] {
        assert_eq!(built(&workspace, args), expected, "{args:?}");
    }
    let output = workspace.run(["plan", "--only", "alone"]).ends(0);
    assert_eq!(output.stdout.matches("not selected").count(), 3, "{output}");
}

#[test]
fn a_name_that_no_output_has_is_refused_with_the_nearest() {
    let workspace = workspace();
    for (args, hint) in [
        (["--only", "secnd"], "did you mean `second`?"),
        (["--exclude", "alon*e*x"], "did you mean `alone`?"),
        (
            ["--up-to", "zzzzzzzzzzzzz"],
            "`plan` shows the names of all outputs",
        ),
    ] {
        let args = ["plan", args[0], args[1], "--output-format", "json"];
        let output = workspace.run(args).ends(2);
        assert_eq!(output.json()["error"]["code"], "no_such_output");
        assert_eq!(output.json()["error"]["help"], hint);
        output.says(&format!(
            "`{} {}` matches no output of the plan",
            args[1], args[2]
        ));
    }
    workspace
        .run(["plan", "--only", "[a"])
        .ends(2)
        .says("is not a usable glob");
}

#[test]
fn what_a_selected_package_needs_is_selected_too_or_was_built_before() {
    let workspace = workspace();
    for command in ["plan", "build", "release"] {
        workspace
            .run([command, "--only", "second"])
            .ends(3)
            .says("`noarch/second-1.0.0-h4616a5c_0.conda` needs `noarch/first-1.0.0-h4616a5c_0.conda`")
            .says("--up-to second");
    }
    workspace.run(["plan", "--exclude", "first"]).ends(3);
    workspace.run(["build", "--only", "first"]).ends(0);
    let output = workspace.run(["build", "--only", "second"]).ends(0);
    assert!(!output.mentions("Built noarch/first"), "{output}");
    assert!(output.mentions("Built noarch/second"), "{output}");
    // What was built from something else is not what it needs.
    workspace
        .script(
            "first",
            &["mkdir -p $PREFIX/share && echo x > $PREFIX/share/first.txt"],
            "",
        )
        .script("second", &["true"], "requirements:\n  host:\n    - first\n")
        .commit();
    workspace.run(["build", "--only", "second"]).ends(3);
}

#[test]
fn only_what_is_selected_goes_on_and_nothing_else_is_lost() {
    let workspace = workspace();
    workspace.run(["build"]).ends(0);
    workspace.run(["release", "--only", "alone"]).ends(0);
    let expected = [
        ("alone", Progress::Published),
        ("chain", Progress::Tested),
        ("first", Progress::Tested),
        ("second", Progress::Tested),
    ]
    .map(|(name, progress)| (name.to_owned(), progress));
    assert_eq!(progress(&workspace), expected);
    // The steps that continue a release keep to the selection.
    workspace.run(["sign"]).ends(0);
    workspace.run(["publish"]).ends(0);
    assert_eq!(progress(&workspace), expected);
    let output = workspace.run(["release"]).ends(0);
    assert!(!output.mentions("Built"), "{output}");
    let all = progress(&workspace);
    assert!(
        all.iter().all(|(_, it)| *it == Progress::Published),
        "{all:?}"
    );
}

#[test]
fn what_changed_and_was_not_selected_leaves_the_local_channel() {
    let workspace = workspace();
    workspace.run(["build"]).ends(0);
    workspace
        .script(
            "first",
            &["mkdir -p $PREFIX/share && echo x > $PREFIX/share/first.txt"],
            "",
        )
        .commit();
    workspace.run(["build", "--only", "alone"]).ends(0);
    let packages = workspace.packages_in(workspace.rehearsal("packages"));
    let names: Vec<&str> = packages
        .iter()
        .map(|it| it.split('-').next().unwrap())
        .collect();
    assert_eq!(names, ["alone", "chain"], "{packages:?}");
}

#[test]
fn what_changed_since_a_reference_is_built_with_what_depends_on_it() {
    let workspace = workspace();
    workspace.git(&["checkout", "--quiet", "-b", "topic"]);
    let since = |extra: &[&str]| built(&workspace, &[&["--changed-since", "main"], extra].concat());
    assert!(since(&[]).is_empty());
    workspace
        .package("alone")
        .write("recipes/alone/notes.txt", "new\n");
    assert_eq!(since(&[]), ["alone"], "not committed, not even added");
    workspace.write("recipes/first/notes.txt", "new\n").commit();
    assert_eq!(since(&[]), ["alone", "chain", "first", "second"]);
    assert_eq!(since(&["--exclude", "alone"]), ["chain", "first", "second"]);

    // What was merged into the other branch meanwhile is not ours.
    workspace.git(&["checkout", "--quiet", "main"]);
    workspace
        .write("recipes/chain/notes.txt", "theirs\n")
        .commit();
    workspace.git(&["checkout", "--quiet", "topic"]);
    workspace.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    assert!(since(&[]).is_empty());
}

#[test]
fn what_a_changed_package_needs_is_built_for_it_and_the_change_is_told() {
    let workspace = workspace();
    workspace.write("recipes/chain/notes.txt", "new\n");
    let args = ["plan", "--changed-since", "HEAD", "--output-format", "json"];
    let output = workspace.run(args).ends(0);
    let document = output.json();
    let reasons: BTreeMap<&str, &str> = document["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["output"].as_str().unwrap(),
                it["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("alone", "it was not selected"),
        ("chain", "new"),
        ("first", "new, needed by second"),
        ("second", "new, needed by chain"),
    ];
    assert_eq!(reasons, BTreeMap::from(expected));
    // A name rules it out: then nothing is added.
    let args = ["plan", "--changed-since", "HEAD", "--only", "chain"];
    workspace.run(args).ends(3).says("which is not selected");
    workspace
        .run(["release", "--changed-since", "HEAD"])
        .ends(0);
}

#[test]
fn a_changed_configuration_or_variant_file_is_everything() {
    let workspace = workspace();
    workspace.config("[build]\nvariants = [\"pins.yaml\"]\n");
    workspace
        .write("pins.yaml", "python: [\"3.12\"]\n")
        .commit();
    let since = || workspace.run(["plan", "--changed-since", "HEAD"]).ends(0);
    assert!(!since().stdout.contains("build: new"));
    workspace.write("pins.yaml", "python: [\"3.13\"]\n");
    let output = since();
    assert!(
        output.mentions("`pins.yaml`, and so everything"),
        "{output}"
    );
    assert_eq!(output.stdout.matches("build: new").count(), 4, "{output}");
    workspace.commit();
    workspace.config("[build]\nvariants = [\"pins.yaml\"]\nexperimental = true\n");
    assert!(since().mentions("`conda-release.toml`, and so everything"));
}

#[test]
fn a_reference_that_git_does_not_know_is_refused() {
    let workspace = workspace();
    for reference in ["origin/main", "--help", ""] {
        let args = [
            "plan".to_owned(),
            format!("--changed-since={reference}"),
            "--output-format=json".to_owned(),
        ];
        let output = workspace.run(args).ends(3);
        assert_eq!(
            output.json()["error"]["code"],
            "unknown_reference",
            "{output}"
        );
        output.says("fetch-depth: 0");
    }
    let plain = Workspace::plain();
    plain.package("one");
    plain
        .run(["plan", "--changed-since", "HEAD"])
        .ends(3)
        .says("the workspace is in no git repository");
}

const TORN: &str = "package:\n  name: torn\n  version: 1\nbuilt: {}\n";

#[test]
fn what_cannot_be_planned_is_told_beside_the_others_and_ends_the_run_with_3() {
    let workspace = Workspace::with_one_package();
    workspace
        .recipe("torn", TORN)
        .script("needs", &["true"], "requirements:\n  host:\n    - torn\n")
        .commit();
    workspace
        .run(["plan"])
        .ends(3)
        .says("recipes/torn/recipe.yaml");
    let output = workspace.run(["plan", "--keep-going"]).ends(3);
    for said in [
        "build: new",
        "recipes/torn/recipe.yaml",
        "`needs` needs `torn`",
    ] {
        assert!(output.to_string().contains(said), "{output}");
    }
    assert_eq!(
        output.stdout.matches("cannot be planned").count(),
        2,
        "{output}"
    );
    let args = ["plan", "--keep-going", "--output-format", "json"];
    let document = workspace.run(args).ends(3).json();
    assert_eq!(document["decisions"][0]["verdict"], "build");
    assert_eq!(
        document["unplanned"][0]["recipe"],
        "recipes/torn/recipe.yaml"
    );
    assert_eq!(document["unplanned"][0]["code"], "invalid_recipe");
    assert_eq!(document["unplanned"][1]["output"], "needs");

    let output = workspace.run(["release", "--keep-going"]).ends(3);
    let end = output.stderr.lines().last().unwrap();
    assert!(
        end.ends_with("the recipes that cannot be planned are no part of it"),
        "{output}"
    );
    assert_eq!(
        progress(&workspace),
        [("one".to_owned(), Progress::Published)]
    );
}

#[test]
fn all_recipes_that_cannot_be_planned_are_told_at_once() {
    let workspace = Workspace::with_one_package();
    workspace
        .recipe("torn", TORN)
        .recipe("worn", &TORN.replace("built", "worn"));
    let output = workspace.run(["plan"]).ends(3);
    for said in [
        "2 recipes cannot be planned",
        "recipes/torn/",
        "recipes/worn/",
    ] {
        assert!(output.mentions(said), "{output}");
    }
    let document = workspace
        .run(["plan", "--output-format", "json"])
        .ends(3)
        .json();
    assert_eq!(document["error"]["code"], "invalid_recipes");
    assert_eq!(document["error"]["related"].as_array().unwrap().len(), 2);
}

#[test]
fn each_output_is_planned_for_who_builds_it_and_tests_that_cannot_run_there_are_deferred() {
    let workspace = Workspace::new();
    workspace
        .config(
            "[[build.platforms]]\ntarget = \"linux-64\"\nbuild = \"linux-64\"\n\
             [[build.platforms]]\ntarget = \"osx-64\"\nbuild = \"osx-arm64\"\n",
        )
        .package("everywhere")
        .recipe(
            "native",
            "package:\n  name: native\n  version: 1.0.0\nbuild:\n  string: ${{ build_platform | replace(\"-\", \"_\") }}_0\n  script: \"true\"\n\
             tests:\n  - script: \"true\"\n",
        )
        .commit();
    let output = workspace.run(["plan", "--output-format", "json"]).ends(0);
    let document = output.json();
    let mut planned: Vec<(String, &str, Option<&str>)> = document["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let package = it["package"].as_str().unwrap();
            let name = package.split("-1.0.0").next().unwrap().to_owned();
            let on = it["build_platform"].as_str().unwrap();
            let is_rendered_for = package.contains(&on.replace('-', "_"));
            assert!(is_rendered_for || !name.ends_with("native"), "{package}");
            (name, on, it["tests_deferred"].as_str())
        })
        .collect();
    planned.sort();
    let deferred = Some("tests for osx-64 do not run on osx-arm64");
    assert_eq!(
        planned,
        [
            ("linux-64/native".to_owned(), "linux-64", None),
            ("noarch/everywhere".to_owned(), "linux-64", None),
            ("osx-64/native".to_owned(), "osx-arm64", deferred),
        ]
    );
    let output = workspace.run(["plan"]).ends(0);
    for said in [
        "BUILT ON",
        "tests deferred: tests for osx-64 do not run on osx-arm64",
    ] {
        assert!(output.stdout.contains(said), "{output}");
    }
}

#[test]
fn a_large_tree_is_planned_the_same_way_twice_whatever_renders_first() {
    let workspace = Workspace::new();
    let packages = end_to_end::write_tree(&workspace, 60);
    workspace.commit();
    let plan = || {
        let args = ["plan", "--output-format", "json"];
        workspace.run(args).ends(0).json()
    };
    let (first, second) = (plan(), plan());
    assert_eq!(first, second);
    assert_eq!(first["decisions"].as_array().unwrap().len(), packages);
    let edges = |edge: &str| {
        let planned = first["plan"]["packages"].as_array().unwrap().iter();
        planned
            .map(|it| it[edge].as_array().unwrap().len())
            .sum::<usize>()
    };
    assert!(edges("builds_on") > packages && edges("runs_with") > packages);
}
