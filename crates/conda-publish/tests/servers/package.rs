//! Small but valid packages.

use std::fs;
use std::path::Path;

use cep27::Sha256;
use conda_publish::Upload;
use release_manifest::PackageKey;
use sha2::Digest as _;

/// Writes the package of this name with this payload into `folder`.
pub(crate) fn upload(folder: &Path, name: &str, payload: &[u8]) -> Upload {
    let package: PackageKey = name.parse().unwrap();
    let file = &package.file;
    let source = folder.join(format!("{}-{}", sha256(payload), file.as_str()));
    channel_servers::package::write(&source, package.subdir, file, payload);
    let sha256 = sha256(&fs::read(&source).unwrap());
    Upload {
        source,
        package,
        sha256,
        bundles: Vec::new(),
    }
}

/// Bytes that nothing compresses.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}
