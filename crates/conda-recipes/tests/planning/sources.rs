use release_manifest::SourceDigest;

use crate::workspace::{Workspace, package};

fn recipe(source: &str) -> String {
    format!("package: {{name: app, version: '1'}}\nsource:\n{source}\n")
}

/// `uri digest` of every source of `app`.
fn sources_in(workspace: &Workspace) -> Vec<String> {
    let plan = workspace.plan();
    let sources = package(&plan, "app").sources.iter();
    sources
        .map(|source| format!("{} {:?}", source.uri, source.digest))
        .collect()
}

/// As [`sources_in`], of a workspace with the recipe `app`.
fn sources(source: &str) -> Vec<String> {
    sources_in(&Workspace::with(&[("app", &recipe(source))]))
}

#[test]
fn pinned_sources_are_planned_without_a_request() {
    let (sha256, md5, commit) = ("ab".repeat(32), "cd".repeat(16), "ef".repeat(20));
    let found = sources(&format!(
        "  - {{url: [https://a.example/x.tar.gz, https://mirror.example/x.tar.gz], sha256: {sha256}, md5: {md5}}}
  - {{git: https://b.example/acme/lib.git, rev: {commit}}}
  - {{git: 'git@c.example:acme/third.git', tag: v2, expected_commit: {commit}}}"
    ));
    assert_eq!(
        found,
        [
            format!("git+https://b.example/acme/lib.git@{commit} {{\"gitCommit\": \"{commit}\"}}"),
            format!(
                "git+ssh://git@c.example/acme/third.git@refs/tags/v2 {{\"gitCommit\": \"{commit}\"}}"
            ),
            format!("https://a.example/x.tar.gz {{\"md5\": \"{md5}\", \"sha256\": \"{sha256}\"}}"),
        ]
    );
}

#[test]
fn the_commit_of_a_recipe_is_expected_and_never_replaced() {
    let workspace = Workspace::with(&[(
        "app",
        &recipe("  - {git: ../../upstream, branch: main, expected_commit: 0123abcd}"),
    )]);
    workspace.repository();
    let error = workspace.try_plan().unwrap_err();
    assert_eq!(error.code(), "unresolved_source", "{error}");
}

#[test]
fn folders_are_inputs_and_not_sources() {
    assert!(sources("  - {path: ../..}").is_empty());
}

#[test]
fn references_are_planned_with_their_commit() {
    let workspace = Workspace::new();
    let first = workspace.repository();
    workspace.git("upstream", &["tag", "-m", "v1", "v1"]);
    let second = workspace.commit("second");
    let url = url::Url::from_file_path(workspace.root().join("upstream")).unwrap();
    for (source, uri, commit) in [
        ("git: ../../upstream", "git+file:upstream@HEAD", &second),
        (
            "git: ../../upstream, branch: main",
            "git+file:upstream@refs/heads/main",
            &second,
        ),
        (
            "git: ../../upstream, tag: v1",
            "git+file:upstream@refs/tags/v1",
            &first,
        ),
        (
            "git: ../../upstream, rev: v1",
            "git+file:upstream@v1",
            &first,
        ),
        (
            "git: ../../upstream, rev: main",
            "git+file:upstream@main",
            &second,
        ),
        (
            &format!("git: ../../upstream, rev: {}", &first[..8]),
            &format!("git+file:upstream@{}", &first[..8]),
            &first,
        ),
        (
            &format!("git: {url}, branch: main"),
            &format!("git+{url}@refs/heads/main"),
            &second,
        ),
    ] {
        workspace.write(
            "recipes/app/recipe.yaml",
            &recipe(&format!("  - {{{source}}}")),
        );
        let expected = format!("{uri} {{\"gitCommit\": \"{commit}\"}}");
        assert_eq!(sources_in(&workspace), [expected], "{source}");
    }
}

#[test]
fn a_branch_that_moves_changes_the_fingerprint() {
    for source in ["git: ../../upstream", "git: ../../upstream, branch: main"] {
        let workspace = Workspace::with(&[("app", &recipe(&format!("  - {{{source}}}")))]);
        workspace.repository();
        let before = workspace.fingerprints();
        assert_eq!(before, workspace.fingerprints(), "{source}");
        workspace.commit("second");
        assert_ne!(before, workspace.fingerprints(), "{source}");
    }
}

#[test]
fn local_files_are_planned_with_their_hash() {
    let workspace = Workspace::new();
    let url = url::Url::from_file_path(workspace.root().join("dist/x.tar.gz")).unwrap();
    let sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let md5 = "acbd18db4cc2f85cedef654fccc4a4d8";
    for (source, uri) in [
        ("path: ../../dist/x.tar.gz", "file:dist/x.tar.gz"),
        (&format!("url: '{url}'"), url.as_str()),
    ] {
        workspace.write("dist/x.tar.gz", "foo");
        workspace.write(
            "recipes/app/recipe.yaml",
            &recipe(&format!("  - {{{source}}}")),
        );
        let expected = format!("{uri} {{\"sha256\": \"{sha256}\"}}");
        assert_eq!(sources_in(&workspace), [expected], "{source}");
        let with_md5 = recipe(&format!("  - {{{source}, md5: {md5}}}"));
        workspace.write("recipes/app/recipe.yaml", &with_md5);
        let expected = format!("{uri} {{\"md5\": \"{md5}\", \"sha256\": \"{sha256}\"}}");
        assert_eq!(sources_in(&workspace), [expected], "{source}");
        let before = workspace.fingerprints();
        workspace.write("dist/x.tar.gz", "bar");
        assert_ne!(before, workspace.fingerprints(), "{source}");
    }
}

#[test]
fn a_plan_made_again_keeps_the_commit_and_names_a_changed_file() {
    let workspace = Workspace::with(&[(
        "app",
        &recipe("  - {git: ../../upstream}\n  - {path: ../../dist/x.tar.gz}"),
    )]);
    workspace.repository();
    workspace.write("dist/x.tar.gz", "foo");
    let plan = workspace.plan();
    let mut request = workspace.request().unwrap();
    request.pinned = plan.sources();
    workspace.commit("second");
    let again = workspace.try_request(&request).unwrap();
    assert_eq!(again.digest(), plan.digest());
    workspace.write("dist/x.tar.gz", "bar");
    let error = workspace.try_request(&request).unwrap_err();
    assert_eq!(error.code(), "source_changed");
    let message = error.to_string();
    for expected in ["file:dist/x.tar.gz", "2c26b46b68", "fcde2b2edb"] {
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn unresolvable_sources_fail_their_recipe_alone() {
    let mut workspace = Workspace::with(&[
        ("app", &recipe("  - {git: ../../nowhere, branch: main}")),
        (
            "needs",
            "package: {name: needs, version: '1'}\nrequirements: {host: [app]}\n",
        ),
        ("other", "package: {name: other, version: '1'}\n"),
    ]);
    let error = workspace.try_plan().unwrap_err();
    assert_eq!(error.code(), "unresolved_source", "{error}");
    workspace.repository();
    for reference in ["branch: gone", "tag: gone", "rev: 0123abcd"] {
        let text = recipe(&format!("  - {{git: ../../upstream, {reference}}}"));
        workspace.write("recipes/app/recipe.yaml", &text);
        let error = workspace.try_plan().unwrap_err();
        assert_eq!(error.code(), "unresolved_source", "{error}");
    }
    let request = conda_recipes::PlanRequest {
        keep_going: true,
        ..workspace.request().unwrap()
    };
    let plan = workspace.try_request(&request).unwrap();
    let names: Vec<&str> = plan.packages.iter().map(|it| it.file.name()).collect();
    assert_eq!(names, ["other"]);
    workspace.recipes = vec!["recipes/other".to_owned()];
    assert_eq!(workspace.plan().packages.len(), 1);
}

#[test]
fn credentials_of_a_source_are_not_in_the_plan() {
    let (sha256, commit) = ("ab".repeat(32), "ef".repeat(20));
    let found = sources(&format!(
        "  - {{url: 'https://me:s3cret@a.example/x.tar.gz', sha256: {sha256}}}
  - {{git: 'https://me:s3cret@b.example/x', tag: v1, expected_commit: {commit}}}"
    ));
    assert_eq!(found.len(), 2);
    assert!(!found.join(" ").contains("s3cret"), "{found:?}");
}

#[test]
fn credentials_are_not_in_errors() {
    let source = "  - {git: 'http://me:s3cret@127.0.0.1:9/x', tag: v1}";
    let workspace = Workspace::with(&[("app", &recipe(source))]);
    let error = workspace.try_plan().unwrap_err();
    let failure = conda_recipes::Failure::from(&error);
    assert_eq!(failure.code, "unresolved_source");
    assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
}

#[test]
fn the_plan_lists_the_sources_of_each_package() {
    let commit = "ef".repeat(20);
    let text = recipe(&format!(
        "  - {{git: https://b.example/lib.git, rev: {commit}}}"
    ));
    let none = "package: {name: none, version: '1'}\n";
    let plan = Workspace::with(&[("app", &text), ("none", none)]).plan();
    let sources: Vec<Vec<SourceDigest>> = plan.sources().into_values().collect();
    assert_eq!(sources, [package(&plan, "app").sources.clone()]);
}
