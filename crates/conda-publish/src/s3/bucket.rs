//! A folder of a bucket: its objects, one request each, with what S3 promises about them.
//!
//! Whatever fails in passing is asked again. So a write may have happened although its answer was lost: what is
//! refused because of its condition is then to be looked at, whether it is ours.

use std::time::Duration;

use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use cep27::Sha256;
use rattler_digest::{Md5, Md5Hash, digest::Digest as _};

use super::connect::Connection;
use super::failure::{Failure, Miss};
use crate::retry::Retries;
use crate::{Error, Patience};

/// The name of the metadata that has a package's hash.
pub(super) const HASH: &str = "sha256";

/// The folder of a bucket that is a channel.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    pub(super) connection: Connection,
    pub(super) name: String,
    /// Empty, or with a slash at its end.
    pub(super) prefix: String,
    pub(super) patience: Patience,
}

/// What must be so for a write to happen.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// Nothing has this name.
    Absent,
    /// What has this name has this tag.
    Is(String),
}

/// What is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    pub(super) content_type: &'static str,
    /// For what changes under its name: to be asked for anew each time.
    pub(super) no_cache: bool,
    pub(super) sha256: Option<Sha256>,
}

/// An object that was read.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bytes: Bytes,
    pub(super) etag: String,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone)]
pub(super) struct Head {
    /// In bytes.
    pub(super) size: u64,
    /// What its metadata says, which is what who wrote it said.
    pub(super) sha256: Option<Sha256>,
}

/// An object in a list.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its name below the channel.
    pub(super) key: String,
    /// In bytes.
    pub(super) size: u64,
    pub(super) etag: String,
    /// The time of the last write, in seconds since 1970; 0 if the server doesn't state one.
    pub(super) modified: i64,
}

/// The hashes of all bytes of an object.
#[derive(Debug, Clone)]
pub(super) struct Hashes {
    pub(super) sha256: Sha256,
    pub(super) md5: Md5Hash,
    /// In bytes.
    pub(super) size: u64,
}

impl Bucket {
    /// The name in the bucket of what has this name in the channel.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Where something is, for people and the manifest.
    pub(super) fn url(&self, key: &str) -> String {
        format!("s3://{}/{}", self.name, self.key(key))
    }

    /// Writes an object and gives its tag; `None` where the condition doesn't hold.
    pub(super) async fn put(
        &self,
        key: &str,
        content: &Content,
        condition: &Condition,
    ) -> Result<Option<String>, Error> {
        self.put_telling(key, content, condition, |_, _| {}).await
    }

    /// [`put`](Self::put), telling why and after which delay it is tried again.
    pub(super) async fn put_telling(
        &self,
        key: &str,
        content: &Content,
        condition: &Condition,
        telling: impl FnMut(&str, Duration) + Send,
    ) -> Result<Option<String>, Error> {
        match self.try_put(key, content, condition, telling).await? {
            Ok(etag) => Ok(Some(etag)),
            Err(failure) if failure.is_condition() => Ok(None),
            // What was to be replaced is gone.
            Err(failure) if failure.is_absence() && matches!(condition, Condition::Is(_)) => {
                Ok(None)
            }
            Err(failure) => Err(self.refused(key, &failure)),
        }
    }

    /// [`put`](Self::put), with the server's refusal as it is.
    pub(super) async fn try_put(
        &self,
        key: &str,
        content: &Content,
        condition: &Condition,
        telling: impl FnMut(&str, Duration) + Send,
    ) -> Result<Result<String, Failure>, Error> {
        let Content {
            bytes,
            content_type,
            no_cache,
            sha256,
        } = content;
        let request = || {
            let request = self
                .connection
                .client
                .put_object()
                .bucket(&self.name)
                .key(self.key(key))
                .content_type(*content_type)
                .set_cache_control(no_cache.then(|| "no-cache".to_owned()))
                .body(ByteStream::from(bytes.clone()));
            let request = match sha256 {
                None => request,
                Some(sha256) => request.metadata(HASH, sha256.to_string()),
            };
            match condition {
                Condition::Absent => request.if_none_match("*"),
                Condition::Is(etag) => request.if_match(etag),
            }
        };
        let written = self
            .again_telling(key, bytes.len() as u64, telling, || request().send())
            .await?;
        match written {
            Ok(written) => written
                .e_tag
                .map(Ok)
                .ok_or_else(|| self.unexpected(key, "an object was written and has no ETag")),
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Reads an object of at most so many bytes; `None` where there is none.
    pub(super) async fn get(&self, key: &str, limit: u64) -> Result<Option<Object>, Error> {
        let read = self.read(key, self.object(key), limit).await?;
        match self.found(key, read)? {
            None => Ok(None),
            Some(Some((bytes, Some(etag)))) => Ok(Some(Object { bytes, etag })),
            Some(Some((_, None))) => Err(self.unexpected(key, "an object has no ETag")),
            Some(None) => Err(Error::TooLarge {
                url: self.url(key),
                limit,
            }),
        }
    }

    /// Reads some bytes of an object, from this one on; fewer at its end.
    pub(super) async fn range(&self, key: &str, from: u64, length: u64) -> Result<Bytes, Error> {
        let range = format!("bytes={from}-{}", from + length - 1);
        let read = self.read(key, self.object(key).range(range), length);
        match read.await? {
            Ok(Some((bytes, _))) => Ok(bytes),
            Ok(None) => Err(self.unexpected(key, "more bytes than were asked for")),
            Err(failure) => Err(self.refused(key, &failure)),
        }
    }

    /// To read an object with.
    fn object(&self, key: &str) -> GetObjectFluentBuilder {
        let request = self.connection.objects.get_object();
        request.bucket(&self.name).key(self.key(key))
    }

    /// What a request for an object is answered with, and its tag; `None` where it is more than so many bytes.
    async fn read(
        &self,
        key: &str,
        request: GetObjectFluentBuilder,
        limit: u64,
    ) -> Result<Result<Option<(Bytes, Option<String>)>, Failure>, Error> {
        let idle = self.patience.idle;
        self.again(key, limit, || {
            let request = request.clone();
            async move {
                let mut answer = request.send().await?;
                let mut bytes = Vec::new();
                while let Some(chunk) = next(&mut answer.body, idle).await? {
                    bytes.extend_from_slice(&chunk);
                    if bytes.len() as u64 > limit {
                        return Ok(None);
                    }
                }
                Ok::<_, Miss>(Some((Bytes::from(bytes), answer.e_tag)))
            }
        })
        .await
    }

    /// Hashes an object of this size, all of it, without keeping it; `None` where there is none.
    pub(super) async fn hash(&self, key: &str, size: u64) -> Result<Option<Hashes>, Error> {
        let request = self.object(key);
        let idle = self.patience.idle;
        let read = self
            .again(key, size, || {
                let request = request.clone();
                async move {
                    let mut answer = request.send().await?;
                    let (mut sha256, mut md5) = (sha2::Sha256::default(), Md5::default());
                    let mut size = 0;
                    while let Some(chunk) = next(&mut answer.body, idle).await? {
                        sha2::Digest::update(&mut sha256, &chunk);
                        md5.update(&chunk);
                        size += chunk.len() as u64;
                    }
                    Ok::<_, Miss>(Hashes {
                        sha256: Sha256::from_bytes(sha2::Digest::finalize(sha256).into()),
                        md5: md5.finalize(),
                        size,
                    })
                }
            })
            .await?;
        self.found(key, read)
    }

    /// What is known of an object; `None` where there is none.
    pub(super) async fn head(&self, key: &str) -> Result<Option<Head>, Error> {
        let request = self.connection.client.head_object();
        let request = request.bucket(&self.name).key(self.key(key));
        let answer = self.again(key, 0, || request.clone().send()).await?;
        let Some(head) = self.found(key, answer)? else {
            return Ok(None);
        };
        let size = head.content_length;
        let size = size.and_then(|size| u64::try_from(size).ok());
        Ok(Some(Head {
            size: size.ok_or_else(|| self.unexpected(key, "an object has no size"))?,
            sha256: head
                .metadata
                .and_then(|metadata| metadata.get(HASH)?.parse().ok()),
        }))
    }

    /// Every object whose name begins so.
    pub(super) async fn list(&self, under: &str) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.pages(under, None, |page| {
            for object in page.contents.unwrap_or_default() {
                let key = object.key.as_deref().unwrap_or_default();
                // The server's own matter, but what it gives becomes a name to write under.
                let Some(key) = key.strip_prefix(&self.prefix) else {
                    return Err(self.unexpected(under, "a list of what was not asked for"));
                };
                entries.push(Entry {
                    key: key.to_owned(),
                    size: object
                        .size
                        .and_then(|size| u64::try_from(size).ok())
                        .unwrap_or_default(),
                    etag: object.e_tag.unwrap_or_default(),
                    modified: object.last_modified.map_or(0, |moment| moment.secs()),
                });
            }
            Ok(())
        })
        .await?;
        Ok(entries)
    }

    /// The names of folders and objects directly in the channel, folders with a slash at their end.
    pub(super) async fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        self.pages("", Some("/"), |page| {
            let folders = page.common_prefixes.unwrap_or_default().into_iter();
            let objects = page.contents.unwrap_or_default().into_iter();
            names.extend(
                folders
                    .filter_map(|folder| folder.prefix)
                    .chain(objects.filter_map(|object| object.key))
                    .filter_map(|key| key.strip_prefix(&self.prefix).map(str::to_owned)),
            );
            Ok(())
        })
        .await?;
        // Some tools write an empty object for a folder.
        names.retain(|name| !name.is_empty());
        Ok(names)
    }

    /// Whether there is an object whose name begins so.
    pub(super) async fn holds(&self, under: &str) -> Result<bool, Error> {
        let page = self.page(under, None, None).await?;
        Ok(!page.contents.unwrap_or_default().is_empty())
    }

    /// Makes sure that the bucket is there and may be listed: an object that is missing says nothing of that.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.page("noarch/repodata.json", None, None)
            .await
            .map(drop)
    }

    /// Asks for all whose name begins so, page by page.
    async fn pages(
        &self,
        under: &str,
        delimiter: Option<&str>,
        mut take: impl FnMut(ListObjectsV2Output) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let mut token = None;
        loop {
            let mut page = self.page(under, delimiter, token).await?;
            token = page.next_continuation_token.take();
            let is_last = page.is_truncated != Some(true) || token.is_none();
            take(page)?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn page(
        &self,
        under: &str,
        delimiter: Option<&str>,
        token: Option<String>,
    ) -> Result<ListObjectsV2Output, Error> {
        let what = "a list of what is in the channel";
        let request = self
            .connection
            .client
            .list_objects_v2()
            .bucket(&self.name)
            .prefix(self.key(under))
            .set_delimiter(delimiter.map(str::to_owned))
            .set_continuation_token(token);
        let answer = self.again(what, 0, || request.clone().send()).await?;
        answer.map_err(|failure| self.refused(what, &failure))
    }

    /// Removes an object, if it is there.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        let request = self.connection.client.delete_object();
        let request = request.bucket(&self.name).key(self.key(key));
        let answer = self.again(key, 0, || request.clone().send()).await?;
        self.found(key, answer).map(drop)
    }

    /// Makes a request that sends or fetches at most so many bytes, again if it fails in passing.
    pub(super) async fn again<T, E: Into<Miss>, F: Future<Output = Result<T, E>> + Send>(
        &self,
        what: &str,
        bytes: u64,
        attempt: impl FnMut() -> F + Send,
    ) -> Result<Result<T, Failure>, Error> {
        self.again_telling(what, bytes, |_, _| {}, attempt).await
    }

    /// [`again`](Self::again), telling why and after which delay it is tried again.
    async fn again_telling<T, E: Into<Miss>, F: Future<Output = Result<T, E>> + Send>(
        &self,
        what: &str,
        bytes: u64,
        mut telling: impl FnMut(&str, Duration) + Send,
        mut attempt: impl FnMut() -> F + Send,
    ) -> Result<Result<T, Failure>, Error> {
        let limit = self.patience.answer
            + Duration::from_secs(bytes.checked_div(self.patience.slowest).unwrap_or_default());
        let server = &self.connection.server;
        let mut retries = Retries::new(&self.patience);
        loop {
            let miss = match tokio::time::timeout(limit, attempt()).await {
                Ok(Ok(value)) => return Ok(Ok(value)),
                Ok(Err(error)) => error.into(),
                Err(_) => Miss::passing(format!("it is not done after {} s", limit.as_secs())),
            };
            let (reason, retry_after) = match miss {
                Miss::Final(failure) => return Ok(Err(failure)),
                Miss::Unsent(reason) => {
                    return Err(Error::NoCredentials {
                        server: server.clone(),
                        reason,
                    });
                }
                Miss::Passing {
                    reason,
                    retry_after,
                } => (reason, retry_after),
            };
            let Some(delay) = retries.delay(retry_after) else {
                return Err(Error::NotSent {
                    server: server.clone(),
                    what: what.to_owned(),
                    attempts: retries.attempts(),
                    reason,
                });
            };
            tracing::info!(server, what, reason, ?delay, "asking again");
            telling(&reason, delay);
            tokio::time::sleep(delay).await;
        }
    }
}

/// The next bytes of a body.
async fn next(body: &mut ByteStream, idle: Duration) -> Result<Option<Bytes>, Miss> {
    match tokio::time::timeout(idle, body.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(chunk)) => Ok(Some(chunk?)),
        Err(_) => Err(Miss::passing(format!(
            "nothing came for {} s",
            idle.as_secs()
        ))),
    }
}
