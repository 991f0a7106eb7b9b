//! Manual pages and completions, which come from the command line's own definition.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use end_to_end::Workspace;
use fs_err as fs;
use insta::assert_snapshot;

#[test]
fn every_command_has_a_manual_page() {
    let workspace = Workspace::new();
    let output = workspace.run(["man", "pages"]).ends(0);
    assert_snapshot!(output.stdout);
    let output = workspace
        .run(["man", "pages", "--output-format", "json"])
        .ends(0);
    let pages = output.json()["pages"].as_array().unwrap().clone();
    assert_eq!(pages.len(), workspace.files("pages").len());
    for page in pages {
        let text = fs::read_to_string(workspace.path(page.as_str().unwrap())).unwrap();
        assert!(
            text.contains("\n.SH NAME\n") && text.contains("\n.SH SYNOPSIS\n"),
            "{page}"
        );
        assert!(!text.contains("__worker"), "{page}");
    }
    let release = fs::read_to_string(workspace.path("pages/conda-release-release.1")).unwrap();
    assert!(release.contains("Examples:"), "{release}");
}

#[test]
fn the_page_of_the_program_goes_to_stdout() {
    let workspace = Workspace::new();
    let printed = workspace.run(["man"]).ends(0).stdout;
    workspace.run(["man", "pages"]).ends(0);
    let written = fs::read_to_string(workspace.path("pages/conda-release.1")).unwrap();
    assert_eq!(printed, written);
    // Nothing of the machine it was made on.
    let mut command = workspace.command(["man"]);
    command.env("CONDA_RELEASE_ROOT", "/home/me/secret");
    assert_eq!(workspace.run_command(command).ends(0).stdout, printed);
}

#[test]
fn every_shell_completes_commands_and_options() {
    let workspace = Workspace::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = workspace.run(["completions", shell]).ends(0).stdout;
        for word in [
            "release",
            "verify",
            "completions",
            "execute",
            "output-format",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("__worker"), "{shell}");
    }
    workspace.run(["completions", "teletype"]).ends(2);
}

#[test]
fn bash_reads_its_completions() {
    let workspace = Workspace::new();
    let script = workspace.run(["completions", "bash"]).ends(0).stdout;
    workspace.write("completions.bash", &script);
    let ask = "source completions.bash && COMP_WORDS=(conda-release ve) COMP_CWORD=1 && _conda__release conda-release ve '' && echo \"${COMPREPLY[@]}\"";
    let output = workspace
        .run_command(workspace.other("bash", ["-c", ask]))
        .ends(0);
    assert_eq!(output.stdout, "verify\n");
}
