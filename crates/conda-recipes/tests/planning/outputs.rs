use std::collections::BTreeMap;

use release_manifest::{Digest, Mode};

use crate::workspace::{Workspace, names, package, packages};

#[test]
fn a_recipe_with_staging_variants_and_exact_pins() {
    let mut plan = Workspace::fixture("greet").plan();
    // Digests say nothing to a reader.
    plan.configuration = Digest::of(b"");
    for package in &mut plan.packages {
        package.fingerprint = Digest::of(b"");
    }
    insta::assert_snapshot!(String::from_utf8(plan.to_json()).unwrap());
}

#[test]
fn an_exact_pin_leads_to_the_library_of_the_same_variant() {
    let plan = Workspace::fixture("greet").plan();
    let [first, second] = packages(&plan, "greet")[..] else {
        panic!("two variants")
    };
    assert_ne!(first.variant["loudness"], second.variant["loudness"]);
    for program in [first, second] {
        let library = program
            .builds_on
            .iter()
            .find(|key| key.file.name() == "libgreet")
            .unwrap();
        assert_eq!(
            plan.package(library).unwrap().variant["loudness"],
            program.variant["loudness"]
        );
        // The build string of the pinned library is part of the variant, hence of the hash.
        assert_eq!(
            program.variant["libgreet"],
            format!("1.2.0 {}", library.file.build())
        );
    }
}

#[test]
fn outputs_of_one_staging_build_share_a_folder_and_nothing_else_does() {
    let plan = Workspace::fixture("greet").plan();
    let mut by_folder: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in &plan.packages {
        let loudness = package.variant.get("loudness").map_or("", String::as_str);
        by_folder
            .entry(&package.build_folder)
            .or_default()
            .push(format!("{} {loudness}", package.file.name()));
    }
    let mut shared: Vec<Vec<String>> = by_folder
        .into_values()
        .filter(|outputs| outputs.len() > 1)
        .collect();
    shared.sort();
    assert_eq!(
        shared,
        [
            ["greet loud", "libgreet loud"],
            ["greet quiet", "libgreet quiet"]
        ]
    );
}

#[test]
fn an_output_that_does_not_use_the_variant_is_planned_once() {
    let plan = Workspace::fixture("greet").plan();
    assert_eq!(package(&plan, "greet-data").subdir.as_str(), "noarch");
}

#[test]
fn a_noarch_python_package_is_planned_once_for_several_pythons() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nbuild: {noarch: python}\nrequirements: {host: [python], run: [python]}\n",
    )]);
    workspace.write("recipes/tool/variants.yaml", "python: ['3.12', '3.13']\n");
    assert_eq!(package(&workspace.plan(), "tool").subdir.as_str(), "noarch");
}

#[test]
fn an_ignored_key_makes_no_second_package() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nbuild: {variant: {ignore_keys: [flavour]}}\nabout: {summary: '${{ flavour }}'}\n",
    )]);
    workspace.write("recipes/tool/variants.yaml", "flavour: [mint, vanilla]\n");
    package(&workspace.plan(), "tool");
}

#[test]
fn the_same_request_gives_the_same_plan() {
    let workspace = Workspace::fixture("greet");
    assert_eq!(workspace.plan().to_json(), workspace.plan().to_json());
}

#[test]
fn planning_writes_nothing() {
    let workspace = Workspace::fixture("greet");
    workspace.plan();
    assert!(!workspace.output.exists());
}

#[test]
fn skipped_outputs_are_listed_with_the_condition() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nbuild: {skip: [win, linux]}\n",
    )]);
    let plan = workspace.plan();
    assert_eq!(plan.packages, []);
    let [skipped] = &plan.skipped[..] else {
        panic!("{:?}", plan.skipped)
    };
    assert_eq!(
        (skipped.output.as_str(), skipped.recipe.as_str()),
        ("tool", "recipes/tool/recipe.yaml")
    );
    assert_eq!(skipped.reason, "the recipe skips it: `win` or `linux`");
}

#[test]
fn only_the_output_with_the_condition_is_skipped() {
    let workspace = Workspace::with(&[(
        "tools",
        "recipe: {name: tools, version: '1'}\noutputs:\n  - package: {name: here}\n  - package: {name: there}\n    build: {skip: unix}\n",
    )]);
    let plan = workspace.plan();
    assert_eq!(plan.packages.len(), 1);
    assert_eq!(package(&plan, "here").subdir.as_str(), "linux-64");
    assert_eq!(plan.skipped[0].output, "there");
    assert_eq!(plan.skipped[0].reason, "the recipe skips it: `unix`");
}

#[test]
fn an_output_skipped_under_one_variant_is_listed_with_it() {
    let workspace = Workspace::with(&[(
        "tools",
        "recipe: {name: tools, version: '1'}\noutputs:\n  - package: {name: mint-only}\n    build: {skip: \"flavour != 'mint'\"}\n",
    )]);
    workspace.write("recipes/tools/variants.yaml", "flavour: [mint, vanilla]\n");
    let plan = workspace.plan();
    assert_eq!(package(&plan, "mint-only").variant["flavour"], "mint");
    let workspace = Workspace::with(&[(
        "tools",
        "recipe: {name: tools, version: '1'}\noutputs:\n  - package: {name: always}\n    build: {script: 'echo ${{ flavour }}'}\n  - package: {name: mint-only}\n    build: {skip: \"flavour != 'mint'\"}\n",
    )]);
    workspace.write("recipes/tools/variants.yaml", "flavour: [mint, vanilla]\n");
    let plan = workspace.plan();
    let [skipped] = &plan.skipped[..] else {
        panic!("{:?}", plan.skipped)
    };
    assert_eq!(
        (skipped.output.as_str(), skipped.variant["flavour"].as_str()),
        ("mint-only", "vanilla")
    );
}

#[test]
fn options_decide_platform_build_number_prefix_and_format() {
    let mut workspace = Workspace::with(&[("tool", "package: {name: tool, version: '1'}\n")]);
    workspace.options.target_platform = Some("osx-arm64".parse().unwrap());
    workspace.options.build_number = Some(conda_recipes::BuildNumber::Exactly(7));
    workspace.options.build_string_prefix = Some("nightly".to_owned());
    workspace.options.package_format = "tar-bz2".parse().unwrap();
    let plan = workspace.plan();
    let tool = package(&plan, "tool");
    assert_eq!(
        (tool.subdir.as_str(), tool.build_platform.as_str()),
        ("osx-arm64", "linux-64")
    );
    assert!(
        tool.file.build().starts_with("nightly_h") && tool.file.build().ends_with("_7"),
        "{}",
        tool.file
    );
    assert!(tool.file.as_str().ends_with(".tar.bz2"));
}

#[test]
fn several_platforms_make_a_noarch_package_once() {
    let mut workspace = Workspace::with(&[
        (
            "data",
            "package: {name: data, version: '1'}\nbuild: {noarch: generic}\n",
        ),
        (
            "tool",
            "package: {name: tool, version: '1'}\nrequirements: {host: [data]}\n",
        ),
    ]);
    workspace.options.target_platform = None;
    workspace.options.platforms = serde_json::from_str(
        r#"[{"target": "linux-64"}, {"target": "linux-aarch64", "build": "linux-aarch64"}]"#,
    )
    .unwrap();
    let plan = workspace.plan();
    assert_eq!(package(&plan, "data").build_platform.as_str(), "linux-64");
    let tools = packages(&plan, "tool");
    assert_eq!(
        tools
            .iter()
            .map(|tool| tool.subdir.as_str())
            .collect::<Vec<_>>(),
        ["linux-64", "linux-aarch64"]
    );
    assert!(tools.iter().all(|tool| names(&tool.builds_on) == ["data"]));

    workspace.options.noarch_build_platform = Some("linux-aarch64".parse().unwrap());
    assert_eq!(
        package(&workspace.plan(), "data").build_platform.as_str(),
        "linux-aarch64"
    );
}

#[test]
fn variants_come_from_beside_the_recipe_then_from_the_configuration_then_inline() {
    let recipe = "package: {name: tool, version: '1'}\nbuild: {script: 'echo ${{ flavour }} ${{ size }} ${{ colour }}'}\ncontext: {a: '${{ flavour }}', b: '${{ size }}', c: '${{ colour }}'}\n";
    let mut workspace = Workspace::with(&[("tool", recipe)]);
    workspace.write(
        "recipes/tool/variants.yaml",
        "flavour: [recipe]\nsize: [recipe]\ncolour: [recipe]\n",
    );
    workspace.write("recipes/tool/conda_build_config.yaml", "flavour: [never]\n");
    workspace.write("shared.yaml", "size: [shared]\ncolour: [shared]\n");
    workspace.options.variants = vec!["shared.yaml".into()];
    workspace.options.variant = BTreeMap::from([(
        "colour".to_owned(),
        vec!["red".to_owned(), "blue".to_owned()],
    )]);
    let values = |workspace: &Workspace| -> Vec<String> {
        let plan = workspace.plan();
        let mut values: Vec<String> = plan
            .packages
            .iter()
            .map(|package| {
                ["flavour", "size", "colour"]
                    .map(|key| package.variant[key].as_str())
                    .join(" ")
            })
            .collect();
        values.sort();
        values
    };
    assert_eq!(
        values(&workspace),
        ["recipe shared blue", "recipe shared red"]
    );

    workspace.options.ignore_recipe_variants = true;
    workspace
        .options
        .variant
        .insert("flavour".to_owned(), vec!["inline".to_owned()]);
    assert_eq!(
        values(&workspace),
        ["inline shared blue", "inline shared red"]
    );
}

#[test]
fn an_old_variant_file_is_read_with_its_selectors() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\ncontext: {a: '${{ flavour }}'}\n",
    )]);
    workspace.write(
        "recipes/tool/conda_build_config.yaml",
        "flavour:\n  - vanilla  # [linux]\n  - mint  # [win]\n",
    );
    assert_eq!(
        package(&workspace.plan(), "tool").variant["flavour"],
        "vanilla"
    );
}

#[test]
fn recipes_see_the_environment_of_the_planning_process() {
    // The reason for planning in a worker: whatever this process has, a recipe can read.
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nabout: {summary: '${{ env.get(\"PATH\") }}'}\n",
    )]);
    let cwd = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nabout: {summary: constant}\n",
    )]);
    assert_ne!(workspace.fingerprints(), cwd.fingerprints());
}

#[test]
fn a_live_plan_differs_from_a_rehearsal() {
    let mut workspace = Workspace::fixture("greet");
    let rehearsal = workspace.plan().digest();
    workspace.mode = Mode::Live;
    assert_ne!(workspace.plan().digest(), rehearsal);
}
