//! What a bundle is about.

use std::path::PathBuf;

use cep27::Sha256;
use fs_err as fs;
use sha2::Digest as _;
use sigstore_types::{Artifact, Sha256Hash};

use crate::Result;

/// A file, or nothing but its digest.
pub(crate) enum Subject {
    File(Vec<u8>),
    Digest(Sha256),
}

impl Subject {
    /// `sha256:` and the right number of hexadecimal digits is a digest, unless there is a file of
    /// that name; all else is a file.
    pub(crate) fn read(file_or_digest: &str) -> Result<Self> {
        let path = PathBuf::from(file_or_digest);
        let digest = file_or_digest.strip_prefix("sha256:");
        match digest.and_then(|hex| hex.to_ascii_lowercase().parse().ok()) {
            Some(digest) if !path.exists() => Ok(Self::Digest(digest)),
            _ => Ok(Self::File(fs::read(path)?)),
        }
    }

    pub(crate) fn sha256(&self) -> Sha256 {
        match self {
            Self::File(bytes) => Sha256::from_bytes(sha2::Sha256::digest(bytes).into()),
            Self::Digest(digest) => *digest,
        }
    }

    /// The same for the library, which also knows other digests of a file.
    pub(crate) fn artifact(&self) -> Artifact<'_> {
        match self {
            Self::File(bytes) => Artifact::from_blob(bytes),
            Self::Digest(digest) => Artifact::from_digest(Sha256Hash::from(*digest.as_bytes())),
        }
    }
}
