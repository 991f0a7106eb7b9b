//! The manifest of a release in a bucket.

use release_manifest::PublishResult;

use super::bucket::{Bucket, Condition, Content};
use crate::release::{LIMIT, RELEASES};
use crate::{Error, ReleasePlaced};

impl Bucket {
    /// Writes the documents of a release in their order, unless another release of its plan has its name.
    pub(super) async fn put_release(
        &self,
        folder: &str,
        documents: [(&str, Vec<u8>); 2],
    ) -> Result<ReleasePlaced, Error> {
        let [(manifest, _), _] = &documents;
        let url = self.url(&format!("{RELEASES}/{folder}/{manifest}"));
        let mut result = PublishResult::Identical;
        for (name, bytes) in documents {
            let key = format!("{RELEASES}/{folder}/{name}");
            match self.put_document(&key, bytes).await? {
                PublishResult::Identical => {}
                PublishResult::Uploaded => result = PublishResult::Uploaded,
                PublishResult::Exists => {
                    result = PublishResult::Exists;
                    break;
                }
            }
        }
        Ok(ReleasePlaced { url, result })
    }

    async fn put_document(&self, key: &str, bytes: Vec<u8>) -> Result<PublishResult, Error> {
        let content = Content {
            bytes: bytes.clone().into(),
            content_type: "application/json",
            ..Content::default()
        };
        let written = self.put(key, &content, &Condition::Absent).await?;
        if written.is_some() {
            return Ok(PublishResult::Uploaded);
        }
        match self.get(key, LIMIT).await? {
            Some(there) if there.bytes == bytes => Ok(PublishResult::Identical),
            Some(_) => Ok(PublishResult::Exists),
            None => Err(self.unexpected(key, "it is there and it isn't")),
        }
    }
}
