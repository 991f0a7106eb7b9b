//! Signing batches against the sandbox, on good and on bad days.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::post;
use conda_attest::{Error, Event, Policy, SignOptions, Trust, Verifier, bundles_in, inspect, sign};
use release_manifest::Source;
use sigstore_sandbox::{Claims, FaultKind, Latency, Options, Service};
use support::{
    CHANNEL, Fixture, Log, bundles, identity, options, package, package_with_index, sha256,
};

fn codes(
    results: &[(
        conda_attest::PackageFile,
        Result<conda_attest::Signed, Error>,
    )],
) -> Vec<&'static str> {
    results
        .iter()
        .map(|(_, result)| result.as_ref().map_or_else(Error::code, |_| "signed"))
        .collect()
}

#[test]
fn the_mark_of_the_sandbox_is_the_one_looked_for() {
    assert_eq!(sigstore_sandbox::MARK, conda_attest::SANDBOX_MARK);
}

#[tokio::test]
async fn fifty_packages_take_one_certificate() {
    let fixture = Fixture::start().await;
    assert!(fixture.trust.is_sandbox());
    let log = Log::default();
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        fixture.packages(50),
        &options(),
        &log,
    )
    .await
    .unwrap();

    let verifier = Verifier::new(&fixture.trust).unwrap();
    let policy = Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer());
    for (number, (package, signed)) in results.iter().enumerate() {
        let signed = signed.as_ref().unwrap();
        assert_eq!(package.file.name(), format!("greet{number}"));
        assert_eq!(signed.bundle, package.bundle_path());
        assert_eq!(signed.bundle_sha256, sha256(&signed.bundle));
        assert_eq!(signed.identity, fixture.sandbox.identity());
        let bundle = std::fs::read(&signed.bundle).unwrap();
        let verdict = verifier.verify(package, &bundle, &policy, Some(CHANNEL));
        assert!(verdict.passed(), "{verdict}");
        let evidence = verdict.signed.unwrap();
        assert_eq!(
            (evidence.log_index, evidence.signed_at),
            (signed.log_index, signed.signed_at)
        );
        assert_eq!(evidence.target_channel.as_deref(), Some(CHANNEL));
    }
    let mut indices: Vec<_> = results
        .iter()
        .map(|(_, signed)| signed.as_ref().unwrap().log_index)
        .collect();
    indices.sort();
    indices.dedup();
    assert_eq!(indices.len(), 50);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 1);
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 1);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 50);
    assert_eq!(log.count(|event| matches!(event, Event::Signed { .. })), 50);
    assert_eq!(
        log.count(|event| matches!(event, Event::Identity { .. })),
        1
    );
}

#[tokio::test]
async fn no_package_no_token() {
    let fixture = Fixture::start().await;
    assert!(fixture.sign(Vec::new()).await.is_empty());
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 0);
}

#[tokio::test]
async fn passing_failures_of_every_service_are_repeated() {
    let faults = [
        (Service::Oidc, 1, FaultKind::Status(503)),
        (Service::Fulcio, 1, FaultKind::Drop),
        (Service::Fulcio, 2, FaultKind::Status(429)),
        (Service::Rekor, 1, FaultKind::Status(503)),
        (Service::Rekor, 2, FaultKind::Drop),
        (Service::Tsa, 1, FaultKind::Status(500)),
        (Service::Tsa, 2, FaultKind::Drop),
    ];
    let fixture = Fixture::with_faults(&faults).await;
    let log = Log::default();
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        fixture.packages(3),
        &options(),
        &log,
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["signed"; 3]);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 3);
    // The identity endpoint repeats by itself.
    assert_eq!(
        log.count(|event| matches!(event, Event::Retrying { .. })),
        6
    );
}

#[tokio::test]
async fn an_entry_whose_answer_was_lost_does_not_stand_in_the_way() {
    let fixture = Fixture::with_faults(&[(Service::Rekor, 1, FaultKind::LoseAnswer)]).await;
    assert_eq!(codes(&fixture.sign(fixture.packages(1)).await), ["signed"]);
}

#[tokio::test]
async fn a_lasting_failure_leaves_the_others_signed() {
    let fixture = Fixture::with_faults(&[(Service::Rekor, 2, FaultKind::Status(400))]).await;
    let one_by_one = SignOptions {
        concurrency: NonZeroUsize::MIN,
        ..options()
    };
    let log = Log::default();
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        fixture.packages(3),
        &one_by_one,
        &log,
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["signed", "service", "signed"]);
    assert_eq!(bundles(fixture.dir.path()).len(), 2);
    assert!(!results[1].0.bundle_path().exists());
    assert_eq!(
        log.count(|event| matches!(
            event,
            Event::Failed {
                code: "service",
                ..
            }
        )),
        1
    );
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 3);
}

#[tokio::test]
async fn a_service_that_stays_away_is_given_up_at_the_deadline() {
    let always: Vec<_> = (1..100)
        .map(|n| (Service::Tsa, n, FaultKind::Status(503)))
        .collect();
    let fixture = Fixture::with_faults(&always).await;
    let short = SignOptions {
        deadline: Duration::from_millis(700),
        ..options()
    };
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        fixture.packages(2),
        &short,
        &(),
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["deadline"; 2]);
    assert!(bundles(fixture.dir.path()).is_empty());
}

#[tokio::test]
async fn a_certificate_about_to_end_is_renewed() {
    let short = FaultKind::ShortCertificate(Duration::from_secs(2));
    let fixture = Fixture::with(Options {
        faults: vec![sigstore_sandbox::Fault {
            service: Service::Fulcio,
            request: 1,
            kind: short,
        }],
        latency: Latency {
            rekor: Duration::from_millis(600),
            ..Latency::default()
        },
        ..Options::default()
    })
    .await;
    let one_by_one = SignOptions {
        concurrency: NonZeroUsize::MIN,
        ..options()
    };
    let log = Log::default();
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        fixture.packages(5),
        &one_by_one,
        &log,
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["signed"; 5]);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 2);
    assert_eq!(
        log.count(|event| matches!(event, Event::Certificate { .. })),
        2
    );
}

#[tokio::test]
async fn a_renewal_that_is_refused_is_asked_for_once_and_what_is_signed_stays() {
    let faults = [
        (1, FaultKind::ShortCertificate(Duration::from_secs(3))),
        (2, FaultKind::Status(403)),
    ];
    let fixture = Fixture::with(Options {
        faults: faults
            .map(|(request, kind)| sigstore_sandbox::Fault {
                service: Service::Fulcio,
                request,
                kind,
            })
            .to_vec(),
        // A certificate of three seconds is over when the log has answered.
        latency: Latency {
            rekor: Duration::from_secs(3),
            ..Latency::default()
        },
        ..Options::default()
    })
    .await;
    let one_by_one = SignOptions {
        concurrency: NonZeroUsize::MIN,
        ..options()
    };
    let packages = fixture.packages(4);
    let results = sign(
        &fixture.trust,
        &fixture.identity,
        packages,
        &one_by_one,
        &(),
    )
    .await
    .unwrap();
    let refused = "no_certificate";
    assert_eq!(codes(&results), ["signed", refused, refused, refused]);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 1);
    assert_eq!(bundles(fixture.dir.path()).len(), 1);
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
        let trust = with_service(&fixture, "caUrls", &format!("{url}/{path}"));
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

/// Between the signer and the log: lets requests through in groups only, and counts them.
#[tokio::test]
async fn so_many_packages_at_a_time_and_no_more() {
    const LIMIT: usize = 4;
    let fixture = Fixture::start().await;
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    // Nothing passes unless as many as allowed are there: fewer at a time would wait for ever.
    let barrier = Arc::new(tokio::sync::Barrier::new(LIMIT));
    let target = fixture.sandbox.url().to_owned();
    let relay = {
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&most));
        move |request: axum::extract::Request| async move {
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            barrier.wait().await;
            let url = format!("{target}{}", request.uri());
            let body = axum::body::to_bytes(request.into_body(), 1 << 20)
                .await
                .unwrap();
            let request = reqwest::Client::new().post(url).body(body);
            let answer = request
                .header("content-type", "application/json")
                .send()
                .await
                .unwrap();
            let status = answer.status();
            let body = answer.bytes().await.unwrap();
            inside.fetch_sub(1, Ordering::SeqCst);
            (status, body)
        }
    };
    let url = serve(axum::Router::new().fallback(relay)).await;
    let trust = with_service(&fixture, "rekorTlogUrls", &url);

    let limited = SignOptions {
        concurrency: NonZeroUsize::new(LIMIT).unwrap(),
        ..options()
    };
    let results = sign(
        &trust,
        &fixture.identity,
        fixture.packages(3 * LIMIT),
        &limited,
        &(),
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["signed"; 3 * LIMIT]);
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
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

/// Serves until the runtime of the test ends.
async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// The sandbox's trust with one of its services at another address.
fn with_service(fixture: &Fixture, kind: &str, url: &str) -> Trust {
    let config = std::fs::read(fixture.sandbox.signing_config()).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config[kind][0]["url"] = url.into();
    let path = fixture.dir.path().join("signing_config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    Trust::from_file(&fixture.sandbox.trusted_root(), Some(&path))
        .unwrap()
        .with_audience(sigstore_sandbox::AUDIENCE)
}
