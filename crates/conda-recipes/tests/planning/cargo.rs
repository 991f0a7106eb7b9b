use conda_recipes::{Error, PackageLink};

use crate::workspace::{Workspace, package};

/// A cargo workspace: `app` depends on `core`, `other` on nothing.
pub(crate) fn cargo_workspace(recipes: &[(&str, &str)]) -> Workspace {
    let workspace = Workspace::with(recipes);
    workspace.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n",
    );
    workspace.write(
        "crates/app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"1.2.3\"\nedition = \"2024\"\nlicense = \"MIT\"\ndescription = \"An app\"\nrepository = \"https://example.org/app\"\n[dependencies]\ncore-library = { path = \"../core\" }\n",
    );
    workspace.write(
        "crates/core/Cargo.toml",
        "[package]\nname = \"core-library\"\nversion = \"0.4.0\"\nedition = \"2024\"\n",
    );
    workspace.write(
        "crates/other/Cargo.toml",
        "[package]\nname = \"other\"\nversion = \"9.0.0\"\nedition = \"2024\"\n",
    );
    for member in ["app", "core", "other"] {
        workspace.write(&format!("crates/{member}/src/lib.rs"), "");
    }
    workspace
}

#[test]
fn a_recipe_reads_the_member_of_its_folders_name() {
    let workspace = cargo_workspace(&[(
        "app",
        "package: {name: '${{ cargo.name }}', version: '${{ cargo.version }}'}\nabout: {license: '${{ cargo.license }}', summary: '${{ cargo.description }}', repository: '${{ cargo.repository }}'}\n",
    )]);
    assert_eq!(package(&workspace.plan(), "app").file.version(), "1.2.3");
}

#[test]
fn a_recipe_reads_the_member_that_it_is_linked_to() {
    let mut workspace = cargo_workspace(&[(
        "tool",
        "package: {name: tool, version: '${{ cargo.version }}'}\n",
    )]);
    for recipe in ["recipes/tool", "recipes/tool/recipe.yaml"] {
        workspace.links = vec![PackageLink {
            recipe: recipe.to_owned(),
            cargo_package: "core-library".to_owned(),
        }];
        assert_eq!(package(&workspace.plan(), "tool").file.version(), "0.4.0");
    }
}

#[test]
fn any_member_can_be_asked_for() {
    let workspace = cargo_workspace(&[(
        "docs",
        "context: {version: '${{ cargo.packages[\"core-library\"].version }}'}\npackage: {name: docs, version: '${{ version }}'}\n",
    )]);
    assert_eq!(package(&workspace.plan(), "docs").file.version(), "0.4.0");
}

#[test]
fn reading_a_member_makes_it_no_variant_key() {
    let recipe =
        "package: {name: docs, version: '${{ cargo.packages[\"core-library\"].version }}'}\n";
    let workspace = cargo_workspace(&[("docs", recipe)]);
    let docs = package(&workspace.plan(), "docs").clone();
    assert_eq!(docs.variant.get("cargo"), None);
    // What no recipe reads changes nothing.
    workspace.write(
        "crates/other/Cargo.toml",
        "[package]\nname = \"other\"\nversion = \"9.9.9\"\nedition = \"2024\"\n",
    );
    let again = package(&workspace.plan(), "docs").clone();
    assert_eq!(
        (again.file, again.fingerprint),
        (docs.file, docs.fingerprint)
    );
}

#[test]
fn what_the_manifest_does_not_say_is_an_error() {
    let workspace = cargo_workspace(&[(
        "other",
        "package: {name: other, version: '${{ cargo.version }}'}\nabout: {license: '${{ cargo.license }}'}\n",
    )]);
    let message = workspace.try_plan().unwrap_err().to_string();
    assert!(message.contains("recipes/other/recipe.yaml"), "{message}");
}

#[test]
fn a_recipe_of_no_member_has_no_version_to_read() {
    let workspace = cargo_workspace(&[(
        "tool",
        "package: {name: tool, version: '${{ cargo.version }}'}\n",
    )]);
    assert!(workspace.try_plan().is_err());
}

#[test]
fn a_link_to_no_member_names_the_members() {
    let mut workspace = cargo_workspace(&[("tool", "package: {name: tool, version: '1'}\n")]);
    workspace.links = vec![PackageLink {
        recipe: "recipes/tool".to_owned(),
        cargo_package: "cor-library".to_owned(),
    }];
    let error = workspace.try_plan().unwrap_err();
    assert!(matches!(error, Error::UnknownMember { .. }));
    let message = error.to_string();
    assert!(
        message.contains("`cor-library`") && message.contains("`app`, `core-library`, `other`"),
        "{message}"
    );
}

#[test]
fn a_recipe_outside_of_a_cargo_workspace_has_no_cargo() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '${{ cargo.version }}'}\n",
    )]);
    let message = workspace.try_plan().unwrap_err().to_string();
    assert!(message.contains("cargo"), "{message}");
}

#[test]
fn a_request_that_went_through_a_pipe_gives_the_same_plan() {
    let workspace = cargo_workspace(&[(
        "app",
        "package: {name: app, version: '${{ cargo.version }}'}\nsource: {path: ../..}\n",
    )]);
    let json = serde_json::to_vec(&workspace.request().unwrap()).unwrap();
    let request: conda_recipes::PlanRequest = serde_json::from_slice(&json).unwrap();
    let planned = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
    assert_eq!(planned.plan, workspace.plan());
}
