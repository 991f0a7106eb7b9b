//! Publishing to servers: a real Quetz, and servers that check every part of the other protocols.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod anaconda;
mod artifactory;
mod child;
mod cloudsmith;
mod faults;
mod kinds;
mod network;
mod package;
mod quetz;
mod slow;

use std::path::{Path, PathBuf};
use std::time::Duration;

use channel_servers::{Fault, Shelf};
use conda_publish::{Channel, Error, OpenOptions, Patience, Placed, Upload};
use release_manifest::PublishResult;

/// Waits less than people do.
fn patience() -> Patience {
    Patience {
        connect: Duration::from_secs(5),
        idle: Duration::from_secs(20),
        answer: Duration::from_secs(20),
        first_delay: Duration::from_millis(2),
        ..Patience::default()
    }
}

/// For a server that takes this, in the form of rattler's credentials.
fn options(folder: &Path, authentication: &str) -> OpenOptions {
    OpenOptions {
        patience: patience(),
        auth_file: Some(auth_file(folder, authentication)),
        ..OpenOptions::default()
    }
}

fn auth_file(folder: &Path, authentication: &str) -> PathBuf {
    let path = folder.join("credentials.json");
    std::fs::write(&path, format!(r#"{{"127.0.0.1":{authentication}}}"#)).unwrap();
    path
}

/// The same, for a server whose API and channel have URLs of their own.
fn options_at(api: &str, read_at: &str, folder: &Path, token: &str) -> OpenOptions {
    OpenOptions {
        api_url: Some(api.parse().unwrap()),
        read_at: Some(read_at.parse().unwrap()),
        ..options(folder, &format!(r#"{{"CondaToken":"{token}"}}"#))
    }
}

/// What goes wrong once and not again.
fn passing_faults() -> [Fault; 4] {
    [
        Fault::Status(503),
        Fault::RetryAfter(429, 0),
        Fault::Drop,
        Fault::LoseAnswer,
    ]
}

/// Asserts that a package is uploaded, and then there with its bytes.
async fn uploads(channel: &dyn Channel, upload: &Upload, shelf: &Shelf) -> Placed {
    let placed = channel.put(upload, &()).await.unwrap();
    let name = upload.package.to_string();
    assert_eq!(placed.result, PublishResult::Uploaded, "{name}");
    let there = shelf.package(&name).unwrap();
    assert_eq!(package::sha256(&there), upload.sha256, "{name}");
    placed
}

/// Asserts that a name is taken by the one package, also for who may replace it, and that only who may replaces it by the
/// other.
async fn is_replaced_only_by_force(
    (gentle, forced): (&dyn Channel, &dyn Channel),
    (one, other): (&Upload, &Upload),
    shelf: &Shelf,
    secret: &str,
) {
    for channel in [gentle, forced] {
        let again = channel.put(one, &()).await.unwrap();
        assert_eq!(again.result, PublishResult::Identical);
    }
    let says = format!("has sha256 {}, this one is {}", one.sha256, other.sha256);
    expect_error(gentle.put(other, &()).await, "conflict", &says, secret);
    uploads(forced, other, shelf).await;
}

/// Asserts that an error has this code, says this, has help, and repeats no secret.
#[track_caller]
fn expect_error<T: std::fmt::Debug>(
    result: Result<T, Error>,
    code: &str,
    says: &str,
    secret: &str,
) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.code(), code, "{message}");
    assert!(message.contains(says), "{message}");
    assert!(error.help().is_some(), "{message}");
    let all = format!("{message} {error:?}");
    assert!(!all.contains(secret), "{all}");
}

/// Asserts that a package with attestations is refused, which the channel would have to drop.
async fn refuses_attestations(channel: &dyn Channel, folder: &Path) {
    let mut upload = package::upload(folder, "noarch/attested-1-0.conda", b"attested");
    let path = folder.join("bundle.json");
    std::fs::write(&path, "{}").unwrap();
    let sha256 = package::sha256(b"{}");
    upload.bundles = vec![conda_publish::Bundle { path, sha256 }];
    assert_eq!(channel.attestations(), conda_publish::Keeps::Nothing);
    let refused = channel.put(&upload, &()).await;
    expect_error(
        refused,
        "too_many_attestations",
        "noarch/attested-1-0.conda has 1 attestations",
        "\0",
    );
}
