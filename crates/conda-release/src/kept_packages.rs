//! Attested packages that a new plan no longer has: kept with their attestations and records until told otherwise.
//!
//! They lie in `OUTPUT/<mode>/kept/<digest of their manifest>`, in the layout of the output folder: a release manifest of
//! these packages alone, with packages and bundles at the paths that it names.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use release_manifest::{
    DOCUMENT_LIMIT, Digest, MANIFEST_NAME, Manifest, Mode, PackageKey, Plan, Progress,
};

use crate::{
    error::Error,
    input,
    output::{OutputFolder, write_atomically},
};

/// The number of a digest's characters in a folder name.
const DIGITS: usize = 16;

/// The attested packages of `manifest` that `plan` would lose.
///
/// Packages that a live release published are in its channel. In a rehearsal, a package that is built again under its name, as `is_built`
/// says, is attested again as well.
pub(crate) fn lost(
    manifest: &Manifest,
    plan: &Plan,
    is_built: impl Fn(&PackageKey) -> bool,
) -> BTreeSet<PackageKey> {
    if manifest.mode != plan.mode {
        return BTreeSet::new();
    }
    let attested = manifest.packages().iter().filter(|it| match plan.mode {
        Mode::Live => it.progress == Progress::Attested,
        Mode::Rehearsal => it.progress >= Progress::Attested,
    });
    let is_lost = |key: &PackageKey| {
        let Some(planned) = plan.package(key) else {
            return true;
        };
        let is_replaced = plan.mode == Mode::Rehearsal && is_built(key);
        !is_replaced && manifest.progress_in(plan, planned) < Progress::Attested
    };
    attested
        .map(|package| package.key())
        .filter(is_lost)
        .collect()
}

/// Puts these packages of `manifest` aside, with their bundles and records. Returns their folder.
///
/// The packages stay in the local channel as well: the worker removes them from there, and from its index, where the plan
/// makes no use of them. A run that was killed meanwhile is continued by the next one: the records are written first, and
/// name the same folder.
///
/// # Errors
/// The output folder cannot be written.
pub(crate) fn keep(
    folder: &OutputFolder,
    manifest: &Manifest,
    lost: &BTreeSet<PackageKey>,
) -> Result<PathBuf, Error> {
    let manifest = manifest.only(lost);
    let bytes = manifest.to_json();
    let digest = Digest::of(&bytes).sha256().to_string();
    let kept = folder.kept().join(&digest[..DIGITS]);
    write_atomically(&kept.join(MANIFEST_NAME), &bytes)?;
    for package in manifest.packages() {
        let key = package.key();
        let file = key.under(&kept.join("packages"));
        take_file(&key.under(&folder.packages()), &file, link)?;
        let attestation = package.attestation.iter();
        let bundles = attestation.flat_map(|attestation| {
            let provenance = attestation.provenance.as_ref();
            std::iter::once(&attestation.bundle).chain(provenance.map(|it| &it.bundle))
        });
        for bundle in bundles {
            take_file(
                &bundle.under(folder.path()),
                &bundle.under(&kept),
                |from, to| fs::rename(from, to),
            )?;
        }
    }
    Ok(kept)
}

/// Removes all that was kept. Returns the number of packages.
///
/// # Errors
/// It is not what this program writes, or cannot be removed.
pub(crate) fn prune(folder: &OutputFolder) -> Result<usize, Error> {
    let kept = folder.kept();
    let entries = match fs::read_dir(&kept) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::output("read", &kept)(error)),
    };
    let mut packages = 0;
    for entry in entries {
        let path = entry.map_err(Error::output("read", &kept))?.path();
        let manifest = path.join(MANIFEST_NAME);
        let bytes = input::read(&manifest, DOCUMENT_LIMIT)?;
        packages += Manifest::from_json(&bytes)
            .map_err(Error::state(&manifest))?
            .packages()
            .len();
        fs::remove_dir_all(&path).map_err(Error::output("remove", &path))?;
    }
    Ok(packages)
}

/// Links to a file, or copies it where links are not possible. One that is there already is complete.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let copy = to.with_added_extension("part");
            fs::copy(from, &copy)?;
            fs::rename(copy, to)
        }
        linked => linked,
    }
}

/// Takes a file, if it is still there.
fn take_file(
    from: &Path,
    to: &Path,
    take: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<(), Error> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(Error::output("create", folder))?;
    }
    match take(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::output("keep", from)(error))
        }
        _ => Ok(()),
    }
}
