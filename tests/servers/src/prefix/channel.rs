//! What the channel has, and how clients read it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use cep27::{FileName, Sha256, Subdir};
use http::header::AUTHORIZATION;
use http::{StatusCode, header};
use rattler_conda_types::package::IndexJson;
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt as _;

use super::{Refusal, Shared};

/// How much of a package is read at a time, in bytes.
const CHUNK: u64 = 256 * 1024;

/// A package and what is known of it.
#[derive(Debug)]
pub(super) struct Stored {
    bytes: NamedTempFile,
    subdir: Subdir,
    file: FileName,
    /// Its record in repodata.
    record: Value,
    size: u64,
    attestation: Option<String>,
}

/// The packages of the channel.
#[derive(Debug, Default)]
pub(super) struct Packages {
    by_name: BTreeMap<(Subdir, String), Shelved>,
    stopped_indexing: bool,
    hides_attestations: bool,
}

#[derive(Debug)]
struct Shelved {
    path: PathBuf,
    record: Value,
    size: u64,
    sidecar: Option<Vec<u8>>,
    listed: bool,
}

impl Stored {
    /// Reads what a package says of itself. The error says what is wrong with it.
    pub(super) fn read(
        bytes: NamedTempFile,
        file: &FileName,
        sha256: Sha256,
        attestation: Option<String>,
    ) -> Result<Self, String> {
        // Packages are told apart by the ends of their names.
        let beside = bytes.path().parent().unwrap_or(Path::new("."));
        let folder = tempfile::tempdir_in(beside).map_err(|error| error.to_string())?;
        let named = folder.path().join(file.as_str());
        fs_err::hard_link(bytes.path(), &named).map_err(|error| error.to_string())?;
        let index: IndexJson = rattler_package_streaming::seek::read_package_file(&named)
            .map_err(|error| format!("{file} is not a package: {error}"))?;
        let subdir = index.subdir.clone().unwrap_or_default();
        let subdir: Subdir = subdir
            .parse()
            .map_err(|error: cep27::NameError| error.to_string())?;
        let says = [
            index.name.as_source(),
            &index.version.to_string(),
            index.build.as_ref(),
        ]
        .join("-");
        if !file.as_str().starts_with(&says) {
            return Err(format!("{file} says to be {says}"));
        }
        let size = bytes.as_file().metadata();
        let size = size.map_err(|error| error.to_string())?.len();
        let mut record = serde_json::to_value(&index).map_err(|error| error.to_string())?;
        record["sha256"] = sha256.to_string().into();
        record["size"] = size.into();
        Ok(Self {
            bytes,
            subdir,
            file: file.clone(),
            record,
            size,
            attestation,
        })
    }

    pub(super) fn subdir(&self) -> Subdir {
        self.subdir
    }

    pub(super) fn attestation(&self) -> Option<&str> {
        self.attestation.as_deref()
    }
}

impl Packages {
    pub(super) fn has(&self, package: &Stored) -> bool {
        let name = (package.subdir, package.file.to_string());
        self.by_name.contains_key(&name)
    }

    /// How many bytes they have together.
    pub(super) fn size(&self) -> u64 {
        self.by_name.values().map(|package| package.size).sum()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let names = self.by_name.keys();
        names
            .map(|(subdir, file)| format!("{subdir}/{file}"))
            .collect()
    }

    pub(super) fn stop_indexing(&mut self) {
        self.stopped_indexing = true;
    }

    pub(super) fn hide_attestations(&mut self, hides: bool) {
        self.hides_attestations = hides;
    }

    /// Takes a package, in place of any of its name.
    pub(super) fn insert(&mut self, package: Stored, folder: &Path) {
        let Stored {
            bytes,
            subdir,
            file,
            mut record,
            size,
            attestation,
        } = package;
        let path = folder.join(format!("{subdir}-{file}"));
        bytes.persist(&path).expect("a file");
        let sidecar = attestation.map(|bundle| format!("[{bundle}]").into_bytes());
        if let Some(sidecar) = &sidecar {
            record["attestations_sha256"] = super::upload::hash(sidecar).to_string().into();
        }
        let shelved = Shelved {
            path,
            record,
            size,
            sidecar,
            listed: !self.stopped_indexing,
        };
        self.by_name.insert((subdir, file.to_string()), shelved);
    }

    /// The repodata of a subdir; every channel has some for `noarch`.
    fn repodata(&self, subdir: Subdir) -> Option<Value> {
        let (mut conda, mut tar_bz2) = (Map::new(), Map::new());
        for ((at, file), package) in &self.by_name {
            if *at == subdir && package.listed {
                let records = match file.ends_with(".conda") {
                    true => &mut conda,
                    false => &mut tar_bz2,
                };
                let mut record = package.record.clone();
                if let (true, Some(record)) = (self.hides_attestations, record.as_object_mut()) {
                    record.remove("attestations_sha256");
                }
                records.insert(file.clone(), record);
            }
        }
        let is_there = subdir == Subdir::NOARCH || !conda.is_empty() || !tar_bz2.is_empty();
        is_there.then(|| {
            json!({
                "info": {"subdir": subdir.as_str()}, "repodata_version": 1,
                "packages": tar_bz2, "packages.conda": conda,
            })
        })
    }

    /// A sidecar, as prefix.dev has always named it, or as CEP-50 does.
    fn sidecar(&self, subdir: Subdir, name: &str) -> Option<Vec<u8>> {
        let (file, kind) = match name.strip_suffix(".v0.sigs") {
            Some(file) => (file, None),
            None => {
                let (file, hash) = name.split_once(".sigs")?;
                (file, hash.strip_prefix('.'))
            }
        };
        let package = self.by_name.get(&(subdir, file.to_owned()))?;
        let shown = package.sidecar.clone();
        let sidecar = shown.filter(|_| !self.hides_attestations)?;
        let is_it = kind.is_none_or(|hash| hash == super::upload::hash(&sidecar).to_string());
        is_it.then_some(sidecar)
    }

    fn path(&self, subdir: Subdir, file: &str) -> Option<PathBuf> {
        let package = self.by_name.get(&(subdir, file.to_owned()));
        package.map(|package| package.path.clone())
    }
}

/// `GET /{channel}/{subdir}/{file}`
pub(super) async fn read(shared: &Shared, request: Request) -> Result<Response, Refusal> {
    let given = request.headers().get(AUTHORIZATION);
    let given = given.map(|value| value.to_str().unwrap_or_default().to_owned());
    shared.state().readers.push(given);
    if shared.options.private {
        shared.caller(request.headers(), false)?;
    }
    let nothing = || (StatusCode::NOT_FOUND, "not found".to_owned());
    let path = request.uri().path();
    let path = path.strip_prefix(&format!("/{}/", shared.channel));
    let (subdir, name) = path
        .and_then(|path| path.split_once('/'))
        .ok_or_else(nothing)?;
    let subdir: Subdir = subdir.parse().map_err(|_| nothing())?;
    let (repodata, sidecar, package) = {
        let state = shared.state();
        let packages = &state.packages;
        let repodata = (name == "repodata.json").then(|| packages.repodata(subdir));
        (
            repodata.flatten(),
            packages.sidecar(subdir, name),
            packages.path(subdir, name),
        )
    };
    match (repodata, sidecar, package) {
        (Some(repodata), _, _) => Ok(axum::Json(repodata).into_response()),
        (_, Some(sidecar), _) => Ok(sidecar.into_response()),
        (_, _, Some(path)) => stream(&path).await.map_err(|error| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (status, error.to_string())
        }),
        (None, None, None) => Err(nothing()),
    }
}

async fn stream(path: &Path) -> std::io::Result<Response> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let chunks = futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::new();
        (&mut file).take(CHUNK).read_to_end(&mut chunk).await?;
        let chunk = (!chunk.is_empty()).then(|| (Bytes::from(chunk), file));
        Ok::<_, std::io::Error>(chunk)
    });
    let headers = [(header::CONTENT_LENGTH, length)];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
