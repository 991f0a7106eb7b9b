//! What a build does.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    num::NonZeroUsize,
    thread::available_parallelism,
};

use conda_recipes::{BuildEvent, TestMode};
use release_manifest::Phase;
use sha2::{Digest as _, Sha256};

use crate::workspace::Workspace;

const TESTED: &str =
    "tests:\n  - script:\n      - test -f $PREFIX/share/it\n      - echo the test says hello\n";
const MAKES_IT: &[&str] = &["mkdir -p $PREFIX/share", "echo it > $PREFIX/share/it"];

fn jobs(jobs: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(jobs)
}

pub(crate) fn a_recipe_is_built_hashed_and_tested() {
    let workspace = Workspace::new();
    workspace.script(
        "it",
        &[
            "mkdir -p $PREFIX/share",
            "echo it > $PREFIX/share/it",
            "echo the script says hello",
        ],
        TESTED,
    );
    let run = workspace.build();
    assert_eq!(run.ends(), ["built it", "tested it"]);
    let phases: Vec<_> = run
        .events
        .iter()
        .filter_map(|event| match event {
            BuildEvent::Started { phase, .. } => Some(*phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [Phase::Build, Phase::Test]);

    let bytes = fs_err::read(run.path("it")).unwrap();
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(run.hashes(), [(run.key("it"), hash.clone())]);
    assert_eq!(run.record("it").unwrap()["sha256"], hash);
    assert!(run.events.iter().any(
        |event| matches!(event, BuildEvent::Built { size, .. } if *size == bytes.len() as u64)
    ));
    for line in ["the script says hello", "the test says hello"] {
        assert!(
            run.log("it").lines().any(|logged| logged == line),
            "{}",
            run.log("it")
        );
    }
}

pub(crate) fn eight_outputs_are_built_after_what_they_need() {
    let mut workspace = Workspace::new();
    workspace.options.jobs = jobs(4);
    workspace.options.test = TestMode::Skip;
    // A tree upside down: 7 needs 6 and 5, 6 needs 5 and 4, …
    for number in 0..8_usize {
        let needs: Vec<_> = [1, 2]
            .into_iter()
            .filter_map(|back| number.checked_sub(back))
            .collect();
        let lines: Vec<_> = needs
            .iter()
            .map(|need| format!("test -f $PREFIX/share/p{need}"))
            .collect();
        let own = format!("mkdir -p $PREFIX/share && touch $PREFIX/share/p{number}");
        let lines: Vec<_> = lines.iter().chain([&own]).map(String::as_str).collect();
        let host: String = needs
            .iter()
            .map(|need| format!("    - p{need}\n"))
            .collect();
        let rest = if host.is_empty() {
            String::new()
        } else {
            format!("requirements:\n  host:\n{host}")
        };
        workspace.script(&format!("p{number}"), &lines, &rest);
    }
    let built: Vec<_> = workspace
        .build()
        .ends()
        .into_iter()
        .filter(|end| !end.starts_with("untested"))
        .collect();
    assert_eq!(
        built,
        (0..8)
            .map(|number| format!("built p{number}"))
            .collect::<Vec<_>>()
    );
}

pub(crate) fn two_runs_give_the_same_bytes() {
    let workspace = Workspace::new();
    workspace
        .script("it", MAKES_IT, "")
        .script("app", &["mkdir -p $PREFIX/bin", "cp $PREFIX/share/it $PREFIX/bin/app"], "requirements:\n  host:\n    - it\n")
        .recipe(
            "staged",
            "recipe:\n  name: staged\n  version: '1'\noutputs:\n  - staging:\n      name: base\n    requirements:\n      host: [it]\n    \
             build:\n      script:\n        - cp $PREFIX/share/it $PREFIX/staged\n  - package:\n      name: one\n    inherit: base\n    \
             requirements:\n      host: [it]\n    build:\n      files: [staged]\n",
        );
    let first = workspace.build();
    assert_eq!(first.hashes().len(), 3, "{:#?}", first.events);
    assert_eq!(first.hashes(), workspace.build().hashes());
}

pub(crate) fn cores_are_shared_out_to_scripts() {
    let cores = available_parallelism().unwrap().get();
    for (jobs_allowed, share) in [(1, cores), (cores.max(2), (cores / 2).max(1))] {
        let mut workspace = Workspace::new();
        workspace.options.jobs = jobs(jobs_allowed);
        workspace.options.test = TestMode::Skip;
        for name in ["a", "b"] {
            workspace.script(name, &["echo CPU_COUNT is $CPU_COUNT"], "");
        }
        let log = workspace.build().log("a");
        assert!(
            log.contains(&format!("CPU_COUNT is {share}\n")),
            "{jobs_allowed} jobs: {log}"
        );
    }
}

pub(crate) fn a_failing_script_shows_its_end_and_blocks_only_what_needs_it() {
    let workspace = Workspace::new();
    workspace
        .script(
            "lib",
            &[
                "set +x",
                "for i in $(seq 100); do echo line $i; done",
                "exit 3",
            ],
            "",
        )
        .script("app", MAKES_IT, "requirements:\n  host:\n    - lib\n")
        .script("top", MAKES_IT, "requirements:\n  host:\n    - app\n")
        .script("other", MAKES_IT, TESTED);
    let run = workspace.build();
    let mut ends = run.ends();
    ends.sort();
    assert_eq!(
        ends,
        [
            "blocked app by lib",
            "blocked top by lib",
            "built other",
            "failed lib: script_failed",
            "tested other"
        ]
    );

    let (failure, tail) = run.failure("lib");
    let all: Vec<_> = (1..=100).map(|line| format!("line {line}")).collect();
    assert_eq!(tail.len(), 30);
    // bash's own `+ set +x` comes by another pipe, at any time.
    let shown: Vec<_> = tail
        .iter()
        .filter(|line| !line.starts_with('+'))
        .cloned()
        .collect();
    assert!(shown.len() >= 29 && all.ends_with(&shown), "{tail:?}");
    assert!(
        all.iter().all(|line| run.log("lib").contains(line)),
        "the log is whole"
    );
    let excerpt = failure.excerpt.as_ref().unwrap();
    assert_eq!(excerpt.file, "recipes/lib/recipe.yaml");
    assert_eq!(
        &excerpt.text[excerpt.offset..excerpt.offset + excerpt.length],
        "name: lib"
    );
}

pub(crate) fn a_package_that_fails_its_test_is_set_aside_and_not_built_upon() {
    let mut workspace = Workspace::new();
    workspace.options.jobs = jobs(1);
    workspace.script("app", MAKES_IT, "requirements:\n  host:\n    - it\n");
    workspace.script(
        "it",
        MAKES_IT,
        "tests:\n  - script:\n      - echo the test is unhappy\n      - exit 1\n",
    );
    let run = workspace.build();
    assert_eq!(
        run.ends(),
        ["built it", "failed it: test_failed", "blocked app by it"]
    );
    assert!(
        run.failure("it")
            .1
            .contains(&"the test is unhappy".to_owned()),
        "{:?}",
        run.failure("it")
    );
    assert!(!run.path("it").exists());
    assert!(
        workspace
            .output()
            .join("broken")
            .join(run.key("it").to_string())
            .exists()
    );
    assert_eq!(run.record("it"), None, "the local channel still has it");
}

pub(crate) fn a_package_without_its_contents_is_set_aside() {
    let workspace = Workspace::new();
    workspace.script(
        "it",
        MAKES_IT,
        "tests:\n  - package_contents:\n      files: [share/other]\n",
    );
    let run = workspace.build();
    assert_eq!(run.ends(), ["failed it: package_contents"]);
    assert!(!run.path("it").exists());
    assert!(
        workspace
            .output()
            .join("broken")
            .join(run.key("it").to_string())
            .exists()
    );
}

pub(crate) fn tests_that_do_not_run_are_seen() {
    let mut workspace = Workspace::new();
    workspace.options.test = TestMode::Skip;
    workspace.script("it", MAKES_IT, "tests:\n  - script:\n      - exit 1\n");
    assert_eq!(workspace.build().ends(), ["built it", "untested it"]);
}

pub(crate) fn chatty_parallel_builds_keep_their_logs() {
    let mut workspace = Workspace::new();
    workspace.options.jobs = jobs(3);
    let names = ["a", "b", "c"];
    for name in names {
        let says = format!("for i in $(seq 500); do echo {name} says $i; done");
        let tests = format!(
            "tests:\n  - script:\n      - for i in $(seq 500); do echo {name} tests $i; done\n"
        );
        workspace.script(
            name,
            &[
                &says,
                "mkdir -p $PREFIX/share && touch $PREFIX/share/$PKG_NAME",
            ],
            &tests,
        );
    }
    let run = workspace.build();
    for name in names {
        let log = run.log(name);
        let of = |speaker: &str, verb: &str| {
            let begin = format!("{speaker} {verb} ");
            log.lines()
                .filter_map(|line| line.strip_prefix(&begin)?.parse().ok())
                .collect::<Vec<u32>>()
        };
        for speaker in names {
            for verb in ["says", "tests"] {
                let expected: Vec<u32> = if speaker == name {
                    (1..=500).collect()
                } else {
                    Vec::new()
                };
                assert_eq!(
                    of(speaker, verb),
                    expected,
                    "{speaker} {verb} in the log of {name}"
                );
            }
        }
    }
}

pub(crate) fn a_changed_recipe_is_not_built_under_the_old_plan() {
    let workspace = Workspace::new();
    workspace.script("it", MAKES_IT, "");
    let request = workspace.build_request();
    workspace.script("it", &["echo changed"], "");
    let error = workspace.try_build(request).unwrap_err();
    assert_eq!(conda_recipes::Failure::from(&error).code, "plan_changed");
    assert!(
        !workspace.output().join("packages/noarch").exists(),
        "nothing was built"
    );
}

pub(crate) fn what_another_platform_builds_is_not_built_here() {
    let mut workspace = Workspace::new();
    workspace.script("it", MAKES_IT, "");
    workspace.options.build_platform = Some("win-64".parse().unwrap());
    let error = workspace.try_build(workspace.build_request()).unwrap_err();
    let failure = conda_recipes::Failure::from(&error);
    assert_eq!(failure.code, "invalid_option");
    assert!(
        failure.message.contains("is built on win-64"),
        "{}",
        failure.message
    );
    assert!(!workspace.output().join("packages/noarch").exists());
}

pub(crate) fn a_sandbox_that_is_not_installed_is_named_before_anything_is_built() {
    let mut workspace = Workspace::new();
    workspace.script("it", MAKES_IT, "");
    workspace.options.sandbox = Some(conda_recipes::Sandbox::default());
    let nowhere = workspace.root().join("nowhere").display().to_string();
    workspace.environment.push(("PATH", nowhere));
    let error = workspace.try_build(workspace.build_request()).unwrap_err();
    let failure = conda_recipes::Failure::from(&error);
    assert_eq!(failure.code, "invalid_option");
    assert!(
        failure.message.contains("rattler-sandbox"),
        "{}",
        failure.message
    );
    assert!(!workspace.output().join("packages/noarch").exists());
}

pub(crate) fn the_mirrors_of_rattlers_configuration_are_asked_instead() {
    let mirror = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mirror", mirror.local_addr().unwrap());
    let (asked, requests) = std::sync::mpsc::channel();
    // It has nothing, and ends with the test's process.
    std::thread::spawn(move || {
        for connection in mirror.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            // A client may open a connection that it does not use.
            let Some(Ok(first)) = lines.next() else {
                continue;
            };
            // What is sent must be read before the connection is closed.
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            if asked.send(first).is_err() {
                return;
            }
            let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // Nor does it wait for every answer.
            let _answered = connection.write_all(answer.as_bytes());
        }
    });

    let mut workspace = Workspace::new();
    workspace
        .script("it", MAKES_IT, "requirements:\n  host:\n    - other\n")
        .file(
            "rattler/config.toml",
            &format!("[mirrors]\n\"https://channel.invalid/c\" = [\"{url}\"]\n"),
        );
    workspace.options.channels = vec!["https://channel.invalid/c".to_owned()];
    let rattler = workspace.root().join("rattler").display().to_string();
    workspace.environment.push(("RATTLER_HOME", rattler));
    workspace
        .environment
        .push(("NO_PROXY", "127.0.0.1".to_owned()));
    assert_eq!(workspace.build().ends().len(), 1, "nobody has `other`");
    let requests: Vec<String> = requests.try_iter().collect();
    assert!(
        requests
            .iter()
            .any(|line| line.starts_with("GET /mirror/noarch/")),
        "{requests:?}"
    );
}

pub(crate) fn only_what_is_asked_for_is_built() {
    let workspace = Workspace::new();
    workspace.script("it", MAKES_IT, TESTED).script(
        "app",
        &["test -f $PREFIX/share/it"],
        "requirements:\n  host:\n    - it\n",
    );
    let all = workspace.build();
    let it = all.key("it");
    let mut request = workspace.build_request();
    request.build.remove(&it);
    request.good = all.good();
    assert_eq!(
        workspace.try_build(request.clone()).unwrap().ends(),
        ["built app", "untested app"]
    );
    request.test = BTreeSet::from([it]);
    request.build.clear();
    assert_eq!(workspace.try_build(request).unwrap().ends(), ["tested it"]);
}
