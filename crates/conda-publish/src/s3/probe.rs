//! Whether a server honours the conditions that everything here rests on.
//!
//! One that doesn't know `If-None-Match` and `If-Match` takes a write all the same, and two publishers lose what the
//! other wrote. So each kind of write is tried on an object made for that, which is removed again.

use super::bucket::{Bucket, Condition, Content};
use super::failure::Failure;
use super::multipart::Multipart;
use super::{OWN, random};
use crate::Error;

const IGNORED: &str = "ignores the conditions of writes (`If-None-Match`, `If-Match`): publishers at the same time would lose what the other wrote; publish to a server that honours them";

impl Bucket {
    /// Refuses a server that doesn't honour conditions.
    pub(super) async fn probe(&self) -> Result<(), Error> {
        let key = format!("{OWN}/probe-{}", random());
        let probed = self.probe_with(&key).await;
        match self.delete(&key).await {
            // It lies where nobody looks, but is only to be told of where nothing else is wrong.
            Err(error) if probed.is_ok() => {
                tracing::warn!(key, %error, "cannot remove the object that conditions were tried on");
            }
            _ => {}
        }
        probed
    }

    async fn probe_with(&self, key: &str) -> Result<(), Error> {
        let content = Content {
            bytes: "conda-release tries whether conditions are honoured\n".into(),
            content_type: "text/plain",
            ..Content::default()
        };
        let write =
            async |condition: Condition| self.try_put(key, &content, &condition, |_, _| {}).await;
        let etag = match write(Condition::Absent).await? {
            // The first answer was lost.
            Err(failure) if failure.is_condition() => {
                let written = self.get(key, 1024).await?;
                written.ok_or_else(|| self.refused(key, &failure))?.etag
            }
            written => self.honoured(key, written)?,
        };
        self.refused_by_condition(key, write(Condition::Absent).await?.map(drop))?;
        let other = "\"00000000000000000000000000000000\"".to_owned();
        self.refused_by_condition(key, write(Condition::Is(other)).await?.map(drop))?;
        self.honoured(key, write(Condition::Is(etag)).await?)?;

        let metadata = (super::bucket::HASH, "none".to_owned());
        let multipart = Multipart::begin(self, key, "text/plain", metadata).await?;
        let part = multipart
            .part(1, content.bytes.clone())
            .await?
            .ok_or_else(|| self.unexpected(key, "an upload ended by itself"))?;
        let completed = multipart.try_complete(vec![part]).await?;
        multipart.abort().await;
        self.refused_by_condition(key, completed)
    }

    fn honoured(&self, key: &str, written: Result<String, Failure>) -> Result<String, Error> {
        written.map_err(|failure| match failure.is_unknown() {
            true => self.ignores(),
            false => self.refused(key, &failure),
        })
    }

    fn refused_by_condition(&self, key: &str, written: Result<(), Failure>) -> Result<(), Error> {
        match written {
            Err(failure) if failure.is_condition() => Ok(()),
            Err(failure) if !failure.is_unknown() => Err(self.refused(key, &failure)),
            Ok(()) | Err(_) => Err(self.ignores()),
        }
    }

    fn ignores(&self) -> Error {
        Error::Unsupported {
            channel: self.connection.server.clone(),
            reason: IGNORED,
        }
    }
}
