//! What releases write is never part of what they build, and git doesn't see it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;

use end_to_end::Workspace;
use fs_err as fs;

const WHOLE: &str = "    - mkdir -p $PREFIX/share && find . -type f -not -path './.git/*' | sort > $PREFIX/share/list\n";

fn whole(source: &str) -> String {
    format!(
        "package:\n  name: whole\n  version: '1'\n{source}build:\n  noarch: generic\n  script:\n{WHOLE}"
    )
}

/// The files of the only package below an output folder, but the recipe that names this folder.
fn contents(workspace: &Workspace, output: &str) -> BTreeMap<String, Vec<u8>> {
    let noarch = workspace
        .root()
        .join(output)
        .join("rehearsal/packages/noarch");
    let package = fs::read_dir(noarch).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension()
            .is_some_and(|it| it == "conda")
            .then_some(path)
    });
    let folder = tempfile::tempdir().unwrap();
    rattler_package_streaming::fs::extract(&package.unwrap(), folder.path()).unwrap();
    let mut files = BTreeMap::new();
    let mut open = vec![folder.path().to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let inside = path.strip_prefix(folder.path()).unwrap();
            files.insert(inside.display().to_string(), fs::read(&path).unwrap());
        }
    }
    files.remove("info/recipe/rendered_recipe.yaml").unwrap();
    files
}

#[test]
fn no_release_packages_what_an_earlier_one_wrote() {
    let from_above = "source:\n  path: ..\n";
    let all_from_above = "source:\n  path: ..\n  use_gitignore: false\n";
    // Where the recipe is, what it is made from, and where the output goes.
    for (recipe, source, output) in [
        ("recipe", from_above, "target/conda-release"),
        ("recipe", all_from_above, "target/conda-release"),
        ("recipe", all_from_above, "dist"),
        ("recipe", all_from_above, "out"),
        ("recipe", "source:\n  path: ../dist\n", "dist"),
        ("", "", "target/conda-release"),
        ("", "source:\n  path: .\n  use_gitignore: false\n", "out"),
        ("", "", "dist"),
    ] {
        for in_git in [true, false] {
            let named = format!("{recipe:?} {source:?} {output} {in_git}");
            let workspace = match in_git {
                true => Workspace::new(),
                false => Workspace::plain(),
            };
            let recipe = format!(
                "{}recipe.yaml",
                if recipe.is_empty() { "" } else { "recipe/" }
            );
            workspace
                .write(&recipe, &whole(source))
                .write("data.txt", "data\n")
                .write("dist/mine.txt", "mine\n");
            let release = |output: &str| {
                let mut command = workspace.command(["release", &recipe, "--output", output]);
                command.env("SOURCE_DATE_EPOCH", "1700000000");
                workspace.run_command(command).ends(0);
            };
            let fresh = workspace.beside("fresh");
            release(fresh.to_str().unwrap());
            for round in 0..3 {
                // Also what an unchanged recipe would not build again.
                if round == 1 {
                    fs::remove_dir_all(workspace.path(output).join("rehearsal/packages")).unwrap();
                }
                release(output);
                let (expected, found) = (
                    contents(&workspace, fresh.to_str().unwrap()),
                    contents(&workspace, output),
                );
                let names =
                    |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&found), names(&expected), "{named} {round}");
                let different: Vec<_> = expected
                    .iter()
                    .filter(|(name, bytes)| found[*name] != **bytes)
                    .map(|(name, bytes)| {
                        (
                            name,
                            String::from_utf8_lossy(bytes),
                            String::from_utf8_lossy(&found[name]),
                        )
                    })
                    .collect();
                assert!(different.is_empty(), "{named} {round}: {different:#?}");
            }
        }
    }
}

#[test]
fn an_unchanged_tree_stays_unchanged_whatever_releases_write() {
    let workspace = Workspace::plain();
    workspace.write("recipe/recipe.yaml", &whole("source:\n  path: ..\n"));
    for output in ["out", "elsewhere"] {
        let args = ["release", "recipe", "--output", output];
        workspace.run(args).ends(0);
        let again = workspace.run(args).ends(0);
        assert!(!again.stderr.contains("Built"), "{}", again.stderr);
    }
}

#[test]
fn git_sees_nothing_of_a_release() {
    let workspace = Workspace::new();
    workspace
        .package("one")
        .write(".gitignore", "")
        .write("dist/mine.txt", "mine\n");
    workspace.commit();
    for output in ["target/conda-release", "out", "dist"] {
        workspace.run(["release", "--output", output]).ends(0);
        workspace.git(&["add", "--all"]);
        assert_eq!(workspace.git(&["status", "--porcelain"]), "", "{output}");
    }
    assert!(workspace.path("out/CACHEDIR.TAG").is_file());
    assert!(!workspace.path("dist/CACHEDIR.TAG").exists());
}

#[test]
fn an_output_folder_that_holds_the_workspace_is_refused() {
    let workspace = Workspace::with_one_package();
    for output in [".", "..", "recipes/.."] {
        let refused = workspace.run(["release", "--output", output]).ends(2);
        assert!(
            refused.stderr.contains("contains the workspace"),
            "{}",
            refused.stderr
        );
    }
    assert!(!workspace.path(".condapackageignore").exists());
    assert!(!workspace.path("rehearsal").exists());
}

#[test]
fn a_source_in_the_output_folder_is_refused_by_name() {
    let workspace = Workspace::new();
    let source = "source:\n  path: ../target/conda-release/rehearsal/channel\n";
    workspace.write("recipe/recipe.yaml", &whole(source));
    let refused = workspace.run(["release", "recipe"]).ends(3);
    let expected = "reads `target/conda-release/rehearsal/channel` from the output folder";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
}

#[test]
fn changes_to_files_that_git_ignores_are_found() {
    let workspace = Workspace::new();
    workspace
        .write(".gitignore", "target/\n*.sh\n*.gen\n")
        .recipe(
            "ignored",
            "package: {name: ignored, version: '1'}\nbuild: {noarch: generic, script: make.sh}\n",
        )
        .write("recipes/ignored/make.sh", "mkdir -p $PREFIX/share\n")
        .package("other")
        .write("target/file", "");
    workspace.git(&["add", "--force", "--all"]);
    workspace.git(&[
        "rm",
        "--quiet",
        "--cached",
        "-r",
        "target",
        "recipes/ignored/make.sh",
    ]);
    workspace.git(&["commit", "--quiet", "--message", "One"]);
    let plan = workspace.run(["plan", "--changed-since", "HEAD"]).ends(0);
    let state = |name: &str| {
        let mut lines = plan.stdout.lines();
        let line = lines.find(|line| line.contains(&format!("noarch/{name}-")));
        line.map(|line| line.contains("build: new"))
    };
    assert_eq!(
        (state("ignored"), state("other")),
        (Some(true), Some(false)),
        "{}",
        plan.stdout
    );
}
