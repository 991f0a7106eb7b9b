//! What is fetched into a temporary file, and hashed on its way.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use cep27::Sha256;
use sha2::Digest as _;
use tempfile::{NamedTempFile, TempPath};

use super::client::Sink;
use crate::Error;
use crate::disk::At as _;

/// A package in a temporary file, which is gone when this is dropped.
#[derive(Debug)]
pub struct Download {
    path: TempPath,
    sha256: Sha256,
}

impl Download {
    /// Where its bytes are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hash of the bytes as they came.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }
}

/// The hash of what is fetched, which is kept nowhere.
#[derive(Default)]
pub(super) struct Hashing(sha2::Sha256);

impl Hashing {
    pub(super) fn finish(self) -> Sha256 {
        Sha256::from_bytes(self.0.finalize().into())
    }
}

impl Sink for Hashing {
    fn restart(&mut self) -> Result<(), Error> {
        self.0 = sha2::Sha256::new();
        Ok(())
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.0.update(chunk);
        Ok(())
    }
}

/// A temporary file that only its owner can read.
pub(super) struct Spool {
    file: NamedTempFile,
    hasher: sha2::Sha256,
}

impl Spool {
    pub(super) fn new() -> Result<Self, Error> {
        let file = NamedTempFile::with_prefix("conda-release-")
            .at("create a file in", &std::env::temp_dir())?;
        Ok(Self {
            file,
            hasher: sha2::Sha256::new(),
        })
    }

    /// The file under its path, with its hash.
    pub(super) fn finish(self) -> Download {
        Download {
            sha256: Sha256::from_bytes(self.hasher.finalize().into()),
            path: self.file.into_temp_path(),
        }
    }

    /// The file without its name, to be read from its beginning.
    pub(super) fn into_file(self) -> Result<File, Error> {
        let path = self.file.path().to_owned();
        let mut file = self.file.into_file();
        file.seek(SeekFrom::Start(0)).at("read", &path)?;
        Ok(file)
    }
}

impl Sink for Spool {
    fn restart(&mut self) -> Result<(), Error> {
        self.hasher = sha2::Sha256::new();
        let file = self.file.as_file_mut();
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)).map(drop))
            .at("write", self.file.path())
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.hasher.update(chunk);
        let written = self.file.as_file_mut().write_all(chunk);
        written.at("write", self.file.path())
    }
}
