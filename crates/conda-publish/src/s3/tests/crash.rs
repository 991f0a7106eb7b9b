//! Publishers that are killed.
//!
//! A test starts this very test binary again, as the process to be killed; it opens the channel as users do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::*;
use crate::fixture::upload;
use crate::{ChannelLocation, OpenOptions};

const SOURCES: &str = "CONDA_PUBLISH_TEST_SOURCES";
const STORY: &str = "CONDA_PUBLISH_TEST_STORY";

/// A release of 40 packages.
fn release(sources: &Path) -> Vec<Upload> {
    let subdirs = ["noarch", "linux-64"];
    (0..40)
        .map(|n| upload(sources, &format!("{}/p{n}-1-0.conda", subdirs[n % 2]), "x"))
        .collect()
}

fn child(server: &VersityGw, sources: &Path, story: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "s3::tests::crash::the_process_to_be_killed",
            "--ignored",
        ])
        .env(SOURCES, sources)
        .env(STORY, story)
        .env("HOME", sources)
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_REGION", VersityGw::REGION)
        .env("AWS_ACCESS_KEY_ID", VersityGw::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", VersityGw::SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_ENDPOINT_URL_S3")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started by the tests here"]
async fn the_process_to_be_killed() {
    let sources = PathBuf::from(env::var_os(SOURCES).unwrap());
    let location: ChannelLocation = format!("s3://{BUCKET}/{PATH}").parse().unwrap();
    if env::var(STORY).unwrap() == "large" {
        let upload = given(&sources);
        let channel = crate::open(&location, &OpenOptions::default())
            .await
            .unwrap();
        channel.put(&upload, &()).await.unwrap();
        return channel.finish().await.unwrap();
    }
    let mut channel = S3Channel::open(BUCKET, PATH, patience()).await.unwrap();
    // Nobody waits for the killed ones longer than necessary.
    channel.lease = Duration::from_millis(200);
    let uploads = release(&sources);
    let puts = futures::stream::iter(&uploads)
        .map(|upload| channel.put(upload, &()))
        .buffer_unordered(4);
    let () = puts.map(drop_placed).collect().await;
    channel.finish().await.unwrap();
}

fn drop_placed(placed: Result<crate::Placed, crate::Error>) {
    placed.unwrap();
}

#[tokio::test]
async fn a_release_is_finished_by_repetition_however_often_it_is_killed() {
    const KILLS: u32 = 50;
    let Some((server, sources)) = start() else {
        return;
    };
    let uploads = release(sources.path());
    let began = Instant::now();
    assert!(
        child(&server, sources.path(), "release")
            .status()
            .unwrap()
            .success()
    );
    let whole = began.elapsed();
    let channel = channel_at(&server.endpoint(), PATH);
    check_complete(&channel, &uploads).await;

    clear(&channel).await;
    for kill in 0..KILLS {
        let mut child = child(&server, sources.path(), "release").spawn().unwrap();
        // Spread over the time that a whole release takes, though mostly less is left to do.
        let moment = whole * (kill * 37 % KILLS) / KILLS;
        let began = Instant::now();
        while began.elapsed() < moment && child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        kill_now(&mut child);
        check_nothing_dangles(&channel).await;
        // Each begins anew at times, so that kills come early and late in a release.
        if kill % 10 == 9 {
            assert!(
                self::child(&server, sources.path(), "release")
                    .status()
                    .unwrap()
                    .success()
            );
            check_complete(&channel, &uploads).await;
            assert_eq!(records(&channel, "noarch").await.len(), 20);
            clear(&channel).await;
        }
    }
}

fn kill_now(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn clear(channel: &S3Channel) {
    for entry in channel.bucket.list("").await.unwrap() {
        channel.bucket.delete(&entry.key).await.unwrap();
    }
}

/// The one package in a folder, as a file beside it says.
fn given(sources: &Path) -> Upload {
    let text = std::fs::read_to_string(sources.join("given")).unwrap();
    let (source, sha256) = text.split_once('\n').unwrap();
    Upload {
        source: source.into(),
        package: key("linux-64/large-1-0.conda"),
        sha256: sha256.parse().unwrap(),
        bundles: Vec::new(),
    }
}

/// An archive of about this size that is zeros at first.
fn sparse(sources: &Path, size: u64) -> Upload {
    use std::io::Write as _;

    let small = upload(sources, "linux-64/large-1-0.conda", "x");
    let bytes = std::fs::read(&small.source).unwrap();
    let path = sources.join("large.conda");
    // A zip is found from its end: what is before it is nobody's.
    let mut file = std::fs::File::create(&path).unwrap();
    file.set_len(size).unwrap();
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
    file.write_all(&bytes).unwrap();
    drop(file);
    let sha256 = disk::hash(&path).unwrap().unwrap();
    std::fs::write(
        sources.join("given"),
        format!("{}\n{sha256}", path.display()),
    )
    .unwrap();
    given(sources)
}

#[tokio::test]
async fn a_package_of_512_mib_takes_little_memory() {
    takes_little_memory(512 << 20).await;
}

#[tokio::test]
#[ignore = "takes its time"]
async fn a_package_of_2_gib_takes_little_memory() {
    takes_little_memory(2 << 30).await;
}

#[cfg(target_os = "linux")]
async fn takes_little_memory(size: u64) {
    const MOST: u64 = 100 * 1024;
    let Some((server, sources)) = start() else {
        return;
    };
    let package = sparse(sources.path(), size);
    let mut child = child(&server, sources.path(), "large").spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    let ended = loop {
        if let Some(kib) = std::fs::read_to_string(&status).ok().and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        }) {
            peak = kib;
        }
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(ended.success());
    assert!((1..MOST).contains(&peak), "{peak} KiB");
    let channel = channel_at(&server.endpoint(), PATH);
    let record = &records(&channel, "linux-64").await["large-1-0.conda"];
    assert_eq!(record.sha256, Some(package.sha256.to_string()));
    assert_eq!(unfinished(&channel).await, 0);
}
