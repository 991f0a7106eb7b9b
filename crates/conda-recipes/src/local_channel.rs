//! The local channel, `OUTPUT/<mode>/packages`: exactly the good packages of the current plan.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cep27::{FileName, Sha256};
use rattler_conda_types::PackageRecord;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use release_manifest::PackageKey;

use crate::{
    job_channel::{JobChannel, LocalPackage, subdirs, write_repodata},
    package_record::{read_known_record, read_record, sha256},
    remove::remove_folder,
};

/// How the names of archives begin that rattler-build is still writing.
const UNFINISHED: &str = ".tmp";

/// The folder `packages`, and the folders of jobs, which build and test beside it.
pub(crate) struct LocalChannel {
    root: PathBuf,
    broken: PathBuf,
    jobs: PathBuf,
    /// The digests of the packages that an earlier run built.
    earlier: BTreeMap<PackageKey, Sha256>,
    records: Mutex<HashMap<PackageKey, Arc<PackageRecord>>>,
}

impl LocalChannel {
    /// The channel of `output`, which is `OUTPUT/<mode>`, with packages of an earlier run.
    pub(crate) fn new(output: &Path, earlier: BTreeMap<PackageKey, Sha256>) -> Self {
        Self {
            root: output.join("packages"),
            broken: output.join("broken"),
            jobs: output.join("jobs"),
            earlier,
            records: Mutex::default(),
        }
    }

    /// Where a package is.
    pub(crate) fn path(&self, package: &PackageKey) -> PathBuf {
        package.under(&self.root)
    }

    /// Removes every package but those of `keep`, with the files that belong to it (its bundle, its sidecars), and what failed or
    /// killed builds of earlier runs left.
    pub(crate) fn retain(&self, keep: &BTreeSet<PackageKey>) -> io::Result<()> {
        self.remove_jobs()?;
        remove_folder(&self.root.join("bld"))?;
        for (subdir, folder) in subdirs(&self.root)? {
            for entry in fs_err::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let stale = name.starts_with(UNFINISHED)
                    || owner(&name)
                        .is_some_and(|file| !keep.contains(&PackageKey { subdir, file }));
                if stale {
                    fs_err::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Makes the channel of a job, in its folder `name`, with those of `packages` that are good: the others are in a remote channel.
    ///
    /// # Errors
    /// A package is missing, unreadable, or not the one that was built; the folder cannot be written.
    pub(crate) fn job(&self, name: &str, packages: &[PackageKey]) -> io::Result<JobChannel> {
        let packages = packages
            .iter()
            .filter(|key| self.has(key))
            .map(|key| {
                Ok(LocalPackage {
                    path: self.path(key),
                    key: key.clone(),
                    record: self.record(key)?,
                })
            })
            .collect::<io::Result<_>>()?;
        JobChannel::create(self.jobs.join(name), packages)
    }

    /// Takes a package from the folder that a job built it in.
    ///
    /// # Errors
    /// It is no package, or cannot be moved.
    pub(crate) fn take(&self, package: &PackageKey, from: &Path) -> io::Result<Arc<PackageRecord>> {
        let record = Arc::new(read_record(from)?);
        let to = self.path(package);
        if let Some(folder) = to.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::rename(from, to)?;
        self.records().insert(package.clone(), Arc::clone(&record));
        Ok(record)
    }

    /// Returns whether a package was built, in this run or an earlier one.
    fn has(&self, package: &PackageKey) -> bool {
        self.earlier.contains_key(package) || self.records().contains_key(package)
    }

    /// The record of a package.
    ///
    /// # Errors
    /// The package is missing, unreadable, or not the one that was built.
    pub(crate) fn record(&self, package: &PackageKey) -> io::Result<Arc<PackageRecord>> {
        if let Some(record) = self.records().get(package) {
            return Ok(Arc::clone(record));
        }
        let record = Arc::new(read_record(&self.path(package))?);
        let (found, expected) = (sha256(&record), self.earlier.get(package).copied());
        if found != expected {
            let text = |digest: Option<Sha256>| {
                digest.map_or_else(|| "none".to_owned(), |digest| digest.to_string())
            };
            return Err(io::Error::other(format!(
                "`{package}` has SHA-256 {}, expected {}",
                text(found),
                text(expected)
            )));
        }
        self.records().insert(package.clone(), Arc::clone(&record));
        Ok(record)
    }

    /// Writes the repodata of the channel, so that other tools can read it. Packages of an earlier run that nothing was built upon
    /// are not hashed again.
    ///
    /// # Errors
    /// A package is missing or unreadable; the repodata cannot be written.
    pub(crate) fn write_index(&self, packages: &BTreeSet<PackageKey>) -> io::Result<()> {
        let listed = |key: &PackageKey| match self.earlier.get(key) {
            Some(&digest) if !self.records().contains_key(key) => {
                read_known_record(&self.path(key), digest).map(Arc::new)
            }
            _ => self.record(key),
        };
        let records: Vec<_> = packages
            .into_par_iter()
            .map(|key| Ok((key, listed(key)?)))
            .collect::<io::Result<_>>()?;
        for (_, folder) in subdirs(&self.root)? {
            match fs_err::remove_file(folder.join("repodata.json")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let records = records.iter().map(|(key, record)| (*key, &**record));
        write_repodata(&self.root, records)
    }

    /// Removes what jobs left.
    pub(crate) fn remove_jobs(&self) -> io::Result<()> {
        remove_folder(&self.jobs)
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<PackageKey, Arc<PackageRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a package that must not be used to `broken/<subdir>/`, from the channel; `false` when there is none.
    pub(crate) fn set_aside(&self, package: &PackageKey) -> io::Result<bool> {
        self.set_aside_from(package, &self.path(package))
    }

    /// The same from where it was built.
    pub(crate) fn set_aside_from(&self, package: &PackageKey, from: &Path) -> io::Result<bool> {
        if !from.try_exists()? {
            return Ok(false);
        }
        let to = self.path_of_broken(package);
        if let Some(folder) = to.parent() {
            fs_err::create_dir_all(folder)?;
        }
        fs_err::rename(from, to)?;
        Ok(true)
    }

    /// Where a package lies that was set aside.
    pub(crate) fn path_of_broken(&self, package: &PackageKey) -> PathBuf {
        package.under(&self.broken)
    }

    /// Forgets the package that an earlier run set aside.
    pub(crate) fn forget_broken(&self, package: &PackageKey) -> io::Result<()> {
        match fs_err::remove_file(self.path_of_broken(package)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The package that a file belongs to: itself, or the one whose name it continues (`x-1-0.conda.sigstore.json`).
fn owner(name: &str) -> Option<FileName> {
    [".conda", ".tar.bz2"]
        .into_iter()
        .flat_map(|extension| {
            name.match_indices(extension)
                .map(|(at, _)| at + extension.len())
        })
        .find(|&end| name.len() == end || name[end..].starts_with('.'))
        .and_then(|end| name[..end].parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> PackageKey {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_kept_goes_with_all_that_belongs_to_it() {
        let output = tempfile::tempdir().unwrap();
        let noarch = output.path().join("packages/noarch");
        fs_err::create_dir_all(&noarch).unwrap();
        fs_err::create_dir_all(output.path().join("jobs/it/build_cache/staging_0")).unwrap();
        for file in [
            "a-1-0.conda",
            "b-1-0.conda",
            "b-1-0.conda.sigstore.json",
            "b-1-0.conda.sigs",
            "repodata.json",
            ".tmp0a1B2c",
        ] {
            fs_err::write(noarch.join(file), "").unwrap();
        }
        LocalChannel::new(output.path(), BTreeMap::new())
            .retain(&BTreeSet::from([key("noarch/a-1-0.conda")]))
            .unwrap();
        let mut left: Vec<_> = fs_err::read_dir(noarch)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a-1-0.conda", "repodata.json"]);
        assert!(!output.path().join("jobs").exists());
    }

    #[test]
    fn a_file_belongs_to_the_package_whose_name_it_continues() {
        for (name, package) in [
            ("a-1-0.conda", Some("a-1-0.conda")),
            ("a-1-0.tar.bz2.sigs.0123", Some("a-1-0.tar.bz2")),
            ("a.condax-1-0.conda", Some("a.condax-1-0.conda")),
            ("repodata.json", None),
            ("a-1-0.condax", None),
        ] {
            assert_eq!(
                owner(name),
                package.map(|package| package.parse().unwrap()),
                "{name}"
            );
        }
    }
}
