//! The copy of a TUF repository on disk.
//!
//! It is one file, replaced as a whole after a refresh that succeeded to its end: a refresh that
//! the network interrupts leaves the copy as it was, and two processes never mix theirs. What is
//! read from it is verified as if it came from the network.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cep27::Sha256;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use sigstore_tuf::MetadataStore;
use url::Url;

use crate::Error;

/// The public repository takes 100 KB.
const MAX_SIZE: u64 = 16 << 20;

/// The file in which the copy of a repository lies; none where the platform names no cache folder.
pub(super) fn place(folder: Option<&Path>, url: &Url) -> Option<PathBuf> {
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => dirs::cache_dir()?.join("conda-release").join("tuf"),
    };
    let host = url.host_str().unwrap_or("tuf");
    let normal = url.as_str().trim_end_matches('/');
    let digest = Sha256::from_bytes(sha2::Sha256::digest(normal).into()).to_string();
    // The host is for people who look into the folder; it may be longer than a file name.
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'))
        .take(80)
        .collect();
    let digest: String = digest.chars().take(16).collect();
    Some(folder.join(format!("{host}-{digest}.json")))
}

/// Verified metadata and targets by name, in memory until they are written.
#[derive(Default)]
pub(super) struct Cache {
    files: Mutex<BTreeMap<String, String>>,
    refreshed: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    refreshed: Timestamp,
    files: BTreeMap<String, String>,
}

impl Cache {
    /// Reads a copy; nothing where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is none, or may have been written by somebody else.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Error> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let unusable = |reason: String| Error::Trust {
            path: path.to_owned(),
            what: "copy of a TUF repository",
            reason,
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let metadata = file.metadata().map_err(Error::io("read", path))?;
            // An old copy is genuine too: who may write here could keep it from ever being newer.
            if metadata.mode() & 0o022 != 0 {
                return Err(unusable("others may write to it".to_owned()));
            }
            if metadata.uid() != rustix::process::geteuid().as_raw() {
                return Err(unusable("it belongs to another user".to_owned()));
            }
        }
        let bytes = crate::package::read_capped(file, path, MAX_SIZE)?;
        let Document { refreshed, files } =
            serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
        Ok(Some(Self {
            files: Mutex::new(files),
            refreshed: Some(refreshed),
        }))
    }

    /// When the repository was last asked.
    pub(super) fn refreshed(&self) -> Option<Timestamp> {
        self.refreshed
    }

    /// Replaces the copy on disk; the folder and the file are for this user alone.
    pub(super) fn write(&self, path: &Path, refreshed: Timestamp) -> Result<(), Error> {
        let failed = || Error::io("write", path);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o700);
        }
        builder.create(folder).map_err(failed())?;
        let document = Document {
            refreshed,
            files: self.files().clone(),
        };
        let json = serde_json::to_vec(&document).map_err(|error| failed()(error.into()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed())?;
        file.write_all(&json).map_err(failed())?;
        file.persist(path).map_err(|error| failed()(error.error))?;
        Ok(())
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetadataStore for Cache {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        Ok(self.files().get(name).map(|text| text.clone().into_bytes()))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        // The library also stores each snapshot under its version, which nothing ever reads again.
        if name.ends_with(".snapshot.json") {
            return Ok(());
        }
        let text = String::from_utf8(bytes.to_vec())
            .map_err(|_| sigstore_tuf::Error::Malformed(format!("{name} is not UTF-8")))?;
        self.files().insert(name.to_owned(), text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repository_has_a_file_of_its_own() {
        let folder = Path::new("cache");
        let file = |url: &str| place(Some(folder), &url.parse().unwrap()).unwrap();
        let ours = file("https://tuf.example/one");
        assert_eq!(ours, file("https://tuf.example/one/"));
        let name = ours.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("tuf.example-"), "{name}");
        for other in [
            "https://tuf.example/two",
            "https://tuf.example",
            "https://tuf.example:8443/one",
            "http://tuf.example/one",
            "https://[::1]/one",
        ] {
            let other = file(other);
            assert_ne!(ours, other);
            assert_eq!(other.parent(), Some(folder));
        }
        let long = format!("https://{}.example", ["a"; 60].join("."));
        assert!(file(&long).file_name().unwrap().len() < 128);
    }
}
