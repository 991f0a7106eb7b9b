//! What is signed, under whose name, and what is not. How a batch goes is in `batch.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::post;
use conda_attest::{Policy, SignOptions, Trust, Verifier, bundles_in, inspect, sign};
use release_manifest::Source;
use sigstore_sandbox::{Claims, Options, Service};
use support::{
    CHANNEL, Fixture, bundles, codes, identity, options, package, package_with_index, serve,
};

#[test]
fn the_mark_of_the_sandbox_is_the_one_looked_for() {
    assert_eq!(sigstore_sandbox::MARK, conda_attest::SANDBOX_MARK);
}

#[tokio::test]
async fn no_package_no_token() {
    let fixture = Fixture::start().await;
    assert!(fixture.sign(Vec::new()).await.is_empty());
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 0);
}

#[tokio::test]
async fn tokens_of_the_wrong_audience_or_time_never_reach_the_authority() {
    let fixture = Fixture::start().await;
    let foreign = identity(&fixture.sandbox, "sigstore");
    let error = sign(
        &fixture.trust,
        &foreign,
        fixture.packages(1),
        &options(),
        &(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), "token_audience");

    let brief = Options {
        token_lifetime: Duration::ZERO,
        ..Options::default()
    };
    let late = Fixture::with(brief).await;
    let error = sign(
        &late.trust,
        &late.identity,
        late.packages(1),
        &options(),
        &(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), "token_expired");
    for fixture in [&fixture, &late] {
        assert_eq!(fixture.sandbox.requests(Service::Fulcio), 0);
        assert!(bundles(fixture.dir.path()).is_empty());
    }
}

#[tokio::test]
async fn a_package_that_changed_since_its_build_is_not_signed() {
    let fixture = Fixture::start().await;
    let mut packages = fixture.packages(4);
    std::fs::copy(&packages[1].path, &packages[0].path).unwrap();
    #[cfg(unix)]
    {
        let elsewhere = fixture.dir.path().join("elsewhere");
        std::fs::rename(&packages[2].path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &packages[2].path).unwrap();
    }
    packages[3].path = fixture.dir.path().join("missing-1.0.0-h1_0.conda");
    let results = fixture.sign(packages).await;
    assert_eq!(
        codes(&results),
        ["package_changed", "signed", "not_a_file", "io"]
    );
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 1);
}

#[tokio::test]
async fn an_attestation_that_does_not_verify_is_not_written() {
    let (trusted, other) = (Fixture::start().await, Fixture::start().await);
    // Services that answer in good order, and that the trusted root knows nothing of.
    let trust = Trust::from_file(
        &trusted.sandbox.trusted_root(),
        Some(&other.sandbox.signing_config()),
    )
    .unwrap()
    .with_audience(sigstore_sandbox::AUDIENCE);
    let packages = other.packages(2);
    let results = sign(&trust, &other.identity, packages, &options(), &())
        .await
        .unwrap();
    assert_eq!(codes(&results), ["refused"; 2]);
    assert!(bundles(other.dir.path()).is_empty());
}

#[tokio::test]
async fn a_package_that_says_it_is_another_is_not_signed() {
    let fixture = Fixture::start().await;
    let good = r#"{"name": "greet", "version": "1.0.0", "build": "h1_0", "subdir": "noarch"}"#;
    let bad = [
        good.replace("greet", "other"),
        good.replace("1.0.0", "1.0.1"),
        good.replace("h1_0", "h2_0"),
        good.replace("noarch", "linux-64"),
        good.replace('}', r#", "name": "greet"}"#),
        "no json".to_owned(),
    ];
    for (number, index) in bad.iter().enumerate() {
        for extension in ["conda", "tar.bz2"] {
            let folder = fixture.dir.path().join(format!("{number}-{extension}"));
            std::fs::create_dir(&folder).unwrap();
            let file = format!("greet-1.0.0-h1_0.{extension}");
            let package = package_with_index(&folder, &file, index);
            let results = fixture.sign(vec![package]).await;
            let expected = if number < 4 {
                "package_index"
            } else {
                "package_archive"
            };
            assert_eq!(codes(&results), [expected], "{index}");
        }
    }
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 0);
    for extension in ["conda", "tar.bz2"] {
        let file = format!("greet-1.0.0-h1_0.{extension}");
        let package = package_with_index(fixture.dir.path(), &file, good);
        assert_eq!(codes(&fixture.sign(vec![package]).await), ["signed"]);
    }
}

#[tokio::test]
async fn a_certificate_of_another_source_is_refused_before_anything_is_logged() {
    let commit = "a".repeat(40);
    let fixture = Fixture::with(Options {
        claims: Claims {
            repository: Some("https://github.com/acme/pkgs".to_owned()),
            commit: Some(commit.clone()),
            ..Claims::default()
        },
        ..Options::default()
    })
    .await;
    let source = |repository: &str, commit: &str| Source {
        repository: Some(repository.to_owned()),
        commit: Some(commit.to_owned()),
        dirty: false,
    };
    for wrong in [
        source("https://github.com/acme/other", &commit),
        source("git@github.com:acme/pkgs.git", &"b".repeat(40)),
    ] {
        let options = SignOptions {
            source: wrong,
            ..options()
        };
        let result = sign(
            &fixture.trust,
            &fixture.identity,
            fixture.packages(1),
            &options,
            &(),
        )
        .await;
        assert_eq!(result.unwrap_err().code(), "source");
    }
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 0);
    let right = source("git@github.com:acme/pkgs.git", &commit);
    let options = SignOptions {
        source: right,
        ..options()
    };
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        fixture.packages(1),
        &options,
        &(),
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["signed"]);
    let bundle = std::fs::read(results[0].0.bundle_path()).unwrap();
    let judged = |source: Source| {
        let verifier = Verifier::new(&fixture.trust).unwrap().with_source(source);
        let verdict = verifier.verify(&results[0].0, &bundle, &Policy::Anyone, Some(CHANNEL));
        verdict.failure().map(|check| check.code)
    };
    assert_eq!(
        judged(source("ssh://git@github.com/acme/pkgs", &commit)),
        None
    );
    assert_eq!(
        judged(source("https://github.com/acme/pkgs", "b")),
        Some("source")
    );
    let seen = inspect(&bundle).unwrap();
    assert_eq!(seen.claims["source_repository_digest"], commit);
    assert_eq!(
        seen.links["commit"],
        format!("https://github.com/acme/pkgs/commit/{commit}")
    );
}

#[tokio::test]
async fn inspection_shows_what_was_signed_when_and_by_whom() {
    let fixture = Fixture::start().await;
    let results = fixture.sign(fixture.packages(1)).await;
    let signed = results[0].1.as_ref().unwrap();
    let file = std::fs::read(&signed.bundle).unwrap();
    assert_eq!(bundles_in(&file).unwrap(), std::slice::from_ref(&file));
    let seen = inspect(&file).unwrap();
    assert_eq!(seen.identity.as_deref(), Some(fixture.sandbox.identity()));
    assert_eq!(seen.issuer.as_deref(), Some(fixture.sandbox.issuer()));
    assert_eq!(Some(seen.log_entries[0].index), signed.log_index);
    assert_eq!(seen.times.len(), 1);
    assert_eq!(seen.times[0].source, "rfc3161");
    assert_eq!(seen.times[0].time.as_second(), signed.signed_at.as_unix());
    assert_eq!(seen.statement["predicate"]["targetChannel"], CHANNEL);
    assert!(seen.certificate_not_before <= seen.times[0].time);
    assert_eq!(
        seen.certificate_not_after.as_second(),
        signed.certificate_not_after.as_unix()
    );
}

/// A certificate authority that would like to see the token elsewhere.
#[tokio::test]
async fn a_token_is_neither_redirected_nor_repeated_in_an_error() {
    let fixture = Fixture::start().await;
    let stolen = Arc::new(AtomicUsize::new(0));
    let thief = {
        let stolen = Arc::clone(&stolen);
        move || async move {
            stolen.fetch_add(1, Ordering::SeqCst);
        }
    };
    let quoting = |body: String| async move { (StatusCode::BAD_REQUEST, body) };
    let router = axum::Router::new()
        .route(
            "/redirect/api/v2/signingCert",
            post(async || Redirect::temporary("/thief")),
        )
        .route("/quote/api/v2/signingCert", post(quoting))
        .route("/thief", post(thief));
    let url = serve(router).await;
    for (path, expected) in [("redirect", "307"), ("quote", "(token)")] {
        let trust = fixture.with_service("caUrls", &format!("{url}/{path}"));
        let identity = &fixture.identity;
        let error = sign(&trust, identity, fixture.packages(1), &options(), &())
            .await
            .unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains("eyJ"), "a part of a token: {shown}");
    }
    assert_eq!(stolen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn yesterdays_attestations_verify_without_the_sandbox() {
    let Fixture {
        dir,
        sandbox,
        trust,
        identity,
    } = Fixture::start().await;
    let packages = vec![package(dir.path(), "greet")];
    let results = sign(&trust, &identity, packages, &options(), &())
        .await
        .unwrap();
    let root = sandbox.trusted_root();
    let policy = Policy::exactly(sandbox.identity(), sandbox.issuer());
    sandbox.stop().await;

    let alone = Trust::from_file(&root, None).unwrap();
    assert_eq!(alone.root_sha256(), trust.root_sha256());
    assert!(alone.is_sandbox());
    let bundle = std::fs::read(results[0].0.bundle_path()).unwrap();
    let verdict =
        Verifier::new(&alone)
            .unwrap()
            .verify(&results[0].0, &bundle, &policy, Some(CHANNEL));
    assert!(verdict.passed(), "{verdict}");
    let error = sign(
        &alone,
        &identity,
        vec![results[0].0.clone()],
        &options(),
        &(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), "no_signing_config");
}
