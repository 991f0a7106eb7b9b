use crate::workspace::{Workspace, package};

/// `uri digest` of every source of `app`.
fn sources(source: &str) -> Vec<String> {
    let recipe = format!("package: {{name: app, version: '1'}}\nsource:\n{source}\n");
    let plan = Workspace::with(&[("app", &recipe)]).plan();
    let sources = &package(&plan, "app").sources;
    sources
        .iter()
        .map(|source| format!("{} {:?}", source.uri, source.digest))
        .collect()
}

#[test]
fn what_is_fetched_stands_in_the_plan_with_its_digest() {
    let (sha256, md5, commit) = ("ab".repeat(32), "cd".repeat(16), "ef".repeat(20));
    let found = sources(&format!(
        "  - {{url: [https://a.example/x.tar.gz, https://mirror.example/x.tar.gz], sha256: {sha256}, md5: {md5}}}
  - {{git: https://b.example/acme/lib.git, rev: {commit}}}
  - {{git: https://b.example/acme/other.git, tag: v1}}
  - {{git: 'git@c.example:acme/third.git', tag: v2, expected_commit: {commit}}}"
    ));
    assert_eq!(
        found,
        [
            format!("git+https://b.example/acme/lib.git@{commit} {{\"gitCommit\": \"{commit}\"}}"),
            "git+https://b.example/acme/other.git@refs/tags/v1 {}".to_owned(),
            format!(
                "git+ssh://git@c.example/acme/third.git@refs/tags/v2 {{\"gitCommit\": \"{commit}\"}}"
            ),
            format!("https://a.example/x.tar.gz {{\"md5\": \"{md5}\", \"sha256\": \"{sha256}\"}}"),
        ]
    );
}

#[test]
fn local_sources_are_part_of_the_repository() {
    assert!(sources("  - {path: ../..}\n  - {git: ../../.., rev: HEAD}").is_empty());
}

#[test]
fn credentials_of_a_source_are_not_in_the_plan() {
    let sha256 = "ab".repeat(32);
    let found = sources(&format!(
        "  - {{url: 'https://me:s3cret@a.example/x.tar.gz', sha256: {sha256}}}
  - {{git: 'https://me:s3cret@b.example/x', tag: v1}}"
    ));
    assert_eq!(found.len(), 2);
    assert!(!found.join(" ").contains("s3cret"), "{found:?}");
}
