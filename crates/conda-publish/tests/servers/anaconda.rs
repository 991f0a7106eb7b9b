//! Against servers that check what anaconda.org and its storage do.

use std::collections::BTreeSet;
use std::path::Path;

use channel_servers::anaconda::AnacondaOrg;
use channel_servers::{Elsewhere, Fault};
use conda_publish::{Channel, OpenOptions, open};

use crate::package::{self, noise};
use crate::{
    expect_error, is_replaced_only_by_force, options_at, passing_faults, refuses_attestations,
    slow, uploads,
};

const SECRET: &str = "s3cret";

fn given(server: &AnacondaOrg, folder: &Path, token: &str) -> OpenOptions {
    options_at(server.api(), &server.channel(), folder, token)
}

async fn channel(options: &OpenOptions) -> Box<dyn Channel> {
    let location = "https://anaconda.org/acme".parse().unwrap();
    open(&location, options).await.unwrap()
}

/// What was asked of the API about publishing, by its first word.
fn steps(server: &AnacondaOrg) -> String {
    let requests = server.shelf().requests();
    let steps = requests.iter().filter_map(|request| {
        let (method, path) = request.split_once(" /")?;
        let step = path.split('/').next()?;
        (!matches!(step, "conda" | "t")).then(|| format!("{method} {step}"))
    });
    steps.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_package_is_announced_stored_and_committed() {
    let server = AnacondaOrg::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(&given(&server, folder.path(), SECRET)).await;
    channel.preflight().await.unwrap();
    assert_eq!(steps(&server), "GET user, GET user");
    refuses_attestations(&*channel, folder.path()).await;

    let one = package::upload(folder.path(), "linux-64/foo-1-0.conda", b"one");
    let two = package::upload(folder.path(), "linux-64/foo-1-1.conda", b"two");
    let packages = BTreeSet::from([one.package.clone(), two.package.clone()]);
    assert!(channel.lookup(&packages).await.unwrap().is_empty());
    let before = server.shelf().requests().len();
    let placed = uploads(&*channel, &one, server.shelf()).await;
    assert_eq!(placed.url, format!("{}/{}", server.channel(), one.package));
    channel.put(&two, &()).await.unwrap();
    let requests = server.shelf().requests()[before..].to_vec();
    let steps: Vec<_> = requests
        .iter()
        .filter_map(|it| it.rsplit_once("/acme"))
        .map(|it| it.0)
        .collect();
    assert_eq!(
        steps,
        [
            "GET /package",
            "POST /package",
            "GET /release",
            "POST /release",
            "POST /stage",
            "POST /commit",
            "GET /package",
            "PATCH /package",
            "GET /release",
            "PATCH /release",
            "POST /stage",
            "POST /commit",
        ]
    );
    let present = channel.lookup(&packages).await.unwrap();
    assert_eq!(present[&one.package].sha256, Some(one.sha256));
    assert_eq!(present[&two.package].sha256, Some(two.sha256));
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_is_taken_is_replaced_only_by_force() {
    let server = AnacondaOrg::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = given(&server, folder.path(), SECRET);
    let gentle = channel(&options).await;
    options.force = true;
    let forced = channel(&options).await;
    let name = "noarch/foo-1-0.conda";
    let one = package::upload(folder.path(), name, b"one");
    let other = package::upload(folder.path(), name, b"other");
    gentle.put(&one, &()).await.unwrap();
    let channels = (&*gentle, &*forced);
    is_replaced_only_by_force(channels, (&one, &other), server.shelf(), SECRET).await;
    assert_eq!(steps(&server).matches("DELETE").count(), 1);

    server.label(name, &["dev", "test"]);
    let refused = gentle.put(&other, &()).await;
    expect_error(refused, "refused", "under dev, test", SECRET);
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn what_fails_in_passing_is_done_again_and_published_once() {
    let server = AnacondaOrg::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(&given(&server, folder.path(), SECRET)).await;
    for (number, fault) in passing_faults().into_iter().enumerate() {
        let name = format!("noarch/foo{number}-1-0.conda");
        let upload = package::upload(folder.path(), &name, name.as_bytes());
        for step in ["/package", "/release"] {
            // One looks, and one makes.
            server.faults().every(step, 2, fault.clone());
        }
        for step in ["/stage", "/commit"] {
            server.faults().next(step, [fault.clone(), fault.clone()]);
        }
        server.storage_faults().next("/", [fault]);
        uploads(&*channel, &upload, server.shelf()).await;
    }
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let server = AnacondaOrg::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let wrong = channel(&given(&server, folder.path(), "worn-out")).await;
    expect_error(
        wrong.preflight().await,
        "refused",
        "The token is not valid",
        "worn-out",
    );
    let options = given(&server, folder.path(), SECRET);
    let location = "https://anaconda.org/nobody".parse().unwrap();
    let nobody = open(&location, &options).await.unwrap();
    expect_error(
        nobody.preflight().await,
        "refused",
        "the channel nobody",
        SECRET,
    );
    let channel = channel(&options).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    for step in ["/package", "/release", "/stage", "/commit"] {
        for status in [400, 401, 402, 403, 413, 422] {
            server.faults().clear();
            server
                .faults()
                .next(step, [Fault::Answer(status, b"so it is".to_vec())]);
            let says = format!("so it is (HTTP status {status})");
            expect_error(channel.put(&upload, &()).await, "refused", &says, SECRET);
        }
    }
    for status in [400, 403, 413] {
        server.storage_faults().next("/", [Fault::Status(status)]);
        let says = format!("(HTTP status {status})");
        expect_error(channel.put(&upload, &()).await, "refused", &says, SECRET);
    }
    server
        .faults()
        .next("/stage", [Fault::Answer(200, b"<html>".to_vec())]);
    assert_eq!(
        channel.put(&upload, &()).await.unwrap_err().code(),
        "answer_invalid"
    );
    assert_eq!(server.shelf().package("noarch/foo-1-0.conda"), None);
}

#[tokio::test]
async fn files_go_to_a_storage_over_https_or_on_this_machine_and_without_the_token() {
    let server = AnacondaOrg::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(&given(&server, folder.path(), SECRET)).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    for (url, says) in [
        ("http://storage.example.org/", "is plain http"),
        ("file:///tmp/x", "is not https"),
        ("https://a:b@storage.example.org/", "has credentials in it"),
        ("nonsense", "is no URL"),
    ] {
        server.send_files_to(url);
        let error = channel.put(&upload, &()).await.unwrap_err();
        assert_eq!(error.code(), "answer_invalid", "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let elsewhere = Elsewhere::start().await;
    server.send_files_to(elsewhere.url());
    assert!(channel.put(&upload, &()).await.is_err());
    for seen in elsewhere.seen() {
        assert_eq!(seen.authorization, None);
        assert!(!seen.body.contains(SECRET), "{}", seen.body);
    }
    assert_eq!(elsewhere.seen().len(), 1);
    for path in ["/package", "/stage"] {
        server
            .faults()
            .next(path, [Fault::Redirect(elsewhere.url().to_owned())]);
        expect_error(
            channel.put(&upload, &()).await,
            "redirected",
            "leads to",
            SECRET,
        );
    }
    assert_eq!(elsewhere.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_edited_in_place_while_it_is_sent_is_never_committed() {
    let server = AnacondaOrg::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(&given(&server, folder.path(), SECRET)).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", &noise(slow::ENOUGH));
    let storage = Elsewhere::start().await;
    server.send_files_to(&slow::way_to(storage.url(), upload.source.clone()).await);
    let error = channel.put(&upload, &()).await.unwrap_err();
    assert_eq!(error.code(), "package_changed", "{error}");
    assert!(!steps(&server).contains("commit"), "{}", steps(&server));
}
