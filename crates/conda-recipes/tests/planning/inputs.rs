//! The local files that a build reads, each of which changes the fingerprint and is found by `--changed-since`.

use std::{collections::BTreeSet, path::PathBuf};

use conda_recipes::{Changed, Planned};

use crate::workspace::{Workspace, block_on};

/// Recipes that read files outside of their folders, files that git ignores, and files that only their scripts name.
fn workspace() -> Workspace {
    let data = r#"{"version": "1"}"#;
    let mut workspace = Workspace::with(&[
        ("script", "build: {script: {file: ../../common/make.sh}}\n"),
        (
            "script-without-extension",
            "build: {script: ../../common/other}\n",
        ),
        (
            "patch",
            "source: {path: ../../src, patches: [../../patches/fix.patch]}\n",
        ),
        (
            "test-script",
            "tests: [{script: {file: ../../common/test.sh}}]\n",
        ),
        (
            "test-files",
            "tests: [{script: ['true'], files: {recipe: [data/*.csv]}}]\n",
        ),
        ("ignored-script", "build: {script: build_ament.sh}\n"),
        ("ignored-source", "source: {path: ../../lib}\n"),
        (
            "unfiltered",
            "source: {path: ../../lib, use_gitignore: false}\n",
        ),
        ("filtered", "source: {path: ../../lib, filter: ['*.c']}\n"),
        (
            "sourced",
            "build: {script: ['. $RECIPE_DIR/../../common/env.sh']}\n",
        ),
        (
            "computed",
            "build: {script: ['for f in $RECIPE_DIR/parts/*; do . $f; done']}\n",
        ),
        (
            "license",
            "about: {license_file: ['${{ RECIPE_DIR }}/../../LICENSE', COPYING]}\n",
        ),
        (
            "file",
            "source: {path: ../../one.txt, file_name: two.txt}\n",
        ),
        ("archive", "source: {path: ../../dist/one.tar.gz}\n"),
        ("plain", "build: {script: ['true']}\n"),
    ]);
    workspace.options.experimental = true;
    for recipe in std::fs::read_dir(workspace.root().join("recipes")).unwrap() {
        let recipe = recipe.unwrap();
        let (name, file) = (recipe.file_name(), recipe.path().join("recipe.yaml"));
        let rest = std::fs::read_to_string(&file).unwrap();
        let package = format!("package: {{name: {}, version: '1'}}\n", name.display());
        std::fs::write(file, package + &rest).unwrap();
    }
    let staging = "build: {script: {file: ../../common/stage.sh}}";
    for (file, text) in [
        ("recipes/staging/recipe.yaml", format!("recipe: {{name: staging, version: '1'}}\noutputs:\n- staging: {{name: it}}\n  {staging}\n- package: {{name: staging}}\n  inherit: it\n")),
        ("recipes/loading/recipe.yaml", "context: {version: '${{ load_from_file(\"../../data.json\").version }}'}\npackage: {name: loading, version: '${{ version }}'}\n".to_owned()),
        ("recipes/late/recipe.yaml", format!("package: {{name: late, version: '1'}}\nbuild: {{script: ['echo ${{{{ load_from_file(\"{}\").version }}}}']}}\n", workspace.root().canonicalize().unwrap().join("late.json").display())),
        ("data.json", data.to_owned()),
        ("late.json", data.to_owned()),
        ("LICENSE", "MIT\n".to_owned()),
        ("one.txt", "one\n".to_owned()),
        ("dist/one.tar.gz", "not read while planning\n".to_owned()),
        ("src/a.c", "a\n".to_owned()),
        ("patches/fix.patch", "--- a/a.c\n".to_owned()),
        ("lib/a.c", "a\n".to_owned()),
        ("lib/x.gen", "x\n".to_owned()),
        ("lib/generated/table.h", "x\n".to_owned()),
        ("lib/.gitignore", "generated/\n".to_owned()),
        ("recipes/test-files/data/a.csv", "a\n".to_owned()),
        ("recipes/test-files/.gitignore", "data/\n".to_owned()),
        ("recipes/ignored-script/build_ament.sh", "make\n".to_owned()),
        ("recipes/computed/parts/one.part", "make\n".to_owned()),
        ("recipes/computed/.gitignore", "parts/\n".to_owned()),
        ("recipes/license/COPYING", "MIT\n".to_owned()),
        ("recipes/license/.gitignore", "COPYING\n".to_owned()),
        (".gitignore", "/target/\n*.sh\n*.gen\nrecipes/\n".to_owned()),
        (".git/HEAD", "ref: refs/heads/main\n".to_owned()),
    ] {
        workspace.write(file, &text);
    }
    for script in ["make", "other", "test", "env", "stage", "unused"] {
        workspace.write(&format!("common/{script}.sh"), "make\n");
    }
    workspace
}

/// Files, and the packages that are made from them.
const READ_BY: [(&str, &[&str]); 29] = [
    ("common/make.sh", &["script"]),
    ("common/other.sh", &["script-without-extension"]),
    ("common/test.sh", &["test-script"]),
    ("common/env.sh", &["sourced"]),
    ("common/stage.sh", &["staging"]),
    ("patches/fix.patch", &["patch"]),
    ("src/a.c", &["patch"]),
    ("data.json", &["loading"]),
    ("late.json", &["late"]),
    ("LICENSE", &["license"]),
    ("one.txt", &["file"]),
    ("dist/one.tar.gz", &["archive"]),
    ("lib/a.c", &["filtered", "ignored-source", "unfiltered"]),
    // Ignored above the folder, which rattler-build doesn't look at, and in it.
    ("lib/x.gen", &["ignored-source", "unfiltered"]),
    ("lib/generated/table.h", &["unfiltered"]),
    ("lib/new.h", &["ignored-source", "unfiltered"]),
    ("recipes/ignored-script/build_ament.sh", &["ignored-script"]),
    ("recipes/test-files/data/a.csv", &["test-files"]),
    ("recipes/test-files/data/a.txt", &[]),
    ("recipes/computed/parts/one.part", &["computed"]),
    ("recipes/computed/parts/new.part", &["computed"]),
    ("recipes/license/COPYING", &["license"]),
    // Places where a script would be found if it were there.
    ("recipes/staging/build.sh", &["staging"]),
    ("recipes/plain/build.sh", &["plain"]),
    ("recipes/plain/.hidden", &["plain"]),
    ("recipes/plain/variants.yaml", &["plain"]),
    // Nothing reads these.
    ("common/unused.sh", &[]),
    ("unused.json", &[]),
    ("target/file", &[]),
];

fn planned(workspace: &Workspace, changed: Option<Changed>) -> Planned {
    let mut request = workspace.request().unwrap();
    request.changed = changed;
    block_on(conda_recipes::plan(&request)).unwrap()
}

/// The names of the packages whose fingerprints, or files, differ.
fn different(before: &Planned, after: &Planned) -> BTreeSet<String> {
    let before = &before.plan;
    let packages = after.plan.packages.iter();
    let is_new = packages.filter(|package| {
        before.package(&package.key()).map(|it| it.fingerprint) != Some(package.fingerprint)
    });
    is_new
        .map(|package| package.file.name().to_owned())
        .collect()
}

fn touched(planned: &Planned) -> BTreeSet<String> {
    let names = planned.touched.iter().map(|key| key.file.name().to_owned());
    names.collect()
}

/// The outputs that a plan leaves out because an input cannot be read.
fn unreadable(workspace: &Workspace) -> Vec<String> {
    let planned = kept_going(workspace);
    let unplanned = planned.unplanned.into_iter();
    unplanned
        .map(|it| {
            assert_eq!(it.failure.code, "unreadable");
            it.output.unwrap()
        })
        .collect()
}

/// Plans without the recipes that fail.
fn kept_going(workspace: &Workspace) -> Planned {
    let mut request = workspace.request().unwrap();
    request.keep_going = true;
    block_on(conda_recipes::plan(&request)).unwrap()
}

#[test]
fn each_file_that_a_build_reads_changes_its_fingerprint() {
    let workspace = workspace();
    let before = planned(&workspace, None);
    for (file, expected) in READ_BY {
        let path = workspace.root().join(file);
        let text = std::fs::read_to_string(&path).ok();
        let new = match file.rsplit_once('.') {
            Some((_, "json")) => r#"{"version": "2"}"#.to_owned(),
            Some((_, "yaml")) => "x: ['1']\n".to_owned(),
            _ => format!("{}# touched\n", text.as_deref().unwrap_or_default()),
        };
        workspace.write(file, &new);
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(
            different(&before, &planned(&workspace, None)),
            expected,
            "{file}"
        );
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    assert_eq!(
        different(&before, &planned(&workspace, None)),
        BTreeSet::new()
    );
}

#[test]
fn each_changed_file_that_a_build_reads_touches_it() {
    let workspace = workspace();
    let root = workspace.root().canonicalize().unwrap();
    for (file, expected) in READ_BY {
        let changed = [root.join(file)].into_iter().collect();
        let touched = touched(&planned(&workspace, Some(changed)));
        let missing: Vec<_> = expected
            .iter()
            .filter(|name| !touched.contains(**name))
            .collect();
        assert!(
            missing.is_empty(),
            "{file} touches {touched:?}, not {missing:?}"
        );
        assert!(
            !touched.contains("plain") || expected.contains(&"plain"),
            "{file}"
        );
    }
}

#[test]
fn ignored_files_touch_what_reads_them_and_nothing_else() {
    let workspace = workspace();
    let root = workspace.root().canonicalize().unwrap();
    let ignored = ["target/", "lib/x.gen", "recipes/test-files/data/"].map(|it| root.join(it));
    let changed = Changed::default().with_ignored(ignored);
    let expected = ["ignored-source", "test-files", "unfiltered"].map(str::to_owned);
    assert_eq!(
        touched(&planned(&workspace, Some(changed))),
        expected.into()
    );
}

#[test]
fn commits_touch_what_reads_them() {
    let workspace = Workspace::with(&[
        ("plain", "package: {name: plain, version: '1'}\n"),
        (
            "whole",
            "package: {name: whole, version: '1'}\nsource: {path: ../..}\n",
        ),
        (
            "local",
            "package: {name: local, version: '1'}\nsource: {git: ../..}\n",
        ),
    ]);
    let commit = "git init --quiet && git -c user.name=A -c user.email=a@example.org -c commit.gpgsign=false commit --quiet --allow-empty --message One";
    let status = std::process::Command::new("sh")
        .args(["-c", commit])
        .current_dir(workspace.root())
        .status();
    assert!(status.unwrap().success());
    let changed = Changed::default().with_commits(true);
    let expected = ["local", "whole"].map(str::to_owned);
    assert_eq!(
        touched(&planned(&workspace, Some(changed))),
        expected.into()
    );
}

#[cfg(unix)]
#[test]
fn links_count_by_what_they_lead_to() {
    use std::os::unix::fs::symlink;
    let workspace = Workspace::with(&[
        ("build", "package: {name: build, version: '1'}\n"),
        (
            "folder",
            "package: {name: folder, version: '1'}\nbuild: {script: shared/make.sh}\n",
        ),
        (
            "tree",
            "package: {name: tree, version: '1'}\nsource: {path: ../../src}\n",
        ),
    ]);
    let root = workspace.root().canonicalize().unwrap();
    for file in [
        "common/build.sh",
        "common/make.sh",
        "other/make.sh",
        "outside/a.txt",
        "src/a.c",
    ] {
        workspace.write(file, "make\n");
    }
    symlink("../../common/build.sh", root.join("recipes/build/build.sh")).unwrap();
    symlink("../../common", root.join("recipes/folder/shared")).unwrap();
    symlink(root.join("outside/a.txt"), root.join("src/absolute")).unwrap();
    symlink("../nowhere", root.join("src/broken")).unwrap();
    let before = planned(&workspace, None);
    let cases: [(&str, &[&str]); 4] = [
        ("common/build.sh", &["build", "folder"]),
        ("common/make.sh", &["folder"]),
        ("outside/a.txt", &["tree"]),
        ("other/make.sh", &[]),
    ];
    for (file, expected) in cases {
        let expected: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
        workspace.write(file, "changed\n");
        assert_eq!(
            different(&before, &planned(&workspace, None)),
            expected,
            "{file}"
        );
        let changed = [root.join(file)].into_iter().collect();
        assert_eq!(
            touched(&planned(&workspace, Some(changed))),
            expected,
            "{file}"
        );
        workspace.write(file, "make\n");
    }
    for (link, target, expected) in [
        ("recipes/folder/shared", "../../other", "folder"),
        ("src/broken", "a.c", "tree"),
    ] {
        let link = root.join(link);
        std::fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        let changed: Changed = [link.clone()].into_iter().collect();
        let after = planned(&workspace, Some(changed));
        assert!(
            different(&before, &after).contains(expected),
            "{}",
            link.display()
        );
        assert!(touched(&after).contains(expected), "{}", link.display());
    }
}

#[cfg(unix)]
#[test]
fn empty_folders_and_executable_bits_count_in_sources() {
    use std::os::unix::fs::PermissionsExt as _;
    let workspace = Workspace::with(&[(
        "tree",
        "package: {name: tree, version: '1'}\nsource: {path: ../../src}\n",
    )]);
    workspace.write("src/a.sh", "make\n");
    let before = planned(&workspace, None);
    std::fs::create_dir(workspace.root().join("src/empty")).unwrap();
    let after = planned(&workspace, None);
    assert!(different(&before, &after).contains("tree"));
    let script = workspace.root().join("src/a.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(different(&after, &planned(&workspace, None)).contains("tree"));
}

#[cfg(unix)]
#[test]
fn a_source_that_cannot_be_read_fails_its_recipe_alone() {
    use std::os::unix::fs::symlink;
    let workspace = Workspace::with(&[
        ("good", "package: {name: good, version: '1'}\n"),
        (
            "bad",
            "package: {name: bad, version: '1'}\nsource: {path: ../../target/conda-release/rehearsal/packages}\n",
        ),
        (
            "linked",
            "package: {name: linked, version: '1'}\nsource: {path: packages}\n",
        ),
    ]);
    let packages = workspace
        .root()
        .join("target/conda-release/rehearsal/packages");
    std::fs::create_dir_all(&packages).unwrap();
    symlink(&packages, workspace.root().join("recipes/linked/packages")).unwrap();
    let planned = kept_going(&workspace);
    let codes: Vec<_> = planned
        .unplanned
        .iter()
        .map(|it| (it.output.as_deref().unwrap(), it.failure.code.as_str()))
        .collect();
    assert_eq!(codes, [("bad", "reads_output"), ("linked", "reads_output")]);
    assert_eq!(planned.plan.packages.len(), 1);
}

#[test]
fn a_repository_that_git_cannot_read_fails_its_recipe_alone() {
    let workspace = Workspace::with(&[
        (
            "bad",
            "package: {name: bad, version: '1'}\nsource: {path: ../../bad}\n",
        ),
        (
            "new",
            "package: {name: new, version: '1'}\nsource: {path: ../../new}\n",
        ),
    ]);
    for folder in ["bad", "new"] {
        workspace.write(&format!("{folder}/a.c"), "a\n");
        workspace.git(folder, &["init", "--quiet"]);
    }
    workspace.write("bad/.git/config", "[\n");
    assert_eq!(unreadable(&workspace), ["bad"]);

    let without_commits = kept_going(&workspace);
    workspace.git("new", &["add", "--all"]);
    workspace.git("new", &["commit", "--quiet", "--message", "One"]);
    let after = kept_going(&workspace);
    assert_eq!(different(&without_commits, &after), ["new".into()].into());
}

/// A loop of links is unreadable also for root, which may read everything.
#[cfg(unix)]
#[test]
fn an_input_that_cannot_be_looked_at_fails_its_recipe_alone() {
    use std::os::unix::fs::symlink;
    let workspace = Workspace::with(&[
        (
            "linked",
            "package: {name: linked, version: '1'}\nsource: {path: ../../src}\n",
        ),
        (
            "patch",
            "package: {name: patch, version: '1'}\nsource: {path: ../../plain, patches: [../../loop/fix.patch]}\n",
        ),
        (
            "plain",
            "package: {name: plain, version: '1'}\nsource: {path: ../../plain}\n",
        ),
        (
            "sourced",
            "package: {name: sourced, version: '1'}\nbuild: {script: ['. $RECIPE_DIR/../../loop/env.sh']}\n",
        ),
    ]);
    let root = workspace.root().canonicalize().unwrap();
    workspace.write("plain/a.c", "a\n");
    workspace.write("src/a.c", "a\n");
    symlink("loop", root.join("loop")).unwrap();
    symlink("../loop/a.c", root.join("src/b.c")).unwrap();
    symlink("../nowhere/a.c", root.join("plain/b.c")).unwrap();
    symlink("loop", root.join("plain/loop")).unwrap();
    assert_eq!(unreadable(&workspace), ["linked", "patch", "sourced"]);
}

#[test]
fn commands_that_no_file_can_be_named_are_planned() {
    let long = "true ".repeat(100);
    let workspace = Workspace::with(&[(
        "long",
        &format!(
            "package: {{name: long, version: '1'}}\nbuild: {{script: '{long}'}}\ntests: [{{script: ['. $RECIPE_DIR/data']}}]\n"
        ),
    )]);
    let name = "x".repeat(300);
    workspace.write(
        "recipes/long/data",
        &format!("$RECIPE_DIR/a\0b $RECIPE_DIR/{name}"),
    );
    assert_eq!(planned(&workspace, None).plan.packages.len(), 1);
}

#[test]
fn files_that_a_long_script_sources_change_its_fingerprint() {
    let workspace = Workspace::with(&[(
        "long",
        "package: {name: long, version: '1'}\nbuild: {script: {file: long.sh}}\n",
    )]);
    let filler = "# A script with data of several MiB.\n".repeat(150_000);
    let script =
        format!(". $RECIPE_DIR/../../common/first.sh\n{filler}. $RECIPE_DIR/parts/env.sh\n");
    workspace.write("recipes/long/long.sh", &script);
    // Unlike scripts, copies of the recipe's folder leave these out.
    workspace.write("recipes/long/.gitignore", "parts/\n");
    workspace.git(".", &["init", "--quiet"]);
    for file in ["common/first.sh", "recipes/long/parts/env.sh"] {
        workspace.write(file, "one\n");
        let before = planned(&workspace, None);
        workspace.write(file, "two\n");
        let after = planned(&workspace, None);
        assert_eq!(different(&before, &after), ["long".into()].into(), "{file}");
    }
}

#[test]
fn the_output_folder_is_no_input_before_and_after_it_is_made() {
    for (output, made) in [
        ("out/rehearsal", vec![]),
        ("out/rehearsal", vec!["out"]),
        ("dist/rehearsal", vec!["dist/notes.txt"]),
    ] {
        let mut workspace = Workspace::with(&[(
            "all",
            "package: {name: all, version: '1'}\nsource: {path: ../.., use_gitignore: false}\n",
        )]);
        workspace.output = workspace.root().join(output);
        for path in made {
            match path.ends_with(".txt") {
                true => workspace.write(path, "mine\n"),
                false => std::fs::create_dir_all(workspace.root().join(path)).unwrap(),
            }
        }
        let before = workspace.fingerprints();
        let folder = workspace.output.parent().unwrap().to_owned();
        for mode in ["rehearsal", "live"] {
            let path: PathBuf = folder.join(mode).join("journal.jsonl");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "{}").unwrap();
        }
        assert_eq!(workspace.fingerprints(), before, "{output}");
    }
}
