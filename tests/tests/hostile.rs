//! Recipes that try what they can.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    os::unix::{fs::lchown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use end_to_end::{Gate, Output, Workspace};
use fs_err as fs;
use rustix::process::geteuid;

/// What those have who may sign and publish.
const SECRETS: [&str; 10] = [
    "SIGSTORE_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "GITHUB_TOKEN",
    "PREFIX_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "CARGO_REGISTRY_TOKEN",
    "ANYTHING_ELSE",
];
/// What each of them holds.
const HUSH: &str = "hush-hush";
/// Nobody in particular.
const NOBODY: u32 = 65534;

/// The command with all secrets in its environment.
fn with_secrets(workspace: &Workspace, args: &[&str]) -> Command {
    let mut command = workspace.command(args);
    command.envs(SECRETS.map(|name| (name, HUSH)));
    command
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

#[track_caller]
fn assert_hushed(workspace: &Workspace, output: &Output) {
    assert!(
        !output.stdout.contains(HUSH) && !output.stderr.contains(HUSH),
        "{output}"
    );
    for file in files(workspace.root().parent().unwrap()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        let is_told = bytes
            .windows(HUSH.len())
            .any(|window| window == HUSH.as_bytes());
        assert!(!is_told, "{} tells", file.display());
    }
}

#[test]
fn a_recipe_and_its_tests_see_no_identity_and_no_credential() {
    let workspace = Workspace::plain();
    workspace.recipe(
        "curious",
        &format!(
            r#"
context:
  token: ${{{{ env.get("GITHUB_TOKEN", default="nothing") }}}}
  other: ${{{{ env.get("ANYTHING_ELSE", default="nothing") }}}}
package:
  name: curious
  version: 1.0.0
build:
  noarch: generic
  script:
    secrets: [{}]
    content: |
      mkdir -p $PREFIX/share
      {{ env; echo "rendered: ${{{{ token }}}} ${{{{ other }}}}"; }} | tee $PREFIX/share/seen.txt
about:
  summary: ${{{{ token }}}}
tests:
  - script: [env]
"#,
            SECRETS.join(", ")
        ),
    );
    let output = workspace
        .run_command(with_secrets(&workspace, &["release", "-vv"]))
        .ends(0);
    assert_hushed(&workspace, &output);
    let seen = workspace.content("curious", "share/seen.txt");
    assert!(seen.contains("rendered: nothing nothing"), "{seen}");
    assert!(!seen.contains(HUSH), "{seen}");
    let about = workspace.content("curious", "info/about.json");
    assert!(!about.contains(HUSH), "{about}");
}

#[test]
fn a_recipe_cannot_ask_for_credentials_by_configuration() {
    let workspace = Workspace::with_one_package();
    for name in [
        "GITHUB_TOKEN",
        "SIGSTORE_ID_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
    ] {
        workspace.config(&format!("[build]\npass-env = [\"{name}\"]\n"));
        let command = with_secrets(&workspace, &["release"]);
        workspace.run_command(command).ends(3).says(name);
    }
    workspace.config("[build]\npass-env = [\"ANYTHING_ELSE\"]\n");
    workspace.script("one", &["test -n \"$ANYTHING_ELSE\""], "");
    // rattler-build starts scripts with an environment of their own: what is passed is for rendering.
    workspace
        .recipe(
            "one",
            "context:\n  seen: ${{ env.get('ANYTHING_ELSE') }}\npackage:\n  name: one\n  version: 1.0.0\nbuild:\n  noarch: generic\n  script:\n    - test -n \"${{ seen }}\"\n",
        );
    let command = with_secrets(&workspace, &["release"]);
    workspace.run_command(command).ends(0);
}

/// Root reads every process's environment, whatever that process says: so root runs this as nobody.
#[test]
fn a_recipe_cannot_read_the_environment_of_the_release() {
    let workspace = Workspace::plain();
    workspace.script(
        "climber",
        &[
            "mkdir -p $PREFIX/share",
            "pid=$PPID; while [ $pid -gt 1 ]; do echo \"process $pid\"; tr '\\0' '\\n' < /proc/$pid/environ || echo refused; \
             pid=$(sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f2); done > $PREFIX/share/seen.txt 2>&1",
        ],
        "",
    );
    let mut command = with_secrets(&workspace, &["release"]);
    if geteuid().is_root() {
        let folder = workspace.root().parent().unwrap();
        for file in files(folder) {
            lchown(file, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        for folder in [folder, workspace.root(), &workspace.beside("home")] {
            lchown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        for folder in ["recipes", "recipes/climber"] {
            lchown(workspace.path(folder), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        command.uid(NOBODY).gid(NOBODY);
        let mut can_run = Command::new(command.get_program());
        can_run.arg("--version").uid(NOBODY).gid(NOBODY);
        if !can_run.output().is_ok_and(|output| output.status.success()) {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must not test as root in a closed folder"
            );
            return;
        }
    }
    let output = workspace.run_command(command).ends(0);
    assert_hushed(&workspace, &output);
    let seen = workspace.content("climber", "share/seen.txt");
    assert!(
        seen.contains("RATTLER_CACHE_DIR="),
        "it reads that of the worker:\n{seen}"
    );
    assert!(seen.contains("refused"), "not that of the release:\n{seen}");
    assert!(!seen.contains(HUSH), "{seen}");
}

#[test]
fn what_a_build_or_test_leaves_running_is_ended_before_a_token_is_minted() {
    let workspace = Workspace::plain();
    let [build, test] = ["build.pid", "test.pid"].map(|name| workspace.beside(name));
    // A double fork into a session of its own, its output elsewhere; the script ends after it has begun.
    let leave = |pid: &Path| {
        let pid = pid.display();
        format!(
            "(setsid sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 100000' </dev/null >/dev/null 2>&1 &); \
             until test -s {pid}; do :; done"
        )
    };
    workspace.script(
        "lingering",
        &[&leave(&build)],
        &format!("tests:\n  - script:\n      - {:?}\n", leave(&test)),
    );
    let output = workspace.run(["release"]).ends(0);
    let minted = output.stderr.find("Identity").unwrap();
    for file in [build, test] {
        let pid = fs::read_to_string(file).unwrap().trim().to_owned();
        let said = format!("left process {pid} (`sleep 100000`) running: ended it");
        let ended = output
            .stderr
            .find(&said)
            .unwrap_or_else(|| panic!("{said}\n{output}"));
        assert!(ended < minted, "{output}");
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!command.contains("sleep"), "process {pid} runs on");
    }
}

#[test]
fn a_recipe_that_exchanges_the_package_of_another_is_found_out() {
    let workspace = Workspace::plain();
    let packages = workspace.rehearsal("packages/noarch");
    let channel = workspace.rehearsal("channel/noarch");
    workspace.package("honest").script(
        "forger",
        &[&format!(
            "printf forged > {}/honest-1.0.0-*.conda; mkdir -p {}; printf forged > {1}/honest-1.0.0-0.conda",
            packages.display(),
            channel.display(),
        )],
        "requirements:\n  build: [honest]\n",
    );
    workspace.run(["release"]).ends(6).says("honest-1.0.0-");
    let published = workspace.published("honest");
    assert!(!published.exists());

    workspace.script("forger", &["true"], "requirements:\n  build: [honest]\n");
    workspace
        .run(["release"])
        .ends(0)
        .says("taken back to planned");
    workspace.assert_sound();
}

#[test]
fn a_recipe_that_rewrites_the_records_of_the_release_changes_nothing() {
    let workspace = Workspace::plain();
    let lie = |file: &str| format!("printf lie > {}", workspace.rehearsal(file).display());
    workspace.script(
        "liar",
        &[
            &lie("release-manifest.json"),
            &lie("plan.json"),
            &lie("journal.jsonl"),
            &format!("mkdir {}", workspace.rehearsal("sandbox").display()),
            &lie("sandbox/trusted_root.json"),
        ],
        "",
    );
    workspace.run(["release"]).ends(0);
    workspace.assert_sound();
}

#[test]
fn no_sigstore_is_there_while_a_build_or_test_runs() {
    let workspace = Workspace::plain();
    let [build, test] = ["build", "test"].map(|name| Gate::new(&workspace, name));
    workspace.package("before").script(
        "slow",
        &[&build.line()],
        &format!("tests:\n  - script:\n      - {:?}\n", test.line()),
    );
    let running = workspace.start(["release"]);
    for gate in [build, test] {
        gate.wait();
        assert!(!workspace.rehearsal("sandbox").exists());
        gate.open();
    }
    running.wait().ends(0);
    assert!(workspace.rehearsal("sandbox").exists());
}

/// ANSI sequences, a terminal's title, a C1 control, and marks that turn the direction of text.
const ESCAPES: &str =
    "\u{1b}[31mred \u{1b}]0;title\u{7} \u{9b}2J \u{202e}drawkcab\u{2066} \u{8}\u{7f}";

#[track_caller]
fn assert_harmless(output: &Output) {
    for (stream, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let found = text.chars().find(|&c| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        });
        assert_eq!(found, None, "{stream} of\n{output:?}");
    }
}

#[test]
fn no_escape_sequence_of_a_recipe_reaches_the_terminal() {
    let workspace = Workspace::plain();
    workspace.write("escapes.txt", &format!("{ESCAPES}\n"));
    let print = format!("cat {}", workspace.path("escapes.txt").display());
    let quoted = serde_json::to_string(ESCAPES)
        .unwrap()
        .replace('\u{7f}', "\\u007f");
    workspace
        .script("build-fails", &[&print, "exit 1"], &format!("about:\n  summary: {quoted}\n"))
        .script(
            "test-fails",
            &["true"],
            &format!("tests:\n  - script:\n      - {print}\n      - {print} >&2; exit 1\n"),
        )
        .recipe(
            "skipped",
            "package:\n  name: skipped\n  version: 1.0.0\nbuild:\n  noarch: generic\n  skip:\n    - \"'\\e\\u202e' != 'x'\"\n",
        )
        .package("good");
    for args in [
        &["release", "--keep-going"][..],
        &["release", "--keep-going", "-v"],
        &["release", "--keep-going", "--output-format", "json"],
        &["plan"],
        &["plan", "--output-format", "json"],
    ] {
        let output = workspace.run(args);
        assert_harmless(&output);
        if args[0] == "release" {
            output.ends(4);
        }
    }
}

#[test]
fn no_escape_sequence_reaches_the_terminal_by_way_of_an_error() {
    let workspace = Workspace::plain();
    let lines = "# \u{202e}drawkcab \u{85}\n";
    workspace.recipe(
        "broken",
        &format!("{lines}package:\n  nam\u{202e}e: broken {lines}  versio: 1\n"),
    );
    for format in ["human", "json"] {
        let output = workspace
            .run(["release", "--output-format", format])
            .ends(3);
        assert_harmless(&output);
    }
    workspace
        .package("one")
        .config(&format!("{lines}recipess\u{202e} = [] {lines}"));
    for format in ["human", "json"] {
        let output = workspace
            .run(["release", "--output-format", format])
            .ends(3);
        assert_harmless(&output);
    }
}
