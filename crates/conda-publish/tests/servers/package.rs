//! Small but valid packages.

use std::fs;
use std::path::Path;

use cep27::Sha256;
use conda_publish::Upload;
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::write_conda_package;
use release_manifest::PackageKey;
use serde_json::json;
use sha2::Digest as _;

/// Writes the package of this name with this payload into `folder`.
pub(crate) fn upload(folder: &Path, name: &str, payload: &[u8]) -> Upload {
    let package: PackageKey = name.parse().unwrap();
    let file = &package.file;
    let content = tempfile::tempdir().unwrap();
    let (info, share) = (content.path().join("info"), content.path().join("share"));
    fs::create_dir(&info).unwrap();
    fs::create_dir(&share).unwrap();
    let payload_path = share.join(file.name());
    fs::write(&payload_path, payload).unwrap();
    let subdir = package.subdir.as_str();
    let described = json!({
        "name": file.name(), "version": file.version(), "build": file.build(), "build_number": 0,
        "subdir": subdir, "depends": [], "noarch": (subdir == "noarch").then_some("generic"),
    });
    let paths = json!({ "paths_version": 1, "paths": [{
        "_path": format!("share/{}", file.name()), "path_type": "hardlink",
        "sha256": sha256(payload), "size_in_bytes": payload.len(),
    }] });
    let about = json!({ "summary": "For tests.", "license": "MIT" });
    let mut all = vec![payload_path];
    for (name, text) in [("index", described), ("paths", paths), ("about", about)] {
        let path = info.join(format!("{name}.json"));
        fs::write(&path, text.to_string()).unwrap();
        all.push(path);
    }
    let source = folder.join(format!("{}-{}", sha256(payload), file.as_str()));
    let stem = file.as_str().strip_suffix(".conda").unwrap();
    let level = CompressionLevel::Lowest;
    let time = jiff::Timestamp::constant(1_600_000_000, 0);
    let writer = fs::File::create(&source).unwrap();
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
