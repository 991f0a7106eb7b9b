//! Small but valid packages, and large ones that take no room.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write};
use std::path::Path;

use cep27::{FileName, Subdir};
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::write_conda_package;
use serde_json::json;

use crate::shelf::sha256;

/// Writes the `.conda` package of this name, which installs `share/<name>` with this content, to `path`.
pub fn write(path: &Path, subdir: Subdir, file: &FileName, content: &[u8]) {
    write_to(File::create(path).expect("a file"), subdir, file, content);
}

/// Writes a package of a little more than so many bytes, mostly zeros that take no room on the disk.
pub fn write_sparse(path: &Path, subdir: Subdir, file: &FileName, size: u64) {
    let mut small = tempfile::tempfile().expect("a file");
    write_to(&small, subdir, file, b"sparse");
    small.rewind().expect("a file");
    // A zip is found from its end: what is before it is nobody's.
    let mut sparse = File::create(path).expect("a file");
    sparse.set_len(size).expect("a file");
    sparse.seek(SeekFrom::End(0)).expect("a file");
    std::io::copy(&mut small, &mut sparse).expect("a copy");
}

fn write_to(writer: impl Write + std::io::Seek, subdir: Subdir, file: &FileName, content: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let (info, share) = (folder.path().join("info"), folder.path().join("share"));
    for folder in [&info, &share] {
        fs_err::create_dir(folder).expect("a folder");
    }
    let installed = share.join(file.name());
    fs_err::write(&installed, content).expect("a file");
    let is_noarch = subdir == Subdir::NOARCH;
    let index = json!({
        "name": file.name(), "version": file.version(), "build": file.build(), "build_number": 0,
        "subdir": subdir.as_str(), "depends": [], "noarch": is_noarch.then_some("generic"),
    });
    let paths = json!({ "paths_version": 1, "paths": [{
        "_path": format!("share/{}", file.name()), "path_type": "hardlink",
        "sha256": sha256(content), "size_in_bytes": content.len(),
    }] });
    let about = json!({ "summary": "For tests.", "license": "MIT" });
    let mut all = vec![installed];
    for (name, text) in [("index", index), ("paths", paths), ("about", about)] {
        let path = info.join(format!("{name}.json"));
        fs_err::write(&path, text.to_string()).expect("a file");
        all.push(path);
    }
    let stem = file.as_str().strip_suffix(".conda").expect("a .conda");
    let time = jiff::Timestamp::constant(1_600_000_000, 0);
    let level = CompressionLevel::Lowest;
    write_conda_package(
        writer,
        folder.path(),
        &all,
        level,
        Some(1),
        stem,
        Some(&time),
        None,
    )
    .expect("a package");
}
