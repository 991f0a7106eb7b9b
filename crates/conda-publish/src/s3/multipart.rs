//! An object that is sent in parts: it isn't there before it is completed.

use aws_sdk_s3::operation::upload_part::UploadPartOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;

use super::bucket::Bucket;
use super::failure::Failure;
use crate::Error;

/// An upload that was begun. Dropped, it is aborted as far as that is possible then.
#[derive(Debug)]
pub(super) struct Multipart {
    bucket: Bucket,
    key: String,
    /// `None` once nothing is left to abort.
    id: Option<String>,
}

/// How the completion of an upload ended.
pub(super) enum Completed {
    Yes,
    /// Something else has the name.
    Taken,
    /// The server doesn't know the upload: it was aborted, or completed and the answer was lost.
    Gone,
}

impl Multipart {
    pub(super) async fn begin(
        bucket: &Bucket,
        key: &str,
        content_type: &str,
        (name, value): (&str, String),
    ) -> Result<Self, Error> {
        let request = bucket
            .connection
            .client
            .create_multipart_upload()
            .bucket(&bucket.name)
            .key(bucket.key(key))
            .content_type(content_type)
            .metadata(name, value);
        let begun = bucket.again(key, 0, || request.clone().send()).await?;
        let begun = begun.map_err(|failure| bucket.refused(key, &failure))?;
        let id = begun.upload_id;
        let id = id.ok_or_else(|| bucket.unexpected(key, "an upload has no id"))?;
        Ok(Self {
            bucket: bucket.clone(),
            key: key.to_owned(),
            id: Some(id),
        })
    }

    /// Sends a part, numbered from one; `None` where the server doesn't know the upload any more.
    pub(super) fn part(
        &self,
        number: i32,
        bytes: Bytes,
    ) -> impl Future<Output = Result<Option<CompletedPart>, Error>> {
        let Self { bucket, key, id } = self;
        let body = bytes.clone();
        let request = move || {
            let request = bucket.connection.client.upload_part();
            request
                .bucket(&bucket.name)
                .key(bucket.key(key))
                .set_upload_id(id.clone())
                .part_number(number)
                .body(ByteStream::from(body.clone()))
        };
        async move {
            let size = bytes.len() as u64;
            let sent = bucket.again(key, size, || request().send()).await?;
            let part = |sent: UploadPartOutput| {
                let part = CompletedPart::builder().part_number(number);
                part.set_e_tag(sent.e_tag).build()
            };
            Ok(bucket.found(key, sent)?.map(part))
        }
    }

    /// Has the object appear, if its name is free.
    pub(super) async fn complete(&mut self, parts: Vec<CompletedPart>) -> Result<Completed, Error> {
        match self.try_complete(parts).await? {
            Ok(()) => {
                self.id = None;
                Ok(Completed::Yes)
            }
            Err(failure) if failure.is_condition() => Ok(Completed::Taken),
            Err(failure) if failure.is_absence() => Ok(Completed::Gone),
            Err(failure) => Err(self.bucket.refused(&self.key, &failure)),
        }
    }

    /// [`complete`](Self::complete), with the server's refusal as it is.
    pub(super) async fn try_complete(
        &self,
        mut parts: Vec<CompletedPart>,
    ) -> Result<Result<(), Failure>, Error> {
        parts.sort_by_key(CompletedPart::part_number);
        let Self { bucket, key, id } = self;
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let request = bucket
            .connection
            .client
            .complete_multipart_upload()
            .bucket(&bucket.name)
            .key(bucket.key(key))
            .set_upload_id(id.clone())
            .multipart_upload(parts)
            .if_none_match("*");
        let completed = bucket.again(key, 0, || request.clone().send()).await?;
        Ok(completed.map(drop))
    }

    /// Forgets what was sent.
    pub(super) async fn abort(mut self) {
        let Some(id) = self.id.take() else {
            return;
        };
        if let Err(error) = abort(&self.bucket, &self.key, &id).await {
            tracing::warn!(key = self.key, %error, "cannot abort an upload");
        }
    }

    /// Forgets every upload under a name.
    pub(super) async fn abort_others(bucket: &Bucket, key: &str) -> Result<(), Error> {
        let name = bucket.key(key);
        let request = bucket
            .connection
            .client
            .list_multipart_uploads()
            .bucket(&bucket.name)
            .prefix(&name);
        let listed = bucket.again(key, 0, || request.clone().send()).await?;
        let listed = listed.map_err(|failure| bucket.refused(key, &failure))?;
        for upload in listed.uploads.unwrap_or_default() {
            if let (Some(id), true) = (&upload.upload_id, upload.key.as_ref() == Some(&name)) {
                abort(bucket, key, id).await?;
            }
        }
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        drop(runtime.spawn(async move { abort(&bucket, &key, &id).await }));
    }
}

async fn abort(bucket: &Bucket, key: &str, id: &str) -> Result<(), Error> {
    let request = bucket
        .connection
        .client
        .abort_multipart_upload()
        .bucket(&bucket.name)
        .key(bucket.key(key))
        .upload_id(id);
    let aborted = bucket.again(key, 0, || request.clone().send()).await?;
    bucket.found(key, aborted).map(drop)
}
