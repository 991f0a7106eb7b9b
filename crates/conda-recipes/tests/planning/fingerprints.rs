use std::collections::{BTreeMap, BTreeSet};

use release_manifest::Digest;

use crate::{cargo::cargo_workspace, workspace::Workspace};

/// `app` packages a member of a cargo workspace; `library` compiles a local source with a filter; `program` builds upon it, and
/// `schema` stands alone.
fn workspace() -> Workspace {
    let workspace = cargo_workspace(&[
        (
            "app",
            "package: {name: app, version: '${{ cargo.version }}'}\nsource: {path: ../..}\nabout: {license_file: [LICENSE]}\n",
        ),
        (
            "library",
            "package: {name: library, version: '1'}\nsource: {path: ../../native, filter: ['*.c', '*.h']}\n",
        ),
        (
            "program",
            "package: {name: program, version: '1'}\nrequirements: {host: [library]}\n",
        ),
        (
            "schema",
            "package: {name: schema, version: '1'}\nbuild: {noarch: generic}\nsource: {path: ../../schema}\n",
        ),
    ]);
    for (file, text) in [
        ("Cargo.lock", "version = 4\n"),
        ("LICENSE", "MIT\n"),
        ("README.md", "Read me\n"),
        ("native/library.c", "int one(void) { return 1; }\n"),
        ("native/notes.txt", "Later\n"),
        ("schema/plan.json", "{}\n"),
        (".gitignore", "target/\n*.tmp\n"),
        ("recipes/library/build.sh", "make\n"),
    ] {
        workspace.write(file, text);
    }
    workspace
}

fn changed(
    before: &BTreeMap<String, Digest>,
    after: &BTreeMap<String, Digest>,
) -> BTreeSet<String> {
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    let name = |key: &String| key.split(' ').next().unwrap().to_owned();
    before
        .iter()
        .filter(|(key, digest)| after[*key] != **digest)
        .map(|(key, _)| name(key))
        .collect()
}

/// Files, and what is made from them.
const MADE_FROM: [(&str, &[&str]); 14] = [
    // A recipe and its folder.
    ("recipes/program/recipe.yaml", &["program"]),
    ("recipes/library/build.sh", &["library", "program"]),
    ("recipes/library/new-file", &["library", "program"]),
    // A local source, and what its filter leaves out.
    ("native/library.c", &["library", "program"]),
    ("native/new.h", &["library", "program"]),
    ("native/notes.txt", &[]),
    ("schema/plan.json", &["schema"]),
    // The packaged member, its path dependency, and what every member is built with.
    ("crates/app/src/lib.rs", &["app"]),
    ("crates/core/src/lib.rs", &["app"]),
    ("Cargo.lock", &["app"]),
    (".cargo/config.toml", &["app"]),
    ("LICENSE", &["app"]),
    // Nothing is made from these, or git ignores them.
    ("crates/other/src/lib.rs", &[]),
    ("README.md", &[]),
];

/// Files that git ignores.
const IGNORED: [(&str, &[&str]); 3] = [
    // rattler-build doesn't read the `.gitignore` above a source.
    ("schema/cache.tmp", &["schema"]),
    ("crates/app/target/debug/app", &[]),
    (
        "target/conda-release/rehearsal/packages/linux-64/app.conda",
        &[],
    ),
];

#[test]
fn what_is_made_from_a_changed_file_is_touched() {
    for (file, expected) in MADE_FROM {
        let workspace = workspace();
        let mut request = workspace.request().unwrap();
        let root = workspace.root().canonicalize().unwrap();
        request.changed = Some([root.join(file)].into_iter().collect());
        let planned = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
        let touched = &planned.touched | &planned.plan.dependents(&planned.touched);
        let names: Vec<&str> = touched.iter().map(|package| package.file.name()).collect();
        assert_eq!(names, expected, "{file}");
    }
}

#[test]
fn a_removed_source_and_the_members_that_a_recipe_reads_touch_it() {
    let workspace = cargo_workspace(&[
        (
            "reader",
            "package: {name: reader, version: '${{ cargo.packages[\"other\"].version }}'}\n",
        ),
        (
            "gone",
            "package: {name: gone, version: '1'}\nsource: {path: ../../gone.txt}\n",
        ),
        (
            "app",
            "package: {name: app, version: '${{ cargo.version }}'}\n",
        ),
    ]);
    let touched = |file: &str| -> Vec<String> {
        let mut request = workspace.request().unwrap();
        let root = workspace.root().canonicalize().unwrap();
        request.changed = Some([root.join(file)].into_iter().collect());
        let planned = futures::executor::block_on(conda_recipes::plan(&request)).unwrap();
        let names = planned.touched.iter().map(|it| it.file.name().to_owned());
        names.collect()
    };
    assert_eq!(touched("crates/other/Cargo.toml"), ["reader"]);
    assert_eq!(touched("gone.txt"), ["gone"]);
    // A member's recipe changes with what the member is made of, whatever its source is.
    assert_eq!(touched("crates/core/src/lib.rs"), ["app"]);
    assert_eq!(touched("Cargo.toml"), ["app", "reader"]);
}

#[test]
fn exactly_what_is_made_from_a_file_changes_with_it() {
    for (file, expected) in MADE_FROM.into_iter().chain(IGNORED) {
        let workspace = workspace();
        let before = workspace.fingerprints();
        let text = std::fs::read_to_string(workspace.root().join(file)).unwrap_or_default();
        workspace.write(file, &format!("{text}# touched\n"));
        let expected = expected.iter().map(ToString::to_string).collect();
        assert_eq!(
            changed(&before, &workspace.fingerprints()),
            expected,
            "{file}"
        );
    }
}

#[test]
fn what_does_not_decide_the_packages_does_not_change_the_fingerprint() {
    let mut workspace = workspace();
    let before = workspace.fingerprints();
    workspace.options.jobs = std::num::NonZeroUsize::new(3);
    workspace.options.keep_build = true;
    workspace.options.platforms = serde_json::from_str(r#"[{"target": "linux-64"}]"#).unwrap();
    workspace.output = workspace.root().join("target/elsewhere");
    assert_eq!(workspace.fingerprints(), before);
    let elsewhere = self::workspace();
    assert_eq!(elsewhere.fingerprints(), before, "another checkout");
}

#[test]
fn what_a_release_writes_is_no_source_of_the_next_one() {
    let mut workspace = Workspace::with(&[(
        "all",
        "package: {name: all, version: '1'}\nsource: {path: ../..}\n",
    )]);
    workspace.output = workspace.root().join("out/rehearsal");
    let before = workspace.fingerprints();
    workspace.write("out/rehearsal/release-manifest.json", "{}");
    workspace.write("out/live/release-manifest.json", "{}");
    assert_eq!(workspace.fingerprints(), before);
    workspace.write("out.txt", "");
    assert_ne!(workspace.fingerprints(), before);
}

#[test]
fn an_option_that_decides_the_packages_changes_every_fingerprint() {
    let mut workspace = workspace();
    let before = workspace.fingerprints();
    workspace.options.package_format = "conda:max".parse().unwrap();
    assert_eq!(
        changed(&before, &workspace.fingerprints()).len(),
        before.len()
    );
}

#[test]
fn planning_some_recipes_gives_them_the_fingerprints_of_planning_all() {
    let mut workspace = workspace();
    let all = workspace.fingerprints();
    workspace.recipes = vec!["recipes/schema".to_owned()];
    let some = workspace.fingerprints();
    assert_eq!(some.len(), 1);
    assert!(some.iter().all(|(name, digest)| all[name] == *digest));
}

#[cfg(unix)]
#[test]
fn the_executable_bit_counts() {
    use std::os::unix::fs::PermissionsExt;
    let workspace = workspace();
    let before = workspace.fingerprints();
    let script = workspace.root().join("recipes/library/build.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(
        changed(&before, &workspace.fingerprints()),
        ["library", "program"].map(str::to_owned).into()
    );
}

#[test]
fn a_local_repository_counts_by_its_commit() {
    let workspace = Workspace::with(&[(
        "tool",
        "package: {name: tool, version: '1'}\nsource: {git: ../../repository}\n",
    )]);
    let git = |arguments: &[&str]| {
        let status = std::process::Command::new("git")
            .current_dir(workspace.root().join("repository"))
            .args([
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@example.org",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success());
    };
    workspace.write("repository/file", "one\n");
    git(&["init", "--quiet"]);
    git(&["add", "file"]);
    git(&["commit", "--quiet", "--message", "One"]);
    let before = workspace.fingerprints();
    workspace.write("repository/file", "two\n");
    assert_eq!(workspace.fingerprints(), before);
    git(&["commit", "--quiet", "--all", "--message", "Two"]);
    assert_ne!(workspace.fingerprints(), before);
}
