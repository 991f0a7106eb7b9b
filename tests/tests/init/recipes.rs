//! Starter recipes, and the packages that come of them.

use insta::assert_snapshot;

use crate::monorepo::Monorepo;

#[test]
fn a_recipe_takes_what_cargo_knows() {
    let monorepo = Monorepo::new();
    monorepo.program(
        "crates/left",
        "left",
        "repository = \"https://github.com/acme/pkgs\"\n",
    );
    monorepo
        .0
        .write("LICENSE-MIT", "MIT")
        .write("LICENSE-APACHE", "Apache");
    monorepo.run(["init", "--yes"]).ends(0);
    assert_snapshot!(monorepo.text("recipes/left/recipe.yaml"));
}

#[test]
fn members_with_hostile_names_and_places_are_released() {
    let monorepo = Monorepo::new();
    monorepo.0.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*/*\", \"single\"]\n",
    );
    let folder = "crates/it's \"q\" $(touch pwned) `id`/${{ env.get('HOME') }} [é] #";
    monorepo.program(folder, "Odd_Name", "");
    monorepo.0.write(format!("{folder}/LICENSE [1]"), "MIT");
    let main = monorepo.text(&format!("{folder}/src/main.rs"));
    monorepo
        .0
        .write(format!("{folder}/src/bin/another-program.rs"), &main);
    // No licence expression, no description, a version that conda has no word for, a name of its own.
    monorepo.0.write(
        "single/Cargo.toml",
        "[package]\nname = \"plain\"\nversion = \"2.0.0-beta.1\"\nedition = \"2024\"\nlicense = \"MIT/Apache-2.0\"\n",
    );
    monorepo.0.write("single/src/main.rs", "fn main() {}\n");
    monorepo.run(["init", "--yes"]).ends(0);
    monorepo.0.commit();
    monorepo.run(["release"]).ends(0);
    let manifest = monorepo.0.manifest();
    let mut names: Vec<_> = manifest
        .packages()
        .iter()
        .map(|package| package.file.to_string())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2);
    assert!(names[0].starts_with("odd_name-1.2.3-"), "{names:?}");
    assert!(names[1].starts_with("plain-2.0.0_beta.1-"), "{names:?}");
    let files = monorepo.files();
    assert!(
        !files
            .iter()
            .any(|file| file.contains("pwned") && !file.contains("touch")),
        "{files:?}"
    );
}

#[test]
fn a_member_that_conda_has_no_name_for_is_left_out_by_name() {
    let monorepo = Monorepo::with_two_programs();
    monorepo.program("crates/other", "wörld", "");
    let output = monorepo
        .run(["init", "--yes", "--output-format", "json"])
        .ends(0)
        .says("no starter recipe for the member `wörld`");
    assert_eq!(output.json()["skipped"][0]["member"], "wörld");
    assert!(!monorepo.0.path("recipes/wörld").exists());
    assert!(monorepo.0.path("recipes/left/recipe.yaml").is_file());
}

#[test]
fn members_without_programs_or_with_a_recipe_get_none() {
    let monorepo = Monorepo::new();
    monorepo.program("crates/packaged", "packaged", "");
    monorepo.program("crates/library", "library", "");
    let library = monorepo.0.path("crates/library/src");
    fs_err::rename(library.join("main.rs"), library.join("lib.rs")).unwrap();
    monorepo.0.package("under-another-name");
    let config =
        "[[package]]\nrecipe = \"recipes/under-another-name\"\ncargo-package = \"packaged\"\n";
    monorepo.0.config(config);
    monorepo.run(["init", "--yes"]).ends(0);
    assert_eq!(monorepo.0.files("recipes"), ["under-another-name"]);
    assert_eq!(monorepo.text("conda-release.toml"), config);
}

#[test]
fn a_lockfile_that_git_ignores_is_not_insisted_on() {
    let monorepo = Monorepo::with_two_programs();
    monorepo.0.write(".gitignore", "target/\nCargo.lock\n");
    monorepo.run(["init", "--yes"]).ends(0);
    assert!(
        !monorepo
            .text("recipes/left/recipe.yaml")
            .contains("--locked")
    );
}
