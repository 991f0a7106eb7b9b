//! An object that is read where it is needed, as a file is: an archive's description is a small part of it.

use std::io::{self, Read, Seek, SeekFrom};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::bucket::Bucket;
use crate::Error;

/// How much is fetched at a time, in bytes.
const BLOCK: u64 = 256 * 1024;

/// Reads an object block by block. For threads that may wait.
#[derive(Debug)]
pub(super) struct Ranged {
    bucket: Bucket,
    key: String,
    size: u64,
    runtime: Handle,
    position: u64,
    /// Where the block that was read last begins.
    from: u64,
    block: Bytes,
    /// Why a block could not be read: not the archive's fault.
    pub(super) failed: Option<Error>,
}

impl Ranged {
    pub(super) fn new(bucket: Bucket, key: String, size: u64, runtime: Handle) -> Self {
        Self {
            bucket,
            key,
            size,
            runtime,
            position: 0,
            from: 0,
            block: Bytes::new(),
            failed: None,
        }
    }
}

impl Read for Ranged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let end = self.from + self.block.len() as u64;
        if !(self.from..end).contains(&self.position) {
            let from = self.position / BLOCK * BLOCK;
            let length = BLOCK.min(self.size - from);
            let fetched = self
                .runtime
                .block_on(self.bucket.range(&self.key, from, length));
            match fetched {
                Ok(block) => (self.from, self.block) = (from, block),
                Err(error) => {
                    let message = error.to_string();
                    self.failed = Some(error);
                    return Err(io::Error::other(message));
                }
            }
        }
        let start = usize::try_from(self.position - self.from).map_err(io::Error::other)?;
        let Some(rest) = self.block.get(start..).filter(|rest| !rest.is_empty()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Ranged {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
