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

use conda_publish::{Channel, Error, OpenOptions, Patience};

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
