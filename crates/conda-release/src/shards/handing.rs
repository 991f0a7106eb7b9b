//! What a build job hands over to the jobs after it.

use std::{io, path::PathBuf};

use fs_err as fs;
use release_manifest::{Digest, Package, PlannedShard, Progress, RelativePath};

use super::{
    MANIFEST,
    copy::{Content, copy},
};
use crate::{
    error::Error,
    output::{OutputFolder, write_atomically},
    release::Release,
};

/// What was handed over.
pub(crate) struct HandedOver {
    /// The folder: manifest, packages and logs of one shard, and nothing else.
    pub(crate) folder: PathBuf,
    /// The digest of its manifest.
    pub(crate) digest: Digest,
    /// How many packages are in it.
    pub(crate) packages: usize,
}

/// Copies manifest, packages and logs of a shard into the folder `shard-<number>`, in place of what
/// an earlier run left there.
///
/// # Errors
/// The folder cannot be written, or a package is no longer the one that was built.
pub(crate) fn hand_over(release: &Release, shard: &PlannedShard) -> Result<HandedOver, Error> {
    let from = release.folder().path();
    let folder = folder_of(release.folder(), shard.shard);
    remove(&folder)?;
    let ours = || {
        let packages = release.manifest().packages().iter();
        packages.filter(|package| shard.packages.contains(&package.key()))
    };
    let mut packages = 0;
    for package in ours().filter(|package| package.progress >= Progress::Built) {
        let (Some(sha256), Some(size)) = (package.sha256, package.size) else {
            continue;
        };
        let path = package.key().under("packages".as_ref());
        copy(
            from,
            &path,
            &folder.join(&path),
            &Content::Known { sha256, size },
        )
        .map_err(Error::output("copy", from.join(&path)))?;
        packages += 1;
    }
    for log in ours().flat_map(logs) {
        let path = log.under("".as_ref());
        match copy(from, &path, &folder.join(&path), &Content::AtMost(u64::MAX)) {
            // A build that could not even write its log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => copied.map_err(Error::output("copy", from.join(&path)))?,
        }
    }
    let manifest = release.manifest().to_json();
    // Last: a folder with a manifest is whole.
    write_atomically(&folder.join(MANIFEST), &manifest)?;
    Ok(HandedOver {
        digest: Digest::of(&manifest),
        folder,
        packages,
    })
}

/// The log of a package's build, and that of what failed.
fn logs(package: &Package) -> impl Iterator<Item = &RelativePath> {
    let failed = package.error.as_ref().and_then(|error| error.log.as_ref());
    let failed = failed.filter(|&log| package.log.as_ref() != Some(log));
    package.log.iter().chain(failed)
}

fn folder_of(output: &OutputFolder, shard: u32) -> PathBuf {
    output.path().join(format!("shard-{shard}"))
}

fn remove(folder: &PathBuf) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::output("remove", folder)(error))
        }
        _ => Ok(()),
    }
}
