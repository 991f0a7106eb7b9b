//! Against a real Quetz.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use channel_servers::quetz::{CHANNEL, OWNER_KEY, Quetz, STRANGER_KEY};
use conda_publish::{
    Channel, ChannelLocation, ChannelType, OpenOptions, Patience, Present, RemoteChannel, open,
};
use release_manifest::{PackageKey, PublishResult};

use crate::package::{self, noise};
use crate::{child, expect_error, options, refuses_attestations, slow};

async fn channel(url: &str, options: &OpenOptions) -> Box<dyn Channel> {
    let location = ChannelLocation::of_type(url, ChannelType::Quetz).unwrap();
    open(&location, options).await.unwrap()
}

fn key(folder: &Path, key: &str) -> OpenOptions {
    options(folder, &format!(r#"{{"CondaToken":"{key}"}}"#))
}

/// What the channel lists once it has indexed; it tells nobody when.
async fn once_indexed(
    channel: &dyn Channel,
    packages: &BTreeSet<PackageKey>,
) -> BTreeMap<PackageKey, Present> {
    let indexed = async {
        loop {
            let present = channel.lookup(packages).await.unwrap();
            if present.len() == packages.len() {
                return present;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let indexed = tokio::time::timeout(Duration::from_secs(60), indexed).await;
    indexed.expect("Quetz indexes what was uploaded")
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_published_once_and_clients_get_their_bytes() {
    let Some(quetz) = Quetz::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut options = key(folder.path(), OWNER_KEY);
    let channel_ = channel(&quetz.url(CHANNEL), &options).await;
    channel_.preflight().await.unwrap();
    refuses_attestations(&*channel_, folder.path()).await;

    let one = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    let native = package::upload(folder.path(), "linux-64/foo-1-0.conda", b"native");
    let packages = BTreeSet::from([one.package.clone(), native.package.clone()]);
    assert!(channel_.lookup(&packages).await.unwrap().is_empty());
    for upload in [&one, &native] {
        let placed = channel_.put(upload, &()).await.unwrap();
        assert_eq!(placed.result, PublishResult::Uploaded);
        assert_eq!(
            placed.url,
            format!("{}/{}", quetz.channel(), upload.package)
        );
        // Before it is indexed, as after an answer was lost.
        let again = channel_.put(upload, &()).await.unwrap();
        assert_eq!(again.result, PublishResult::Identical);
    }
    channel_.finish().await.unwrap();

    let other = package::upload(folder.path(), "noarch/foo-1-0.conda", b"other");
    let says = format!("has sha256 {}, this one is {}", one.sha256, other.sha256);
    expect_error(
        channel_.put(&other, &()).await,
        "conflict",
        &says,
        OWNER_KEY,
    );

    let present = once_indexed(&*channel_, &packages).await;
    assert_eq!(present[&one.package].sha256, Some(one.sha256));
    let read_at = quetz.channel().parse().unwrap();
    let reader = RemoteChannel::open(read_at, None, Patience::default())
        .await
        .unwrap();
    let listed: Vec<_> = reader.packages().collect::<Result<_, _>>().unwrap();
    assert_eq!(listed.len(), 2);
    for listed in &listed {
        let upload = [&one, &native]
            .into_iter()
            .find(|it| it.package == listed.package);
        let download = reader.download(listed).await.unwrap();
        assert_eq!(download.sha256(), upload.unwrap().sha256);
    }

    options.force = true;
    let forced = channel(&quetz.url(CHANNEL), &options).await;
    let placed = forced.put(&other, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_or_where_is_known_before() {
    let Some(quetz) = Quetz::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", b"one");
    for (key_, name, status) in [
        ("s3cret-unknown", CHANNEL, "(HTTP status 401)"),
        (STRANGER_KEY, CHANNEL, "(HTTP status 403)"),
        (OWNER_KEY, "none", "(HTTP status 404)"),
    ] {
        let channel = channel(&quetz.url(name), &key(folder.path(), key_)).await;
        expect_error(channel.preflight().await, "refused", status, key_);
        if name == CHANNEL {
            expect_error(channel.put(&upload, &()).await, "refused", status, key_);
        } else {
            let packages = BTreeSet::from([upload.package.clone()]);
            expect_error(channel.lookup(&packages).await, "refused", status, key_);
        }
    }
    let channel = channel(&quetz.url(CHANNEL), &key(folder.path(), OWNER_KEY)).await;
    let packages = BTreeSet::from([upload.package.clone()]);
    assert!(channel.lookup(&packages).await.unwrap().is_empty());
    drop(quetz);
    assert_eq!(
        channel.lookup(&packages).await.unwrap_err().code(),
        "channel_unreachable"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_package_is_never_in_memory_as_a_whole() {
    const SIZE: usize = 300 * 1024 * 1024;
    const LIMIT: u64 = 100 * 1024;
    let Some(quetz) = Quetz::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let upload = package::upload(folder.path(), "noarch/large-1-0.conda", &noise(SIZE));
    let (variable, package) = child::publishing(&upload);
    let url = quetz.url(CHANNEL);
    let printed = child::run(&[
        ("TEST_LOCATION", &url),
        ("TEST_TYPE", "quetz"),
        ("QUETZ_API_KEY", OWNER_KEY),
        (variable, &package),
    ])
    .await;
    assert!(printed.contains("Uploaded"), "{printed}");
    let most = printed.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    if cfg!(target_os = "linux") {
        let most: u64 = most.unwrap().parse().unwrap();
        assert!(most < LIMIT, "{most} KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_edited_in_place_while_it_is_sent_is_never_published() {
    let Some(quetz) = Quetz::start().await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let upload = package::upload(folder.path(), "noarch/foo-1-0.conda", &noise(slow::ENOUGH));
    let origin = quetz.url("");
    let way = slow::way_to(origin.trim_end_matches('/'), upload.source.clone()).await;
    let options = key(folder.path(), OWNER_KEY);
    let there = channel(&format!("{way}/{CHANNEL}"), &options).await;
    let published = there.put(&upload, &()).await;
    expect_error(
        published,
        "package_changed",
        "is not the package that was attested",
        OWNER_KEY,
    );
    let seen = reqwest::get(format!("{}/{}", quetz.channel(), upload.package))
        .await
        .unwrap();
    assert_eq!(seen.status(), 404);
    let whole = package::upload(folder.path(), "noarch/foo-1-0.conda", b"whole");
    let placed = there.put(&whole, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
}
