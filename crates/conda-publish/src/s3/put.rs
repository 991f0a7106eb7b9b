//! A package on its way into a bucket: small ones in one request, others in parts.
//!
//! Either way the object appears only when everything was sent, has the attested hash, and the name is free.

use std::path::Path;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use cep27::Sha256;
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use rattler_conda_types::package::IndexJson;
use rattler_digest::{Md5, digest::Digest as _};
use release_manifest::{PackageKey, PublishResult};

use super::bucket::{Bucket, Condition, Content, HASH, Hashes};
use super::index::{NOT_LEGACY, is_legacy};
use super::multipart::{Completed, Multipart};
use crate::blocking::blocking;
use crate::repodata::Record;
use crate::retry::Retries;
use crate::source::{Fault, Source, Watch};
use crate::{Error, Present, Reporter, Upload, archive, disk};

/// The size of a part, in bytes, and the size up to which a package is sent at once.
pub(super) const PART: u64 = 8 * 1024 * 1024;

/// So many parts there can be (S3's limit is 10,000).
const PARTS: u64 = 9_000;

/// So many parts of one package are sent at a time.
const AT_ONCE: usize = 2;

const OCTETS: &str = "application/octet-stream";

/// A package that is in the bucket.
pub(super) struct Arrived {
    pub(super) result: PublishResult,
    pub(super) hashes: Hashes,
    /// What it says of itself, where its bytes were at hand.
    pub(super) index: Option<IndexJson>,
}

/// How a package's bytes ended up.
enum Sent {
    Arrived(Box<Arrived>),
    /// Its name is taken.
    Taken,
    /// Somebody ended the upload.
    Ended,
}

/// The size of the parts of a package of this size, in bytes.
pub(super) fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(PARTS))
}

fn in_memory(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The most memory that sending a package of this size takes, in bytes.
pub(super) fn memory(size: u64) -> u64 {
    match size <= PART {
        true => size,
        false => part_size(size) * (AT_ONCE as u64 + 1),
    }
}

impl Bucket {
    /// Brings a package there.
    pub(super) async fn put_package(
        &self,
        upload: &Upload,
        source: &Source,
        reporter: &dyn Reporter,
    ) -> Result<Arrived, Error> {
        if source.size() <= PART {
            return match self.put_at_once(upload, source, reporter).await? {
                Sent::Arrived(arrived) => Ok(*arrived),
                Sent::Taken | Sent::Ended => self.compare(upload).await,
            };
        }
        // Asked first, so that nothing large is sent in vain.
        if self.head(&upload.package.to_string()).await?.is_some() {
            let arrived = self.compare(upload).await?;
            self.end_uploads(&upload.package).await;
            return Ok(arrived);
        }
        let (path, package) = (upload.source.clone(), upload.package.clone());
        blocking(move || {
            let archive = disk::open_existing(&path)?;
            check(
                &archive::check_content(archive, &path, &package)?,
                &path,
                &package,
            )
        })
        .await?;
        let mut retries = Retries::new(&self.patience);
        loop {
            match self.put_in_parts(upload, source, reporter).await? {
                Sent::Arrived(arrived) => {
                    self.end_uploads(&upload.package).await;
                    return Ok(*arrived);
                }
                Sent::Taken => return self.compare(upload).await,
                // Who brings the same package first ends the others' uploads of it.
                Sent::Ended if self.head(&upload.package.to_string()).await?.is_some() => {
                    return self.compare(upload).await;
                }
                Sent::Ended => {}
            }
            let reason = "the upload was ended by somebody else";
            let delay = retries.delay(std::time::Duration::ZERO);
            let delay = delay.ok_or_else(|| Error::NotSent {
                server: self.connection.server.clone(),
                what: upload.package.to_string(),
                attempts: retries.attempts(),
                reason: reason.to_owned(),
            })?;
            reporter.repeating(&upload.package, reason, delay);
            tokio::time::sleep(delay).await;
        }
    }

    async fn put_at_once(
        &self,
        upload: &Upload,
        source: &Source,
        reporter: &dyn Reporter,
    ) -> Result<Sent, Error> {
        let watch = Watch::new(source.size());
        let mut stream = pin!(source.bytes(watch.clone()).await?);
        let part = part(&mut stream, in_memory(source.size())).await;
        let bytes = part.map_err(|fault| source.error(&fault))?;
        let index = {
            let (bytes, path, package) =
                (bytes.clone(), upload.source.clone(), upload.package.clone());
            blocking(move || {
                let archive = std::io::Cursor::new(bytes);
                let index = archive::check_content(archive, &path, &package)?;
                check(&index, &path, &package).map(|()| index)
            })
            .await?
        };
        let content = Content {
            bytes: bytes.clone(),
            content_type: OCTETS,
            no_cache: false,
            sha256: Some(upload.sha256),
        };
        let written = self
            .put_telling(
                &upload.package.to_string(),
                &content,
                &Condition::Absent,
                |reason, delay| reporter.repeating(&upload.package, reason, delay),
            )
            .await?;
        if written.is_none() {
            return Ok(Sent::Taken);
        }
        watch.report(upload, reporter);
        Ok(Sent::Arrived(Box::new(Arrived {
            result: PublishResult::Uploaded,
            hashes: Hashes {
                sha256: upload.sha256,
                md5: Md5::digest(&bytes),
                size: bytes.len() as u64,
            },
            index: Some(index),
        })))
    }

    async fn put_in_parts(
        &self,
        upload: &Upload,
        source: &Source,
        reporter: &dyn Reporter,
    ) -> Result<Sent, Error> {
        let metadata = (HASH, upload.sha256.to_string());
        let key = upload.package.to_string();
        let mut multipart = Multipart::begin(self, &key, OCTETS, metadata).await?;
        let sent = self
            .send_parts(&mut multipart, upload, source, reporter)
            .await;
        match sent {
            Ok(Sent::Arrived(arrived)) => Ok(Sent::Arrived(arrived)),
            other => {
                multipart.abort().await;
                other
            }
        }
    }

    async fn send_parts(
        &self,
        multipart: &mut Multipart,
        upload: &Upload,
        source: &Source,
        reporter: &dyn Reporter,
    ) -> Result<Sent, Error> {
        let watch = Watch::new(source.size());
        let mut stream = pin!(source.bytes(watch.clone()).await?);
        let size = in_memory(part_size(source.size()));
        let (mut md5, mut total) = (Md5::default(), 0);
        let mut number = 0;
        let mut flying = FuturesUnordered::new();
        let mut parts = Vec::new();
        let sent = loop {
            let part = match part(&mut stream, size).await {
                Ok(part) => part,
                Err(fault) => break Err(source.error(&fault)),
            };
            let is_end = part.is_empty();
            if !is_end {
                md5.update(&part);
                total += part.len() as u64;
            }
            if (is_end || flying.len() >= AT_ONCE)
                && let Some(done) = flying.next().await
            {
                match done {
                    Ok(Some(done)) => parts.push(done),
                    Ok(None) => break Ok(false),
                    Err(error) => break Err(error),
                }
            } else if is_end {
                break Ok(true);
            }
            if !is_end {
                number += 1;
                flying.push(multipart.part(number, part));
                watch.report(upload, reporter);
            }
        };
        // A part that arrives after the upload is aborted may stay for ever.
        while flying.next().await.is_some() {}
        if !sent? {
            return Ok(Sent::Ended);
        }
        drop(flying);
        Ok(match multipart.complete(parts).await? {
            Completed::Yes => Sent::Arrived(Box::new(Arrived {
                result: PublishResult::Uploaded,
                hashes: Hashes {
                    sha256: upload.sha256,
                    md5: md5.finalize(),
                    size: total,
                },
                index: None,
            })),
            Completed::Taken => Sent::Taken,
            Completed::Gone => Sent::Ended,
        })
    }

    /// The package that has the name already, if it is this one.
    async fn compare(&self, upload: &Upload) -> Result<Arrived, Error> {
        let key = upload.package.to_string();
        let gone = || self.unexpected(&key, "its name is taken and nothing is there");
        let head = self.head(&key).await?.ok_or_else(gone)?;
        let hashes = self.hash(&key, head.size).await?.ok_or_else(gone)?;
        if hashes.sha256 != upload.sha256 {
            return Err(Error::Conflict {
                package: Box::new(upload.package.clone()),
                there: hashes.sha256,
                here: upload.sha256,
            });
        }
        Ok(Arrived {
            result: PublishResult::Identical,
            hashes,
            index: None,
        })
    }

    /// Ends what other runs began to send under a name that is taken now: none of it can ever be completed.
    async fn end_uploads(&self, package: &PackageKey) {
        if let Err(error) = Multipart::abort_others(self, &package.to_string()).await {
            tracing::warn!(%package, %error, "cannot end unfinished uploads");
        }
    }

    /// What is there under a package's name, which has this record in the repodata.
    pub(super) async fn present(
        &self,
        package: &PackageKey,
        record: Option<&Record>,
    ) -> Result<Option<Present>, Error> {
        let listed = record.and_then(|it| Some((it.sha256.as_ref()?.parse().ok()?, it.size?)));
        let Some(sha256) = self.hash_of(package, listed).await? else {
            return Ok(None);
        };
        let is_attested = match record {
            Some(record) => record.is_attested(),
            // As a run leaves it that was killed before it came to the index.
            None => self.has_sidecar(package).await?,
        };
        Ok(Some(Present {
            sha256: Some(sha256),
            attested: Some(is_attested),
            claimed: record.and_then(|record| record.timestamp),
        }))
    }

    /// The hash of a package, as cheaply as it can be known for certain enough; `None` where there is no such package.
    ///
    /// `listed` is what the repodata says. Where it and the object's metadata don't agree, or neither tells, the bytes
    /// decide.
    async fn hash_of(
        &self,
        package: &PackageKey,
        listed: Option<(Sha256, u64)>,
    ) -> Result<Option<Sha256>, Error> {
        let key = package.to_string();
        let Some(head) = self.head(&key).await? else {
            return Ok(None);
        };
        let listed = listed
            .filter(|(_, size)| *size == head.size)
            .map(|(sha256, _)| sha256);
        match (head.sha256, listed) {
            (Some(told), Some(listed)) if told == listed => Ok(Some(told)),
            (Some(one), None) | (None, Some(one)) => Ok(Some(one)),
            _ => {
                let hashes = self.hash(&key, head.size).await?;
                Ok(hashes.map(|hashes| hashes.sha256))
            }
        }
    }
}

/// What could not be listed must not get there: its name would be taken for ever.
fn check(index: &IndexJson, path: &Path, package: &PackageKey) -> Result<(), Error> {
    match is_legacy(index) {
        true => Ok(()),
        false => Err(Error::Archive {
            package: Box::new(package.clone()),
            path: path.to_owned(),
            reason: NOT_LEGACY.to_owned(),
        }),
    }
}

/// The next bytes, so many but for the last; empty at the end. The last of a package come only when its hash is right.
async fn part(
    stream: &mut (impl Stream<Item = Result<Bytes, Fault>> + Unpin),
    size: usize,
) -> Result<Bytes, Fault> {
    let mut part = BytesMut::with_capacity(size);
    while part.len() < size {
        match stream.next().await {
            None => break,
            Some(chunk) => part.extend_from_slice(&chunk?),
        }
    }
    Ok(part.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_enough_and_as_small_as_that_allows() {
        const TIB: u64 = 1 << 40;
        assert_eq!(part_size(PART + 1), PART);
        assert!(TIB.div_ceil(part_size(TIB)) <= 10_000);
        assert!(memory(2 << 30) < 32 << 20);
    }
}
