//! How a batch goes with either transparency log, on good and on bad days.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use conda_attest::{
    Error, Event, IdentitySource, IdentityToken, Policy, ProcessEnvironment, Provider, Reporter,
    Search, SignOptions, TokenInput, Verifier, find_identity, sign,
};
use sigstore_sandbox::{
    Capacity, Claims, FaultKind, Latency, Options, RekorVersions, Sandbox, Service, Weather,
};
use support::{
    CHANNEL, Fixture, Log, Results, bundles, codes, listed, options, package, serve, sha256,
};

/// Tests that are the same for Rekor v1 and v2.
macro_rules! with_either_log {
    ($($test:ident),+ $(,)?) => {
        mod rekor_v1 {
            $(#[tokio::test] async fn $test() { super::$test(super::RekorVersions::V1).await; })+
        }
        mod rekor_v2 {
            $(#[tokio::test] async fn $test() { super::$test(super::RekorVersions::V2).await; })+
        }
    };
}

with_either_log!(
    fifty_packages_take_one_certificate,
    who_signs_is_said_before_the_authority_is_asked,
    passing_failures_of_every_service_are_repeated,
    an_entry_whose_answer_was_lost_is_not_logged_again_in_vain,
    a_lasting_failure_leaves_the_others_signed,
    a_service_that_stays_away_is_given_up_at_the_deadline,
    a_service_that_says_nothing_is_asked_again,
    a_certificate_about_to_end_is_renewed,
    a_certificate_that_ends_before_the_timestamp_is_replaced,
    a_renewal_that_is_refused_is_asked_for_once_and_what_is_signed_stays,
    without_another_token_what_is_left_can_be_signed_later,
    short_certificates_and_tokens_last_for_a_long_batch,
    a_tenth_of_all_requests_may_fail,
    an_overwhelmed_service_gets_less,
    so_many_packages_at_a_time_and_no_more,
);

fn with(rekor: RekorVersions) -> Options {
    Options {
        rekor,
        ..Options::default()
    }
}

fn one_by_one() -> SignOptions {
    SignOptions {
        concurrency: NonZeroUsize::MIN,
        ..options()
    }
}

/// Every package has one bundle, which verifies, says what was reported of it, and has a log entry
/// of its own.
fn check(fixture: &Fixture, results: &Results) {
    let verifier = Verifier::new(&fixture.trust).unwrap();
    let policy = Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer());
    let mut indices = Vec::new();
    for (number, (package, signed)) in results.iter().enumerate() {
        let signed = signed.as_ref().unwrap();
        assert_eq!(package.file.name(), format!("greet{number}"));
        assert_eq!(signed.bundle, package.bundle_path());
        assert_eq!(signed.bundle_sha256, sha256(&signed.bundle));
        assert_eq!(signed.identity, fixture.sandbox.identity());
        assert!(signed.signed_at <= signed.certificate_not_after);
        let bundle = std::fs::read(&signed.bundle).unwrap();
        let verdict = verifier.verify(package, &bundle, &policy, Some(CHANNEL));
        assert!(verdict.passed(), "{verdict}");
        let evidence = verdict.signed.unwrap();
        assert_eq!(evidence.log_index, signed.log_index);
        assert_eq!(evidence.signed_at, signed.signed_at);
        assert_eq!(evidence.target_channel.as_deref(), Some(CHANNEL));
        indices.push(signed.log_index.unwrap());
    }
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), results.len());
    assert_eq!(bundles(fixture.dir.path()).len(), results.len());
}

async fn fifty_packages_take_one_certificate(rekor: RekorVersions) {
    let fixture = Fixture::with(with(rekor)).await;
    assert!(fixture.trust.is_sandbox());
    let log = Log::default();
    let packages = fixture.packages(50);
    let results = fixture.sign_with(packages, &options(), &log).await;
    check(&fixture, &results);
    for (service, requests) in [
        (Service::Fulcio, 1),
        (Service::Oidc, 1),
        (Service::Rekor, 50),
        (Service::Tsa, 50),
        (Service::RekorLookup, 0),
    ] {
        assert_eq!(fixture.sandbox.requests(service), requests, "{service:?}");
    }
    assert_eq!(log.count(|event| matches!(event, Event::Signed { .. })), 50);
    assert!(
        results
            .iter()
            .all(|(_, signed)| signed.as_ref().unwrap().retries == 0)
    );
}

/// Notes how often the authority had been asked when an event came.
struct Asked<'a> {
    sandbox: &'a Sandbox,
    log: Log,
}

impl Reporter for Asked<'_> {
    fn report(&self, event: Event) {
        let asked = self.sandbox.requests(Service::Fulcio);
        match &event {
            Event::Identity(facts) => {
                assert_eq!(asked, 0);
                assert_eq!(facts.subject, sigstore_sandbox::IDENTITY);
                assert_eq!(facts.issuer, sigstore_sandbox::ISSUER);
                assert_eq!(facts.audience, [sigstore_sandbox::AUDIENCE]);
                assert!(facts.expires_at > jiff::Timestamp::now());
            }
            Event::Certificate {
                identity, issuer, ..
            } => {
                assert_eq!(asked, 1);
                assert_eq!(identity, sigstore_sandbox::IDENTITY);
                assert_eq!(issuer, sigstore_sandbox::ISSUER);
            }
            _ => {}
        }
        self.log.report(event);
    }
}

async fn who_signs_is_said_before_the_authority_is_asked(rekor: RekorVersions) {
    let fixture = Fixture::with(with(rekor)).await;
    let reporter = Asked {
        sandbox: &fixture.sandbox,
        log: Log::default(),
    };
    let packages = fixture.packages(1);
    fixture.sign_with(packages, &options(), &reporter).await;
    let events = reporter.log.events();
    assert!(matches!(
        events[..],
        [
            Event::Identity(_),
            Event::Certificate { .. },
            Event::Signed { .. }
        ]
    ));
}

async fn passing_failures_of_every_service_are_repeated(rekor: RekorVersions) {
    let faults = [
        (Service::Oidc, 1, FaultKind::Status(503)),
        (Service::Fulcio, 1, FaultKind::Drop),
        (Service::Fulcio, 2, FaultKind::Status(429)),
        (Service::Rekor, 1, FaultKind::Status(503)),
        (Service::Rekor, 2, FaultKind::Drop),
        (Service::Tsa, 1, FaultKind::Status(500)),
        (Service::Tsa, 2, FaultKind::Drop),
    ];
    let fixture = Fixture::with(Options {
        faults: listed(&faults),
        ..with(rekor)
    })
    .await;
    let log = Log::default();
    let packages = fixture.packages(3);
    let results = fixture.sign_with(packages, &options(), &log).await;
    check(&fixture, &results);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 3);
    let about = |wanted: fn(&Event) -> bool| log.count(wanted);
    // The identity endpoint repeats by itself.
    let of_the_batch = about(|event| matches!(event, Event::Retrying { file: None, .. }));
    let of_packages = about(|event| matches!(event, Event::Retrying { file: Some(_), .. }));
    assert_eq!((of_the_batch, of_packages), (2, 4));
    assert_eq!(retries(&results), 4);
}

fn retries(results: &Results) -> usize {
    let each = results
        .iter()
        .map(|(_, signed)| signed.as_ref().unwrap().retries);
    usize::try_from(each.sum::<u32>()).unwrap()
}

async fn an_entry_whose_answer_was_lost_is_not_logged_again_in_vain(rekor: RekorVersions) {
    let fixture = Fixture::with(Options {
        faults: listed(&[(Service::Rekor, 1, FaultKind::LoseAnswer)]),
        ..with(rekor)
    })
    .await;
    let results = fixture.sign(fixture.packages(1)).await;
    check(&fixture, &results);
    let (posts, lookups, repeated) = match rekor {
        // The conflict leads to the entry, which is used.
        RekorVersions::V1 => (2, 1, 1),
        // Rekor v2 cannot be asked for it: a new signature is a new entry.
        _ => (3, 0, 2),
    };
    assert_eq!(fixture.sandbox.requests(Service::Rekor), posts);
    assert_eq!(fixture.sandbox.requests(Service::RekorLookup), lookups);
    assert_eq!(retries(&results), repeated);
}

async fn a_lasting_failure_leaves_the_others_signed(rekor: RekorVersions) {
    let fixture = Fixture::with(Options {
        faults: listed(&[(Service::Rekor, 2, FaultKind::Status(400))]),
        ..with(rekor)
    })
    .await;
    let log = Log::default();
    let packages = fixture.packages(3);
    let results = fixture.sign_with(packages, &one_by_one(), &log).await;
    assert_eq!(codes(&results), ["signed", "service", "signed"]);
    assert_eq!(bundles(fixture.dir.path()).len(), 2);
    assert!(!results[1].0.bundle_path().exists());
    let failed = |event: &Event| matches!(event, Event::Failed { code, .. } if *code == "service");
    assert_eq!(log.count(failed), 1);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 3);
}

async fn a_service_that_stays_away_is_given_up_at_the_deadline(rekor: RekorVersions) {
    let always: Vec<_> = (1..100)
        .map(|n| (Service::Tsa, n, FaultKind::Status(503)))
        .collect();
    let fixture = Fixture::with(Options {
        faults: listed(&always),
        ..with(rekor)
    })
    .await;
    let short = SignOptions {
        deadline: Duration::from_millis(700),
        ..options()
    };
    let results = fixture.sign_with(fixture.packages(2), &short, &()).await;
    assert_eq!(codes(&results), ["deadline"; 2]);
    assert!(bundles(fixture.dir.path()).is_empty());
}

async fn a_service_that_says_nothing_is_asked_again(rekor: RekorVersions) {
    let silence = FaultKind::NoAnswer(Duration::from_secs(600));
    let fixture = Fixture::with(Options {
        faults: listed(&[
            (Service::Fulcio, 1, silence),
            (Service::Rekor, 1, silence),
            (Service::Tsa, 2, silence),
        ]),
        ..with(rekor)
    })
    .await;
    let impatient = SignOptions {
        request_timeout: Duration::from_secs(1),
        ..options()
    };
    let log = Log::default();
    let results = fixture
        .sign_with(fixture.packages(2), &impatient, &log)
        .await;
    check(&fixture, &results);
    let silent = |event: &Event| matches!(event, Event::Retrying { reason, .. } if reason.contains("no answer within 1 s"));
    assert_eq!(log.count(silent), 3);
}

async fn a_certificate_about_to_end_is_renewed(rekor: RekorVersions) {
    let short = FaultKind::ShortCertificate(Duration::from_secs(2));
    let fixture = Fixture::with(Options {
        faults: listed(&[(Service::Fulcio, 1, short)]),
        latency: Latency {
            rekor: Duration::from_millis(600),
            ..Latency::default()
        },
        ..with(rekor)
    })
    .await;
    let log = Log::default();
    let packages = fixture.packages(5);
    let results = fixture.sign_with(packages, &one_by_one(), &log).await;
    check(&fixture, &results);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 2);
    let issued = |event: &Event| matches!(event, Event::Certificate { .. });
    assert_eq!(log.count(issued), 2);
}

async fn a_certificate_that_ends_before_the_timestamp_is_replaced(rekor: RekorVersions) {
    let life = Duration::from_secs(2);
    let fixture = Fixture::with(Options {
        faults: listed(&[
            (Service::Fulcio, 1, FaultKind::ShortCertificate(life)),
            (Service::Tsa, 1, FaultKind::Delay(life * 2)),
        ]),
        ..with(rekor)
    })
    .await;
    let results = fixture.sign(fixture.packages(1)).await;
    check(&fixture, &results);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 2);
    assert_eq!(retries(&results), 1);
}

/// The log takes as long as the first certificate lives, so that the second package needs another.
fn second_certificate_is(rekor: RekorVersions, kind: FaultKind) -> Options {
    let life = Duration::from_secs(3);
    Options {
        faults: listed(&[
            (Service::Fulcio, 1, FaultKind::ShortCertificate(life)),
            (Service::Fulcio, 2, kind),
        ]),
        latency: Latency {
            rekor: life,
            ..Latency::default()
        },
        ..with(rekor)
    }
}

async fn a_renewal_that_is_refused_is_asked_for_once_and_what_is_signed_stays(
    rekor: RekorVersions,
) {
    let refused = FaultKind::Status(403);
    let fixture = Fixture::with(second_certificate_is(rekor, refused)).await;
    let packages = fixture.packages(4);
    let results = fixture.sign_with(packages, &one_by_one(), &()).await;
    let refused = "no_certificate";
    assert_eq!(codes(&results), ["signed", refused, refused, refused]);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 1);
    assert_eq!(bundles(fixture.dir.path()).len(), 1);
}

async fn without_another_token_what_is_left_can_be_signed_later(rekor: RekorVersions) {
    let fixture = Fixture::with(Options {
        token_lifetime: Duration::from_secs(3),
        ..second_certificate_is(rekor, FaultKind::Status(403))
    })
    .await;
    let file = fixture.dir.path().join("token");
    let token = fixture.sandbox.token(sigstore_sandbox::AUDIENCE).unwrap();
    std::fs::write(&file, token).unwrap();
    let identity = find_identity(Search {
        token: Some(&TokenInput::File(file)),
        audience: sigstore_sandbox::AUDIENCE,
        environment: &ProcessEnvironment,
        person: None,
        oidc: None,
    })
    .await
    .unwrap();
    assert_eq!(identity.provider(), Provider::File);
    let packages = fixture.packages(3);
    let results = sign(&fixture.trust, &identity, packages, &one_by_one(), &())
        .await
        .unwrap();
    assert!(results[0].1.is_ok());
    for (_, result) in &results[1..] {
        assert!(result.as_ref().unwrap_err().is_renewal_failure());
    }
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 1);
    assert_eq!(bundles(fixture.dir.path()).len(), 1);
}

/// The figure "certificate lifetime cut to 5 s, token to 8 s, 200 packages over at least 20 s".
async fn short_certificates_and_tokens_last_for_a_long_batch(rekor: RekorVersions) {
    const LIFE: Duration = Duration::from_secs(5);
    let fixture = Fixture::with(Options {
        certificate_lifetime: LIFE,
        token_lifetime: Duration::from_secs(8),
        latency: Latency {
            rekor: Duration::from_millis(800),
            ..Latency::default()
        },
        ..with(rekor)
    })
    .await;
    let packages = fixture.packages(200);
    let eight = SignOptions {
        concurrency: NonZeroUsize::new(8).unwrap(),
        ..options()
    };
    let start = Instant::now();
    let results = fixture.sign_with(packages, &eight, &()).await;
    // 200 packages, 8 at a time, 800 ms each: never less than 20 s.
    let needed = start.elapsed().as_secs_f64() / LIFE.as_secs_f64();
    check(&fixture, &results);
    let certificates = fixture.sandbox.requests(Service::Fulcio);
    assert!(certificates >= 4, "{certificates}");
    let bound = (needed.ceil() * 1.5).floor();
    assert!(
        certificates as f64 <= bound,
        "{certificates} certificates where {needed:.1} are needed"
    );
}

/// The figure "10 % of requests fail, 200 packages".
async fn a_tenth_of_all_requests_may_fail(rekor: RekorVersions) {
    let fixture = Fixture::with(Options {
        weather: Some(Weather {
            seed: 4,
            percent: 10,
            hold: Duration::from_secs(60),
        }),
        ..with(rekor)
    })
    .await;
    let packages = fixture.packages(200);
    let impatient = SignOptions {
        request_timeout: Duration::from_secs(2),
        ..options()
    };
    let log = Log::default();
    let results = fixture.sign_with(packages, &impatient, &log).await;
    check(&fixture, &results);

    let failures = [Service::Rekor, Service::RekorLookup, Service::Tsa]
        .map(|service| usize::try_from(fixture.sandbox.failures(service)).unwrap());
    let failures: usize = failures.iter().sum();
    assert!(failures >= 20, "{failures}");
    // Every failure is counted once with its package; a signature made anew after a conflict is one
    // more, and so is an answer that came too late on a busy machine.
    let repeated = log.count(|event| matches!(event, Event::Retrying { file: Some(_), .. }));
    assert!(repeated >= failures, "{repeated} of {failures}");
    assert!(retries(&results) >= repeated);
    for (package, signed) in &results {
        let file = package.key();
        let of_it = |event: &Event| matches!(event, Event::Retrying { file: Some(about), .. } if *about == file);
        let counted = usize::try_from(signed.as_ref().unwrap().retries).unwrap();
        assert!(counted >= log.count(of_it), "{file}");
    }
}

async fn an_overwhelmed_service_gets_less(rekor: RekorVersions) {
    const CAPACITY: usize = 4;
    const PACKAGES: usize = 80;
    let fixture = Fixture::with(Options {
        max_concurrent: Capacity {
            rekor: Some(CAPACITY),
            ..Capacity::default()
        },
        latency: Latency {
            rekor: Duration::from_millis(50),
            ..Latency::default()
        },
        ..with(rekor)
    })
    .await;
    let packages = fixture.packages(PACKAGES);
    let results = fixture.sign(packages).await;
    check(&fixture, &results);
    // With 16 at a time from beginning to end, three of four would be refused, and again.
    let refused = fixture.sandbox.requests(Service::Rekor) - PACKAGES as u64;
    assert!(refused < PACKAGES as u64, "{refused} requests were refused");
    assert_eq!(fixture.sandbox.requests(Service::Tsa), PACKAGES as u64);
}

/// Between the signer and the log: lets requests through in groups only, and counts them.
async fn so_many_packages_at_a_time_and_no_more(rekor: RekorVersions) {
    const LIMIT: usize = 4;
    let fixture = Fixture::with(with(rekor)).await;
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
    let trust = fixture.with_service("rekorTlogUrls", &url);

    let limited = SignOptions {
        concurrency: NonZeroUsize::new(LIMIT).unwrap(),
        ..options()
    };
    let packages = fixture.packages(3 * LIMIT);
    let results = sign(&trust, &fixture.identity, packages, &limited, &())
        .await
        .unwrap();
    assert_eq!(codes(&results), ["signed"; 3 * LIMIT]);
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
}

/// A log of Rekor v1 has a clock of its own.
#[tokio::test]
async fn rekor_v1_needs_no_timestamp_authority() {
    let fixture = Fixture::with(Options {
        tsa: false,
        ..with(RekorVersions::V1)
    })
    .await;
    let results = fixture.sign(fixture.packages(3)).await;
    check(&fixture, &results);
    assert_eq!(fixture.sandbox.requests(Service::Tsa), 0);
}

#[tokio::test]
async fn a_token_that_ends_while_the_authority_is_asked_is_replaced() {
    let late = FaultKind::Delay(Duration::from_millis(1500));
    let fixture = Fixture::with(Options {
        token_lifetime: Duration::from_secs(1),
        faults: listed(&[(Service::Fulcio, 1, late)]),
        ..Options::default()
    })
    .await;
    let results = fixture.sign(fixture.packages(1)).await;
    check(&fixture, &results);
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 2);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
}

/// Gives tokens of one owner first and of another after.
struct Changing(Mutex<Vec<IdentityToken>>);

#[async_trait::async_trait]
impl IdentitySource for Changing {
    async fn token(&self) -> Result<IdentityToken, Error> {
        Ok(self.0.lock().unwrap().pop().unwrap())
    }
}

#[tokio::test]
async fn a_batch_is_signed_by_one_identity_alone() {
    let plain = FaultKind::Delay(Duration::ZERO);
    let fixture = Fixture::with(second_certificate_is(RekorVersions::V2, plain)).await;
    let token = |claims| {
        let hour = Duration::from_secs(3600);
        let token = fixture
            .sandbox
            .token_with(sigstore_sandbox::AUDIENCE, hour, claims);
        IdentityToken::from_jwt(&token.unwrap(), Provider::File).unwrap()
    };
    let other = token(Claims::github_actions());
    let identity = Changing(Mutex::new(vec![other, token(Claims::default())]));
    let packages = fixture.packages(3);
    let results = sign(&fixture.trust, &identity, packages, &one_by_one(), &())
        .await
        .unwrap();
    let refused = "no_certificate";
    assert_eq!(codes(&results), ["signed", refused, refused]);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 2);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 1);
}

/// A conflict may name an entry of somebody else, or nothing that could be asked for.
#[tokio::test]
async fn a_conflict_that_leads_elsewhere_is_not_followed() {
    let fixture = Fixture::with(with(RekorVersions::V1)).await;
    let other = fixture
        .sign(vec![package(fixture.dir.path(), "other")])
        .await;
    let bundle = std::fs::read(&other[0].1.as_ref().unwrap().bundle).unwrap();
    let bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
    let number = |value: &serde_json::Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let answer = serde_json::json!({"0".repeat(64): {
        "body": entry["canonicalizedBody"],
        "integratedTime": number(&entry["integratedTime"]),
        "logID": "0".repeat(64),
        "logIndex": number(&entry["logIndex"]),
    }});
    let conflict = |location: String| {
        move || async move { (StatusCode::CONFLICT, [("location", location)], "{}").into_response() }
    };
    let lookups = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&lookups);
    let lookup = move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        answer.to_string()
    };
    let foreign = format!("https://elsewhere.invalid/{}", "0".repeat(64));
    let router = axum::Router::new()
        .route("/foreign/api/v1/log/entries", post(conflict(foreign)))
        .route("/foreign/api/v1/log/entries/{uuid}", get(lookup))
        .route("/none/api/v1/log/entries", post(conflict("/..".to_owned())));
    let url = serve(router).await;
    for (path, expected, asked) in [("foreign", "service", 1), ("none", "key", 0)] {
        let trust = fixture.with_service("rekorTlogUrls", &format!("{url}/{path}"));
        lookups.store(0, Ordering::SeqCst);
        let results = sign(
            &trust,
            &fixture.identity,
            fixture.packages(1),
            &options(),
            &(),
        )
        .await
        .unwrap();
        assert_eq!(codes(&results), [expected], "{path}");
        assert_eq!(lookups.load(Ordering::SeqCst), asked, "{path}");
    }
}

/// The signing configuration may ask for several logs and clocks: each bundle has them all.
#[tokio::test]
async fn every_selected_log_and_clock_is_asked() {
    let fixture = Fixture::with(with(RekorVersions::Both)).await;
    let trust = fixture.with_signing_config(|config| {
        for kind in ["rekorTlogUrls", "tsaUrls"] {
            let services = config[kind].as_array_mut().unwrap();
            if services.len() == 1 {
                services.push(services[0].clone());
            }
            for (number, service) in services.iter_mut().enumerate() {
                service["operator"] = format!("operator {number}").into();
            }
        }
        config["rekorTlogConfig"] = serde_json::json!({"selector": "ALL"});
        config["tsaConfig"] = serde_json::json!({"selector": "EXACT", "count": 2});
    });
    let results = sign(
        &trust,
        &fixture.identity,
        fixture.packages(3),
        &options(),
        &(),
    )
    .await
    .unwrap();
    assert_eq!(codes(&results), ["signed"; 3]);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 6);
    assert_eq!(fixture.sandbox.requests(Service::Tsa), 6);
    let bundle = std::fs::read(results[0].0.bundle_path()).unwrap();
    let seen = conda_attest::inspect(&bundle).unwrap();
    assert_eq!(seen.log_entries.len(), 2);
}
