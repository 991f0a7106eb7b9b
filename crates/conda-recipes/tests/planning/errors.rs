use std::collections::BTreeSet;

use conda_recipes::{Error, Failure, PlanRequest};
use release_manifest::PackageKey;

use crate::workspace::Workspace;

fn failure(workspace: &Workspace) -> Failure {
    Failure::from(&workspace.try_plan().unwrap_err())
}

/// The text that an excerpt points at.
fn marked(failure: &Failure) -> &str {
    let excerpt = failure.excerpt.as_ref().unwrap();
    &excerpt.text[excerpt.offset..excerpt.offset + excerpt.length]
}

#[test]
fn broken_yaml_is_shown_where_it_breaks() {
    let text = "package:\n  name: tool\n version: '1'\n";
    let failure = failure(&Workspace::with(&[("tool", text)]));
    assert_eq!(failure.code, "invalid_recipe");
    assert!(
        failure.message.contains("recipes/tool/recipe.yaml"),
        "{}",
        failure.message
    );
    let excerpt = failure.excerpt.as_ref().unwrap();
    assert_eq!(
        (excerpt.file.as_str(), excerpt.text.as_str()),
        ("recipes/tool/recipe.yaml", text)
    );
    assert_eq!(text[..excerpt.offset].lines().count(), 3, "{excerpt:?}");
}

#[test]
fn an_unknown_key_is_named_and_marked() {
    let failure = failure(&Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nbuilt: {number: 1}\n",
    )]));
    assert!(failure.message.contains("built"), "{}", failure.message);
    assert_eq!(marked(&failure), "built");
}

#[test]
fn places_are_right_behind_characters_of_several_bytes() {
    let failure = failure(&Workspace::with(&[(
        "tool",
        "# Größe: ≥ 1 \u{1f980}\npackage: {name: tool, version: '1'}\nbuilt: {number: 1}\n",
    )]));
    assert_eq!(marked(&failure), "built");
}

#[test]
fn an_undefined_variable_is_named() {
    let failure = failure(&Workspace::with(&[(
        "tool",
        "package:\n  name: tool\n  version: ${{ verson }}\n",
    )]));
    assert!(
        failure.message.contains("verson")
            || failure.excerpt.as_ref().unwrap().label.contains("verson"),
        "{failure:?}"
    );
    assert!(marked(&failure).contains("verson"), "{failure:?}");
}

#[test]
fn jinja_that_does_not_parse_is_an_error() {
    let failure = failure(&Workspace::with(&[(
        "tool",
        "package:\n  name: tool\n  version: ${{ 1 + }}\n",
    )]));
    assert_eq!(failure.code, "invalid_recipe");
    assert!(failure.excerpt.is_some(), "{failure:?}");
}

#[test]
fn a_broken_variant_file_is_shown() {
    let workspace = Workspace::with(&[("tool", "package: {name: tool, version: '1'}\n")]);
    workspace.write("recipes/tool/variants.yaml", "python: 3.12\n");
    let failure = failure(&workspace);
    assert!(
        failure.message.contains("recipes/tool/variants.yaml"),
        "{}",
        failure.message
    );
}

#[test]
fn a_configured_variant_file_that_is_missing_is_named() {
    let mut workspace = Workspace::with(&[("tool", "package: {name: tool, version: '1'}\n")]);
    workspace.options.variants = vec!["shared.yaml".into()];
    assert!(failure(&workspace).message.contains("shared.yaml"));
}

#[test]
fn the_old_cache_key_is_refused_with_the_way_out() {
    let text = "recipe: {name: tools, version: '1'}\n# a comment\ncache:\n  build: {script: make}\noutputs:\n  - package: {name: tool}\n";
    let failure = failure(&Workspace::with(&[("tools", text)]));
    assert!(failure.message.contains("`cache`"), "{}", failure.message);
    assert!(failure.help.as_ref().unwrap().contains("staging"));
    assert_eq!(marked(&failure), "cache");
}

#[test]
fn a_missing_recipe_says_what_was_looked_for() {
    let mut workspace = Workspace::new();
    workspace.recipes = vec!["recipes/tool".to_owned()];
    workspace.write("recipes/tool/README.md", "");
    let failure = failure(&workspace);
    assert_eq!(failure.code, "missing_recipe");
    assert!(
        failure.message.contains("recipes/tool/recipe.yaml"),
        "{}",
        failure.message
    );
}

#[test]
fn an_output_folder_too_long_to_build_in_is_an_error_and_no_panic() {
    for name in ["tool", "greet"] {
        let mut workspace = if name == "greet" {
            Workspace::fixture(name)
        } else {
            Workspace::with(&[(name, "package: {name: tool, version: '1'}\n")])
        };
        workspace.output = workspace.root().join("x".repeat(120)).join("y".repeat(100));
        let error = workspace.try_plan().unwrap_err();
        let Error::PathTooLong { length, limit, .. } = &error else {
            panic!("{error}")
        };
        let excess = length - limit;
        // As much shorter as the help says, and it works.
        assert!(error.help().unwrap().contains(&format!("{excess} bytes")));
        let long = workspace.output.to_string_lossy().into_owned();
        workspace.output = long[..long.len() - excess].into();
        workspace.plan();
        workspace.output = long[..=long.len() - excess].into();
        assert!(matches!(
            workspace.try_plan(),
            Err(Error::PathTooLong { .. })
        ));
    }
}

#[test]
fn two_recipes_of_one_package_are_named() {
    let text = "package: {name: tool, version: '1'}\n";
    let failure = failure(&Workspace::with(&[("one", text), ("two", text)]));
    assert_eq!(failure.code, "duplicate_output");
    assert!(
        failure.message.contains("recipes/one")
            && failure.message.contains("recipes/two")
            && failure.message.contains("tool-1-"),
        "{}",
        failure.message
    );
}

#[test]
fn variants_of_one_file_name_that_differ_are_an_error() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nbuild: {string: same, script: 'make ${{ flavour }}'}\nabout: {summary: '${{ flavour }}'}\n",
    )]);
    workspace.write("recipes/tool/variants.yaml", "flavour: [mint, vanilla]\n");
    let failure = failure(&workspace);
    assert_eq!(failure.code, "duplicate_output");
    assert!(
        failure.message.contains("flavour = mint") && failure.message.contains("flavour = vanilla"),
        "{}",
        failure.message
    );
}

#[test]
fn an_option_that_does_not_work_is_named() {
    let mut workspace = Workspace::with(&[("tool", "package: {name: tool, version: '1'}\n")]);
    workspace.options.exclude_newer = Some("yesterday".to_owned());
    let failure = failure(&workspace);
    assert_eq!(failure.code, "invalid_option");
    assert!(
        failure.message.contains("exclude-newer"),
        "{}",
        failure.message
    );
}

#[test]
fn noarch_packages_that_no_platform_would_make_are_an_error() {
    let mut workspace = Workspace::with(&[("tool", "package: {name: tool, version: '1'}\n")]);
    workspace.options.noarch_build_platform = Some("win-64".parse().unwrap());
    workspace.options.platforms = serde_json::from_str(
        r#"[{"target": "linux-64", "build": "linux-64"}, {"target": "osx-64", "build": "osx-arm64"}]"#,
    )
    .unwrap();
    let failure = failure(&workspace);
    assert_eq!(failure.code, "invalid_option");
    assert_eq!(
        failure.message,
        "invalid value for `noarch-build-platform`: expected a platform that builds (linux-64, osx-arm64), found win-64"
    );
}

#[test]
fn a_channel_with_a_secret_in_it_is_refused_and_not_repeated() {
    for channel in [
        "https://me:hunter2@example.org/channel",
        "https://example.org/t/hunter2/channel",
    ] {
        let mut workspace = Workspace::with(&[("tool", "package: {name: tool, version: '1'}\n")]);
        workspace.options.channels = vec![channel.to_owned()];
        let failure = failure(&workspace);
        assert_eq!(failure.code, "invalid_option");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
}

#[test]
fn failures_survive_the_pipe() {
    let failure = failure(&Workspace::with(&[("tool", "package: {}\n")]));
    let json = serde_json::to_string(&failure).unwrap();
    assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), failure);
}

const GOOD: &str = "package: {name: good, version: '1'}\n";
const TORN: &str = "package: {name: torn, version: '1'}\nbuilt: {}\n";

#[test]
fn all_recipes_that_do_not_render_are_told_together() {
    let other = "package:\n  name: other\n  version: ${{ verson }}\n";
    let workspace = Workspace::with(&[("good", GOOD), ("other", other), ("torn", TORN)]);
    let failure = failure(&workspace);
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("invalid_recipes", "2 recipes cannot be planned")
    );
    let marked: Vec<&str> = failure.related.iter().map(marked).collect();
    assert!(
        marked[0].contains("verson") && marked[1] == "built",
        "{marked:?}"
    );
}

#[test]
fn the_rest_is_planned_without_what_does_not_render_and_what_needs_it() {
    let needs =
        |name: &str, section: &str| format!("package: {{name: {name}, version: '1'}}\n{section}");
    let workspace = Workspace::with(&[
        ("good", GOOD),
        ("torn", TORN),
        ("host", &needs("host", "requirements: {host: [torn]}\n")),
        ("run", &needs("run", "requirements: {run: [host]}\n")),
        (
            "tested",
            &needs(
                "tested",
                "tests: [{script: 'true', requirements: {run: [torn]}}]\n",
            ),
        ),
        ("beside", &needs("beside", "requirements: {run: [good]}\n")),
    ]);
    let mut request = workspace.request().unwrap();
    request.keep_going = true;
    let planned = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
    let names: Vec<&str> = planned
        .plan
        .packages
        .iter()
        .map(|package| package.file.name())
        .collect();
    assert_eq!(names, ["beside", "good"]);
    let unplanned: Vec<(&str, &str)> = planned
        .unplanned
        .iter()
        .map(|it| {
            (
                it.output.as_deref().unwrap_or(&it.recipe),
                it.failure.code.as_str(),
            )
        })
        .collect();
    assert_eq!(
        unplanned,
        [
            ("recipes/torn/recipe.yaml", "invalid_recipe"),
            ("host", "needs_unplanned"),
            ("run", "needs_unplanned"),
            ("tested", "needs_unplanned"),
        ]
    );
    // A build renders again, and must find the same plan.
    let again = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
    assert_eq!(again.plan.digest(), planned.plan.digest());
}

#[test]
fn what_another_machine_planned_and_does_not_render_here_is_told() {
    let torn = "package: {name: torn, version: '1'}\n";
    let workspace = Workspace::with(&[("good", GOOD), ("torn", torn)]);
    let plan = |workspace: &Workspace, only: Option<BTreeSet<PackageKey>>| {
        let request = PlanRequest {
            keep_going: only.is_some(),
            only,
            ..workspace.request().unwrap()
        };
        futures::executor::block_on(conda_recipes::plan(&request))
    };
    let there = plan(&workspace, None).unwrap().plan;
    let only: BTreeSet<_> = there.packages.iter().map(|package| package.key()).collect();
    let here = plan(&workspace, Some(only.clone())).unwrap().plan;
    assert_eq!(here.digest(), there.digest());

    let workspace = Workspace::with(&[("good", GOOD), ("torn", TORN)]);
    let error = plan(&workspace, Some(only)).unwrap_err();
    assert!(
        error.to_string().contains("recipes/torn/recipe.yaml"),
        "{error}"
    );
}

#[test]
fn what_does_not_render_is_known_by_the_name_that_its_context_gives_it() {
    let torn = "context: {version: '1', name: 'lib${{ \"torn\" }}', bad: '${{ nothing }}'}\n\
                package: {name: '${{ name }}-dev', version: '1'}\n";
    let needs = "package: {name: needs, version: '1'}\nrequirements: {host: [libtorn-dev]}\n";
    let workspace = Workspace::with(&[("folder", torn), ("good", GOOD), ("needs", needs)]);
    let mut request = workspace.request().unwrap();
    request.keep_going = true;
    let planned = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
    let unplanned: Vec<&str> = planned
        .unplanned
        .iter()
        .map(|it| it.failure.code.as_str())
        .collect();
    assert_eq!(unplanned, ["invalid_recipe", "needs_unplanned"]);
    assert_eq!(planned.plan.packages.len(), 1);
}

#[test]
fn the_rest_is_planned_without_packages_of_the_same_name_and_what_needs_them() {
    let twice = "package: {name: twice, version: '1'}\nbuild: {string: same}\n";
    let other =
        "package: {name: twice, version: '1'}\nbuild: {string: same}\nabout: {summary: other}\n";
    let needs = "package: {name: needs, version: '1'}\nrequirements: {host: [twice]}\n";
    let workspace = Workspace::with(&[
        ("first", twice),
        ("good", GOOD),
        ("needs", needs),
        ("second", other),
    ]);
    let mut request = workspace.request().unwrap();
    request.keep_going = true;
    let planned = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
    let unplanned: Vec<(&str, &str)> = planned
        .unplanned
        .iter()
        .map(|it| (it.output.as_deref().unwrap(), it.failure.code.as_str()))
        .collect();
    assert_eq!(
        unplanned,
        [("twice", "duplicate_output"), ("needs", "needs_unplanned")]
    );
    assert!(
        planned.unplanned[0]
            .failure
            .message
            .contains("recipes/second")
    );
    assert_eq!(planned.plan.packages.len(), 1);
    assert_eq!(planned.plan.packages[0].file.name(), "good");
}
