//! Packages are identified by their bytes, never by their names.

use std::{collections::BTreeSet, num::NonZeroUsize, path::Path};

use conda_recipes::BuildEvent;

use crate::workspace::{Run, Workspace};

/// Rounds of the tests that look for races; more with `CONDA_RELEASE_ROUNDS`.
fn rounds(few: usize) -> usize {
    let more = std::env::var("CONDA_RELEASE_ROUNDS").ok();
    more.map_or(few, |rounds| rounds.parse().unwrap())
}

/// `lib`, with a file that says `text`, tested to say `expected`; and `app`, built upon it and tested with it.
fn pair(workspace: &Workspace, text: &str, expected: &str) {
    workspace
        .script(
            "lib",
            &[
                "mkdir -p $PREFIX/share",
                &format!("echo {text} > $PREFIX/share/lib"),
            ],
            &format!("tests:\n  - script:\n      - grep -x {expected} $PREFIX/share/lib\n"),
        )
        .script(
            "app",
            &[
                "mkdir -p $PREFIX/share",
                "cp $PREFIX/share/lib $PREFIX/share/app",
            ],
            "requirements:\n  host: [lib]\n  run: [lib]\ntests:\n  - script:\n      - cmp $PREFIX/share/lib $PREFIX/share/app\n",
        );
}

fn sorted(run: &Run) -> Vec<String> {
    let mut ends = run.ends();
    ends.sort();
    ends
}

const PASSED: [&str; 4] = ["built app", "built lib", "tested app", "tested lib"];

pub(crate) fn a_changed_package_is_tested_by_its_own_tests() {
    let workspace = Workspace::new();
    pair(&workspace, "old", "old");
    assert_eq!(sorted(&workspace.build()), PASSED);
    pair(&workspace, "new", "other");
    let run = workspace.build();
    assert_eq!(
        run.failure("lib").0.code,
        "test_failed",
        "{:#?}",
        run.events
    );
    pair(&workspace, "new", "new");
    assert_eq!(sorted(&workspace.build()), PASSED, "a repaired test passes");
}

/// The folders of the user's cache that have a package of this name.
fn entries(cache: &Path, name: &str) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(cache.join("pkgs")) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|entry| entry.starts_with(name))
        .collect()
}

pub(crate) fn the_users_cache_never_has_a_package_of_the_plan() {
    let workspace = Workspace::new();
    pair(&workspace, "it", "it");
    assert_eq!(sorted(&workspace.build()), PASSED);
    let cache = workspace.root().join("cache");
    assert_eq!(entries(&cache, "lib-"), Vec::<String>::new());
    assert_eq!(entries(&cache, "app-"), Vec::<String>::new());
}

/// Another tool, or another checkout, may have put a package of the same name there.
pub(crate) fn an_entry_of_the_users_cache_is_not_tested_instead() {
    let mut workspace = Workspace::new();
    // With a channel there are remote packages, which tests are shown.
    let channel = workspace.root().join("channel");
    workspace.file(
        "channel/noarch/repodata.json",
        r#"{"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}, "repodata_version": 1}"#,
    );
    workspace.options.channels = vec![channel.display().to_string()];
    pair(&workspace, "right", "right");
    let plan = workspace.plan();
    let entry = plan
        .packages
        .iter()
        .find(|package| package.file.name() == "lib")
        .map(|package| package.file.to_string().replace(".conda", ""))
        .unwrap();
    let folder = format!("cache/pkgs/{entry}");
    workspace
        .file(&format!("{folder}/share/lib"), "wrong\n")
        .file(&format!("{folder}/info/files"), "share/lib\n")
        .file(
            &format!("{folder}/info/index.json"),
            r#"{"name": "lib", "version": "1", "build": "h4616a5c_0", "build_number": 0, "depends": [], "subdir": "noarch", "noarch": "generic"}"#,
        )
        .file(
            &format!("{folder}/info/paths.json"),
            r#"{"paths_version": 1, "paths": [{"_path": "share/lib", "path_type": "hardlink"}]}"#,
        )
        .file(
            &format!("{folder}/info/tests/tests.yaml"),
            "- script:\n    - exit 1\n",
        );
    assert_eq!(sorted(&workspace.build()), PASSED);
}

pub(crate) fn a_package_that_was_exchanged_is_not_built_upon() {
    let workspace = Workspace::new();
    pair(&workspace, "it", "it");
    let first = workspace.build();
    let good = first.good();
    fs_err::copy(first.path("app"), first.path("lib")).unwrap();
    let mut request = workspace.build_request();
    request.build = BTreeSet::from([first.key("app")]);
    request.good = good;
    let run = workspace.try_build(request).unwrap();
    let (failure, _) = run.failure("app");
    assert_eq!(failure.code, "prepare_failed", "{failure:#?}");
    assert!(
        failure.causes.iter().any(|cause| cause.contains("SHA-256")),
        "{failure:#?}"
    );
}

/// Each needs an earlier one to be built, and two or three to be tested, as the packages of a monorepo do.
fn sixty(workspace: &Workspace, seed: u64) {
    let mut state = seed;
    let mut below = |limit: usize| {
        // Knuth's generator: the same graph for the same seed.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    };
    for number in 0..60 {
        let mut rest = String::new();
        if number > 0 {
            let run: BTreeSet<_> = (0..2 + number % 2).map(|_| below(number)).collect();
            let run: Vec<_> = run.iter().map(|other| format!("p{other}")).collect();
            rest = format!(
                "requirements:\n  host: [p{}]\n  run: [{}]\n",
                below(number),
                run.join(", ")
            );
        }
        rest.push_str(&format!(
            "tests:\n  - script:\n      - test -f $PREFIX/share/p{number}\n"
        ));
        workspace.script(
            &format!("p{number}"),
            &[
                "mkdir -p $PREFIX/share",
                &format!("touch $PREFIX/share/p{number}"),
            ],
            &rest,
        );
    }
}

pub(crate) fn sixty_packages_that_need_each_other_are_built_in_any_order() {
    for round in 0..rounds(10) {
        for jobs in [2, 8] {
            if round % 2 == usize::from(jobs == 8) {
                continue;
            }
            let mut workspace = Workspace::new();
            workspace.options.jobs = NonZeroUsize::new(jobs);
            sixty(&workspace, u64::try_from(round).unwrap());
            let run = workspace.build();
            let failed: Vec<_> = run
                .events
                .iter()
                .filter(|event| {
                    matches!(
                        event,
                        BuildEvent::Failed { .. } | BuildEvent::Blocked { .. }
                    )
                })
                .collect();
            assert!(failed.is_empty(), "round {round}, {jobs} jobs: {failed:#?}");
            assert_eq!(run.ends().len(), 120);
        }
    }
}

pub(crate) fn two_checkouts_on_one_machine_do_not_disturb_each_other() {
    let mut checkouts = [Workspace::new(), Workspace::new()];
    let cache = checkouts[0].root().join("cache").display().to_string();
    for checkout in &mut checkouts {
        checkout.options.jobs = NonZeroUsize::new(4);
        checkout
            .environment
            .push(("RATTLER_CACHE_DIR", cache.clone()));
    }
    std::thread::scope(|scope| {
        for (which, checkout) in checkouts.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..rounds(5) {
                    let text = format!("text-{which}-{round}");
                    pair(checkout, &text, &text);
                    let run = checkout.build();
                    assert_eq!(sorted(&run), PASSED, "{which}, {round}: {:#?}", run.events);
                }
            });
        }
    });
}
