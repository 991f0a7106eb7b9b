//! One publisher at a time.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use release_manifest::{PackageKey, PublishResult};

use super::*;
use crate::fixture::{archive, bundle, bundle_text, release, upload};
use crate::{ChannelUrl, Error, Present, ReleaseKeeper, RemoteChannel, Reporter, SIDECAR_LIMIT};

const GREET: &str = "linux-64/greet-1.0-h1_0.conda";
const DATA: &str = "noarch/data-2.0-0.tar.bz2";

/// Lets everybody read, as a public channel does.
async fn make_public(channel: &S3Channel) {
    let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": format!("arn:aws:s3:::{BUCKET}/*"),
    }]});
    let client = &channel.bucket.connection.client;
    let request = client.put_bucket_policy().bucket(BUCKET);
    request.policy(policy.to_string()).send().await.unwrap();
}

#[tokio::test]
async fn what_is_published_is_read_by_clients() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    channel.preflight().await.unwrap();
    assert!(objects(&channel).await.is_empty());
    let uploads = [
        upload(sources.path(), GREET, "hello"),
        upload(sources.path(), DATA, "data"),
    ];
    let placed = channel.put(&uploads[0], &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
    assert_eq!(placed.url, format!("s3://{BUCKET}/{PATH}/{GREET}"));
    // Nobody learns of it before everything is there.
    assert_eq!(read(&channel, "linux-64/repodata.json").await, None);
    publish(&channel, &[&uploads[1]]).await;
    check_complete(&channel, &uploads).await;

    make_public(&channel).await;
    let url = format!("{}/{BUCKET}/{PATH}", server.endpoint());
    let url: ChannelUrl = url.parse().unwrap();
    let remote = RemoteChannel::open(url, None, patience()).await.unwrap();
    for upload in &uploads {
        let package = &upload.package;
        let sidecar = remote.sidecar(package).await.unwrap().unwrap();
        let expected = bundle_text(&format!(
            "{package} {}",
            if package.to_string() == GREET {
                "hello"
            } else {
                "data"
            }
        ));
        assert_eq!(sidecar.bundles().collect::<Vec<_>>(), [expected]);
    }
    assert_eq!(
        placed.sidecar_sha256,
        sidecar(&channel, GREET).await.map(|s| s.sha256())
    );
    let record = read(&channel, "noarch/repodata.json").await.unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let record = &record["packages"]["data-2.0-0.tar.bz2"];
    assert_eq!(
        (&record["name"], &record["noarch"]),
        (&"data".into(), &"generic".into())
    );
    assert_eq!(record["md5"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_other_bytes_are_a_conflict() {
    let Some((server, sources)) = start() else {
        return;
    };
    let first = upload(sources.path(), GREET, "hello");
    publish(&channel_at(&server.endpoint(), PATH), &[&first]).await;

    let channel = channel_at(&server.endpoint(), PATH);
    let before = (objects(&channel).await, modified(&server));
    let placed = channel.put(&first, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Identical);
    channel.finish().await.unwrap();
    assert_eq!((objects(&channel).await, modified(&server)), before);

    let other = upload(sources.path(), GREET, "other");
    match channel.put(&other, &()).await.unwrap_err() {
        Error::Conflict { there, here, .. } => {
            assert_eq!((there, here), (first.sha256, other.sha256));
        }
        error => panic!("{error}"),
    }
    let asked = BTreeSet::from([key(GREET), key(DATA)]);
    let present = channel.lookup(&asked).await.unwrap();
    let expected = Present {
        sha256: Some(first.sha256),
        attested: Some(true),
        claimed: present[&key(GREET)].claimed,
    };
    assert_eq!(present, BTreeMap::from([(key(GREET), expected)]));
}

#[tokio::test]
async fn repodata_that_is_missing_or_another_document_is_an_error() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    publish(&channel, &[&upload(sources.path(), GREET, "hello")]).await;
    let name = "linux-64/repodata.json";
    let refused = async || {
        let channel = channel_at(&server.endpoint(), PATH);
        channel.preflight().await.unwrap_err().code()
    };
    for content in ["[]", "{\"error\": \"sign in\"}", "<html>", ""] {
        write(&channel, name, content.as_bytes()).await;
        assert_eq!(refused().await, "repodata_invalid", "{content}");
    }
    channel.bucket.delete(name).await.unwrap();
    assert_eq!(refused().await, "repodata_missing");
}

#[tokio::test]
async fn what_has_no_attestation_is_told_from_what_has_one_also_before_it_is_listed() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let whole = upload(sources.path(), GREET, "hello");
    let bare = Upload {
        bundles: Vec::new(),
        ..whole.clone()
    };
    let asked = BTreeSet::from([whole.package.clone()]);
    let attested = async || channel.lookup(&asked).await.unwrap()[&whole.package].attested;
    channel.put(&bare, &()).await.unwrap();
    assert_eq!(attested().await, Some(false));
    channel.finish().await.unwrap();
    assert_eq!(attested().await, Some(false));
    channel.put(&whole, &()).await.unwrap();
    channel.finish().await.unwrap();
    assert_eq!(attested().await, Some(true));
}

fn modified(server: &VersityGw) -> Vec<std::time::SystemTime> {
    [
        GREET,
        "linux-64/repodata.json",
        "linux-64/repodata.json.zst",
    ]
    .map(|name| server.file(BUCKET, &format!("{PATH}/{name}")))
    .map(|file| file.metadata().unwrap().modified().unwrap())
    .to_vec()
}

#[tokio::test]
async fn a_hash_in_the_metadata_is_not_believed_against_the_repodata() {
    let Some((server, sources)) = start() else {
        return;
    };
    let package = upload(sources.path(), GREET, "hello");
    let channel = channel_at(&server.endpoint(), PATH);
    publish(&channel, &[&package]).await;
    let copy = channel.bucket.connection.client.put_object();
    let bytes = std::fs::read(&package.source).unwrap();
    copy.bucket(BUCKET)
        .key(channel.bucket.key(GREET))
        .metadata("sha256", disk::hash_of(b"something else").to_string())
        .body(bytes.into())
        .send()
        .await
        .unwrap();
    let present = channel.lookup(&BTreeSet::from([key(GREET)])).await.unwrap();
    assert_eq!(present[&key(GREET)].sha256, Some(package.sha256));
}

#[tokio::test]
async fn sidecars_grow_by_what_is_new_and_repodata_follows() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), "");
    let mut package = upload(sources.path(), GREET, "hello");
    publish(&channel, &[&package]).await;
    let old = sidecar(&channel, GREET).await.unwrap();
    package.bundles.push(bundle(sources.path(), "second"));
    publish(&channel, &[&package]).await;
    let new = sidecar(&channel, GREET).await.unwrap();
    assert_eq!(new.bundles().len(), 2);
    check_complete(&channel, std::slice::from_ref(&package)).await;
    // Who read the repodata before finds what it named.
    assert!(
        read(&channel, &format!("{GREET}.sigs.{}", old.sha256()))
            .await
            .is_some()
    );
}

#[tokio::test]
async fn a_sidecar_that_would_grow_too_large_stops_the_package_before_it_appears() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let mut package = upload(sources.path(), GREET, "hello");
    let long = "x".repeat(SIDECAR_LIMIT as usize / 2);
    package.bundles = ["a", "b"]
        .map(|n| bundle(sources.path(), &format!("{n}{long}")))
        .to_vec();
    let error = channel.put(&package, &()).await.unwrap_err();
    assert!(matches!(error, Error::SidecarFull { .. }), "{error}");
    assert_eq!(read(&channel, GREET).await, None);
}

#[tokio::test]
async fn records_and_keys_of_others_stay_and_what_a_killed_run_left_is_listed() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let listed = upload(sources.path(), GREET, "hello");
    publish(&channel, &[&listed]).await;
    // Another tool's: a record of a package that lies elsewhere, and a key that nobody knows.
    let name = "linux-64/repodata.json";
    let mut foreign: serde_json::Value =
        serde_json::from_slice(&read(&channel, name).await.unwrap()).unwrap();
    foreign["packages.conda"]["elsewhere-1-0.conda"] = serde_json::json!({"size": 1, "odd": 1.5});
    foreign["unknown"] = serde_json::json!({"kept": true});
    write(&channel, name, foreign.to_string().as_bytes()).await;

    let killed = channel_at(&server.endpoint(), PATH);
    let left = [
        upload(sources.path(), "linux-64/left-1-0.conda", "left"),
        upload(sources.path(), "linux-64/left-2-0.tar.bz2", "left"),
        large(sources.path(), "linux-64/left-3-0.conda", 12 << 20),
    ];
    for upload in &left {
        killed.put(upload, &()).await.unwrap();
    }
    drop(killed);

    let channel = channel_at(&server.endpoint(), PATH);
    channel.finish().await.unwrap();
    let text = read(&channel, name).await.unwrap();
    let repodata: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(repodata["unknown"], foreign["unknown"]);
    assert_eq!(
        repodata["packages.conda"]["elsewhere-1-0.conda"],
        foreign["packages.conda"]["elsewhere-1-0.conda"]
    );
    write(&channel, name, &text).await;
    let records = records(&channel, "linux-64").await;
    assert_eq!(records.len(), 5);
    for upload in &left {
        let record = &records[upload.package.file.as_str()];
        assert_eq!(record.sha256, Some(upload.sha256.to_string()));
        let sidecar = sidecar(&channel, &upload.package.to_string())
            .await
            .unwrap();
        assert_eq!(
            record.advertised(&upload.package).unwrap(),
            Some(sidecar.sha256())
        );
    }
}

/// Writes as another tool does.
async fn write(channel: &S3Channel, name: &str, bytes: &[u8]) {
    let request = channel.bucket.connection.client.put_object();
    let request = request.bucket(BUCKET).key(channel.bucket.key(name));
    request.body(bytes.to_vec().into()).send().await.unwrap();
}

#[tokio::test]
async fn records_follow_sidecars_that_others_changed_and_both_forms_agree() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let uploads = [
        upload(sources.path(), GREET, "hello"),
        upload(sources.path(), "linux-64/b-1-0.conda", "b"),
    ];
    publish(&channel, &[&uploads[0], &uploads[1]]).await;
    write(&channel, &format!("{GREET}.sigs"), b"[{\"other\": 1}]").await;
    channel
        .bucket
        .delete("linux-64/b-1-0.conda.sigs")
        .await
        .unwrap();
    write(&channel, "linux-64/repodata.json.zst", b"stale").await;
    let channel = channel_at(&server.endpoint(), PATH);
    channel.finish().await.unwrap();
    check_nothing_dangles(&channel).await;
    let records = records(&channel, "linux-64").await;
    assert_eq!(records["b-1-0.conda"].attestations_sha256, None);
    let other = disk::hash_of(b"[{\"other\": 1}]");
    assert_eq!(
        records["greet-1.0-h1_0.conda"]
            .advertised(&key(GREET))
            .unwrap(),
        Some(other)
    );
    let json = read(&channel, "linux-64/repodata.json").await.unwrap();
    let zst = read(&channel, "linux-64/repodata.json.zst").await.unwrap();
    assert!(is_compressed(&zst, &json));
}

#[tokio::test]
async fn a_malformed_sidecar_and_a_foreign_folder_are_named_before_anything_is_published() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    publish(&channel, &[&upload(sources.path(), GREET, "hello")]).await;
    write(&channel, &format!("{GREET}.sigs"), b"{}").await;
    let error = channel_at(&server.endpoint(), PATH)
        .preflight()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Sidecar { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("s3://{BUCKET}/{PATH}/{GREET}.sigs")),
        "{error}"
    );

    let foreign = channel_at(&server.endpoint(), "foreign");
    write(&foreign, "holiday.jpg", b"x").await;
    let package = upload(sources.path(), DATA, "x");
    for error in [
        foreign.preflight().await.unwrap_err(),
        foreign.put(&package, &()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::ForeignFolder { .. }), "{error}");
    }
    assert_eq!(objects(&foreign).await.len(), 1);
}

#[tokio::test]
async fn a_large_package_goes_in_parts_and_appears_whole() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let package = large(sources.path(), GREET, 24 << 20);
    let told = Told::default();
    channel.put(&package, &told).await.unwrap();
    let size = package.source.metadata().unwrap().len();
    assert!(size > 2 * super::super::put::PART, "{size}");
    assert_eq!(told.sent.load(Ordering::Relaxed), size);
    channel.finish().await.unwrap();
    assert_eq!(unfinished(&channel).await, 0);
    check_complete(&channel, std::slice::from_ref(&package)).await;
    let present = channel.lookup(&BTreeSet::from([key(GREET)])).await.unwrap();
    assert_eq!(present[&key(GREET)].sha256, Some(package.sha256));
    let again = channel.put(&package, &()).await.unwrap();
    assert_eq!(again.result, PublishResult::Identical);
}

#[derive(Default)]
struct Told {
    sent: AtomicU64,
}

impl Reporter for Told {
    fn sent(&self, _: &PackageKey, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
    fn repeating(&self, _: &PackageKey, _: &str, _: Duration) {}
}

/// Changes a byte of the file when the first bytes have left.
struct Edits<'a>(&'a Upload);

impl Reporter for Edits<'_> {
    fn sent(&self, _: &PackageKey, _: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(&self.0.source);
        let file = file.unwrap();
        let end = file.metadata().unwrap().len();
        file.write_all_at(b"!", end - 1000).unwrap();
    }
    fn repeating(&self, _: &PackageKey, _: &str, _: Duration) {}
}

#[tokio::test]
async fn a_file_edited_while_it_is_sent_never_appears() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let package = large(sources.path(), GREET, 24 << 20);
    let error = channel.put(&package, &Edits(&package)).await.unwrap_err();
    assert!(matches!(error, Error::PackageChanged { .. }), "{error}");
    // A small one is known whole before anything leaves.
    let mut small = upload(sources.path(), "linux-64/small-1-0.conda", "x");
    small.sha256 = disk::hash_of(b"attested");
    let error = channel.put(&small, &()).await.unwrap_err();
    assert!(matches!(error, Error::PackageChanged { .. }), "{error}");
    channel.finish().await.unwrap();
    assert_eq!(unfinished(&channel).await, 0);
    let names: Vec<_> = objects(&channel).await.into_keys().collect();
    assert!(
        names.iter().all(|name| name.starts_with("noarch/repodata")),
        "{names:?}"
    );
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing_and_one_left_behind_is_ended() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let package = large(sources.path(), GREET, 24 << 20);
    let waits = Waits::default();
    tokio::select! {
        put = channel.put(&package, &waits) => panic!("it is done: {put:?}"),
        () = waits.0.notified() => {}
    }
    // What ends the upload runs by itself.
    let ended = async {
        while unfinished(&channel).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .unwrap();
    assert_eq!(read(&channel, GREET).await, None);

    // As a process that is killed leaves it.
    let client = &channel.bucket.connection.client;
    let begun = client.create_multipart_upload().bucket(BUCKET);
    begun.key(channel.bucket.key(GREET)).send().await.unwrap();
    channel.put(&package, &()).await.unwrap();
    assert_eq!(unfinished(&channel).await, 0);
}

#[derive(Default)]
struct Waits(tokio::sync::Notify);

impl Reporter for Waits {
    fn sent(&self, _: &PackageKey, _: u64) {
        self.0.notify_one();
    }
    fn repeating(&self, _: &PackageKey, _: &str, _: Duration) {}
}

#[tokio::test]
async fn an_archive_that_says_to_be_another_package_is_not_published() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let package = key("noarch/a-1-0.conda");
    let source = archive(sources.path(), &package, "x", "linux-64");
    let sha256 = disk::hash(&source).unwrap().unwrap();
    let bundles = Vec::new();
    let upload = Upload {
        source,
        package,
        sha256,
        bundles,
    };
    let error = channel.put(&upload, &()).await.unwrap_err();
    assert!(matches!(error, Error::Archive { .. }), "{error}");
    assert_eq!(read(&channel, "noarch/a-1-0.conda").await, None);
}

#[tokio::test]
async fn the_manifest_of_a_release_stays_as_it_was_first_published() {
    let Some((server, sources)) = start() else {
        return;
    };
    let channel = channel_at(&server.endpoint(), PATH);
    let first = release(sources.path(), "plan", "first");
    let name = format!("releases/{}/release-manifest.json", first.plan.sha256());
    for expected in [PublishResult::Uploaded, PublishResult::Identical] {
        let placed = channel.put_release(&first).await.unwrap();
        assert_eq!(placed.result, expected);
        assert_eq!(placed.url, format!("s3://{BUCKET}/{PATH}/{name}"));
    }
    let again = release(sources.path(), "plan", "again");
    let placed = channel.put_release(&again).await.unwrap();
    assert_eq!(placed.result, PublishResult::Exists);
    for (name, text) in [
        (name.clone(), "first manifest"),
        (format!("{name}.sigstore.json"), "first attestation"),
    ] {
        let there = read(&channel, &name).await.unwrap();
        assert_eq!(there.as_slice(), text.as_bytes());
    }
}
