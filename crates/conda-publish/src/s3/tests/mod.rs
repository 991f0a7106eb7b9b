//! What users of a channel in a bucket rely on, with a real S3 server.

mod crash;
mod double;
mod faults;
mod publish;
mod together;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use channel_servers::versitygw::VersityGw;
use tempfile::TempDir;

use super::connect::Access;
use super::document::is_compressed;
use super::{OWN, S3Channel};
use crate::fixture::{archive, bundle, key};
use crate::repodata::Record;
use crate::{Channel, Patience, Sidecar, Upload, disk};

const BUCKET: &str = "packages";
const PATH: &str = "conda/live";

/// Enough for a machine that does many other things, and little enough for a server that is away.
fn patience() -> Patience {
    Patience {
        retries: 4,
        first_delay: Duration::from_millis(50),
        ..Patience::default()
    }
}

fn access(endpoint: &str, secret: &str) -> Access {
    Access {
        endpoint: Some(endpoint.parse().unwrap()),
        region: Some(VersityGw::REGION.to_owned()),
        path_style: true,
        credentials: Some(SharedCredentialsProvider::new(Credentials::new(
            VersityGw::ACCESS_KEY,
            secret,
            None,
            None,
            "tests",
        ))),
    }
}

/// The channel at a server, as a publisher of its own.
fn channel_at(endpoint: &str, path: &str) -> S3Channel {
    let access = access(endpoint, VersityGw::SECRET_KEY);
    let channel = S3Channel::with(access, BUCKET, path, patience()).unwrap();
    S3Channel {
        lease: Duration::from_secs(2),
        ..channel
    }
}

/// A server, and a folder for sources.
fn start() -> Option<(VersityGw, TempDir)> {
    Some((VersityGw::start(&[BUCKET])?, tempfile::tempdir().unwrap()))
}

async fn publish(channel: &S3Channel, uploads: &[&Upload]) {
    for upload in uploads {
        channel.put(upload, &()).await.unwrap();
    }
    channel.finish().await.unwrap();
}

/// What is in the channel, by name, but for our own.
async fn objects(channel: &S3Channel) -> BTreeMap<String, String> {
    let entries = channel.bucket.list("").await.unwrap();
    let entries = entries
        .into_iter()
        .filter(|entry| !entry.key.starts_with(OWN));
    entries.map(|entry| (entry.key, entry.etag)).collect()
}

async fn read(channel: &S3Channel, key: &str) -> Option<Vec<u8>> {
    let object = channel.bucket.get(key, 1 << 30).await.unwrap();
    object.map(|object| object.bytes.to_vec())
}

async fn records(channel: &S3Channel, subdir: &str) -> BTreeMap<String, Record> {
    channel
        .bucket
        .records(subdir.parse().unwrap())
        .await
        .unwrap()
}

async fn sidecar(channel: &S3Channel, package: &str) -> Option<Sidecar> {
    channel.bucket.current(&key(package)).await.unwrap().sidecar
}

/// How many uploads were begun and neither completed nor aborted.
async fn unfinished(channel: &S3Channel) -> usize {
    let request = channel.bucket.connection.client.list_multipart_uploads();
    let listed = request.bucket(BUCKET).send().await.unwrap();
    listed.uploads.unwrap_or_default().len()
}

/// Whatever a client learns of is there: every record's package with its hash, every advertised sidecar with its.
async fn check_nothing_dangles(channel: &S3Channel) {
    for subdir in channel.bucket.subdirs().await.unwrap() {
        for (name, record) in channel.bucket.records(subdir).await.unwrap() {
            let package = format!("{subdir}/{name}");
            let bytes = read(channel, &package).await.expect("a listed package");
            assert_eq!(record.sha256, Some(disk::hash_of(&bytes).to_string()));
            if let Some(sha256) = record.advertised(&key(&package)).unwrap() {
                let bytes = read(channel, &format!("{package}.sigs.{sha256}")).await;
                let bytes = bytes.expect("an advertised sidecar");
                Sidecar::parse_hashed(&bytes, sha256).unwrap();
            }
        }
    }
    for key in objects(channel)
        .await
        .keys()
        .filter(|key| key.ends_with(".sigs"))
    {
        Sidecar::parse(&read(channel, key).await.unwrap()).unwrap();
    }
}

/// Everything was published: each package with its record, and its sidecar with every bundle.
async fn check_complete(channel: &S3Channel, uploads: &[Upload]) {
    check_nothing_dangles(channel).await;
    for upload in uploads {
        let package = &upload.package;
        let records = channel.bucket.records(package.subdir).await.unwrap();
        let record = &records[package.file.as_str()];
        assert_eq!(record.sha256, Some(upload.sha256.to_string()), "{package}");
        let sidecar = sidecar(channel, &package.to_string()).await.unwrap();
        assert_eq!(record.advertised(package).unwrap(), Some(sidecar.sha256()));
        let found: Vec<_> = sidecar.bundles().collect();
        for bundle in &upload.bundles {
            let text = std::fs::read_to_string(&bundle.path).unwrap();
            assert!(found.contains(&text.trim()), "{package}");
        }
        let json = read(channel, &format!("{}/repodata.json", package.subdir)).await;
        let zst = read(channel, &format!("{}/repodata.json.zst", package.subdir)).await;
        assert!(is_compressed(&zst.unwrap(), &json.unwrap()));
    }
}

/// A package that is sent in parts.
fn large(folder: &Path, name: &str, size: usize) -> Upload {
    // What doesn't get smaller when it is compressed, and is the same each time.
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b' ' + u8::try_from((state >> 33) % 90).unwrap())
    });
    let payload: String = noise.take(size).collect();
    let package = key(name);
    let source = archive(folder, &package, &payload, package.subdir.as_str());
    Upload {
        sha256: disk::hash(&source).unwrap().unwrap(),
        source,
        package,
        bundles: vec![bundle(folder, name)],
    }
}
