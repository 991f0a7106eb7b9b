//! Against a server that checks what Artifactory does.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use channel_servers::artifactory::Artifactory;
use channel_servers::{Elsewhere, Fault};
use conda_publish::{Channel, ChannelLocation, ChannelType, Error, OpenOptions, open};
use release_manifest::PublishResult;

use crate::package::{self, noise};
use crate::{expect_error, options, passing_faults, refuses_attestations, slow, uploads};

const SECRET: &str = "s3cret";

async fn server() -> Artifactory {
    Artifactory::start(&format!("Bearer {SECRET}")).await
}

async fn channel_at(url: &str, options: &OpenOptions) -> Box<dyn Channel> {
    let location = ChannelLocation::of_type(url, ChannelType::Artifactory).unwrap();
    open(&location, options).await.unwrap()
}

async fn channel(server: &Artifactory, options: &OpenOptions) -> Box<dyn Channel> {
    channel_at(&server.url("conda-local"), options).await
}

fn bearer(folder: &Path) -> OpenOptions {
    options(folder, &format!(r#"{{"BearerToken":"{SECRET}"}}"#))
}

#[tokio::test]
async fn packages_are_published_once_and_replaced_only_by_force() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let mut options = bearer(folder.path());
    let channel_ = channel(&server, &options).await;
    channel_.preflight().await.unwrap();
    refuses_attestations(&*channel_, folder.path()).await;
    let one = package::upload(folder.path(), "linux-64/foo-1-0.conda", b"one");
    let packages = BTreeSet::from([one.package.clone()]);
    assert!(channel_.lookup(&packages).await.unwrap().is_empty());
    let placed = uploads(&*channel_, &one, server.shelf()).await;
    assert_eq!(placed.url, server.url("conda-local/linux-64/foo-1-0.conda"));
    assert_eq!(
        channel_.lookup(&packages).await.unwrap()[&one.package].sha256,
        Some(one.sha256)
    );
    let other = package::upload(folder.path(), "linux-64/foo-1-0.conda", b"other");
    // Also by servers that keep no SHA-256 of their files.
    for _ in 0..2 {
        let again = channel_.put(&one, &()).await.unwrap();
        assert_eq!(again.result, PublishResult::Identical);
        let says = format!("has sha256 {}, this one is {}", one.sha256, other.sha256);
        expect_error(channel_.put(&other, &()).await, "conflict", &says, SECRET);
        server.forget_checksums();
    }
    options.force = true;
    uploads(&*channel(&server, &options).await, &other, server.shelf()).await;
    let puts = server.shelf().requests();
    let puts = puts.iter().filter(|it| it.starts_with("PUT"));
    assert_eq!(puts.count(), 2);
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn what_fails_in_passing_is_done_again_and_published_once() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let channel = channel(&server, &bearer(folder.path())).await;
    for (number, fault) in passing_faults().into_iter().enumerate() {
        let name = format!("noarch/foo-{number}-0.conda");
        let upload = package::upload(folder.path(), &name, name.as_bytes());
        let path = format!("/artifactory/conda-local/{name}");
        // One for looking whether it is there, one for the upload.
        server.faults().next(&path, [fault.clone(), fault]);
        uploads(&*channel, &upload, server.shelf()).await;
    }
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn every_refusal_says_what_to_do_and_no_more_is_asked() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let channel = channel(&server, &bearer(folder.path())).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    let path = format!("/artifactory/conda-local/{}", upload.package);
    for status in [400, 401, 403, 404, 409, 413, 422] {
        let said = br#"{"errors":[{"status":0,"message":"so it is\u001b[31m"}]}"#.to_vec();
        let faults = [Fault::Status(404), Fault::Answer(status, said)];
        server.faults().next(&path, faults);
        let refused = channel.put(&upload, &()).await;
        let message = refused.as_ref().unwrap_err().to_string();
        assert!(
            message.contains("so it is") && !message.contains('\u{1b}'),
            "{message}"
        );
        expect_error(
            refused,
            "refused",
            &format!("(HTTP status {status})"),
            SECRET,
        );
    }
    server.faults().always(&path, Fault::Status(500));
    let refused = channel.put(&upload, &()).await;
    expect_error(refused, "not_sent", "HTTP status 500", SECRET);
    assert_eq!(server.shelf().package("noarch/foo-1-0.conda"), None);
}

#[tokio::test]
async fn wrong_credentials_and_repositories_are_known_before() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let wrong = options(folder.path(), r#"{"BearerToken":"worn-out"}"#);
    let refused = channel(&server, &wrong).await.preflight().await;
    expect_error(refused, "refused", "Bad credentials", "worn-out");
    let right = bearer(folder.path());
    let none = channel_at(&server.url("none"), &right).await;
    expect_error(
        none.preflight().await,
        "refused",
        "the repository none",
        SECRET,
    );
    let packages = BTreeSet::from(["noarch/foo-1-0.conda".parse().unwrap()]);
    expect_error(
        none.lookup(&packages).await,
        "refused",
        "the repository none",
        SECRET,
    );
    let of_another_kind = options(folder.path(), r#"{"CondaToken":"s3cret"}"#);
    let refused = channel(&server, &of_another_kind).await.preflight().await;
    expect_error(refused, "no_credentials", "ARTIFACTORY_TOKEN", SECRET);
}

#[tokio::test]
async fn nothing_goes_where_a_server_leads_to() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let elsewhere = Elsewhere::start().await;
    let channel = channel(&server, &bearer(folder.path())).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    let path = format!("/artifactory/conda-local/{}", upload.package);
    for before in [0, 1] {
        let there = Fault::Redirect(format!("{}/?token={SECRET}", elsewhere.url()));
        let faults = vec![Fault::Status(404); before];
        server
            .faults()
            .next(&path, faults.into_iter().chain([there]));
        let refused = channel.put(&upload, &()).await;
        expect_error(refused, "redirected", "leads to http://127.0.0.1", SECRET);
    }
    assert_eq!(elsewhere.seen(), []);
}

#[tokio::test]
async fn answers_that_are_none_are_told_from_good_ones() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let patient = channel(&server, &bearer(folder.path())).await;
    let mut options = bearer(folder.path());
    options.patience.answer = Duration::from_secs(1);
    options.patience.idle = Duration::from_secs(1);
    options.patience.retries = 1;
    let impatient = channel(&server, &options).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    let path = format!("/artifactory/conda-local/{}", upload.package);
    let lied = format!(r#"{{"checksums":{{"sha256":"{}"}}}}"#, "0".repeat(64));
    for (fault, code) in [
        (
            Fault::Answer(201, b"<html>sign in".to_vec()),
            "answer_invalid",
        ),
        (Fault::Answer(201, lied.into_bytes()), "answer_invalid"),
        (Fault::Endless, "answer_invalid"),
        (Fault::Bomb, "answer_invalid"),
        (Fault::Drip, "not_sent"),
        (Fault::Hang, "not_sent"),
    ] {
        server.faults().clear();
        let not_there = Fault::Status(404);
        // Each attempt after the first looks whether it is there meanwhile.
        server.faults().next(
            &path,
            [not_there.clone(), fault.clone(), not_there, fault.clone()],
        );
        let channel = match code {
            "not_sent" => &impatient,
            _ => &patient,
        };
        let error = channel.put(&upload, &()).await.unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_edited_in_place_while_it_is_sent_is_never_published() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", &noise(slow::ENOUGH));
    let url = server.url("conda-local");
    let origin = url.strip_suffix("/artifactory/conda-local").unwrap();
    let way = slow::way_to(origin, upload.source.clone()).await;
    let options = bearer(folder.path());
    let channel = channel_at(&format!("{way}/artifactory/conda-local"), &options).await;
    let error = channel.put(&upload, &()).await.unwrap_err();
    assert!(matches!(error, Error::PackageChanged { .. }), "{error}");
    assert_eq!(server.shelf().package("noarch/foo-1-0.conda"), None);
}
