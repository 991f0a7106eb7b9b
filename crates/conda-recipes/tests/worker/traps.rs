//! What rattler-build does to those who only call it: each trap that was met, as a test that it stays shut.

use std::{collections::BTreeSet, num::NonZeroUsize};

use conda_recipes::Failure;

use crate::{release, workspace::Workspace};

pub(crate) fn files_of_a_failed_run_do_not_reach_the_next_package() {
    let workspace = Workspace::new();
    let recipe = |then: &str| {
        workspace.script(
            "it",
            &["mkdir -p $PREFIX/share", then],
            "tests:\n  - package_contents:\n      files:\n        - share/good\n      strict: true\n",
        );
    };
    recipe("touch $PREFIX/share/leaked && exit 1");
    assert_eq!(workspace.build().ends(), ["failed it: script_failed"]);
    recipe("touch $PREFIX/share/good");
    assert_eq!(workspace.build().ends(), ["built it", "untested it"]);
}

pub(crate) fn variants_of_one_name_in_parallel_are_not_empty() {
    let mut workspace = Workspace::new();
    workspace.options.jobs = NonZeroUsize::new(3);
    workspace
        .file("recipes/it/variants.yaml", "flavor: [sweet, sour, salty]\n")
        .script(
            "it",
            &[
                "mkdir -p $PREFIX/share",
                "echo ${{ flavor }} > $PREFIX/share/it",
            ],
            "tests:\n  - script:\n      - grep ${{ flavor }} $PREFIX/share/it\n",
        );
    let mut ends = workspace.build().ends();
    ends.sort();
    assert_eq!(
        ends,
        [
            "built it",
            "built it",
            "built it",
            "tested it",
            "tested it",
            "tested it"
        ]
    );
}

pub(crate) fn a_rebuilt_package_gets_its_own_record() {
    let workspace = Workspace::new();
    workspace
        .script(
            "it",
            &[
                "mkdir -p $PREFIX/share",
                "cp $RECIPE_DIR/text $PREFIX/share/it",
            ],
            "",
        )
        .script(
            "app",
            &["echo found $(cat $PREFIX/share/it)"],
            "requirements:\n  host:\n    - it\n",
        );
    for text in ["old", "new"] {
        workspace.file("recipes/it/text", text);
        let run = workspace.build();
        assert_eq!(
            run.record("it").unwrap()["sha256"],
            run.hashes()
                .iter()
                .find(|(key, _)| *key == run.key("it"))
                .unwrap()
                .1
        );
        assert!(
            run.log("app").contains(&format!("found {text}\n")),
            "{}",
            run.log("app")
        );
    }
}

pub(crate) fn packages_of_another_plan_are_gone() {
    let workspace = Workspace::new();
    workspace
        .script("old", &["true"], "")
        .script("it", &["true"], "");
    let old = workspace.build();
    fs_err::write(format!("{}.sigstore.json", old.path("old").display()), "{}").unwrap();
    fs_err::remove_dir_all(workspace.root().join("recipes/old")).unwrap();
    let mut request = workspace.build_request();
    request.build = BTreeSet::new();
    request.good = old.good();
    request.good.remove(&old.key("old"));
    workspace.try_build(request).unwrap();
    let left: Vec<_> = fs_err::read_dir(workspace.output().join("packages/noarch"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".conda"))
        .collect();
    assert_eq!(left, [old.key("it").file.to_string()]);
    assert_eq!(old.record("old"), None);
}

pub(crate) fn consumers_of_a_staging_output_get_the_files_of_today() {
    let mut workspace = Workspace::new();
    workspace.options.jobs = NonZeroUsize::new(3);
    let consumers: String = ["one", "two", "three"]
        .map(|name| {
            format!(
                "  - package:\n      name: {name}\n    inherit: base\n    build:\n      files: [share/{name}]\n    tests:\n      \
                 - script:\n          - echo {name} has $(cat $PREFIX/share/{name})\n"
            )
        })
        .concat();
    workspace.recipe(
        "staged",
        &format!(
            "recipe:\n  name: staged\n  version: '1'\noutputs:\n  - staging:\n      name: base\n    source:\n      path: src\n    \
             build:\n      script:\n        - mkdir -p $PREFIX/share\n        - for i in one two three; do cp text $PREFIX/share/$i; done\n{consumers}"
        ),
    );
    for text in ["old", "new"] {
        workspace.file("recipes/staged/src/text", text);
        let run = workspace.build();
        for name in ["one", "two", "three"] {
            assert!(
                run.log(name).contains(&format!("{name} has {text}\n")),
                "{}",
                run.log(name)
            );
        }
    }
}

pub(crate) fn exact_pins_lead_to_the_same_variant() {
    let workspace = Workspace::new();
    workspace.file("recipes/pinned/variants.yaml", "flavor: [sweet, sour]\n").recipe(
        "pinned",
        "recipe:\n  name: pinned\n  version: '1'\noutputs:\n  - package:\n      name: lib\n    build:\n      script:\n        - mkdir -p $PREFIX/share\n        \
         - echo ${{ flavor }} > $PREFIX/share/lib\n  - package:\n      name: app\n    build:\n      script:\n        - mkdir -p $PREFIX/share\n        \
         - echo ${{ flavor }} > $PREFIX/share/app\n    requirements:\n      run:\n        - ${{ pin_subpackage('lib', exact=True) }}\n    tests:\n      \
         - script:\n          - cmp $PREFIX/share/lib $PREFIX/share/app\n",
    );
    let run = workspace.build();
    let mut ends = run.ends();
    ends.sort();
    assert_eq!(
        ends,
        [
            "built app",
            "built app",
            "built lib",
            "built lib",
            "tested app",
            "tested app",
            "untested lib",
            "untested lib"
        ]
    );
}

pub(crate) fn a_long_output_folder_is_refused() {
    let workspace = Workspace::new();
    workspace.script("it", &["true"], "");
    let mut request = workspace.request();
    request.output = workspace.root().join("x".repeat(220));
    let error = crate::workspace::block_on(workspace.worker().plan(request)).unwrap_err();
    assert_eq!(Failure::from(&error).code, "path_too_long");
}

pub(crate) fn the_step_summary_of_ci_is_not_written() {
    let mut workspace = Workspace::new();
    let summary = workspace.root().join("summary");
    workspace.environment = vec![
        ("GITHUB_STEP_SUMMARY", summary.display().to_string()),
        ("GITHUB_ACTIONS", "true".to_owned()),
        ("RATTLER_BUILD_ENABLE_GITHUB_INTEGRATION", "true".to_owned()),
    ];
    workspace.script("it", &["tr '\\0' '\\n' < /proc/$PPID/environ"], "");
    let run = workspace.build();
    assert!(!summary.exists());
    assert!(!run.log("it").contains("GITHUB_"), "{}", run.log("it"));
}

const SECRETS: [&str; 6] = [
    "SIGSTORE_ID_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "GITHUB_TOKEN",
    "PREFIX_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// By every way that is open to a recipe: `script.secrets`, `env.get`, the environment of scripts and tests, that of the worker.
pub(crate) fn recipes_see_no_secret() {
    let workspace = Workspace::new();
    let names = SECRETS.join(", ");
    let rendered = SECRETS
        .map(|name| format!("${{{{ env.get('{name}', default='nothing') }}}}"))
        .join(" ");
    workspace.recipe(
        "curious",
        &format!(
            "package:\n  name: curious\n  version: '1'\nbuild:\n  noarch: generic\n  script:\n    secrets: [{names}]\n    content:\n      \
             - mkdir -p $PREFIX/share\n      - echo rendered {rendered}\n      - env\n      - tr '\\0' '\\n' < /proc/$PPID/environ\n      \
             - tee $PREFIX/share/home <<< $HOME\ntests:\n  - script:\n      - env\n      - tr '\\0' '\\n' < /proc/$PPID/environ\n"
        ),
    );
    let secrets = SECRETS.map(|name| (name, format!("hunter2-{name}")));
    let done = release::run(&workspace, &workspace.build_request(), &secrets);
    let run = done.run(&workspace);
    assert_eq!(
        run.ends(),
        ["built curious", "tested curious"],
        "{}",
        run.log("curious")
    );
    let log = run.log("curious");
    assert!(log.contains("rendered nothing nothing"), "{log}");
    assert!(
        log.contains(&format!("HOME={}/home", workspace.output().display())),
        "the worker has a home of its own: {log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
    let events = serde_json::to_string(&run.events).unwrap();
    assert!(!events.contains("hunter2"), "{events}");
    assert!(
        !done.is_dumpable,
        "other processes of the user can read the release's environment"
    );
}
