//! GitHub's attestation store.

use channel_servers::github::{GithubOptions, GithubServer};
use channel_servers::toxiproxy::{Towards, Toxiproxy};
use channel_servers::{Elsewhere, Fault};
use conda_attest::PackageFile;
use conda_publish::{
    AttestationStore, Bundle, Document, Error, GithubRelease, ReleaseUpload, StoreLocation, Upload,
    open_store,
};
use release_manifest::{Digest, PublishResult};

use crate::support::{Fixture, hash, hasty, impatient, in_child, is_child, told, upload};

const TOKEN: &str = "ghs_write_0123456789";
/// The release that the repository has.
const TAG: &str = "v1.2 (first)";
const READ_TOKEN: &str = "ghs_read_0123456789";

/// A server for the repository `acme/pkgs`, and an attested package.
struct Started {
    fixture: Fixture,
    server: GithubServer,
    upload: Upload,
}

impl Started {
    async fn new(hides_bundles: bool) -> Self {
        let fixture = Fixture::start().await;
        let server = GithubServer::start(GithubOptions {
            repository: "acme/pkgs".to_owned(),
            tokens: [(TOKEN.to_owned(), true), (READ_TOKEN.to_owned(), false)].into(),
            trusted_root: fixture.sandbox.trusted_root(),
            hides_bundles,
            release: Some(TAG.to_owned()),
            uploads: None,
        });
        Self {
            server: server.await,
            upload: fixture.attested("greet").await,
            fixture,
        }
    }

    /// Runs a test again where the variables of a job lead to the server.
    async fn run(&self, test: &str, variable: &str, token: &str, expected: &str) {
        self.run_with(test, variable, token, expected, &self.upload.bundles[0])
            .await;
    }

    async fn run_with(
        &self,
        test: &str,
        variable: &str,
        token: &str,
        expected: &str,
        bundle: &Bundle,
    ) {
        let variable = (variable, token);
        self.run_at(self.server.url(), test, variable, expected, bundle)
            .await;
    }

    async fn run_at(
        &self,
        url: &str,
        test: &str,
        (variable, token): (&str, &str),
        expected: &str,
        bundle: &Bundle,
    ) {
        let variables = [
            ("GITHUB_API_URL", url),
            (variable, token),
            ("EXPECTED", expected),
            ("SOURCE", self.upload.source.to_str().unwrap()),
            ("BUNDLE", bundle.path.to_str().unwrap()),
        ];
        is_child(test, &variables).await;
    }
}

/// What the job was given: a package with its bundle, and what a person is to read.
fn given() -> (Upload, String) {
    let variable = |name: &str| std::env::var(name).unwrap();
    let path = std::path::PathBuf::from(variable("BUNDLE"));
    let sha256 = hash(&path);
    let bundle = Bundle { path, sha256 };
    let package = PackageFile::read(variable("SOURCE")).unwrap();
    (upload(package, vec![bundle]), variable("EXPECTED"))
}

async fn store(location: &str) -> Box<dyn AttestationStore> {
    let location: StoreLocation = location.parse().unwrap();
    open_store(&location, &hasty()).await.unwrap()
}

async fn put(store: &dyn AttestationStore, upload: &Upload) -> Result<(), Error> {
    let (package, sha256) = (&upload.package, upload.sha256);
    store.put(package, sha256, &upload.bundles[0]).await
}

#[tokio::test]
async fn an_attestation_is_stored_once_and_found_by_digest() {
    let test = "github::an_attestation_is_stored_once_and_found_by_digest";
    if in_child() {
        let store = store("github://acme/pkgs").await;
        store.preflight().await.unwrap();
        let (upload, _) = given();
        put(&*store, &upload).await.unwrap();
        put(&*store, &upload).await.unwrap();
        return;
    }
    for variable in ["GITHUB_TOKEN", "GH_TOKEN"] {
        let started = Started::new(false).await;
        started.run(test, variable, TOKEN, "").await;
        assert_eq!(started.server.stored(), [started.upload.sha256]);
        assert_eq!(started.server.complaints(), [""; 0]);
    }
    // Where it can't be told whether it is there, it is rather there twice than not at all.
    let started = Started::new(true).await;
    started.run(test, "GITHUB_TOKEN", TOKEN, "").await;
    assert_eq!(started.server.stored(), [started.upload.sha256; 2]);
}

#[tokio::test]
async fn failures_in_passing_are_overcome() {
    let test = "github::failures_in_passing_are_overcome";
    if in_child() {
        let (upload, _) = given();
        put(&*store("github://acme/pkgs").await, &upload)
            .await
            .unwrap();
        return;
    }
    let started = Started::new(false).await;
    let faults = [Fault::Status(503), Fault::RetryAfter(429, 0), Fault::Drop];
    started
        .server
        .faults()
        .next("/repos/acme/pkgs/attestations", faults);
    started.run(test, "GITHUB_TOKEN", TOKEN, "").await;
    assert_eq!(started.server.stored(), [started.upload.sha256]);
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let test = "github::every_refusal_says_what_to_do";
    if in_child() {
        let (upload, expected) = given();
        let error = put(&*store("github://acme/pkgs").await, &upload).await;
        let told = told(&error.unwrap_err());
        assert!(told.contains(&expected), "{expected}: {told}");
        assert!(!told.contains("ghs_"), "{told}");
        return;
    }
    let started = Started::new(false).await;
    for (token, expected) in [
        ("ghs_unknown", "the job's own, `${{ github.token }}`"),
        (READ_TOKEN, "`permissions: attestations: write`"),
        (" ", "expected a token in `GITHUB_TOKEN` or `GH_TOKEN`"),
    ] {
        started.run(test, "GITHUB_TOKEN", token, expected).await;
    }
    // Another sandbox signed this one.
    let strangers = Fixture::start().await;
    let stranger = strangers.attested("greet").await;
    let expected = "GitHub found the attestation wrong";
    let bundle = &stranger.bundles[0];
    started
        .run_with(test, "GITHUB_TOKEN", TOKEN, expected, bundle)
        .await;
    let text = format!("the token {TOKEN} is odd").into_bytes();
    let path = "/repos/acme/pkgs/attestations";
    for (fault, expected) in [
        (Fault::Answer(404, Vec::new()), "that the token may see it"),
        (Fault::Answer(400, text), "the token … is odd"),
        (Fault::Answer(200, Vec::new()), "what is not understood"),
    ] {
        started.server.faults().always(path, fault);
        started.run(test, "GITHUB_TOKEN", TOKEN, expected).await;
    }
    started.server.faults().clear();
    let elsewhere = Elsewhere::start().await;
    let redirect = Fault::Redirect(elsewhere.url().to_owned());
    started.server.faults().always(path, redirect);
    let expected = "nothing is sent there";
    started.run(test, "GITHUB_TOKEN", TOKEN, expected).await;
    assert_eq!(elsewhere.seen(), []);
    assert!(started.server.stored().is_empty());
    assert_eq!(started.server.complaints(), [""; 0]);
    drop(started.fixture);
}

#[tokio::test]
async fn an_unreadable_list_is_never_an_empty_one() {
    let test = "github::an_unreadable_list_is_never_an_empty_one";
    if in_child() {
        let (upload, expected) = given();
        let error = put(&*store("github://acme/pkgs").await, &upload).await;
        let told = told(&error.unwrap_err());
        assert!(told.contains(&expected), "{expected}: {told}");
        return;
    }
    let started = Started::new(false).await;
    let digest = started.upload.sha256;
    let path = format!("/repos/acme/pkgs/attestations/sha256:{digest}");
    for (fault, expected) in [
        (Fault::Answer(200, b"<html>".to_vec()), "the attestation of"),
        (
            Fault::Answer(200, b"{\"attestations\": [".to_vec()),
            "the attestation of",
        ),
        (Fault::Answer(200, Vec::new()), "the attestation of"),
        (
            Fault::Answer(403, Vec::new()),
            "`permissions: attestations: write`",
        ),
    ] {
        started.server.faults().always(&path, fault);
        started.run(test, "GITHUB_TOKEN", TOKEN, expected).await;
    }
    assert!(started.server.stored().is_empty());
}

#[tokio::test]
async fn a_repository_that_is_not_there_is_known_before_anything_is_published() {
    let test = "github::a_repository_that_is_not_there_is_known_before_anything_is_published";
    if in_child() {
        let error = store("github://acme/other").await.preflight().await;
        let told = told(&error.unwrap_err());
        assert!(told.contains("the repository acme/other"), "{told}");
        assert!(
            told.contains("check the names of owner and repository"),
            "{told}"
        );
        return;
    }
    Started::new(false)
        .await
        .run(test, "GH_TOKEN", TOKEN, "")
        .await;
}

#[tokio::test]
async fn a_token_never_goes_over_plain_http_to_another_machine() {
    let test = "github::a_token_never_goes_over_plain_http_to_another_machine";
    let variables = [
        ("GITHUB_API_URL", "http://api.github.com"),
        ("GITHUB_TOKEN", TOKEN),
    ];
    if is_child(test, &variables).await {
        let location = "github://acme/pkgs".parse().unwrap();
        let error = open_store(&location, &hasty()).await.err().unwrap();
        assert!(error.to_string().contains("is not https"), "{error}");
    }
}

/// What stands for the manifest of a release and its attestation: the files of a package and its bundle.
fn release_of(upload: &Upload) -> ReleaseUpload {
    let bundle = &upload.bundles[0];
    ReleaseUpload {
        plan: Digest::of(b"plan"),
        manifest: Document {
            path: upload.source.clone(),
            sha256: upload.sha256,
        },
        attestation: Document {
            path: bundle.path.clone(),
            sha256: bundle.sha256,
        },
    }
}

async fn github_release(tag: &str) -> GithubRelease {
    GithubRelease::open("acme", "pkgs", tag, &hasty())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_manifest_of_a_release_is_added_to_the_assets_once_and_replaces_nothing() {
    let test = "github::the_manifest_of_a_release_is_added_to_the_assets_once_and_replaces_nothing";
    if in_child() {
        let release = github_release(TAG).await;
        release.preflight().await.unwrap();
        let (upload, _) = given();
        let mut document = release_of(&upload);
        for expected in [PublishResult::Uploaded, PublishResult::Identical] {
            let placed = release.put(&document).await.unwrap();
            assert_eq!(placed.result, expected);
            assert!(
                placed
                    .url
                    .starts_with("https://github.com/acme/pkgs/releases/")
            );
        }
        std::mem::swap(&mut document.manifest, &mut document.attestation);
        let placed = release.put(&document).await.unwrap();
        assert_eq!(placed.result, PublishResult::Exists);
        return;
    }
    let started = Started::new(false).await;
    // An answer is lost, as if nothing had arrived.
    started
        .server
        .faults()
        .next("/uploads/", [Fault::LoseAnswer]);
    started.run(test, "GITHUB_TOKEN", TOKEN, "").await;
    let assets = started.server.assets();
    let names: Vec<_> = assets.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "release-manifest.json",
            "release-manifest.json.sigstore.json"
        ]
    );
    let manifest = std::fs::read(&started.upload.source).unwrap();
    assert_eq!(assets["release-manifest.json"], manifest);
    assert_eq!(started.server.complaints(), [""; 0]);
}

#[tokio::test]
async fn assets_need_a_release_and_a_token_that_may_write() {
    let test = "github::assets_need_a_release_and_a_token_that_may_write";
    if in_child() {
        let error = github_release("v2").await.preflight().await.unwrap_err();
        assert!(
            told(&error).contains("make a release of that tag first"),
            "{}",
            told(&error)
        );
        let (upload, _) = given();
        let release = github_release(TAG).await;
        let error = release.put(&release_of(&upload)).await.unwrap_err();
        assert!(told(&error).contains("contents: write"), "{}", told(&error));
        return;
    }
    let started = Started::new(false).await;
    started.run(test, "GITHUB_TOKEN", READ_TOKEN, "").await;
    assert!(started.server.assets().is_empty());
}

#[tokio::test]
async fn no_token_goes_where_a_release_says_that_assets_are_uploaded() {
    let test = "github::no_token_goes_where_a_release_says_that_assets_are_uploaded";
    if in_child() {
        let error = github_release(TAG).await.preflight().await.unwrap_err();
        assert!(
            told(&error).contains("assets are not uploaded to"),
            "{}",
            told(&error)
        );
        return;
    }
    let elsewhere = Elsewhere::start().await;
    let mut started = Started::new(false).await;
    let options = GithubOptions {
        repository: "acme/pkgs".to_owned(),
        tokens: [(TOKEN.to_owned(), true)].into(),
        trusted_root: started.fixture.sandbox.trusted_root(),
        release: Some(TAG.to_owned()),
        uploads: Some(elsewhere.url().to_owned()),
        ..GithubOptions::default()
    };
    started.server = GithubServer::start(options).await;
    started.run(test, "GITHUB_TOKEN", TOKEN, "").await;
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_is_told_and_the_same_again_stores_once() {
    let test = "github::a_bad_network_is_told_and_the_same_again_stores_once";
    if in_child() {
        let (upload, expected) = given();
        if expected.is_empty() {
            let store = store("github://acme/pkgs").await;
            return put(&*store, &upload).await.unwrap();
        }
        let location = "github://acme/pkgs".parse().unwrap();
        let store = open_store(&location, &impatient()).await.unwrap();
        let error = put(&*store, &upload).await.unwrap_err();
        let told = told(&error);
        assert!(
            matches!(error, Error::NotSent { attempts: 2, .. }),
            "{told}"
        );
        assert!(told.contains(&expected), "{expected}: {told}");
        return assert!(!told.contains("ghs_"), "{told}");
    }
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let started = Started::new(false).await;
    let address = started.server.url().strip_prefix("http://").unwrap();
    let proxy = toxiproxy.to(address).await;
    let url = format!("http://{}", proxy.address);
    let run = async |expected: &str| {
        let token = ("GITHUB_TOKEN", TOKEN);
        let bundle = &started.upload.bundles[0];
        started.run_at(&url, test, token, expected, bundle).await;
    };
    proxy.reset_peer(Towards::Client, 1.0, 0).await;
    run("check the URL, the network and its proxy").await;
    proxy.remove("reset_peer", Towards::Client).await;
    proxy.silence(Towards::Client).await;
    run("nothing came or went").await;
    proxy.remove("timeout", Towards::Client).await;
    proxy.limit_data(Towards::Server, 1.0, 100).await;
    run("check the URL, the network and its proxy").await;
    proxy.remove("limit_data", Towards::Server).await;
    assert!(started.server.stored().is_empty());
    // The answer is lost after it was stored, or before.
    proxy.limit_data(Towards::Client, 1.0, 20).await;
    run("check the URL, the network and its proxy").await;
    proxy.remove("limit_data", Towards::Client).await;
    proxy.latency(Towards::Client, 300).await;
    run("").await;
    assert_eq!(started.server.stored(), [started.upload.sha256]);
    assert_eq!(started.server.complaints(), [""; 0]);
}
