//! The program as a step of GitHub Actions: what it tells the runner, and what nobody else can.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use end_to_end::{Output, Workspace, step_outputs};
use fs_err as fs;

/// A step with files of its own.
struct Step<'a> {
    workspace: &'a Workspace,
    summary: PathBuf,
    output: PathBuf,
}

impl<'a> Step<'a> {
    fn new(workspace: &'a Workspace) -> Self {
        let step = Self {
            workspace,
            summary: workspace.beside("summary.md"),
            output: workspace.beside("output"),
        };
        fs::write(&step.summary, "").unwrap();
        fs::write(&step.output, "").unwrap();
        step
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = self.workspace.command(args);
        command
            .env("GITHUB_ACTIONS", "true")
            .env("GITHUB_WORKSPACE", self.workspace.root())
            .env("GITHUB_STEP_SUMMARY", &self.summary)
            .env("GITHUB_OUTPUT", &self.output);
        self.workspace.run_command(command)
    }

    fn summary(&self) -> String {
        fs::read_to_string(&self.summary).unwrap()
    }

    /// The outputs, read as the runner reads them.
    fn outputs(&self) -> BTreeMap<String, String> {
        step_outputs(&fs::read_to_string(&self.output).unwrap())
    }
}

/// A command that the runner would obey: its name, its properties and its data.
type Command = (String, String, String);

/// What the runner takes from a log for commands of these names, as `ActionCommand.cs` and `ActionCommandManager.cs` have it.
fn obeyed(log: &str) -> Vec<Command> {
    const NAMES: [&str; 11] = [
        "add-mask",
        "add-matcher",
        "debug",
        "echo",
        "endgroup",
        "error",
        "group",
        "notice",
        "set-env",
        "stop-commands",
        "warning",
    ];
    let mut obeyed = Vec::new();
    let mut word: Option<String> = None;
    for line in log.split(['\n', '\r']) {
        let parsed = newer(line).or_else(|| older(line));
        let Some((name, properties, data)) = parsed else {
            continue;
        };
        match &word {
            Some(waited_for) if *waited_for == name => word = None,
            Some(_) => {}
            None if name == "stop-commands" => word = Some(data),
            None if NAMES.contains(&name.as_str()) => obeyed.push((name, properties, data)),
            None => {}
        }
    }
    assert_eq!(word, None, "commands are obeyed again in the end");
    obeyed
}

fn newer(line: &str) -> Option<Command> {
    let (head, data) = line.trim().strip_prefix("::")?.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    Some((name.to_owned(), properties.to_owned(), data.to_owned()))
}

fn older(line: &str) -> Option<Command> {
    let (_, rest) = line.split_once("##[")?;
    let (head, data) = rest.split_once(']')?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    Some((name.to_owned(), properties.to_owned(), data.to_owned()))
}

/// A log as the runner gets it: both streams of the step.
fn log(output: &Output) -> String {
    format!("{}\n{}", output.stderr, output.stdout)
}

fn named<'a>(commands: &'a [Command], name: &str) -> Vec<&'a Command> {
    commands
        .iter()
        .filter(|command| command.0 == name)
        .collect()
}

/// What a recipe writes who hopes that the runner listens.
const SHOUTS: &str = "printf '::error::mine\\n  ::add-mask::e\\n##[add-mask]a\\nx ##[error]mine\\n::stop-commands::mine\\n::mine::\\r::set-env name=PATH::/evil\\n'";

#[test]
fn a_release_tells_its_summary_and_outputs_and_folds_its_log() {
    let workspace = Workspace::with_two_packages();
    let step = Step::new(&workspace);
    let output = step.run(&["release"]).ends(0);
    let commands = obeyed(&log(&output));
    let groups: Vec<&str> = named(&commands, "group")
        .iter()
        .map(|command| command.2.as_str())
        .collect();
    assert_eq!(groups, ["Building", "Attesting", "Publishing"], "{output}");
    assert_eq!(named(&commands, "endgroup").len(), groups.len(), "{output}");
    assert_eq!(commands.len(), 2 * groups.len(), "{output}");
    // Which of them is logged first differs.
    let summary = workspace
        .redact(&step.summary())
        .replace("| 0 |", "| [INDEX] |");
    insta::assert_snapshot!(summary.replace("| 1 |", "| [INDEX] |"));
    let outputs = step.outputs();
    assert_eq!(outputs["status"], "done");
    assert_eq!(outputs["packages"], "2");
    assert_eq!(outputs["published"], "2");
    assert_eq!(outputs["failed"], "0");
    assert!(Path::new(&outputs["manifest"]).is_file());
    assert!(Path::new(&outputs["report"]).is_file());
}

#[test]
fn a_recipe_that_fails_is_annotated_and_nothing_it_writes_is_obeyed() {
    let workspace = Workspace::new();
    let folder = "recipes/a,title=b::c|<b>";
    workspace.package("good").write(
        format!("{folder}/recipe.yaml"),
        &format!("package:\n  name: loud\n  version: 1.0.0\nabout:\n  summary: '::error::mine'\nbuild:\n  noarch: generic\n  script:\n    - {:?}\n    - echo '</pre><script>alert(1)</script>' @acme\n    - 'false'\n", SHOUTS),
    );
    let step = Step::new(&workspace);
    for format in ["human", "json"] {
        let output = step.run(&["release", "--output-format", format]).ends(4);
        let commands = obeyed(&log(&output));
        let errors = named(&commands, "error");
        assert_eq!(errors.len(), 1, "{output}");
        let (_, properties, message) = errors[0];
        assert_eq!(
            properties.split(',').next().unwrap(),
            "file=recipes/a%2Ctitle=b%3A%3Ac|<b>/recipe.yaml"
        );
        assert!(
            properties.contains(",title=noarch/loud-1.0.0-"),
            "{properties}"
        );
        assert!(!message.is_empty(), "{output}");
        let others = commands
            .iter()
            .filter(|command| !["group", "endgroup", "error"].contains(&command.0.as_str()));
        assert_eq!(others.count(), 0, "{commands:?}");
        // What it wrote is there all the same.
        assert!(output.stderr.contains("::error::mine"), "{output}");
    }
    let summary = step.summary();
    assert!(
        summary.contains("&#60;/pre&#62;&#60;script&#62;"),
        "{summary}"
    );
    assert!(!summary.contains("<script"), "{summary}");
    assert_eq!(step.outputs()["status"], "build");
    assert_eq!(step.outputs()["failed"], "1");
}

#[test]
fn an_error_of_the_whole_run_is_told_too() {
    let workspace = Workspace::plain();
    workspace.config("channel = \"https://user:hush@host.example/acme\"\nbogus = 1");
    let step = Step::new(&workspace);
    let output = step.run(&["release"]).ends(3);
    let commands = obeyed(&log(&output));
    assert_eq!(named(&commands, "error").len(), 1, "{output}");
    assert!(step.summary().contains("bogus"), "{}", step.summary());
    assert_eq!(step.outputs()["status"], "preflight");
    assert!(
        !step.summary().contains("hush") && !output.stderr.contains("::hush"),
        "{output}"
    );
}

#[test]
fn what_is_wrong_with_recipes_and_configuration_is_shown_in_their_lines() {
    let workspace = Workspace::with_one_package();
    workspace.recipe("torn", "package: {name: torn, version: '1'}\nbuilt: {}\n");
    workspace.recipe(
        "unknown",
        "package:\n  name: unknown\n  version: ${{ verson }}\n",
    );
    let step = Step::new(&workspace);
    let places = |output: &Output| -> Vec<String> {
        named(&obeyed(&log(output)), "error")
            .iter()
            .map(|command| command.1.clone())
            .collect()
    };
    let title = "title=conda-release";
    let expected = [
        format!("file=recipes/torn/recipe.yaml,line=2,col=1,{title}"),
        format!("file=recipes/unknown/recipe.yaml,line=3,col=12,{title}"),
    ];
    for plan in [&["plan"][..], &["plan", "--keep-going"]] {
        let output = step.run(plan).ends(3);
        assert_eq!(places(&output), expected, "{output}");
    }
    workspace.config("recipes = ['recipes/*']\nchanel = 'x'\n");
    let output = step.run(&["plan"]).ends(3);
    let expected = format!("file=conda-release.toml,line=2,col=1,{title}");
    assert_eq!(places(&output), [expected], "{output}");
}

#[test]
fn words_of_the_command_line_and_traces_are_not_obeyed() {
    let workspace = Workspace::plain();
    let step = Step::new(&workspace);
    let output = step
        .run(&["release", "--bogus=##[error]mine", "\n::error::mine"])
        .ends(2);
    assert_eq!(obeyed(&log(&output)), [], "{output}");
    workspace.script("loud", &["echo '##[error]mine'", "true"], "");
    let output = step.run(&["release", "-vv"]).ends(0);
    assert!(
        named(&obeyed(&log(&output)), "error").is_empty(),
        "{output}"
    );
}

#[test]
fn a_summary_stays_within_what_the_runner_takes() {
    let workspace = Workspace::with_two_packages();
    let step = Step::new(&workspace);
    for taken in [(1 << 20) - 700, 1 << 20] {
        fs::write(&step.summary, "x".repeat(taken)).unwrap();
        step.run(&["release"]).ends(0);
        assert!(step.summary().len() <= 1 << 20);
    }
    fs::write(&step.summary, "x".repeat((1 << 20) - 500)).unwrap();
    step.run(&["release"]).ends(0);
    let summary = step.summary();
    assert!(
        summary.ends_with("see `report.html`.\n"),
        "{}",
        summary.trim_matches('x')
    );
}

#[test]
fn files_that_cannot_be_written_are_a_warning() {
    let workspace = Workspace::with_one_package();
    let mut step = Step::new(&workspace);
    fs::remove_file(&step.summary).unwrap();
    step.output = workspace.beside("folder");
    fs::create_dir(&step.output).unwrap();
    step.run(&["release"])
        .ends(0)
        .says("summary of the job could not be written")
        .says("outputs of the step could not be written");
    assert!(!step.summary.exists());
}

#[test]
fn elsewhere_nothing_of_it_happens() {
    let workspace = Workspace::with_one_package();
    let step = Step::new(&workspace);
    let mut command = workspace.command(["release"]);
    command
        .env("GITHUB_STEP_SUMMARY", &step.summary)
        .env("GITHUB_OUTPUT", &step.output);
    let output = workspace.run_command(command).ends(0);
    assert!(!output.stderr.contains("::group::"), "{output}");
    assert!(step.summary().is_empty() && step.outputs().is_empty());
}

/// The marks of sections in a log, as GitLab finds them: whether one begins, and its name.
fn sections(log: &str) -> Vec<(bool, String)> {
    let mark = "section_(start|end):[0-9]+:([A-Za-z0-9_.-]+)(?:\\[[^\\]]*\\])?\r\u{1b}\\[0K";
    let mark = regex::Regex::new(mark).unwrap();
    let found = mark.captures_iter(log);
    found
        .map(|it| (&it[1] == "start", it[2].to_owned()))
        .collect()
}

#[test]
fn on_gitlab_the_log_folds_and_no_recipe_begins_or_ends_a_section() {
    let workspace = Workspace::with_two_packages();
    let mark = "printf '\\033[0Ksection_end:1:mine\\r\\033[0Ksection_start:2:theirs\\r\\033[0KBuilding\\n'";
    workspace.script("third", &[mark, "false"], "");
    let run = |args: &[&str]| {
        let mut command = workspace.command(args);
        command.env("GITLAB_CI", "true");
        workspace.run_command(command)
    };
    let output = run(&["release", "-v"]).ends(4);
    let found = sections(&log(&output));
    assert!(found.len() >= 4, "{output}");
    for pair in found.chunks(2) {
        let [(true, begun), (false, ended)] = pair else {
            panic!("{found:?}");
        };
        assert_eq!(begun, ended, "they do not nest");
        assert!(begun != "mine" && begun != "theirs", "{found:?}");
    }
    assert!(obeyed(&log(&output)).is_empty(), "{output}");
    let names: std::collections::BTreeSet<&String> = found.iter().map(|it| &it.1).collect();
    assert_eq!(names.len() * 2, found.len());
}
