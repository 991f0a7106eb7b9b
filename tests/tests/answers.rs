//! Answers that cannot be read, which are never taken for "nothing is there".

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use end_to_end::{Output, Workspace};

const CHANNEL: &str = "https://conda.acme.example/pkgs";

fn code(output: &Output) -> String {
    output.json()["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn a_repository_that_git_refuses_is_not_a_folder_without_one() {
    let workspace = Workspace::with_one_package();
    workspace
        .config(&format!("target-channel = \"{CHANNEL}\""))
        .commit();
    // The change that a live release would refuse, if git could tell.
    workspace.package("one");
    let to = workspace.beside("channel").display().to_string();
    let commands = [
        vec!["plan"],
        vec!["plan", "--changed-since", "HEAD"],
        vec!["release"],
        vec!["build", "-x", "--to", &to],
    ];
    for args in &commands {
        let mut command = workspace.command(args.iter().chain(&["--output-format", "json"]));
        command.env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
        let refused = workspace.run_command(command).ends(3);
        assert_eq!(code(&refused), "git", "{refused}");
        assert!(refused.stdout.contains("dubious ownership"), "{refused}");
    }
    // A damaged repository, and one of a worktree that is elsewhere.
    let head = workspace.path(".git/HEAD");
    let text = fs::read_to_string(&head).unwrap();
    for content in ["", "<html>"] {
        fs::write(&head, content).unwrap();
        let args = ["plan", "--output-format", "json"];
        assert_eq!(code(&workspace.run(args).ends(3)), "git", "{content}");
    }
    fs::write(&head, text).unwrap();
    workspace.run(["plan"]).ends(0);
    fs::rename(workspace.path(".git"), workspace.path("elsewhere")).unwrap();
    fs::write(workspace.path(".git"), "gitdir: /nowhere/worktrees/one\n").unwrap();
    assert_eq!(
        code(&workspace.run(["plan", "--output-format", "json"]).ends(3)),
        "git"
    );
    fs::remove_file(workspace.path(".git")).unwrap();
    workspace.run(["plan"]).ends(0);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_is_not_a_missing_one() {
    let workspace = Workspace::plain();
    workspace.package("one").config("");
    workspace.run(["plan"]).ends(0);
    let nowhere = workspace.path("nowhere");
    for file in ["Cargo.toml", "recipes/one/variants.yaml"] {
        let path = workspace.path(file);
        std::os::unix::fs::symlink(&nowhere, &path).unwrap();
        workspace.run(["plan"]).ends(3).says(file);
        fs::remove_file(&path).unwrap();
        // Neither is a folder of its name.
        fs::create_dir(&path).unwrap();
        workspace.run(["plan"]).ends(3).says(file);
        fs::remove_dir(&path).unwrap();
    }
    let config = workspace.path("conda-release.toml");
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink(&nowhere, &config).unwrap();
    workspace.run(["plan"]).ends(3).says("conda-release.toml");
}

#[cfg(unix)]
#[test]
fn settings_of_rattler_that_cannot_be_read_are_not_missing() {
    let workspace = Workspace::plain();
    workspace
        .package("one")
        .config("target-channel = \"https://conda.acme.example/pkgs\"");
    let read = |variable: (&str, &std::path::Path)| {
        // Nothing listens there: settings come first.
        let to = "quetz://127.0.0.1:9/pkgs";
        let args = ["plan", "-x", "--to", to, "--output-format", "json"];
        let mut command = workspace.command(args);
        command
            .env("QUETZ_API_KEY", "key")
            .env(variable.0, variable.1);
        code(&workspace.run_command(command))
    };
    let missing = workspace.beside("missing.json");
    assert_eq!(read(("RATTLER_AUTH_FILE", &missing)), "credentials");
    let home = workspace.beside("rattler");
    fs::create_dir(&home).unwrap();
    let config = home.join("config.toml");
    std::os::unix::fs::symlink(&missing, &config).unwrap();
    assert_eq!(read(("RATTLER_HOME", &home)), "rattler_config");
    fs::remove_file(&config).unwrap();
    let names = format!("authentication-override-file = \"{}\"", missing.display());
    fs::write(&config, names).unwrap();
    assert_eq!(read(("RATTLER_HOME", &home)), "credentials");
}

#[test]
fn a_rehearsals_trusted_root_that_cannot_be_read_is_not_a_missing_one() {
    let workspace = Workspace::with_one_package();
    workspace.run(["release"]).ends(0);
    let root = workspace.path("target/conda-release/rehearsal/sandbox/trusted_root.json");
    for content in ["", "<html>", "{"] {
        fs::write(&root, content).unwrap();
        let refused = workspace.run(["release"]);
        assert_ne!(refused.status, Some(0), "{content}: {refused}");
        assert!(!refused.mentions("Attested"), "{content}: {refused}");
    }
    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    let refused = workspace.run(["release"]);
    assert_ne!(refused.status, Some(0), "{refused}");
    assert!(!refused.mentions("Attested"), "{refused}");
}

#[test]
fn a_repository_without_commit_or_remote_is_none_that_cannot_be_read() {
    let workspace = Workspace::plain();
    workspace.package("one").config("");
    workspace.git(&["init", "--quiet"]);
    workspace.run(["plan"]).ends(0);
    workspace.commit();
    workspace.run(["plan"]).ends(0);
    workspace.git(&["checkout", "--quiet", "--detach"]);
    workspace.run(["plan"]).ends(0);
}
