//! Archives that were downloaded, by their SHA-256, and the object databases of Git repositories.
//!
//! `OUTPUT/<mode>/sources` is all that outlives a run. An archive is used only after it was hashed again. Beside it stands the
//! file name that its server gave it, for each URL: rattler-build unpacks by it. Several jobs may use the store at once: a file
//! gets its name when it is complete.

use std::path::{Path, PathBuf};

use cep27::Sha256;
use fs_err as fs;
use futures::StreamExt as _;
use rattler_build_networking::BaseClient;
use release_manifest::Digest;
use reqwest::{Response, header::CONTENT_DISPOSITION};
use sha2::Digest as _;
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt as _, task::spawn_blocking};
use url::Url;

use super::{SourceError, descriptor::without_credentials, local_file};

/// The largest archive that is downloaded to hash it.
const LARGEST: u64 = 8 << 30;

/// The sources that are kept between runs.
#[derive(Clone, Debug)]
pub(super) struct SourceStore {
    folder: PathBuf,
}

/// An archive on this machine.
#[derive(Debug)]
pub(super) struct Archive {
    /// Its bytes.
    pub(super) file: fs::File,
    /// The header `Content-Disposition` that it came with.
    pub(super) disposition: Option<String>,
}

/// An archive as it was downloaded, which is not part of the store yet.
#[derive(Debug)]
pub(super) struct Download {
    file: NamedTempFile,
    pub(super) sha256: Sha256,
    disposition: Option<String>,
}

impl SourceStore {
    /// The store in `OUTPUT/<mode>`, which need not exist.
    pub(super) fn new(output: &Path) -> Self {
        Self {
            folder: output.join("sources"),
        }
    }

    /// The folder of Git's object databases.
    pub(super) fn git(&self) -> PathBuf {
        self.folder.join("git")
    }

    /// The archive that is known by this hash, if it has come from `url` before.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn find(&self, url: &Url, sha256: Sha256) -> std::io::Result<Option<Archive>> {
        let (content, name) = (self.content(sha256), self.name(url, sha256));
        spawn_blocking(move || {
            let disposition = match fs::read_to_string(name) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            match hash(&content) {
                Ok(found) if found == sha256 => {}
                // What was damaged is downloaded again.
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
            Ok(Some(Archive {
                file: fs::File::open(content)?,
                disposition: Some(disposition).filter(|text| !text.is_empty()),
            }))
        })
        .await
        .map_err(std::io::Error::other)
        .flatten()
    }

    /// Downloads the body of a response.
    ///
    /// # Errors
    /// The connection breaks off, the store cannot be written, or the archive is too large.
    pub(super) async fn receive(
        &self,
        url: &Url,
        response: Response,
    ) -> Result<Download, SourceError> {
        let unreadable = |reason: &dyn std::fmt::Display| unreadable(url, reason);
        let disposition = response
            .headers()
            .get(CONTENT_DISPOSITION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        fs::create_dir_all(self.archives()).map_err(|error| unreadable(&error))?;
        let file = NamedTempFile::new_in(self.archives()).map_err(|error| unreadable(&error))?;
        let writable = file.reopen().map_err(|error| unreadable(&error))?;
        let mut writable = tokio::fs::File::from_std(writable);
        let mut hasher = sha2::Sha256::new();
        let mut length = 0_u64;
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| unreadable(&error.without_url()))?;
            length += chunk.len() as u64;
            if length > LARGEST {
                let url = without_credentials(url.clone()).to_string();
                return Err(SourceError::TooLarge {
                    url,
                    limit: LARGEST,
                });
            }
            hasher.update(&chunk);
            writable
                .write_all(&chunk)
                .await
                .map_err(|error| unreadable(&error))?;
        }
        writable.flush().await.map_err(|error| unreadable(&error))?;
        Ok(Download {
            file,
            sha256: Sha256::from_bytes(hasher.finalize().into()),
            disposition,
        })
    }

    /// Makes a download part of the store.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(super) fn keep(&self, url: &Url, download: Download) -> std::io::Result<Archive> {
        let Download {
            file,
            sha256,
            disposition,
        } = download;
        let content = file.persist(self.content(sha256))?;
        drop(content);
        let mut name = NamedTempFile::new_in(self.archives())?;
        let text = disposition.clone().unwrap_or_default();
        std::io::Write::write_all(&mut name, text.as_bytes())?;
        drop(name.persist(self.name(url, sha256))?);
        Ok(Archive {
            file: fs::File::open(self.content(sha256))?,
            disposition,
        })
    }

    /// Downloads an archive from the first of its addresses that has it, and keeps it. Returns its hash.
    pub(super) async fn fetch_any(
        &self,
        urls: &[Url],
        client: &BaseClient,
    ) -> Result<Sha256, SourceError> {
        let mut first = None;
        for url in urls {
            match self.fetch(url, client).await {
                Ok(sha256) => return Ok(sha256),
                Err(error) => first.get_or_insert(error),
            };
        }
        Err(first.unwrap_or_else(|| SourceError::Unreadable {
            place: "url".to_owned(),
            reason: "the list of addresses is empty".to_owned(),
        }))
    }

    async fn fetch(&self, url: &Url, client: &BaseClient) -> Result<Sha256, SourceError> {
        if let Some(path) = local_file(url) {
            return hash_file(&path).await;
        }
        let response = client.for_host(url).client().get(url.clone()).send().await;
        let response = response.map_err(|error| {
            let causes = crate::error::causes(Some(&without_url(error)));
            unreadable(url, &causes.join(": "))
        })?;
        if !response.status().is_success() {
            return Err(unreadable(url, &response.status()));
        }
        let download = self.receive(url, response).await?;
        let sha256 = download.sha256;
        self.keep(url, download)
            .map_err(|error| unreadable(url, &error))?;
        Ok(sha256)
    }

    fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    fn content(&self, sha256: Sha256) -> PathBuf {
        self.archives().join(sha256.to_string())
    }

    fn name(&self, url: &Url, sha256: Sha256) -> PathBuf {
        let url = Digest::of(url.as_str().as_bytes()).sha256();
        self.archives().join(format!("{sha256}.{url}.name"))
    }
}

impl Download {
    /// The download without keeping it.
    ///
    /// # Errors
    /// The file cannot be opened again.
    pub(super) fn into_archive(self) -> std::io::Result<Archive> {
        Ok(Archive {
            file: fs::File::open(self.file.path())?,
            disposition: self.disposition,
        })
    }
}

/// The hash of a local file, of which nothing is kept.
pub(super) async fn hash_file(path: &Path) -> Result<Sha256, SourceError> {
    let file = path.to_owned();
    let hashed = spawn_blocking(move || hash(&file)).await;
    hashed
        .map_err(std::io::Error::other)
        .flatten()
        .map_err(|error| SourceError::Unreadable {
            place: path.display().to_string(),
            reason: error.to_string(),
        })
}

fn hash(path: &Path) -> std::io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(Sha256::from_bytes(hasher.finalize().into()))
}

fn unreadable(url: &Url, reason: &dyn std::fmt::Display) -> SourceError {
    SourceError::Unreadable {
        place: without_credentials(url.clone()).to_string(),
        reason: reason.to_string(),
    }
}

/// An error without the URL, which may have credentials.
fn without_url(error: reqwest_middleware::Error) -> reqwest_middleware::Error {
    match error {
        reqwest_middleware::Error::Reqwest(error) => error.without_url().into(),
        error => error,
    }
}
