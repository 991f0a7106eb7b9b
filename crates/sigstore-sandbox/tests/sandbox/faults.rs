//! Failures on purpose.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use sigstore_crypto::parse_certificate_info;
use sigstore_sandbox::{AUDIENCE, Fault, FaultKind, Options, Sandbox, Service};

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
