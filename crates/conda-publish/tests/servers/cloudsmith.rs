//! Against servers that check what Cloudsmith and its storage do.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use channel_servers::Fault;
use channel_servers::cloudsmith::Cloudsmith;
use conda_publish::{Channel, OpenOptions, open};
use release_manifest::PublishResult;

use crate::package;
use crate::{
    expect_error, is_replaced_only_by_force, options_at, passing_faults, refuses_attestations,
    uploads,
};

const SECRET: &str = "s3cret";

const FILES: &str = "/v1/files";
const CREATE: &str = "/v1/packages/acme/pkgs/upload";
const STATUS: &str = "/v1/packages/acme/pkgs/slug";

fn given(server: &Cloudsmith, folder: &Path, key: &str) -> OpenOptions {
    options_at(&server.api(), &server.channel(), folder, key)
}

async fn channel(options: &OpenOptions) -> Box<dyn Channel> {
    let location = "cloudsmith://acme/pkgs".parse().unwrap();
    open(&location, options).await.unwrap()
}

#[tokio::test]
async fn packages_are_published_once_processed_and_replaced_only_by_force() {
    let server = Cloudsmith::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = given(&server, folder.path(), SECRET);
    let gentle = channel(&options).await;
    gentle.preflight().await.unwrap();
    refuses_attestations(&*gentle, folder.path()).await;
    let name = "noarch/foo-1-0.conda";
    let one = package::upload(folder.path(), name, b"one");
    let other = package::upload(folder.path(), name, b"other");
    let packages = BTreeSet::from([one.package.clone()]);
    assert!(gentle.lookup(&packages).await.unwrap().is_empty());
    let placed = uploads(&*gentle, &one, server.shelf()).await;
    assert_eq!(placed.url, format!("{}/{name}", server.channel()));
    let present = gentle.lookup(&packages).await.unwrap();
    assert_eq!(present[&one.package].sha256, Some(one.sha256));
    options.force = true;
    let forced = channel(&options).await;
    let channels = (&*gentle, &*forced);
    is_replaced_only_by_force(channels, (&one, &other), server.shelf(), SECRET).await;
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn what_fails_in_passing_is_done_again_and_published_once() {
    let server = Cloudsmith::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(&given(&server, folder.path(), SECRET)).await;
    for (number, fault) in passing_faults().into_iter().enumerate() {
        let name = format!("noarch/foo{number}-1-0.conda");
        let upload = package::upload(folder.path(), &name, name.as_bytes());
        for step in [FILES, STATUS] {
            server.faults().next(step, [fault.clone()]);
        }
        if !matches!(fault, Fault::LoseAnswer) {
            server.faults().next(CREATE, [fault.clone()]);
        }
        server.storage_faults().next("/", [fault]);
        uploads(&*channel, &upload, server.shelf()).await;
    }
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn what_another_published_meanwhile_is_told_by_its_hash() {
    let server = Cloudsmith::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let channel = channel(&given(&server, folder.path(), SECRET)).await;
    let name = "noarch/foo-1-0.conda";
    let one = package::upload(folder.path(), name, b"one");
    let other = package::upload(folder.path(), name, b"other");
    let bytes = std::fs::read(&one.source).unwrap();
    server.shelf().publish(name, bytes);
    // Not seen when it is looked for first.
    let not_there = || {
        server
            .faults()
            .next("/t/s3cret/conda/acme/pkgs/noarch/foo", [Fault::Status(404)])
    };
    not_there();
    let placed = channel.put(&one, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Identical);
    not_there();
    expect_error(
        channel.put(&other, &()).await,
        "conflict",
        "foo-1-0.conda",
        SECRET,
    );
    assert_eq!(server.shelf().complaints(), [""; 0]);
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let server = Cloudsmith::start(SECRET).await;
    let folder = tempfile::tempdir().unwrap();
    let wrong = channel(&given(&server, folder.path(), "worn-out")).await;
    expect_error(
        wrong.preflight().await,
        "refused",
        "Invalid token.",
        "worn-out",
    );
    let mut options = given(&server, folder.path(), SECRET);
    let location = "cloudsmith://acme/none".parse().unwrap();
    let none = open(&location, &options).await.unwrap();
    expect_error(
        none.preflight().await,
        "refused",
        "the repository acme/none",
        SECRET,
    );
    let there = channel(&options).await;
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    for step in [FILES, CREATE, STATUS] {
        for status in [400, 401, 402, 403, 404, 422] {
            server.faults().clear();
            server
                .faults()
                .next(step, [Fault::Answer(status, b"so it is".to_vec())]);
            let says = format!("so it is (HTTP status {status})");
            expect_error(there.put(&upload, &()).await, "refused", &says, SECRET);
        }
    }
    options.patience.answer = Duration::from_millis(200);
    server.get_stuck();
    let refused = channel(&options).await.put(&upload, &()).await;
    expect_error(refused, "not_sent", "has not processed it", SECRET);
}
