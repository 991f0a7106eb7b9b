use crate::workspace::{Workspace, names, package};

fn recipe(name: &str, rest: &str) -> String {
    format!("package: {{name: {name}, version: '1'}}\n{rest}\n")
}

fn workspace(recipes: &[(&str, &str)]) -> Workspace {
    let workspace = Workspace::new();
    for (name, rest) in recipes {
        workspace.write(&format!("recipes/{name}/recipe.yaml"), &recipe(name, rest));
    }
    workspace
}

#[test]
fn build_and_host_requirements_are_built_first() {
    let plan = workspace(&[
        ("compiler", ""),
        ("library", ""),
        (
            "program",
            "requirements: {build: [compiler], host: [library], run: [library]}",
        ),
    ])
    .plan();
    let program = package(&plan, "program");
    assert_eq!(names(&program.builds_on), ["compiler", "library"]);
    assert_eq!(names(&program.runs_with), ["library"]);
    assert_eq!(names(&program.test_needs), ["library"]);
    let order: Vec<_> = plan
        .build_order()
        .unwrap()
        .iter()
        .map(|key| key.file.name().to_owned())
        .collect();
    assert_eq!(order, ["compiler", "library", "program"]);
}

#[test]
fn a_cycle_of_build_requirements_is_printed() {
    let error = workspace(&[
        ("a", "requirements: {host: [b]}"),
        ("b", "requirements: {build: [c]}"),
        ("c", "requirements: {host: [a]}"),
    ])
    .try_plan()
    .unwrap_err();
    let message = error.to_string();
    let (_, cycle) = message.split_once(": ").unwrap();
    let names: Vec<_> = cycle
        .split(" → ")
        .map(|package| package.split('-').nth(1).unwrap())
        .collect();
    assert_eq!(names, ["64/a", "64/b", "64/c", "64/a"], "{message}");
    assert_eq!(error.code(), "dependency_cycle");
}

#[test]
fn plain_run_requirements_may_form_a_cycle() {
    let plan = workspace(&[
        ("a", "requirements: {run: [b]}"),
        ("b", "requirements: {run: [a]}"),
    ])
    .plan();
    let a = package(&plan, "a");
    assert_eq!(names(&a.builds_on), [""; 0]);
    assert_eq!(names(&a.runs_with), ["b"]);
    // Its test waits for both.
    assert_eq!(names(&a.test_needs), ["b"]);
}

#[test]
fn a_library_constrained_by_what_needs_it_is_no_cycle() {
    // openblas: rattler-build issue 2531.
    let workspace = Workspace::with(&[(
        "blas",
        r#"
recipe: {name: blas, version: '1'}
outputs:
  - package: {name: libblas}
    requirements:
      run_constraints: ["${{ pin_subpackage('blas') }}"]
  - package: {name: blas}
    requirements:
      run: ["${{ pin_subpackage('libblas', exact=true) }}"]
"#,
    )]);
    let plan = workspace.plan();
    assert_eq!(names(&package(&plan, "blas").builds_on), ["libblas"]);
    assert_eq!(names(&package(&plan, "libblas").builds_on), [""; 0]);
}

#[test]
fn an_exact_constraint_is_built_first() {
    let workspace = Workspace::with(&[(
        "pair",
        r#"
recipe: {name: pair, version: '1'}
outputs:
  - package: {name: second}
    requirements:
      run_constraints: ["${{ pin_subpackage('first', exact=true) }}"]
  - package: {name: first}
"#,
    )]);
    let plan = workspace.plan();
    let second = package(&plan, "second");
    assert_eq!(names(&second.builds_on), ["first"]);
    // A constraint is not installed.
    assert_eq!(names(&second.runs_with), [""; 0]);
}

#[test]
fn what_a_build_requirement_runs_with_is_built_first_too() {
    let plan = workspace(&[
        ("data", ""),
        ("tool", "requirements: {run: [data]}"),
        ("program", "requirements: {build: [tool]}"),
    ])
    .plan();
    assert_eq!(
        names(&package(&plan, "program").builds_on),
        ["data", "tool"]
    );
    assert_eq!(names(&package(&plan, "tool").builds_on), [""; 0]);
}

#[test]
fn a_runtime_closure_that_leads_back_adds_no_edge() {
    // What `core` runs with is built with `plugin`, which is built with `core`: `core` comes first, alone.
    let plan = workspace(&[
        ("core", "requirements: {run: [plugin, extra]}"),
        ("plugin", "requirements: {host: [core]}"),
        ("extra", "requirements: {host: [plugin]}"),
    ])
    .plan();
    assert_eq!(names(&package(&plan, "core").builds_on), [""; 0]);
    assert_eq!(names(&package(&plan, "plugin").builds_on), ["core"]);
    assert_eq!(names(&package(&plan, "extra").builds_on), ["plugin"]);
    assert_eq!(
        names(&package(&plan, "core").test_needs),
        ["extra", "plugin"]
    );
}

#[test]
fn run_exports_become_run_requirements() {
    let plan = workspace(&[
        ("runtime", ""),
        (
            "library",
            "requirements: {run_exports: {weak: [library, runtime]}}",
        ),
        ("takes", "requirements: {host: [library]}"),
        (
            "refuses",
            "requirements: {host: [library], ignore_run_exports: {by_name: [runtime]}}",
        ),
        (
            "ignores",
            "requirements: {host: [library], ignore_run_exports: {from_package: [library]}}",
        ),
        (
            "data",
            "requirements: {host: [library]}\nbuild: {noarch: generic}",
        ),
    ])
    .plan();
    assert_eq!(
        names(&package(&plan, "takes").runs_with),
        ["library", "runtime"]
    );
    assert_eq!(names(&package(&plan, "refuses").runs_with), ["library"]);
    assert_eq!(names(&package(&plan, "ignores").runs_with), [""; 0]);
    assert_eq!(names(&package(&plan, "data").runs_with), [""; 0]);
}

#[test]
fn run_exports_of_what_a_staging_output_is_built_with_are_inherited_unless_refused() {
    let workspace = Workspace::with(&[
        (
            "library",
            "package: {name: library, version: '1'}\nrequirements: {run_exports: [library]}\n",
        ),
        (
            "tools",
            r#"
recipe: {name: tools, version: '1'}
outputs:
  - staging: {name: tools-build}
    requirements: {host: [library]}
  - package: {name: takes}
    inherit: tools-build
  - package: {name: refuses}
    inherit: {from: tools-build, run_exports: false}
"#,
        ),
    ]);
    let plan = workspace.plan();
    for (name, runs_with) in [("takes", &["library"][..]), ("refuses", &[])] {
        let output = package(&plan, name);
        assert_eq!(names(&output.builds_on), ["library"]);
        assert_eq!(names(&output.runs_with), runs_with, "{name}");
    }
}

#[test]
fn strong_run_exports_of_the_build_environment_are_installed_into_the_host_environment() {
    let plan = workspace(&[
        ("libgcc", ""),
        (
            "compiler",
            "requirements: {run_exports: {strong: [libgcc]}}",
        ),
        ("program", "requirements: {build: [compiler]}"),
    ])
    .plan();
    let program = package(&plan, "program");
    assert_eq!(names(&program.builds_on), ["compiler", "libgcc"]);
    assert_eq!(names(&program.runs_with), ["libgcc"]);
}

#[test]
fn tests_wait_for_their_own_requirements_and_downstream_packages() {
    let plan = workspace(&[
        ("data", ""),
        ("checker", "requirements: {run: [data]}"),
        (
            "library",
            "tests: [{script: [checker], requirements: {run: [checker]}}, {downstream: program}]",
        ),
        ("program", "requirements: {host: [library]}"),
    ])
    .plan();
    let library = package(&plan, "library");
    assert_eq!(names(&library.test_needs), ["checker", "data", "program"]);
    assert_eq!(names(&library.builds_on), [""; 0]);
}

#[test]
fn a_requirement_that_no_output_satisfies_comes_from_a_channel() {
    let plan = workspace(&[
        ("tool", ""),
        ("old", "requirements: {host: ['tool <1']}"),
        ("new", "requirements: {host: ['tool >=1']}"),
    ])
    .plan();
    assert_eq!(names(&package(&plan, "old").builds_on), [""; 0]);
    assert_eq!(names(&package(&plan, "new").builds_on), ["tool"]);
}

#[test]
fn a_cycle_inside_one_recipe_is_printed() {
    let workspace = Workspace::with(&[(
        "ring",
        r#"
recipe: {name: ring, version: '1'}
outputs:
  - package: {name: before}
    requirements: {host: [left]}
  - package: {name: left}
    requirements: {host: ["${{ 'right' }}"]}
  - package: {name: right}
    requirements: {run: ["${{ pin_subpackage('left') }}"]}
"#,
    )]);
    let error = workspace.try_plan().unwrap_err();
    assert_eq!(
        error.to_string(),
        "outputs of `recipes/ring/recipe.yaml` build upon each other in a circle: left → right → left"
    );
    assert_eq!(error.code(), "dependency_cycle");
}
