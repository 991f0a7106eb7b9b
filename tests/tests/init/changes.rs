//! What is written, what is compared and what is left alone.

use fs_err as fs;
use serde_json::json;

use crate::monorepo::Monorepo;

const WORKFLOW: &str = ".github/workflows/conda-release.yml";

#[test]
fn nothing_is_written_where_nobody_can_be_asked() {
    let monorepo = Monorepo::with_two_programs();
    let before = monorepo.files();
    monorepo
        .run(["init"])
        .ends(2)
        .says("+++ recipes/left/recipe.yaml")
        .says("--yes was not given");
    assert_eq!(monorepo.files(), before);
    let output = monorepo.run(["init", "--output-format", "json"]).ends(2);
    assert_eq!(output.json()["error"]["code"], "usage");
}

#[test]
fn what_is_written_is_current_and_is_not_written_again() {
    let monorepo = Monorepo::with_two_programs();
    monorepo
        .run(["init", "--check"])
        .ends(3)
        .mentions("nothing");
    monorepo.run(["init", "--yes"]).ends(0);
    assert_eq!(
        monorepo.files(),
        [
            ".cargo/config.toml",
            WORKFLOW,
            ".gitignore",
            "Cargo.lock",
            "Cargo.toml",
            "conda-release.toml",
            "crates/left/Cargo.toml",
            "crates/left/src/main.rs",
            "crates/right/Cargo.toml",
            "crates/right/src/main.rs",
            "recipes/left/recipe.yaml",
            "recipes/right/recipe.yaml",
            "xtask/.gitignore",
            "xtask/Cargo.toml",
            "xtask/src/main.rs",
        ]
    );
    monorepo.run(["init", "--check"]).ends(0);
    // Nothing to ask: it ends well without --yes.
    let output = monorepo.run(["init", "--output-format", "json"]).ends(0);
    let files = output.json()["files"].as_array().unwrap().clone();
    assert!(!files.is_empty());
    for file in files {
        assert_eq!(
            (&file["state"], &file["written"]),
            (&json!("current"), &json!(false)),
            "{file}"
        );
    }
}

#[test]
fn recipes_and_configuration_are_the_users_and_the_workflow_is_compared() {
    let monorepo = Monorepo::with_two_programs();
    monorepo.run(["init", "--yes"]).ends(0);
    let generated = monorepo.text(WORKFLOW);
    let edited = format!("{generated}# mine\n");
    monorepo.0.write(WORKFLOW, &edited);
    for path in [
        "conda-release.toml",
        "xtask/src/main.rs",
        "recipes/left/recipe.yaml",
    ] {
        monorepo
            .0
            .write(path, &format!("{}\n# mine\n", monorepo.text(path)));
    }
    let output = monorepo.run(["init", "--check"]).ends(3);
    assert!(output.stdout.contains("\n-# mine\n"), "{output}");
    assert_eq!(output.stdout.matches("differs").count(), 1, "{output}");
    monorepo
        .run(["init", "--yes"])
        .ends(0)
        .says("--force replaces it");
    assert_eq!(monorepo.text(WORKFLOW), edited);
    monorepo.run(["init", "--yes", "--force"]).ends(0);
    assert_eq!(monorepo.text(WORKFLOW), generated);
    assert!(
        monorepo
            .text("recipes/left/recipe.yaml")
            .ends_with("# mine\n")
    );
    monorepo.run(["init", "--check"]).ends(0);
}

#[test]
fn a_new_member_gets_its_recipe_and_the_others_keep_theirs() {
    let monorepo = Monorepo::with_two_programs();
    monorepo.run(["init", "--yes"]).ends(0);
    monorepo.program("crates/third", "third", "");
    let output = monorepo.run(["init", "--check"]).ends(3);
    assert_eq!(output.stdout.matches("missing").count(), 1, "{output}");
    let output = monorepo
        .run(["init", "--yes", "--output-format", "json"])
        .ends(0);
    let written: Vec<_> = output.json()["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["written"] == true)
        .map(|file| file["path"].clone())
        .collect();
    assert_eq!(written, ["recipes/third/recipe.yaml"]);
}

#[test]
fn the_alias_is_added_to_what_cargo_is_told_already() {
    let monorepo = Monorepo::with_two_programs();
    let before = "# Ours.\n[alias]\nt = \"test\" # often\n\n[net]\nretry = 3\n";
    monorepo.0.write(".cargo/config.toml", before);
    monorepo.run(["init", "--yes"]).ends(0);
    let after = monorepo.text(".cargo/config.toml");
    let alias = "xtask = \"run --quiet --manifest-path xtask/Cargo.toml --\"\n";
    assert_eq!(after.replace(alias, ""), before);
    assert!(after.contains(alias), "{after}");
}

#[test]
fn an_alias_that_has_no_place_is_an_error_before_anything_is_written() {
    let monorepo = Monorepo::with_two_programs();
    monorepo.0.write(".cargo/config.toml", "alias = 1\n");
    let before = monorepo.files();
    monorepo
        .run(["init", "--yes"])
        .ends(3)
        .says(".cargo/config.toml")
        .says("--no-xtask");
    assert_eq!(monorepo.files(), before);
    monorepo.run(["init", "--yes", "--no-xtask"]).ends(0);
}

#[test]
fn an_xtask_of_the_user_stays_and_the_workflow_installs_us() {
    let monorepo = Monorepo::with_two_programs();
    monorepo.program("xtask", "xtask", "");
    monorepo.0.write(
        "Cargo.toml",
        "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\", \"xtask\"]\n",
    );
    monorepo
        .run(["init", "--yes"])
        .ends(0)
        .says("`cargo xtask` is yours");
    assert!(!monorepo.0.path(".cargo/config.toml").exists());
    assert!(!monorepo.0.path("recipes/xtask").exists());
    let workflow = monorepo.text(WORKFLOW);
    assert!(
        workflow.contains("cargo install --locked cargo-conda-release@"),
        "{workflow}"
    );
    assert!(!workflow.contains("xtask"), "{workflow}");
}

#[test]
fn a_repository_without_cargo_gets_configuration_and_workflow() {
    let monorepo = Monorepo::new();
    fs::remove_file(monorepo.0.path("Cargo.toml")).unwrap();
    fs::remove_file(monorepo.0.path(".gitignore")).unwrap();
    monorepo.0.package("one");
    monorepo
        .run(["init", "--xtask", "--yes"])
        .ends(2)
        .says("no Cargo.toml");
    monorepo.run(["init", "--yes"]).ends(0);
    assert_eq!(
        monorepo.files(),
        [
            WORKFLOW,
            ".gitignore",
            "conda-release.toml",
            "recipes/one/recipe.yaml"
        ]
    );
    // What a release writes is no change of the source.
    assert_eq!(monorepo.text(".gitignore"), "/target/\n");
    monorepo.run(["release"]).ends(0);
}

#[test]
fn a_channel_is_named_once() {
    let monorepo = Monorepo::with_two_programs();
    monorepo
        .run(["init", "--yes", "--to", "s3://bucket/path"])
        .ends(2)
        .says("--target-channel");
    monorepo
        .run([
            "init",
            "--yes",
            "--to",
            "https://me:hunter2@prefix.dev/acme",
        ])
        .ends(3);
    let channel = "https://prefix.dev/acme";
    monorepo.run(["init", "--yes", "--to", channel]).ends(0);
    let config = monorepo.text("conda-release.toml");
    assert!(
        config.ends_with("channel = \"https://prefix.dev/acme\"\n"),
        "{config}"
    );
    monorepo.run(["init", "--check", "--to", channel]).ends(0);
    monorepo
        .run(["init", "--yes", "--to", "https://prefix.dev/other"])
        .ends(2)
        .says("the configuration is yours");
}
