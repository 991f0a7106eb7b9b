//! Failures on purpose.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use sigstore_crypto::parse_certificate_info;
use sigstore_sandbox::{
    AUDIENCE, Capacity, Fault, FaultKind, Latency, Options, Sandbox, Service, Weather,
};

use crate::client::{Session, statement, token};

fn with_fault(service: Service, request: u64, kind: FaultKind) -> Options {
    Options {
        faults: vec![Fault {
            service,
            request,
            kind,
        }],
        ..Options::default()
    }
}

/// What the answers to three entries of one session are: a status, or none.
async fn three_entries(sandbox: &Sandbox) -> Vec<Option<StatusCode>> {
    let session = Session::open(sandbox).await.unwrap();
    let mut answers = Vec::new();
    for artifact in [b"a", b"b", b"c"] {
        let (_, entry) = session.entry(&statement("a-0-0.conda", artifact)).unwrap();
        let request = Client::new()
            .post(format!("{}/api/v2/log/entries", sandbox.url()))
            .json(&entry);
        answers.push(request.send().await.ok().map(|response| response.status()));
    }
    answers
}

#[tokio::test]
async fn the_nth_request_is_answered_with_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let options = with_fault(Service::Rekor, 2, FaultKind::Status(503));
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let created = Some(StatusCode::CREATED);
    assert_eq!(
        three_entries(&sandbox).await,
        [created, Some(StatusCode::SERVICE_UNAVAILABLE), created]
    );
}

#[tokio::test]
async fn the_nth_connection_is_dropped_before_the_request_is_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let options = with_fault(Service::Rekor, 2, FaultKind::Drop);
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let created = Some(StatusCode::CREATED);
    assert_eq!(three_entries(&sandbox).await, [created, None, created]);
    let session = Session::open(&sandbox).await.unwrap();
    assert_eq!(session.rekor.get_checkpoint().await.unwrap().tree_size(), 2);
}

#[tokio::test]
async fn an_entry_whose_answer_was_lost_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let options = with_fault(Service::Rekor, 1, FaultKind::LoseAnswer);
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let session = Session::open(&sandbox).await.unwrap();
    let (_, entry) = session.entry(&statement("a-0-0.conda", b"a")).unwrap();
    session.rekor.create_entry(entry.clone()).await.unwrap_err();
    let again = session.rekor.create_entry(entry).await.unwrap_err();
    assert!(again.to_string().contains("409"), "{again}");
}

#[tokio::test]
async fn the_nth_certificate_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let short = Duration::from_secs(7);
    let options = with_fault(Service::Fulcio, 2, FaultKind::ShortCertificate(short));
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let mut lifetimes = Vec::new();
    for _ in 0..3 {
        let session = Session::open(&sandbox).await.unwrap();
        let info = parse_certificate_info(&session.certificate).unwrap();
        lifetimes.push(info.not_after.duration_since(info.not_before).as_secs());
    }
    assert_eq!(lifetimes, [600, 7, 600]);
}

#[tokio::test]
async fn faults_are_of_one_service() {
    let folder = tempfile::tempdir().unwrap();
    let options = with_fault(Service::Oidc, 1, FaultKind::Status(500));
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    token(&sandbox, AUDIENCE).await.unwrap_err();
    Session::open(&sandbox).await.unwrap();
    assert_eq!(sandbox.requests(Service::Oidc), 2);
}

#[tokio::test]
async fn a_request_without_an_answer_is_given_up_by_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(60 * 60);
    let options = with_fault(Service::Rekor, 1, FaultKind::NoAnswer(hour));
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let error = Client::new()
        .post(format!("{}/api/v2/log/entries", sandbox.url()))
        .timeout(Duration::from_millis(200))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(sandbox.failures(Service::Rekor), 1);
}

/// How each of 200 requests to the log ended under a weather: a status, `closed` or `timeout`.
async fn outcomes(weather: Weather) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        weather: Some(weather),
        ..Options::default()
    };
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..200 {
        let request = Client::new()
            .post(format!("{}/api/v2/log/entries", sandbox.url()))
            .json(&serde_json::json!({}));
        outcomes.push(match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let told_when = response.headers().contains_key("retry-after");
                assert_eq!(told_when, [429, 503].contains(&status));
                status.to_string()
            }
            Err(_) => "closed".to_owned(),
        });
    }
    // What reaches the service is a bad request to it.
    let failed = outcomes.iter().filter(|outcome| *outcome != "400").count();
    assert_eq!(sandbox.failures(Service::Rekor), failed as u64);
    outcomes
}

#[tokio::test]
async fn weather_fails_a_share_of_the_requests_in_every_way_and_the_same_again() {
    let weather = Weather {
        seed: 7,
        percent: 30,
        hold: Duration::ZERO,
    };
    let found = outcomes(weather).await;
    assert_eq!(outcomes(weather).await, found);
    assert_ne!(outcomes(Weather { seed: 8, ..weather }).await, found);
    for kind in ["500", "502", "503", "429", "closed"] {
        assert!(found.iter().any(|outcome| outcome == kind), "{kind}");
    }
    let failed = found.iter().filter(|outcome| *outcome != "400").count();
    assert!((40..=80).contains(&failed), "{failed} of 200");

    let fair = outcomes(Weather {
        percent: 0,
        ..weather
    });
    assert!(fair.await.iter().all(|outcome| outcome == "400"));
}

#[tokio::test]
async fn more_requests_at_once_than_a_service_takes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        // All but two are refused before the two are answered.
        latency: Latency {
            rekor: Duration::from_secs(2),
            ..Latency::default()
        },
        max_concurrent: Capacity {
            rekor: Some(2),
            ..Capacity::default()
        },
        ..Options::default()
    };
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let url = format!("{}/api/v2/log/entries", sandbox.url());
    let requests: Vec<_> = (0..8)
        .map(|_| tokio::spawn(Client::new().post(&url).json(&()).send()))
        .collect();
    let mut refused = 0;
    for request in requests {
        let status = request.await.unwrap().unwrap().status();
        refused += usize::from(status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 6);
    assert_eq!(sandbox.failures(Service::Rekor), 6);
    assert!(sandbox.peak(Service::Rekor) > 2);
}
