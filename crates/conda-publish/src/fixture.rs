//! Small but valid packages, and bundles that look like some.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cep27::Sha256;
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::{write_conda_package, write_tar_bz2_package};
use release_manifest::{Digest, PackageKey};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{Bundle, Document, ReleaseUpload, Upload, disk};

pub(crate) fn key(text: &str) -> PackageKey {
    text.parse().unwrap()
}

/// Writes the package of this name with this payload, and one bundle for it, into `folder`.
pub(crate) fn upload(folder: &Path, name: &str, payload: &str) -> Upload {
    let package = key(name);
    let source = archive(folder, &package, payload, package.subdir.as_str());
    let sha256 = disk::hash(&source).unwrap().unwrap();
    let bundles = vec![bundle(folder, &format!("{name} {payload}"))];
    Upload {
        source,
        package,
        sha256,
        bundles,
    }
}

/// Writes an archive whose `index.json` says `subdir`.
pub(crate) fn archive(folder: &Path, package: &PackageKey, payload: &str, subdir: &str) -> PathBuf {
    let file = &package.file;
    let content = tempfile::tempdir().unwrap();
    let (index, paths, share) = (
        content.path().join("info/index.json"),
        content.path().join("info/paths.json"),
        content.path().join("share"),
    );
    fs::create_dir(content.path().join("info")).unwrap();
    fs::create_dir(&share).unwrap();
    let share = share.join(file.name());
    fs::write(&share, payload).unwrap();
    let entry = json!({
        "_path": format!("share/{}", file.name()), "path_type": "hardlink",
        "sha256": disk::hash_of(payload.as_bytes()), "size_in_bytes": payload.len(),
    });
    fs::write(
        &paths,
        json!({"paths": [entry], "paths_version": 1}).to_string(),
    )
    .unwrap();
    let described = json!({
        "name": file.name(), "version": file.version(), "build": file.build(), "build_number": 0,
        "subdir": subdir, "depends": [], "noarch": (subdir == "noarch").then_some("generic"),
    });
    fs::write(&index, described.to_string()).unwrap();

    let archive = folder.join(disk::hash_of(payload.as_bytes()).to_string() + file.as_str());
    // Several processes of a test may write the same file.
    let file_writer = NamedTempFile::new_in(folder).unwrap();
    let writer = file_writer.as_file();
    let time = jiff::Timestamp::constant(1_600_000_000, 0);
    let all = [index, paths, share];
    let level = CompressionLevel::Lowest;
    match file.format() {
        cep27::Format::Conda => {
            let stem = file.as_str().strip_suffix(".conda").unwrap();
            write_conda_package(
                writer,
                content.path(),
                &all,
                level,
                Some(1),
                stem,
                Some(&time),
                None,
            )
            .unwrap();
        }
        cep27::Format::TarBz2 => {
            write_tar_bz2_package(writer, content.path(), &all, level, Some(&time), None).unwrap();
        }
    }
    file_writer.persist(&archive).unwrap();
    archive
}

/// Writes a bundle. Its text is laid out as only a person would, so that re-serialising it shows.
pub(crate) fn bundle(folder: &Path, says: &str) -> Bundle {
    let text = bundle_text(says);
    let path = folder.join(format!("{}.sigstore.json", disk::hash_of(text.as_bytes())));
    let mut file = NamedTempFile::new_in(folder).unwrap();
    writeln!(file, "{text}").unwrap();
    file.persist(&path).unwrap();
    let sha256 = disk::hash(&path).unwrap().unwrap();
    Bundle { path, sha256 }
}

/// What of [`bundle`] is to be found in a sidecar.
pub(crate) fn bundle_text(says: &str) -> String {
    format!("{{ \"says\" :\n  {:?},\"n\":1.50e0 }}", says)
}

/// What a folder holds, by path: the hash and the time of the last change of every file.
pub(crate) fn snapshot(root: &Path) -> BTreeMap<PathBuf, (Sha256, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let modified = path.metadata().unwrap().modified().unwrap();
                files.insert(
                    path.clone(),
                    (disk::hash(&path).unwrap().unwrap(), modified),
                );
            }
        }
    }
    files
}

/// Writes what stands for the manifest of a plan's release, and for its attestation, into `folder`.
pub(crate) fn release(folder: &Path, plan: &str, content: &str) -> ReleaseUpload {
    let document = |name: &str| {
        let path = folder.join(format!("{plan}-{content}-{name}"));
        fs::write(&path, format!("{content} {name}")).unwrap();
        Document {
            sha256: disk::hash(&path).unwrap().unwrap(),
            path,
        }
    };
    ReleaseUpload {
        plan: Digest::of(plan.as_bytes()),
        manifest: document("manifest"),
        attestation: document("attestation"),
    }
}
