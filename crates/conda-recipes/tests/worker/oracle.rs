//! No edit that changes the bytes of a package leaves its fingerprint unchanged.
//!
//! A tree with every kind of input is edited at random, one file at a time. Whatever the plan then calls unchanged is built in a
//! fresh output folder at the same path, and must be the package of the first build, byte for byte. `ORACLE_EDITS` and
//! `ORACLE_SEED` choose other edits.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use conda_recipes::{BuildRequest, Failure, Planned, TestMode};
use fs_err as fs;
use release_manifest::PackageKey;

use crate::workspace::{Workspace, block_on};

/// The edits of a run that names no other number.
const EDITS: u64 = 20;

/// Folders that the tests or git write.
const NOT_EDITED: [&str; 3] = [".git", "cache", "out"];

/// Installs the sources without what rattler-build writes beside them, which differs between runs.
const INSTALL: &str = "rm -f build_env.sh conda_build* .source_info.json && mkdir -p $PREFIX/share && cp -RP . $PREFIX/share/$PKG_NAME";

pub(crate) fn no_edit_that_changes_bytes_is_unchanged() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().unwrap())
    };
    let seed = number("ORACLE_SEED", 1);
    let mut random = Random(seed);
    let mut workspace = Workspace::new();
    workspace.options.experimental = true;
    workspace.options.allow_symlinks_on_windows = true;
    workspace.options.test = TestMode::Skip;
    write_tree(&workspace);
    git(&workspace, &["init", "--quiet"]);
    git(
        &workspace,
        &["commit", "--quiet", "--allow-empty", "--message", "One"],
    );
    let first = planned(&workspace, &[]).unwrap();
    let bytes: BTreeMap<PackageKey, String> = built(&workspace, &first, &all(&first));
    assert_eq!(bytes.len(), first.plan.packages.len());

    let mut unchanged = 0;
    for round in 0..number("ORACLE_EDITS", EDITS) {
        write_tree(&workspace);
        let edit = edit(workspace.root(), round, &mut random);
        let named = format!(
            "seed {seed}, edit {round} ({:?} {:?})",
            edit.kind, edit.paths
        );
        let after = match planned(&workspace, &edit.paths) {
            Ok(after) => after,
            // An edit that makes a recipe invalid leaves nothing unchanged.
            Err(error) => {
                let failure = Failure::from(&error);
                assert!(is_of_recipes(&failure), "{named} fails with {failure:?}");
                continue;
            }
        };
        let same: BTreeSet<PackageKey> = all(&after)
            .into_iter()
            .filter(|key| fingerprint(&first, key) == fingerprint(&after, key))
            .collect();
        let touched = &after.touched | &after.plan.dependents(&after.touched);
        let missed: Vec<_> = all(&after)
            .into_iter()
            .filter(|key| edit.is_known_to_git && !same.contains(key) && !touched.contains(key))
            .collect();
        assert!(missed.is_empty(), "{named} does not touch {missed:?}");
        for (key, hash) in built(&workspace, &after, &same) {
            assert_eq!(bytes[&key], hash, "{named} changes {key}");
        }
        unchanged += same.len();
    }
    assert!(unchanged > 0);
}

/// Returns whether a plan failed for recipes that cannot be read or rendered.
fn is_of_recipes(failure: &Failure) -> bool {
    match failure.code.as_str() {
        "invalid_recipe" | "unreadable" | "unresolved_source" => true,
        "invalid_recipes" => failure.related.iter().all(is_of_recipes),
        _ => false,
    }
}

fn fingerprint(planned: &Planned, key: &PackageKey) -> Option<release_manifest::Digest> {
    planned.plan.package(key).map(|package| package.fingerprint)
}

fn all(planned: &Planned) -> BTreeSet<PackageKey> {
    let packages = planned.plan.packages.iter();
    packages.map(|package| package.key()).collect()
}

fn planned(workspace: &Workspace, edited: &[PathBuf]) -> Result<Planned, conda_recipes::Error> {
    let mut request = workspace.request();
    request.changed = Some(edited.iter().cloned().collect());
    block_on(workspace.worker().plan(request))
}

/// Builds some packages in a fresh output folder; returns their hashes.
fn built(
    workspace: &Workspace,
    planned: &Planned,
    build: &BTreeSet<PackageKey>,
) -> BTreeMap<PackageKey, String> {
    if workspace.output().exists() {
        fs::remove_dir_all(workspace.output()).unwrap();
    }
    let run = workspace.try_build(BuildRequest {
        plan: workspace.request(),
        expected: planned.plan.digest(),
        build: build.clone(),
        test: BTreeSet::new(),
        good: BTreeMap::new(),
        source_attestations: Default::default(),
    });
    let run = run.unwrap();
    let hashes: BTreeMap<_, _> = run.hashes().into_iter().collect();
    assert_eq!(run.failures(), [""; 0]);
    hashes
}

/// An edit of the tree.
struct Edit {
    kind: Kind,
    paths: Vec<PathBuf>,
    /// Set if git would list the paths: it has no empty folders.
    is_known_to_git: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Append,
    Delete,
    ToggleExecutable,
    CreateFile,
    CreateFolder,
    Retarget,
}

fn edit(root: &Path, round: u64, random: &mut Random) -> Edit {
    let root = root.canonicalize().unwrap();
    let (mut files, mut folders, mut links) = (Vec::new(), vec![root.clone()], Vec::new());
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if folder == root && NOT_EDITED.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            if path.is_symlink() {
                links.push(path);
            } else if path.is_dir() {
                folders.push(path.clone());
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    for list in [&mut files, &mut folders, &mut links] {
        list.sort();
    }
    let kind = [
        Kind::Append,
        Kind::Append,
        Kind::Append,
        Kind::Delete,
        Kind::ToggleExecutable,
        Kind::CreateFile,
        Kind::CreateFolder,
        Kind::Retarget,
    ][random.below(8)];
    let path = match kind {
        Kind::Append | Kind::Delete | Kind::ToggleExecutable => &files[random.below(files.len())],
        Kind::CreateFile | Kind::CreateFolder => &folders[random.below(folders.len())],
        Kind::Retarget => &links[random.below(links.len())],
    };
    let path = match kind {
        Kind::CreateFile => {
            let extension = ["c", "csv", "gen", "sh", "txt"][random.below(5)];
            path.join(format!("new-{round}.{extension}"))
        }
        Kind::CreateFolder => path.join(format!("new-{round}")),
        _ => path.clone(),
    };
    match kind {
        Kind::Append => {
            let text = fs::read_to_string(&path).unwrap();
            let line = match path.ends_with(".gitignore") {
                true => "*.csv\n".to_owned(),
                false => format!("# edit {round}\n"),
            };
            fs::write(&path, text + &line).unwrap();
        }
        Kind::Delete => fs::remove_file(&path).unwrap(),
        Kind::ToggleExecutable => {
            let mode = fs::metadata(&path).unwrap().permissions().mode() ^ 0o111;
            fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        Kind::CreateFile => fs::write(&path, "new\n").unwrap(),
        Kind::CreateFolder => fs::create_dir(&path).unwrap(),
        Kind::Retarget => {
            fs::remove_file(&path).unwrap();
            symlink(&files[random.below(files.len())], &path).unwrap();
        }
    }
    Edit {
        kind,
        is_known_to_git: !matches!(kind, Kind::CreateFolder),
        paths: vec![path],
    }
}

/// Writes the tree as it is before every edit.
fn write_tree(workspace: &Workspace) {
    for entry in fs::read_dir(workspace.root()).unwrap() {
        let path = entry.unwrap().path();
        if NOT_EDITED.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        match path.is_dir() && !path.is_symlink() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
    }
    let root = workspace.root().canonicalize().unwrap();
    let install = serde_json::to_string(INSTALL).unwrap();
    let late = root.join("late.json");
    for (name, rest) in [
        ("script", "build: {noarch: generic, script: {file: ../../common/make.sh}}\n".to_owned()),
        ("extension", "build: {noarch: generic, script: ../../common/make}\n".to_owned()),
        ("default", "build: {noarch: generic}\n".to_owned()),
        ("linked", "build: {noarch: generic}\n".to_owned()),
        ("patch", format!("source: {{path: ../../src, patches: [../../patches/fix.patch]}}\nbuild: {{noarch: generic, script: [{install}]}}\n")),
        ("tests", format!("source: {{path: ../../src}}\nbuild: {{noarch: generic, script: [{install}]}}\ntests:\n- script: {{file: ../../common/test.sh}}\n- script: ['true']\n  files: {{recipe: ['data/*.csv'], source: ['*.c']}}\n")),
        ("source", format!("source:\n- {{path: ../../lib}}\n- {{path: ../../lib, use_gitignore: false, target_directory: all}}\n- {{path: ../../lib, filter: ['*.c', 'deep/'], target_directory: some}}\n- {{path: ../../one.txt, file_name: two.txt}}\nbuild: {{noarch: generic, script: [{install}]}}\n")),
        ("absolute", "source: {path: ../../links}\nbuild: {noarch: generic, script: ['mkdir -p $PREFIX/share && cat file folder/* > $PREFIX/share/absolute']}\n".to_owned()),
        ("license", "build: {noarch: generic, script: ['true']}\nabout: {license: MIT, license_file: ['${{ RECIPE_DIR }}/COPYING', 'licenses/']}\n".to_owned()),
        ("sourced", "build: {noarch: generic, script: ['. $RECIPE_DIR/../../common/env.sh', 'for file in $RECIPE_DIR/parts/*; do cat $file; done > $PREFIX/parts']}\n".to_owned()),
        ("late", format!("build: {{noarch: generic, script: ['echo ${{{{ load_from_file(\"{}\").value }}}} > $PREFIX/late']}}\n", late.display())),
        ("whole", "source: {path: ../.., filter: {exclude: ['out/**', 'cache/**', '.git/**']}}\nbuild: {noarch: generic, script: ['mkdir -p $PREFIX/share && find common lib recipes -type f | sort > $PREFIX/share/whole']}\n".to_owned()),
    ] {
        workspace.recipe(name, &format!("package: {{name: {name}, version: '1'}}\n{rest}"));
    }
    workspace.recipe("loading", "context: {version: '${{ load_from_file(\"../../data.json\").version }}'}\npackage: {name: loading, version: '${{ version }}'}\nbuild: {noarch: generic}\n");
    workspace.recipe("staging", &format!("recipe: {{name: staging, version: '1'}}\noutputs:\n- staging: {{name: it}}\n  source: {{path: ../../lib}}\n  build: {{script: {{file: ../../common/make.sh}}}}\n- package: {{name: staging}}\n  inherit: it\n  build: {{script: [{install}]}}\n"));
    for (file, text) in [
        (
            "common/make.sh",
            "mkdir -p $PREFIX/share && echo made > $PREFIX/share/made\n",
        ),
        (
            "common/linked.sh",
            "mkdir -p $PREFIX/share && echo linked > $PREFIX/share/linked\n",
        ),
        ("common/test.sh", "true\n"),
        ("common/env.sh", ". $RECIPE_DIR/../../common/more.sh\n"),
        ("common/more.sh", "echo more > $PREFIX/more\n"),
        ("common/unused.sh", "false\n"),
        (
            "recipes/default/build.sh",
            "mkdir -p $PREFIX/share && echo default > $PREFIX/share/default\n",
        ),
        ("recipes/tests/data/a.csv", "a\n"),
        ("recipes/tests/data/a.txt", "a\n"),
        ("recipes/tests/.gitignore", "data/\n"),
        ("recipes/license/COPYING", "MIT\n"),
        ("recipes/license/licenses/one", "MIT\n"),
        ("recipes/license/.gitignore", "COPYING\nlicenses/\n"),
        ("recipes/sourced/parts/one", "one\n"),
        ("recipes/sourced/.gitignore", "parts/\n"),
        ("recipes/sourced/.hidden", "hidden\n"),
        ("src/a.c", "one\ntwo\nthree\n"),
        (
            "patches/fix.patch",
            "--- a/a.c\n+++ b/a.c\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n",
        ),
        ("lib/a.c", "a\n"),
        ("lib/a.csv", "a\n"),
        ("lib/deep/b.h", "b\n"),
        ("lib/deep/.hidden", "b\n"),
        ("lib/x.gen", "x\n"),
        ("lib/generated/table.h", "x\n"),
        ("lib/.gitignore", "generated/\n"),
        ("lib/.condapackageignore", "left-out/\n"),
        ("lib/left-out/c", "c\n"),
        ("outside/file", "file\n"),
        ("outside/folder/file", "file\n"),
        ("links/plain", "plain\n"),
        ("one.txt", "one\n"),
        ("data.json", "{\"version\": \"1\"}"),
        ("late.json", "{\"value\": \"1\"}"),
        (".gitignore", "*.gen\n*.sh\n"),
    ] {
        workspace.file(file, text);
    }
    fs::create_dir(root.join("lib/empty")).unwrap();
    symlink(
        "../../common/linked.sh",
        root.join("recipes/linked/build.sh"),
    )
    .unwrap();
    symlink("a.c", root.join("lib/link.c")).unwrap();
    symlink(root.join("outside/file"), root.join("links/file")).unwrap();
    symlink(root.join("outside/folder"), root.join("links/folder")).unwrap();
}

fn git(workspace: &Workspace, arguments: &[&str]) {
    let status = Command::new("git")
        .current_dir(workspace.root())
        .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .status()
        .unwrap();
    assert!(status.success());
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % limit as u64).unwrap()
    }
}
