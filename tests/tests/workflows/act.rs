//! The same files in a runner that shares no code with ours: act, with folders in place of the actions that it would fetch.

use std::process::Command;

use channel_servers::program;
use regex::Regex;

use crate::{
    runner::{Github, ours},
    scene::repository,
};

const EXAMPLE: &str = "examples/github/rehearsal.yml";

/// An action of one script.
fn action(inputs: &[&str], script: &str) -> String {
    let given: String = inputs
        .iter()
        .map(|input| format!("  {input}: {{required: false}}\n"))
        .collect();
    let env: String = inputs
        .iter()
        .map(|input| {
            let name = input.replace('-', "_").to_uppercase();
            format!("        INPUT_{name}: ${{{{ inputs.{input} }}}}\n")
        })
        .collect();
    format!(
        "name: played\ndescription: played\ninputs:\n{given}runs:\n  using: composite\n  steps:\n    - shell: bash\n      env:\n{env}      run: {script}\n"
    )
}

#[test]
fn another_runner_rehearses_a_pull_request() {
    let Some(act) = program::find("act") else {
        return;
    };
    let workspace = repository(&[("one", &[])]);
    let github = Github::new(&workspace, None, "pull_request");
    let workflow = github.read(EXAMPLE);
    workspace
        .write(".github/workflows/rehearsal.yml", &workflow)
        .commit();
    let actions = workspace.beside("actions");
    let kept = workspace.beside("kept.json");
    let clone = format!("git clone --quiet {} .", workspace.root().display());
    let keep = format!("cp \"$INPUT_PATH\" {}", kept.display());
    let played = [
        ("actions/checkout", action(&["persist-credentials"], &clone)),
        (
            "actions/upload-artifact",
            action(&["name", "if-no-files-found", "overwrite", "path"], &keep),
        ),
        ("conda-release/conda-release", ours("action.yml")),
    ];
    let mut command = Command::new(act);
    for (name, text) in &played {
        let folder = actions.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("action.yml"), text).unwrap();
        let pin = Regex::new(&format!("uses: ({name}@[0-9a-f]{{40}}) ")).unwrap();
        let pinned = &pin.captures(&workflow).unwrap()[1];
        command
            .arg("--local-repository")
            .arg(format!("{pinned}={}", folder.display()));
    }
    command.args([
        "pull_request",
        "--no-skip-checkout",
        "--no-cache-server",
        "-P",
        "ubuntu-24.04=-self-hosted",
    ]);
    command.current_dir(workspace.root());
    let program = workspace.command([""; 0]);
    let set = program.get_envs();
    command
        .env_clear()
        .envs(set.filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var_os("PATH").unwrap();
    let paths = std::iter::once(workspace.beside("tools")).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(paths).unwrap());
    let ran = workspace.run_command(command).ends(0);
    assert!(ran.stdout.contains("Job succeeded"), "{ran}");
    let manifest = std::fs::read_to_string(kept).unwrap();
    assert!(
        manifest.contains("\"progress\": \"published\""),
        "{manifest}"
    );
}
