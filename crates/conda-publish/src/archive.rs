//! What a package archive says about itself.

use std::io::{Read, Seek};
use std::path::Path;

use cep27::Format;
use rattler_conda_types::package::{AboutJson, CondaArchiveType, IndexJson, PackageFile};
use rattler_package_streaming::{ExtractError, seek};
use release_manifest::PackageKey;
use serde_json::Value;

use crate::blocking::blocking;
use crate::{Error, Upload, disk};

/// Checks that a file can be indexed, and as nothing else than this package.
///
/// An archive that can't be read fails the index of its whole subdir, and on a target it could never be replaced:
/// so it must not get there. `file` is where its bytes are, `shown` the path to name in the error.
pub(crate) fn check(file: &Path, shown: &Path, package: &PackageKey) -> Result<(), Error> {
    check_content(disk::open_existing(file)?, shown, package).map(drop)
}

/// [`check`], of an archive that is read from anywhere; what it says of itself.
pub(crate) fn check_content(
    archive: impl Read + Seek,
    shown: &Path,
    package: &PackageKey,
) -> Result<IndexJson, Error> {
    let refused = |reason: String| Error::Archive {
        package: Box::new(package.clone()),
        path: shown.to_owned(),
        reason,
    };
    let index = content_index_json(archive, kind(package)).map_err(refused)?;
    let subdir = index.subdir.as_deref().unwrap_or("no subdir");
    for (field, expected, found) in [
        ("name", package.file.name(), index.name.as_source()),
        ("version", package.file.version(), &*index.version.as_str()),
        ("build", package.file.build(), index.build.as_str()),
        ("subdir", package.subdir.as_str(), subdir),
    ] {
        if expected != found {
            let found = cep27::printable(found);
            return Err(refused(format!(
                "its info/index.json says {field} {found}, expected {expected}"
            )));
        }
    }
    Ok(index)
}

/// [`check`]s the file of an upload.
pub(crate) async fn check_upload(upload: &Upload) -> Result<(), Error> {
    let (source, package) = (upload.source.clone(), upload.package.clone());
    blocking(move || check(&source, &source, &package)).await
}

/// Reads `info/about.json` from the archive of a package; the empty object where it has none.
pub(crate) fn about_json(
    file: &Path,
    package: &PackageKey,
) -> Result<serde_json::Map<String, Value>, Error> {
    let reader = disk::open_existing(file)?;
    let path = AboutJson::package_path();
    let read = match seek::read_package_file_content(&reader, kind(package), path) {
        Ok(content) => AboutJson::from_slice(&content)
            .map_err(|error| error.to_string())
            .and_then(|about| serde_json::to_value(about).map_err(|error| error.to_string())),
        Err(ExtractError::MissingComponent) => return Ok(serde_json::Map::new()),
        Err(error) => Err(error.to_string()),
    };
    match read {
        Ok(Value::Object(about)) => Ok(about),
        Ok(_) => Ok(serde_json::Map::new()),
        Err(reason) => Err(Error::Archive {
            package: Box::new(package.clone()),
            path: file.to_owned(),
            reason: format!("its info/about.json cannot be read: {reason}"),
        }),
    }
}

/// The kind of archive that a package is by its name.
pub(crate) fn kind(package: &PackageKey) -> CondaArchiveType {
    match package.file.format() {
        Format::Conda => CondaArchiveType::Conda,
        Format::TarBz2 => CondaArchiveType::TarBz2,
    }
}

/// Reads `info/index.json` from an archive; the inner error is the archive's fault.
pub(crate) fn index_json(
    file: &Path,
    kind: CondaArchiveType,
) -> Result<Result<IndexJson, String>, Error> {
    Ok(content_index_json(disk::open_existing(file)?, kind))
}

fn content_index_json(
    archive: impl Read + Seek,
    kind: CondaArchiveType,
) -> Result<IndexJson, String> {
    let content = seek::read_package_file_content(archive, kind, IndexJson::package_path())
        .map_err(|error| format!("its info/index.json cannot be read: {error}"))?;
    IndexJson::from_slice(&content)
        .map_err(|error| format!("its info/index.json is invalid: {error}"))
}
