//! The manifest of a release in a bucket.

use std::cmp::Reverse;

use release_manifest::{Digest, MANIFEST_NAME, PublishResult};

use super::bucket::{Bucket, Condition, Content};
use crate::release::{LIMIT, RELEASES, plan_of};
use crate::{Error, ReleasePlaced};

impl Bucket {
    /// The plans whose releases the channel keeps, the newest release first.
    pub(super) async fn kept_releases(&self) -> Result<Vec<Digest>, Error> {
        let mut kept = Vec::new();
        for entry in self.list(&format!("{RELEASES}/")).await? {
            let folder = entry.key.strip_prefix(&format!("{RELEASES}/"));
            let folder = folder.and_then(|path| path.strip_suffix(&format!("/{MANIFEST_NAME}")));
            if let Some(plan) = folder.and_then(plan_of) {
                kept.push((Reverse(entry.modified), plan));
            }
        }
        kept.sort();
        Ok(kept.into_iter().map(|(_, plan)| plan).collect())
    }

    /// The bytes of the release manifest of a plan; `None` where there is none.
    pub(super) async fn manifest(&self, plan: Digest) -> Result<Option<Vec<u8>>, Error> {
        let key = format!("{RELEASES}/{}/{MANIFEST_NAME}", plan.sha256());
        let found = self.get(&key, LIMIT).await?;
        Ok(found.map(|object| object.bytes.into()))
    }

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
