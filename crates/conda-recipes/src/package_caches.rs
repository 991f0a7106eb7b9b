//! The caches of extracted packages that builds and tests install from.
//!
//! Remote packages come from the user's cache, which every rattler-based tool on the machine shares and names by name, version and
//! build. A package of the plan is never put there, nor taken from there: it is extracted below the output folder, in a folder
//! named by its digest, so that other bytes under the same name are another entry and nothing is replaced while it is in use.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use cep27::Sha256;
use rattler_cache::{
    PACKAGE_CACHE_DIR,
    package_cache::{PackageCache, PackageCacheLayer},
};
use rattler_conda_types::{MatchSpec, PackageNameMatcher, PackageRecord};
use release_manifest::{PackageKey, Plan};

use crate::{job_channel::LocalPackage, package_record::sha256, remove::remove_folder};

/// Folders of package caches.
#[derive(Clone, Debug)]
pub(crate) struct CacheFolders {
    /// The user's cache, with remote packages and repodata.
    pub(crate) shared: PathBuf,
    /// The cache of this output folder.
    pub(crate) private: PathBuf,
}

/// The package caches of a run.
pub(crate) struct PackageCaches {
    shared: PackageCacheLayer,
    private: PathBuf,
    /// One for each package of the plan that was installed in this run. Jobs share them: a package is extracted once.
    planned: Mutex<HashMap<Sha256, PackageCacheLayer>>,
    /// The names that entries of the shared cache would have for packages of the plan.
    names: HashSet<String>,
    /// The entries of the shared cache that tests were shown.
    shown: tokio::sync::Mutex<HashSet<std::ffi::OsString>>,
}

/// The origin of the packages that a job installs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Installs {
    /// Packages of the plan alone.
    Planned,
    /// Remote packages too, or what is not known beforehand.
    Remote,
}

impl PackageCaches {
    /// The caches for a run of `plan`. Nothing that an earlier run extracted is left.
    ///
    /// # Errors
    /// The private cache cannot be removed.
    pub(crate) fn create(folders: &CacheFolders, plan: &Plan) -> io::Result<Self> {
        remove_folder(&folders.private)?;
        Ok(Self {
            shared: PackageCacheLayer::new(folders.shared.join(PACKAGE_CACHE_DIR)),
            private: folders.private.clone(),
            planned: Mutex::default(),
            names: plan
                .packages
                .iter()
                .map(|package| entry_name(&package.key()))
                .collect(),
            shown: tokio::sync::Mutex::default(),
        })
    }

    /// The cache for a build that installs `packages` of the plan; `job` is a folder of its own.
    ///
    /// rattler locks the first cache during a whole installation. So the user's comes first where remote packages are installed,
    /// which other programs must not replace meanwhile, and else one that no other job has.
    pub(crate) fn for_build(
        &self,
        packages: &[LocalPackage],
        installs: Installs,
        job: &Path,
    ) -> PackageCache {
        let first = match installs {
            Installs::Planned => PackageCacheLayer::new(job.join(PACKAGE_CACHE_DIR)),
            Installs::Remote => self.shared.clone(),
        };
        let specs = packages.iter().map(|package| exactly(&package.record));
        let first = specs.fold(first, PackageCacheLayer::excluding);
        let planned = packages
            .iter()
            .filter_map(|package| self.layer(&package.record));
        PackageCache::from_layers(std::iter::once(first).chain(planned), false)
    }

    /// Shows tests the remote packages of the user's cache.
    ///
    /// `run_test` looks for the package under test in the cache of its process by name alone, and would test whatever package was
    /// there under that name. That cache is therefore a private folder with links to the user's entries, none of which has the
    /// name of a package of the plan. It writes to a temporary cache.
    ///
    /// # Errors
    /// The private cache cannot be written.
    pub(crate) async fn show_remote_packages(&self) -> io::Result<()> {
        let mut shown = self.shown.lock().await;
        let folder = self.private.join(PACKAGE_CACHE_DIR);
        fs_err::create_dir_all(&folder)?;
        let entries = match fs_err::read_dir(self.shared.path()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_string_lossy();
            // An entry is a folder and a file that says what is in it.
            let package = text.strip_suffix(".lock").unwrap_or(&text);
            let is_hidden = package.starts_with('.') || self.names.contains(package);
            if !is_hidden && shown.insert(name.clone()) {
                link(&entry.path(), &folder.join(&name))?;
            }
        }
        Ok(())
    }

    /// Removes what was extracted.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_folder(&self.private)
    }

    /// The cache of one package of the plan.
    fn layer(&self, record: &PackageRecord) -> Option<PackageCacheLayer> {
        let digest = sha256(record)?;
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let layer = planned.entry(digest).or_insert_with(|| {
            let folder = self.private.join("planned").join(digest.to_string());
            PackageCacheLayer::new(folder).with_filter(exactly(record))
        });
        Some(layer.clone())
    }
}

/// The specification that a package of these bytes alone satisfies.
fn exactly(record: &PackageRecord) -> MatchSpec {
    MatchSpec {
        name: PackageNameMatcher::Exact(record.name.clone()),
        sha256: record.sha256,
        ..MatchSpec::default()
    }
}

/// The name of a package's entry in rattler's caches.
fn entry_name(package: &PackageKey) -> String {
    let file = &package.file;
    format!("{}-{}-{}", file.name(), file.version(), file.build())
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs_err::os::unix::fs::symlink(from, to)
}

/// Links need a privilege on Windows: tests download what they need.
#[cfg(not(unix))]
fn link(_from: &Path, _to: &Path) -> io::Result<()> {
    Ok(())
}
