//! The record of a package: what channels say of it, read from the package itself.

use std::{
    io::{self, Read, Seek},
    path::Path,
};

use cep27::Sha256;
use rattler_conda_types::{
    PackageRecord,
    package::{CondaArchiveType, IndexJson, PackageFile as _},
};
use rattler_digest::{HashingReader, Md5, Sha256 as Sha256Digest};
use rattler_index::package_record_from_index_json;
use rattler_package_streaming::seek::read_package_file_content;

/// Reads the record of the package at `path`, with its digests and its size in bytes.
///
/// # Errors
/// The file cannot be read, or is no package.
pub(crate) fn read_record(path: &Path) -> io::Result<PackageRecord> {
    let mut file = fs_err::File::open(path)?;
    let digests = Digests::read(&mut file)?;
    file.rewind()?;
    Ok(PackageRecord {
        sha256: Some(digests.sha256),
        md5: Some(digests.md5),
        size: Some(digests.size),
        ..read_index(file, path)?
    })
}

/// Reads the record of a package whose bytes are known to have the digest `sha256`, without hashing them again.
///
/// # Errors
/// The file cannot be read, or is no package.
pub(crate) fn read_known_record(path: &Path, sha256: Sha256) -> io::Result<PackageRecord> {
    let file = fs_err::File::open(path)?;
    Ok(PackageRecord {
        sha256: Some((*sha256.as_bytes()).into()),
        md5: None,
        size: Some(file.metadata()?.len()),
        ..read_index(file, path)?
    })
}

fn read_index(file: impl Read + Seek, path: &Path) -> io::Result<PackageRecord> {
    let format = CondaArchiveType::try_from(path)
        .ok_or_else(|| io::Error::other("the file name is not that of a package"))?;
    let index = read_package_file_content(file, format, IndexJson::package_path())
        .map_err(io::Error::other)?;
    // The function would hash a whole package in memory, so it gets none.
    package_record_from_index_json([], &mut index.as_slice())
}

/// The digest that identifies a package.
pub(crate) fn sha256(record: &PackageRecord) -> Option<Sha256> {
    let digest = record.sha256.as_ref()?;
    <[u8; 32]>::try_from(digest.as_slice())
        .ok()
        .map(Sha256::from_bytes)
}

/// The digests and size of a file.
struct Digests {
    sha256: rattler_digest::Sha256Hash,
    md5: rattler_digest::Md5Hash,
    size: u64,
}

impl Digests {
    /// Reads to the end, holding a small part of the file in memory.
    fn read(file: impl Read) -> io::Result<Self> {
        let mut reader = HashingReader::<_, Sha256Digest>::new(HashingReader::<_, Md5>::new(file));
        let size = io::copy(&mut reader, &mut io::sink())?;
        let (inner, sha256) = reader.finalize();
        let (_, md5) = inner.finalize();
        Ok(Self { sha256, md5, size })
    }
}
