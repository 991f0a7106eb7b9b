//! Sources of packages: what is planned is what is built, and what provenance, manifest and report state.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use end_to_end::{Answer, REHEARSAL, Server, Workspace};
use fs_err as fs;
use release_manifest::Package;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

/// A recipe `app` that installs every `f.txt` of its source.
fn app(workspace: &Workspace, source: &str) {
    let install =
        "mkdir -p $PREFIX/share && find . -name f.txt -exec cat {} + > $PREFIX/share/app.txt";
    workspace.script("app", &[install], &format!("source:\n{source}\n"));
}

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.config("sign.provenance = true");
    workspace
}

/// Commits `text` as `f.txt` to the repository `upstream` beside the workspace. Returns the commit.
fn commit(workspace: &Workspace, text: &str) -> String {
    let folder = workspace.beside("upstream");
    let path = folder.to_str().unwrap();
    if !folder.exists() {
        fs::create_dir(&folder).unwrap();
        workspace.git(&["-C", path, "init", "--quiet", "--initial-branch=main"]);
    }
    fs::write(folder.join("f.txt"), text).unwrap();
    workspace.git(&["-C", path, "add", "--all"]);
    workspace.git(&["-C", path, "commit", "--quiet", "--message", text]);
    // What git needs to serve it over plain http.
    workspace.git(&["-C", path, "update-server-info"]);
    workspace.git(&["-C", path, "rev-parse", "HEAD"])
}

/// A `.tar.gz` with `text` as its only file, `x/f.txt`.
fn archive(workspace: &Workspace, path: &Path, text: &str) -> String {
    let folder = workspace.beside("archived");
    fs::create_dir_all(folder.join("x")).unwrap();
    fs::write(folder.join("x/f.txt"), text).unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut tar = workspace.other("tar", ["-czf"]);
    tar.arg(path).arg("-C").arg(&folder).arg("x");
    workspace.run_command(tar).ends(0);
    hex(&Sha256::digest(fs::read(path).unwrap()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn package(workspace: &Workspace) -> Package {
    let manifest = workspace.manifest();
    let mut packages = manifest.packages().iter();
    packages
        .find(|package| package.file.name() == "app")
        .unwrap()
        .clone()
}

/// The content of the package.
fn content(workspace: &Workspace) -> String {
    workspace.content("app", "share/app.txt")
}

/// The sources that the provenance of `app` names besides the commit of the workspace.
fn provenance(workspace: &Workspace) -> Vec<Value> {
    let attestation = package(workspace).attestation.unwrap();
    let bundle = attestation.provenance.unwrap().bundle;
    let bundle = fs::read(workspace.path(format!("{REHEARSAL}/{bundle}"))).unwrap();
    let bundle: Value = serde_json::from_slice(&bundle).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let statement: Value = serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap();
    let sources = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    let sources = sources.as_array().unwrap().iter();
    sources
        .filter(|source| {
            !source["uri"]
                .as_str()
                .unwrap()
                .contains("https://github.com/acme/pkgs")
        })
        .cloned()
        .collect()
}

/// Releases, and checks content and provenance.
#[track_caller]
fn released(workspace: &Workspace, text: &str, source: &Value) {
    workspace.run(["release"]).ends(0);
    assert_eq!(content(workspace), text);
    let expected = [source.clone()];
    assert_eq!(provenance(workspace), expected);
    let stated = serde_json::to_value(&package(workspace).sources).unwrap();
    assert_eq!(stated, json!(expected));
}

#[test]
fn each_release_builds_the_commit_that_it_attests() {
    let workspace = workspace();
    let url = format!("file://{}", workspace.beside("upstream").display());
    for (source, uri) in [
        (
            "  git: ../../../upstream\n  branch: main".to_owned(),
            "git+file:../upstream@refs/heads/main".to_owned(),
        ),
        (
            "  git: ../../../upstream".to_owned(),
            "git+file:../upstream@HEAD".to_owned(),
        ),
        (
            format!("  git: {url}\n  branch: main"),
            format!("git+{url}@refs/heads/main"),
        ),
        (
            format!("  git: {url}\n  rev: main"),
            format!("git+{url}@main"),
        ),
    ] {
        app(&workspace, &source);
        for text in ["first\n", "second\n"] {
            let commit = commit(&workspace, &format!("{text}{source}"));
            let source = json!({"uri": uri, "digest": {"gitCommit": commit}});
            let text = fs::read_to_string(workspace.beside("upstream/f.txt")).unwrap();
            released(&workspace, &text, &source);
        }
    }
}

#[test]
fn a_tag_that_moves_is_built_where_it_is_now() {
    let workspace = workspace();
    app(&workspace, "  git: ../../../upstream\n  tag: v1");
    let upstream = workspace.beside("upstream");
    for text in ["first\n", "second\n"] {
        let commit = commit(&workspace, text);
        let path = upstream.to_str().unwrap();
        workspace.git(&["-C", path, "tag", "--force", "-m", "v1", "v1"]);
        let uri = "git+file:../upstream@refs/tags/v1";
        released(
            &workspace,
            text,
            &json!({"uri": uri, "digest": {"gitCommit": commit}}),
        );
    }
}

#[test]
fn the_workspace_as_a_source_is_built_at_its_commit() {
    let workspace = workspace();
    app(&workspace, "  git: ../..");
    for text in ["first\n", "second\n"] {
        workspace.write("f.txt", text).commit();
        let commit = workspace.git(&["rev-parse", "HEAD"]);
        let source = json!({"uri": "git+file:.@HEAD", "digest": {"gitCommit": commit}});
        released(&workspace, text, &source);
    }
}

#[test]
fn each_release_builds_the_archive_that_it_attests() {
    let workspace = workspace();
    let path = workspace.path("dist/x.tar.gz");
    let url = format!("file://{}", path.display());
    for (source, uri) in [
        (
            "  path: ../../dist/x.tar.gz".to_owned(),
            "file:dist/x.tar.gz",
        ),
        (format!("  url: {url}"), &url),
    ] {
        app(&workspace, &source);
        for text in ["first\n", "second\n"] {
            let sha256 = archive(&workspace, &path, text);
            let source = json!({"uri": uri, "digest": {"sha256": sha256}});
            released(&workspace, text, &source);
        }
    }
}

#[test]
fn each_release_builds_the_file_that_it_attests() {
    let workspace = workspace();
    app(&workspace, "  path: ../../data/f.txt");
    for text in ["first\n", "second\n"] {
        workspace.write("data/f.txt", text);
        let sha256 = hex(&Sha256::digest(text));
        let source = json!({"uri": "file:data/f.txt", "digest": {"sha256": sha256}});
        released(&workspace, text, &source);
    }
}

#[test]
fn an_archive_without_a_hash_is_hashed_by_each_plan() {
    let workspace = workspace();
    let folder = workspace.beside("served");
    let path = folder.join("x.tar.gz");
    let server = Server::of(&folder);
    let url = format!("{}/x.tar.gz", server.channel());
    app(&workspace, &format!("  url: {url}"));
    for text in ["first\n", "second\n"] {
        let sha256 = archive(&workspace, &path, text);
        server.forget();
        released(
            &workspace,
            text,
            &json!({"uri": url, "digest": {"sha256": sha256}}),
        );
        // The build takes the bytes that were hashed.
        assert!(!server.seen().is_empty());
        let plans = server.seen().len();
        server.forget();
        workspace.run(["build"]).ends(0);
        assert!(server.seen().len() <= plans);
    }
    server.answers("x.tar.gz", [Answer::Status(404)]);
    let output = workspace.run(["release"]).ends(3);
    output.says("cannot resolve the source").says("404");
}

#[test]
fn an_archive_with_a_hash_is_downloaded_once() {
    let workspace = workspace();
    let folder = workspace.beside("served");
    let server = Server::of(&folder);
    let sha256 = archive(&workspace, &folder.join("x.tar.gz"), "first\n");
    let url = format!("{}/x.tar.gz", server.channel());
    let source = format!("source:\n  url: {url}\n  sha256: {sha256}\n");
    for name in ["app", "other"] {
        let install = format!("mkdir -p $PREFIX/share && cp f.txt $PREFIX/share/{name}.txt");
        workspace.script(name, &[&install], &source);
    }
    workspace.run(["plan"]).ends(0);
    assert_eq!(server.seen().len(), 0);
    workspace.run(["build"]).ends(0);
    assert_eq!(server.seen().len(), 1);
    let install = "mkdir -p $PREFIX/share && cat f.txt f.txt > $PREFIX/share/app.txt";
    workspace.script("app", &[install], &source);
    workspace.run(["build"]).ends(0);
    assert_eq!(content(&workspace), "first\nfirst\n");
    assert_eq!(server.seen().len(), 1);
    // What is damaged in the store is downloaded again.
    let store = workspace.rehearsal(format!("sources/archives/{sha256}"));
    fs::write(store, "damaged").unwrap();
    workspace.script(
        "app",
        &["mkdir -p $PREFIX/share && cp f.txt $PREFIX/share/app.txt"],
        &source,
    );
    workspace.run(["build"]).ends(0);
    assert_eq!(content(&workspace), "first\n");
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn a_wrong_hash_fails_its_package_alone() {
    let workspace = workspace();
    let folder = workspace.beside("served");
    let server = Server::of(&folder);
    archive(&workspace, &folder.join("x.tar.gz"), "first\n");
    let wrong = "0".repeat(64);
    app(
        &workspace,
        &format!("  url: {}/x.tar.gz\n  sha256: {wrong}", server.channel()),
    );
    workspace.package("other");
    let output = workspace.run(["build"]).ends(4);
    output
        .says("checksum")
        .says(&wrong)
        .says("Built noarch/other");
}

#[test]
fn a_remote_branch_that_moves_names_both_commits() {
    let workspace = workspace();
    let first = commit(&workspace, "first\n");
    let server = Server::of(&workspace.beside("upstream"));
    let url = format!("{}/.git", server.channel());
    let move_branch = format!(
        "cd {} && echo second > f.txt && git -c user.name=A -c user.email=a@b.invalid commit -qam second && git update-server-info",
        workspace.beside("upstream").display()
    );
    // The first package moves the branch that the second is built from.
    workspace.script("mover", &[&move_branch], "");
    let install = "mkdir -p $PREFIX/share && cp f.txt $PREFIX/share/app.txt";
    let rest = format!("requirements:\n  host: [mover]\nsource:\n  git: {url}\n  branch: main\n");
    workspace.script("app", &[install], &rest);
    let output = workspace.run(["build"]).ends(4);
    let upstream = workspace.beside("upstream");
    let second = workspace.git(&["-C", upstream.to_str().unwrap(), "rev-parse", "HEAD"]);
    assert_ne!(first, second);
    output
        .says(&format!("expected commit {first}"))
        .says(&format!("found commit {second}"));
    assert_eq!(package(&workspace).error.unwrap().code, "source_moved");
}

/// The publisher that signed [`ATTESTED`] with the public instance of Sigstore.
const PUBLISHER: &str = "github:prefix-dev/sigstore-example";
/// A file that a real workflow signed.
const ATTESTED: &str = "signed-package-2.1.0-hb0f4dca_0.conda";
/// Its bundle.
const BUNDLE: &str = "conda-attestation.sigstore.json";

/// A workspace with the recipe `app`, whose source a server has with its bundle, and `other`.
struct AttestedSource {
    workspace: Workspace,
    server: Server,
}

impl AttestedSource {
    fn new() -> Self {
        let workspace = workspace();
        workspace.config("sign.provenance = true\n[build]\nexperimental = true\n");
        let folder = workspace.beside("served");
        fs::create_dir(&folder).unwrap();
        let fixtures =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/conda-attest/tests/fixtures");
        for file in [ATTESTED, BUNDLE] {
            fs::copy(fixtures.join(file), folder.join(file)).unwrap();
        }
        let server = Server::of(&folder);
        let attested = Self { workspace, server };
        attested.recipe(&attested.bundle(), PUBLISHER);
        attested.workspace.package("other");
        attested
    }

    fn bundle(&self) -> String {
        format!("{}/{BUNDLE}", self.server.channel())
    }

    fn url(&self) -> String {
        format!("{}/{ATTESTED}", self.server.channel())
    }

    fn sha256(&self) -> String {
        hex(&Sha256::digest(
            fs::read(self.workspace.beside("served").join(ATTESTED)).unwrap(),
        ))
    }

    fn recipe(&self, bundle: &str, publisher: &str) {
        let source = format!(
            "source:\n  url: {}\n  sha256: {}\n  attestation:\n    bundle_url: {bundle}\n    publishers: ['{publisher}']\n",
            self.url(),
            self.sha256(),
        );
        let install = format!(
            "touch {} && mkdir -p $PREFIX/share && ls > $PREFIX/share/app.txt",
            self.was_run().display()
        );
        self.workspace.script("app", &[&install], &source);
    }

    /// What the script of the recipe leaves; not where inputs are.
    fn was_run(&self) -> PathBuf {
        self.workspace.beside("was-run")
    }

    /// Releases under the trust of the public instance.
    fn release(&self) -> end_to_end::Output {
        let root = self.workspace.beside("public-good.json");
        fs::write(&root, SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        self.workspace
            .run(["release", "--keep-going", "--trust", root.to_str().unwrap()])
    }

    /// Releases, and checks that `app` alone fails, for this reason, before its script is run.
    #[track_caller]
    fn fails(&self, reason: &str) {
        let output = self.release().ends(4);
        assert!(!self.was_run().exists());
        let app = package(&self.workspace);
        assert_eq!(app.error.unwrap().code, "unverified_source");
        let other = self.workspace.recorded("other");
        assert_eq!(other.progress, release_manifest::Progress::Published);
        output.says(reason);
    }
}

#[test]
fn an_attested_source_is_built_and_named() {
    let attested = AttestedSource::new();
    attested.release().ends(0).says("Verified");
    let source = json!({
        "uri": attested.url(),
        "digest": {"sha256": attested.sha256()},
        "annotations": {"attestation": {"bundle": attested.bundle(), "publishers": [PUBLISHER]}},
    });
    assert_eq!(
        provenance(&attested.workspace),
        std::slice::from_ref(&source)
    );
    let stated = serde_json::to_value(&package(&attested.workspace).sources).unwrap();
    assert_eq!(stated, json!([source]));
    let report = fs::read_to_string(attested.workspace.rehearsal("report.html")).unwrap();
    assert!(report.contains(&format!("attested by {PUBLISHER}")));
    let log = fs::read_to_string(
        attested
            .workspace
            .rehearsal("logs/noarch")
            .join(format!("{}.log", package(&attested.workspace).file)),
    )
    .unwrap();
    assert!(!log.contains("NOT be verified"), "{log}");
    // Nothing is left to do, and nothing is asked for again.
    attested.server.forget();
    let again = attested.release().ends(0);
    assert!(
        attested.server.seen().is_empty(),
        "{again}{:#?}",
        attested.server.seen()
    );
}

#[test]
fn a_source_of_another_publisher_fails() {
    let attested = AttestedSource::new();
    for publisher in [
        "github:prefix-dev/other",
        "github:prefix-dev/sigstore",
        "gitlab:prefix-dev/sigstore-example",
        "github:prefix-dev/sigstore-example@refs/heads/other",
    ] {
        attested.recipe(&attested.bundle(), publisher);
        attested.fails("was not verified");
    }
}

#[test]
fn a_source_with_another_digest_fails() {
    let attested = AttestedSource::new();
    let file = attested.workspace.beside("served").join(ATTESTED);
    fs::write(file, "other bytes").unwrap();
    attested.recipe(&attested.bundle(), PUBLISHER);
    attested.fails("was not verified");
}

#[test]
fn a_source_without_a_bundle_fails() {
    let attested = AttestedSource::new();
    attested.server.answers(BUNDLE, [Answer::Status(404)]);
    attested.fails("404");
    attested
        .server
        .answers(BUNDLE, [Answer::Bytes(b"{}".to_vec())]);
    attested.fails("was not verified");
    attested.server.answers(BUNDLE, [Answer::Bytes(Vec::new())]);
    attested.fails("was not verified");
}

#[test]
fn a_source_whose_bundle_is_unreachable_fails() {
    let attested = AttestedSource::new();
    attested.recipe("http://127.0.0.1:9/x.sigstore.json", PUBLISHER);
    attested.fails("was not verified");
}

#[test]
fn a_source_with_a_tampered_bundle_fails() {
    let attested = AttestedSource::new();
    let bundle = attested.workspace.beside("served").join(BUNDLE);
    let mut json: Value = serde_json::from_slice(&fs::read(&bundle).unwrap()).unwrap();
    let payload = json["dsseEnvelope"]["payload"].as_str().unwrap().to_owned();
    let mut statement = STANDARD.decode(payload).unwrap();
    let last = statement.len() - 2;
    statement[last] ^= 1;
    json["dsseEnvelope"]["payload"] = STANDARD.encode(statement).into();
    let bytes = serde_json::to_vec(&json).unwrap();
    attested.server.answers(BUNDLE, [Answer::Bytes(bytes)]);
    attested.fails("was not verified");
}

#[test]
fn an_attestation_needs_the_experimental_option() {
    let attested = AttestedSource::new();
    attested.workspace.config("");
    let output = attested.workspace.run(["plan"]).ends(3);
    output
        .says("`source.attestation` is an experimental feature")
        .says("`experimental = true` in `[build]`");
}

#[test]
fn an_attestation_without_publishers_fails() {
    let attested = AttestedSource::new();
    let text = fs::read_to_string(attested.workspace.path("recipes/app/recipe.yaml")).unwrap();
    let publishers = format!("    publishers: ['{PUBLISHER}']\n");
    assert!(text.contains(&publishers));
    attested
        .workspace
        .recipe("app", &text.replace(&publishers, ""));
    attested.fails("no publisher is named");
}

#[test]
fn provenance_as_pypi_has_it_is_verified() {
    let attested = AttestedSource::new();
    let bundle = attested.workspace.beside("served").join(BUNDLE);
    let bundle: Value = serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap();
    let material = &bundle["verificationMaterial"];
    let envelope = &bundle["dsseEnvelope"];
    let pypi = |signature: &Value| {
        let attestation = json!({
            "version": 1,
            "verification_material": {
                "certificate": material["certificate"]["rawBytes"],
                "transparency_entries": material["tlogEntries"],
            },
            "envelope": {"statement": envelope["payload"], "signature": signature},
        });
        let provenance =
            json!({"version": 1, "attestation_bundles": [{"attestations": [attestation]}]});
        [Answer::Bytes(serde_json::to_vec(&provenance).unwrap())]
    };
    let other = STANDARD.encode("no signature").into();
    attested.server.answers(BUNDLE, pypi(&other));
    attested.fails("was not verified");
    attested
        .server
        .answers(BUNDLE, pypi(&envelope["signatures"][0]["sig"]));
    attested.release().ends(0).says("Verified");
}
