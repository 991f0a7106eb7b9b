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
        let key = |name: &str| format!("{RELEASES}/{folder}/{name}");
        let mut placed = ReleasePlaced::at(self.url(&key(manifest)));
        for (name, bytes) in documents {
            let document = self.put_document(&key(name), bytes).await?;
            if placed.add(document).is_break() {
                break;
            }
        }
        Ok(placed)
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
