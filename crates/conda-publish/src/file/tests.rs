//! What users of a channel in a folder rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use release_manifest::{Mode, PublishResult};
use tempfile::{TempDir, tempdir};

use super::{FileChannel, Kind};
use crate::fixture::{archive, bundle, bundle_text, key, release, snapshot, upload};
use crate::repodata::Repodata;
use crate::{Channel, ChannelReader, Error, Present, ReleaseKeeper, SIDECAR_LIMIT, Upload, disk};

const LIVE: Kind = Kind::Target(Mode::Live);
const GREET: &str = "linux-64/greet-1.0-h1_0.conda";
const DATA: &str = "noarch/data-2.0-0.tar.bz2";

/// A folder for sources, and one for the channel.
fn folders() -> (TempDir, TempDir) {
    (tempdir().unwrap(), tempdir().unwrap())
}

async fn publish(channel: &FileChannel, uploads: &[&Upload]) {
    for upload in uploads {
        channel.put(upload).await.unwrap();
    }
    channel.finish().await.unwrap();
}

fn bundles(root: &Path, package: &str) -> Option<Vec<String>> {
    let sidecar = ChannelReader::open(root)
        .unwrap()
        .sidecar(&key(package))
        .unwrap()?;
    Some(sidecar.bundles().map(str::to_owned).collect())
}

/// The whole chain of the error, as it is shown.
fn message(error: Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test]
async fn clients_find_package_hash_and_attestations_through_repodata() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let (greet, data) = (
        upload(sources.path(), GREET, "hello"),
        upload(sources.path(), DATA, "1,2,3"),
    );
    let placed = channel.put(&greet).await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
    assert_eq!(
        placed.url,
        format!("file://{}/{GREET}", channel.root().display())
    );
    publish(&channel, &[&data]).await;

    let listed = ChannelReader::open(root.path())
        .unwrap()
        .packages()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let expected = [
        (key(GREET), Some(greet.sha256)),
        (key(DATA), Some(data.sha256)),
    ];
    assert_eq!(
        listed
            .into_iter()
            .map(|listed| (listed.package, listed.sha256))
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(
        bundles(root.path(), GREET).unwrap(),
        [bundle_text(&format!("{GREET} hello"))]
    );
    let sidecar = channel.sidecar(&key(GREET)).unwrap().unwrap();
    assert_eq!(Some(sidecar.sha256()), placed.sidecar_sha256);
    assert_eq!(
        fs::read(root.path().join(format!("{GREET}.sigs"))).unwrap(),
        sidecar.as_bytes()
    );
}

#[tokio::test]
async fn a_package_without_attestations_has_no_sidecar() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let bare = Upload {
        bundles: Vec::new(),
        ..upload(sources.path(), GREET, "hello")
    };
    let placed = channel.put(&bare).await.unwrap();
    channel.finish().await.unwrap();
    assert_eq!(placed.sidecar_sha256, None);
    assert_eq!(bundles(root.path(), GREET), None);
}

#[tokio::test]
async fn the_same_again_leaves_every_byte_and_time() {
    for kind in [LIVE, Kind::Target(Mode::Rehearsal), Kind::Rehearsal] {
        let (sources, root) = folders();
        let (greet, data) = (
            upload(sources.path(), GREET, "hello"),
            upload(sources.path(), DATA, "1,2,3"),
        );
        publish(
            &FileChannel::open(root.path(), kind).unwrap(),
            &[&greet, &data],
        )
        .await;
        let before = snapshot(root.path());

        let channel = FileChannel::open(root.path(), kind).unwrap();
        assert_eq!(
            channel.put(&greet).await.unwrap().result,
            PublishResult::Identical
        );
        publish(&channel, &[&data]).await;
        assert_eq!(snapshot(root.path()), before);
    }
}

#[tokio::test]
async fn a_published_name_keeps_its_content() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let first = upload(sources.path(), GREET, "hello");
    publish(&channel, &[&first]).await;
    let before = snapshot(root.path());

    let other = upload(sources.path(), GREET, "other");
    let error = channel.put(&other).await.unwrap_err();
    assert_eq!(error.code(), "conflict");
    let text = message(error);
    for part in [GREET, &first.sha256.to_string(), &other.sha256.to_string()] {
        assert!(text.contains(part), "{text}");
    }
    channel.finish().await.unwrap();
    assert_eq!(snapshot(root.path()), before);
}

#[tokio::test]
async fn a_target_gains_attestations_and_keeps_the_old_ones() {
    let (sources, root) = folders();
    let first = upload(sources.path(), GREET, "hello");
    publish(&FileChannel::open(root.path(), LIVE).unwrap(), &[&first]).await;
    let old = fs::read(root.path().join(format!("{GREET}.sigs"))).unwrap();

    let again = Upload {
        bundles: vec![bundle(sources.path(), "second")],
        ..first.clone()
    };
    publish(
        &FileChannel::open(root.path(), LIVE).unwrap(),
        &[&again, &first],
    )
    .await;
    let both = [
        bundle_text(&format!("{GREET} hello")),
        bundle_text("second"),
    ];
    assert_eq!(bundles(root.path(), GREET).unwrap(), both);
    let hashed = format!("{GREET}.sigs.{}", disk::hash_of(&old));
    assert_eq!(fs::read(root.path().join(hashed)).unwrap(), old);
}

#[tokio::test]
async fn a_mirror_follows_the_plan_exactly() {
    let (sources, root) = folders();
    let (old, data) = (
        upload(sources.path(), GREET, "old"),
        upload(sources.path(), DATA, "1,2,3"),
    );
    publish(
        &FileChannel::open(root.path(), Kind::Rehearsal).unwrap(),
        &[&old, &data],
    )
    .await;

    // Same name and same size, other bytes: what the indexer alone doesn't see.
    let new = upload(sources.path(), GREET, "new");
    assert_eq!(
        fs::metadata(&old.source).unwrap().len(),
        fs::metadata(&new.source).unwrap().len()
    );
    let channel = FileChannel::open(root.path(), Kind::Rehearsal).unwrap();
    channel.retain(&BTreeSet::from([key(GREET)])).unwrap();
    publish(&channel, &[&new]).await;

    let listed = ChannelReader::open(root.path())
        .unwrap()
        .packages()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].package, listed[0].sha256),
        (&key(GREET), Some(new.sha256))
    );
    assert_eq!(
        bundles(root.path(), GREET).unwrap(),
        [bundle_text(&format!("{GREET} new"))]
    );
    let left: Vec<_> = snapshot(root.path())
        .into_keys()
        .filter(|path| path.to_str().unwrap().contains("sigs"))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(!root.path().join(DATA).exists());
}

#[tokio::test]
async fn a_mirror_notices_bytes_that_changed_behind_its_back() {
    let (sources, root) = folders();
    let (old, new) = (
        upload(sources.path(), GREET, "old"),
        upload(sources.path(), GREET, "new"),
    );
    publish(
        &FileChannel::open(root.path(), Kind::Rehearsal).unwrap(),
        &[&old],
    )
    .await;
    fs::copy(&new.source, root.path().join(GREET)).unwrap();

    FileChannel::open(root.path(), Kind::Rehearsal)
        .unwrap()
        .finish()
        .await
        .unwrap();
    assert_eq!(
        ChannelReader::open(root.path())
            .unwrap()
            .packages()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()[0]
            .sha256,
        Some(new.sha256)
    );
}

#[tokio::test]
async fn a_target_forgets_nothing() {
    let (_, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let error = channel.retain(&BTreeSet::new()).unwrap_err();
    assert_eq!(error.code(), "not_a_mirror");
}

#[tokio::test]
async fn repodata_out_of_step_is_repaired() {
    let (sources, root) = folders();
    let (greet, data) = (
        upload(sources.path(), GREET, "hello"),
        upload(sources.path(), DATA, "1,2,3"),
    );
    publish(
        &FileChannel::open(root.path(), LIVE).unwrap(),
        &[&greet, &data],
    )
    .await;
    let subdir = root.path().join("linux-64");
    let attested = || {
        let repodata = Repodata::read(&subdir).unwrap().unwrap();
        repodata
            .record(&key(GREET))
            .unwrap()
            .attestations_sha256
            .is_some()
    };
    let damage: [&dyn Fn(); 3] = [
        &|| fs::remove_file(subdir.join("repodata.json")).unwrap(),
        &|| {
            fs::write(
                subdir.join("repodata.json"),
                "{\"info\":{\"subdir\":\"linux-64\"}}",
            )
            .unwrap()
        },
        &|| {
            fs::remove_file(root.path().join(format!(
                    "{GREET}.sigs.{}",
                    disk::hash(&root.path().join(format!("{GREET}.sigs")))
                        .unwrap()
                        .unwrap()
                )))
            .unwrap()
        },
    ];
    for damage in damage {
        damage();
        FileChannel::open(root.path(), LIVE)
            .unwrap()
            .finish()
            .await
            .unwrap();
        assert!(attested());
        assert!(bundles(root.path(), GREET).is_some());
    }
}

#[tokio::test]
async fn a_new_channel_is_one_that_clients_accept_at_once() {
    let (sources, root) = folders();
    let folder = root.path().join("new/er");
    FileChannel::open(&folder, LIVE).unwrap();
    let text = fs::read(folder.join("noarch/repodata.json")).unwrap();
    let repodata: rattler_conda_types::RepoData = serde_json::from_slice(&text).unwrap();
    assert_eq!(repodata.info.unwrap().subdir.unwrap(), "noarch");
    assert!(
        ChannelReader::open(&folder)
            .unwrap()
            .packages()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
            .is_empty()
    );

    // Also where all packages are in other subdirs.
    publish(
        &FileChannel::open(&folder, LIVE).unwrap(),
        &[&upload(sources.path(), GREET, "hello")],
    )
    .await;
    assert!(folder.join("noarch/repodata.json").exists());
}

#[test]
fn a_folder_is_used_for_one_thing_only() {
    let kinds = [LIVE, Kind::Target(Mode::Rehearsal), Kind::Rehearsal];
    for first in kinds {
        let root = tempdir().unwrap();
        FileChannel::open(root.path(), first).unwrap();
        let before = snapshot(root.path());
        for second in kinds.into_iter().filter(|kind| *kind != first) {
            let error = FileChannel::open(root.path(), second).unwrap_err();
            assert_eq!(error.code(), "other_kind_of_channel", "{error}");
            assert!(
                error.to_string().contains(root.path().to_str().unwrap()),
                "{error}"
            );
        }
        assert_eq!(snapshot(root.path()), before);
    }
    let root = tempdir().unwrap();
    FileChannel::open(root.path(), Kind::Target(Mode::Rehearsal)).unwrap();
    let root = root.path().canonicalize().unwrap();
    assert_eq!(
        message(FileChannel::open(&root, LIVE).unwrap_err()),
        format!(
            "{} is a folder that rehearsals publish to; it cannot be used as a live channel",
            root.display()
        )
    );
}

#[tokio::test]
async fn another_tools_channel_is_a_live_target_and_nothing_else() {
    let (sources, root) = folders();
    fs::create_dir(root.path().join("noarch")).unwrap();
    fs::write(
        root.path().join("noarch/repodata.json"),
        "{\"packages\":{}}",
    )
    .unwrap();
    for kind in [Kind::Rehearsal, Kind::Target(Mode::Rehearsal)] {
        let error = FileChannel::open(root.path(), kind).unwrap_err();
        assert!(
            error.to_string().contains("a channel made by another tool"),
            "{error}"
        );
    }
    assert!(!root.path().join(".conda-release").exists());
    publish(
        &FileChannel::open(root.path(), LIVE).unwrap(),
        &[&upload(sources.path(), GREET, "hello")],
    )
    .await;
    assert!(FileChannel::open(root.path(), Kind::Rehearsal).is_err());
}

#[test]
fn a_foreign_folder_is_refused_and_left_alone() {
    let root = tempdir().unwrap();
    fs::write(root.path().join("thesis.tex"), "").unwrap();
    for kind in [LIVE, Kind::Target(Mode::Rehearsal), Kind::Rehearsal] {
        let error = FileChannel::open(root.path(), kind).unwrap_err();
        assert!(error.help().is_some());
        assert_eq!(
            error.to_string(),
            format!(
                "{} is neither empty nor a conda channel: it has thesis.tex but no noarch/repodata.json",
                root.path().canonicalize().unwrap().display()
            )
        );
    }
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_file_is_no_channel() {
    let root = tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(
        message(FileChannel::open(&file, LIVE).unwrap_err()),
        format!("{} is not a folder", file.display())
    );
}

#[test]
fn a_newer_marker_is_refused_with_both_versions() {
    let root = tempdir().unwrap();
    FileChannel::open(root.path(), LIVE).unwrap();
    let marker = root.path().join(".conda-release/channel.json");
    for (text, expected) in [
        (
            "{\"schema_version\":2,\"news\":true}",
            "it has schema version 2, this version of conda-release knows 1",
        ),
        ("{", "EOF while parsing"),
        (
            "{\"schema_version\":1,\"role\":\"mirror\",\"mode\":\"live\"}",
            "a mirror is never live",
        ),
    ] {
        fs::write(&marker, text).unwrap();
        let error = FileChannel::open(root.path(), LIVE)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("channel.json"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn only_the_attested_bytes_become_visible() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let before = snapshot(root.path());
    let good = upload(sources.path(), GREET, "hello");

    let changed = upload(sources.path(), GREET, "tampered");
    let swapped = Upload {
        source: changed.source.clone(),
        ..good.clone()
    };
    let error = channel.put(&swapped).await.unwrap_err();
    assert_eq!(
        message(error),
        format!(
            "{GREET} is not the package that was attested: expected sha256 {}, found {} in {}",
            good.sha256,
            changed.sha256,
            changed.source.display()
        )
    );

    let mut forged = good.clone();
    forged.bundles[0].path = bundle(sources.path(), "forged").path;
    let error = channel.put(&forged).await.unwrap_err();
    assert_eq!(error.code(), "bundle_changed");
    assert!(
        error
            .to_string()
            .contains(&good.bundles[0].sha256.to_string()),
        "{error}"
    );

    assert_eq!(snapshot(root.path()), before);
}

#[cfg(unix)]
#[tokio::test]
async fn no_link_is_followed() {
    use std::os::unix::fs::symlink;
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let good = upload(sources.path(), GREET, "hello");

    let link = sources.path().join("link");
    symlink(&good.source, &link).unwrap();
    let error = channel
        .put(&Upload {
            source: link.clone(),
            ..good.clone()
        })
        .await
        .unwrap_err();
    assert_eq!(
        message(error),
        format!("{} is a link, which is not followed", link.display())
    );

    let link = sources.path().join("bundle-link");
    symlink(&good.bundles[0].path, &link).unwrap();
    let mut linked = good.clone();
    linked.bundles[0].path = link;
    assert_eq!(channel.put(&linked).await.unwrap_err().code(), "link");

    let outside = tempdir().unwrap();
    symlink(outside.path(), root.path().join("linux-64")).unwrap();
    assert_eq!(channel.put(&good).await.unwrap_err().code(), "link");
    assert_eq!(channel.finish().await.unwrap_err().code(), "link");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[tokio::test]
async fn only_regular_files_are_published() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let good = upload(sources.path(), GREET, "hello");
    let pipe = sources.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    for source in [pipe, sources.path().to_owned()] {
        let error = channel
            .put(&Upload {
                source: source.clone(),
                ..good.clone()
            })
            .await
            .unwrap_err();
        assert_eq!(
            message(error),
            format!("{} is not a regular file", source.display())
        );
    }
    let missing = sources.path().join("missing");
    let error = channel
        .put(&Upload {
            source: missing.clone(),
            ..good.clone()
        })
        .await
        .unwrap_err();
    assert!(message(error).starts_with(&format!("cannot read {}: ", missing.display())));
}

#[tokio::test]
async fn an_archive_of_another_package_never_gets_the_name() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let good = upload(sources.path(), GREET, "hello");
    let refusal = async |source: &Path| {
        let sha256 = disk::hash(source).unwrap().unwrap();
        let error = channel
            .put(&Upload {
                source: source.to_owned(),
                sha256,
                ..good.clone()
            })
            .await
            .unwrap_err();
        assert_eq!(error.code(), "archive_invalid");
        error.to_string()
    };

    let other = archive(
        sources.path(),
        &key("linux-64/other-1.0-h1_0.conda"),
        "x",
        "linux-64",
    );
    let text = refusal(&other).await;
    assert!(text.contains("says name other, expected greet"), "{text}");
    let elsewhere = archive(sources.path(), &key(GREET), "y", "osx-64");
    let text = refusal(&elsewhere).await;
    assert!(
        text.contains("says subdir osx-64, expected linux-64"),
        "{text}"
    );
    let torn = sources.path().join("torn.conda");
    fs::write(&torn, &fs::read(&good.source).unwrap()[..200]).unwrap();
    let text = refusal(&torn).await;
    assert!(
        text.contains("torn.conda") && text.contains("cannot be read"),
        "{text}"
    );
}

#[tokio::test]
async fn a_bundle_is_one_json_object() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    for (text, expected) in [
        ("[{}]", "it is not a JSON object"),
        ("{} {}", "it is not JSON"),
        ("", "it is not JSON"),
    ] {
        let mut wrong = upload(sources.path(), GREET, "hello");
        let path = sources.path().join("wrong.json");
        fs::write(&path, text).unwrap();
        wrong.bundles[0] = crate::Bundle {
            sha256: disk::hash_of(text.as_bytes()),
            path,
        };
        let error = channel.put(&wrong).await.unwrap_err();
        assert_eq!(error.code(), "bundle_invalid");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(channel.lookup(&key(GREET)).unwrap(), None);
}

#[tokio::test]
async fn a_sidecar_never_grows_beyond_what_clients_read() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let half = |n: char| {
        let says: String = std::iter::repeat_n(n, SIDECAR_LIMIT as usize / 2 - 100).collect();
        bundle(sources.path(), &says)
    };
    let two = Upload {
        bundles: vec![half('a'), half('b')],
        ..upload(sources.path(), GREET, "hello")
    };
    publish(&channel, &[&two]).await;
    let three = Upload {
        bundles: vec![half('c')],
        ..two.clone()
    };
    let error = channel.put(&three).await.unwrap_err();
    assert_eq!(error.code(), "sidecar_full");
    assert_eq!(bundles(root.path(), GREET).unwrap().len(), 2);

    // The package is not published without its attestations.
    let fresh = upload(sources.path(), DATA, "1,2,3");
    let error = channel
        .put(&Upload {
            bundles: three.bundles.into_iter().chain(two.bundles).collect(),
            ..fresh
        })
        .await;
    assert_eq!(error.unwrap_err().code(), "sidecar_full");
    assert_eq!(channel.lookup(&key(DATA)).unwrap(), None);
}

#[tokio::test]
async fn a_file_that_would_fail_the_index_is_named() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    publish(&channel, &[&upload(sources.path(), GREET, "hello")]).await;
    let subdir = root.path().join("linux-64");
    for (name, content, code) in [
        ("greet-1.0-h1_0.conda.sigs", "[]", "sidecar_invalid"),
        ("greet-1.0-h1_0.conda.sigs", "[1]", "sidecar_invalid"),
        ("greet-1.0-h1_0.conda.sigs", "{}", "sidecar_invalid"),
        ("foreign-1.0-0.conda", "not an archive", "unindexable"),
        ("foreign-1.0-0.tar.bz2", "not an archive", "unindexable"),
    ] {
        let path = subdir.join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, content).unwrap();
        let error = channel.finish().await.unwrap_err();
        assert_eq!(error.code(), code);
        assert!(
            error.to_string().contains(name) && error.help().is_some(),
            "{error}"
        );
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    channel.finish().await.unwrap();
}

#[tokio::test]
async fn invalid_repodata_of_a_target_is_never_replaced() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    publish(&channel, &[&upload(sources.path(), GREET, "hello")]).await;
    let path = root.path().join("linux-64/repodata.json");
    let good = fs::read(&path).unwrap();
    for content in ["<html>", "", "[]", "{\"error\": 1}", "{\"packages\": {"] {
        fs::write(&path, content).unwrap();
        let channel: &dyn Channel = &channel;
        for error in [channel.preflight().await, channel.finish().await] {
            assert_eq!(error.unwrap_err().code(), "repodata_invalid", "{content}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    // What an interrupted index left is written again.
    fs::write(root.path().join(".conda-release/indexing-linux-64"), "").unwrap();
    channel.finish().await.unwrap();
    let records = |bytes: &[u8]| {
        let repodata = Repodata::parse(bytes).unwrap();
        repodata.records().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(records(&fs::read(&path).unwrap()), records(&good));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_attestations_of_one_package_are_all_kept() {
    let (sources, root) = folders();
    let package = upload(sources.path(), GREET, "hello");
    let mut puts = tokio::task::JoinSet::new();
    for task in 0..24 {
        // Half of them as another process would: with a channel of their own.
        let channel = FileChannel::open(root.path(), LIVE).unwrap();
        let bundles = vec![
            bundle(sources.path(), &format!("task {task}")),
            bundle(sources.path(), "common"),
        ];
        let upload = Upload {
            bundles,
            ..package.clone()
        };
        puts.spawn(async move {
            let placed = channel.put(&upload).await.unwrap();
            channel.finish().await.unwrap();
            placed.result
        });
    }
    let results = puts.join_all().await;
    assert_eq!(
        results
            .iter()
            .filter(|result| **result == PublishResult::Uploaded)
            .count(),
        1
    );
    let kept: BTreeSet<_> = bundles(root.path(), GREET).unwrap().into_iter().collect();
    let expected: BTreeSet<_> = (0..24)
        .map(|task| bundle_text(&format!("task {task}")))
        .chain([bundle_text("common")])
        .collect();
    assert_eq!(kept, expected);
    assert_eq!(bundles(root.path(), GREET).unwrap().len(), 25);
}

#[test]
fn those_who_wait_leave_threads_to_the_one_who_writes() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(super::folder::WRITERS + 1)
        .build()
        .unwrap();
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let package = upload(sources.path(), GREET, "hello");
    runtime.block_on(async {
        let mut puts = tokio::task::JoinSet::new();
        for task in 0..2 * super::folder::WRITERS {
            let bundles = vec![bundle(sources.path(), &format!("task {task}"))];
            let (channel, upload) = (
                channel.clone(),
                Upload {
                    bundles,
                    ..package.clone()
                },
            );
            puts.spawn(async move {
                channel.put(&upload).await.unwrap();
                channel.finish().await.unwrap();
            });
        }
        puts.join_all().await;
    });
    assert_eq!(
        bundles(root.path(), GREET).unwrap().len(),
        2 * super::folder::WRITERS
    );
}

#[tokio::test]
async fn a_channel_works_through_the_trait() {
    let (sources, root) = folders();
    let file = FileChannel::open(root.path(), Kind::Rehearsal).unwrap();
    let channel: Box<dyn Channel> = Box::new(file.clone());
    let greet = upload(sources.path(), GREET, "hello");
    let asked = BTreeSet::from([greet.package.clone()]);
    assert_eq!(channel.lookup(&asked).await.unwrap(), BTreeMap::new());
    channel.preflight().await.unwrap();
    channel.put(&greet, &()).await.unwrap();
    channel.finish().await.unwrap();
    let present = Present {
        sha256: Some(greet.sha256),
        attested: None,
        claimed: None,
    };
    assert_eq!(
        channel.lookup(&asked).await.unwrap(),
        BTreeMap::from([(greet.package.clone(), present)])
    );
    file.retain(&BTreeSet::new()).unwrap();
    channel.finish().await.unwrap();
    assert!(
        ChannelReader::open(root.path())
            .unwrap()
            .packages()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
            .is_empty()
    );
}

#[cfg(unix)]
#[tokio::test]
async fn published_files_are_as_readable_as_the_umask_allows() {
    use std::os::unix::fs::PermissionsExt;
    let (sources, root) = folders();
    publish(
        &FileChannel::open(root.path(), LIVE).unwrap(),
        &[&upload(sources.path(), GREET, "hello")],
    )
    .await;
    let plain = sources.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
    for path in [
        GREET.to_owned(),
        format!("{GREET}.sigs"),
        "noarch/repodata.json".to_owned(),
    ] {
        assert_eq!(mode(&root.path().join(path)), mode(&plain));
    }
}

#[test]
fn leftovers_are_removed_when_nobody_else_can_own_them() {
    let root = tempdir().unwrap();
    let first = FileChannel::open(root.path(), LIVE).unwrap();
    fs::create_dir_all(root.path().join(".tmp")).unwrap();
    let leftovers = [".conda-release/tmp/x", ".tmp/x"].map(|path| root.path().join(path));
    for leftover in &leftovers {
        fs::write(leftover, "").unwrap();
    }
    FileChannel::open(root.path(), LIVE).unwrap();
    assert!(leftovers.iter().all(|leftover| leftover.exists()));
    drop(first);
    FileChannel::open(root.path(), LIVE).unwrap();
    assert!(!leftovers.iter().any(|leftover| leftover.exists()));
}

#[tokio::test]
async fn another_tools_shards_are_kept_current() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    publish(&channel, &[&upload(sources.path(), GREET, "hello")]).await;
    let shards = root.path().join("linux-64/repodata_shards.msgpack.zst");
    assert!(!shards.exists());
    fs::write(&shards, "stale").unwrap();
    publish(
        &channel,
        &[&upload(sources.path(), "linux-64/other-1.0-0.conda", "x")],
    )
    .await;
    assert_ne!(fs::read(&shards).unwrap(), b"stale");
}

/// What a channel's folder has of releases: each plan's files with their content.
fn releases(root: &Path) -> BTreeMap<String, String> {
    let files = snapshot(root).into_keys().filter_map(|path| {
        let name = path.strip_prefix(root).unwrap_or(&path);
        let name = name.to_str().unwrap().to_owned();
        let text = name
            .starts_with("releases/")
            .then(|| fs::read_to_string(root.join(&name)));
        Some((name, text?.unwrap()))
    });
    files.collect()
}

#[tokio::test]
async fn the_manifest_of_a_release_stays_as_it_was_first_published() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let first = release(sources.path(), "plan", "first");
    let folder = format!("releases/{}", first.plan.sha256());
    for expected in [PublishResult::Uploaded, PublishResult::Identical] {
        let placed = channel.put_release(&first).await.unwrap();
        assert_eq!(placed.result, expected);
        assert!(
            placed
                .url
                .ends_with(&format!("{folder}/release-manifest.json"))
        );
    }
    let expected = BTreeMap::from([
        (
            format!("{folder}/release-manifest.json"),
            "first manifest".to_owned(),
        ),
        (
            format!("{folder}/release-manifest.json.sigstore.json"),
            "first attestation".to_owned(),
        ),
    ]);
    assert_eq!(releases(root.path()), expected);

    let again = release(sources.path(), "plan", "again");
    let placed = channel.put_release(&again).await.unwrap();
    assert_eq!(placed.result, PublishResult::Exists);
    assert_eq!(releases(root.path()), expected);
    let other = release(sources.path(), "other", "first");
    channel.put_release(&other).await.unwrap();
    assert_eq!(releases(root.path()).len(), 4);
}

#[tokio::test]
async fn a_rehearsal_has_the_manifest_of_the_current_plan_alone() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), Kind::Rehearsal).unwrap();
    for (plan, content) in [("one", "first"), ("two", "first"), ("two", "again")] {
        let release = release(sources.path(), plan, content);
        let placed = channel.put_release(&release).await.unwrap();
        assert_eq!(placed.result, PublishResult::Uploaded);
        let there = releases(root.path());
        assert_eq!(there.len(), 2, "{there:?}");
        assert!(there.values().all(|text| text.starts_with(content)));
    }
}

#[tokio::test]
async fn a_manifest_that_changed_since_it_was_verified_is_not_published() {
    let (sources, root) = folders();
    let channel = FileChannel::open(root.path(), LIVE).unwrap();
    let release = release(sources.path(), "plan", "first");
    fs::write(&release.manifest.path, "another").unwrap();
    let error = channel.put_release(&release).await.unwrap_err();
    assert_eq!(error.code(), "document_changed");
    assert!(releases(root.path()).is_empty());
}
