//! What a build job handed over, as the jobs after it take it.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use cep27::Sha256;
use fs_err as fs;
use release_manifest::{
    DOCUMENT_LIMIT, Digest, Manifest, Mode, Package, PackageKey, PlannedShard, Progress, Shard,
};

use super::{
    Assignment, DigestArgs, MANIFEST,
    copy::{self, Content, copy},
};
use crate::error::Error;

/// Most bytes of a log.
const LOG_LIMIT: u64 = 1 << 30;

/// A shard's manifest, which may be believed as far as [`Manifest::merge`] takes it, and where its files are.
#[derive(Debug)]
pub(crate) struct Handed {
    /// The packages that were its to build.
    pub(crate) planned: PlannedShard,
    /// What it says.
    pub(crate) manifest: Manifest,
    folder: PathBuf,
    path: PathBuf,
}

/// Reads what build jobs handed over, by the number of the shard: manifests, the folders that hold
/// one, or folders of such folders.
///
/// # Errors
/// One is not of the plan, tells of what wasn't its to build, is there twice or not the one whose
/// digest was given; live, one has no digest.
pub(crate) fn read_all(
    paths: &[PathBuf],
    assignment: &Assignment,
    digests: &DigestArgs,
) -> Result<BTreeMap<u32, Handed>, Error> {
    let mut all: BTreeMap<u32, Handed> = BTreeMap::new();
    for path in manifests(paths)? {
        let handed = Handed::read(&path, assignment, digests)?;
        let number = handed.planned.shard;
        if let Some(first) = all.get(&number) {
            let what = format!(
                "shard {number} is there twice, also as `{}`",
                first.path.display()
            );
            return Err(Error::Shard { path, what });
        }
        all.insert(number, handed);
    }
    Ok(all)
}

/// The manifests that are meant.
fn manifests(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let own = path.join(MANIFEST);
        if is_there(&own) {
            found.push(own);
            continue;
        }
        let failed = || Error::output("read", path);
        let mut inner = Vec::new();
        for entry in fs::read_dir(path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let manifest = entry.path().join(MANIFEST);
            // A link to a folder is none that a job handed over.
            let is_folder = entry.file_type().map_err(failed())?.is_dir();
            if is_folder && is_there(&manifest) {
                inner.push(manifest);
            }
        }
        inner.sort();
        found.extend(inner);
    }
    Ok(found)
}

impl Handed {
    fn read(path: &Path, assignment: &Assignment, digests: &DigestArgs) -> Result<Self, Error> {
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let name = path.file_name().unwrap_or_default();
        let bytes = copy::read(&folder, name.as_ref(), DOCUMENT_LIMIT)
            .map_err(Error::output("read", path))?;
        let manifest = Manifest::from_json(&bytes).map_err(Error::shard(path))?;
        let refused = |what: String| Error::Shard {
            path: path.to_owned(),
            what,
        };
        let Some(number) = manifest.shard else {
            return Err(refused("it is the manifest of no shard".to_owned()));
        };
        let shards = &assignment.shards;
        let planned = shards.shard(number).map_err(Error::shard(path))?.clone();
        let found = Digest::of(&bytes);
        match digests.of(number)? {
            Some(expected) if expected != found => {
                return Err(refused(format!(
                    "the job that built shard {number} said {expected}, found {found}"
                )));
            }
            None if assignment.plan.mode == Mode::Live => {
                return Err(refused(format!(
                    "for real, shard {number} is taken with the digest that its job printed: give it with --digest or --digests"
                )));
            }
            _ => {}
        }
        let handed = Self {
            planned,
            manifest,
            folder,
            path: path.to_owned(),
        };
        // Each by itself, so that the one at fault is named.
        Manifest::merge(&assignment.plan, [handed.as_shard()]).map_err(Error::shard(path))?;
        Ok(handed)
    }

    /// The shard, to be merged.
    pub(crate) fn as_shard(&self) -> Shard<'_> {
        Shard {
            packages: &self.planned.packages,
            manifest: &self.manifest,
        }
    }

    /// The packages that it built.
    pub(crate) fn built(&self) -> impl Iterator<Item = &Package> {
        let is_built = |package: &&Package| package.progress >= Progress::Built;
        self.manifest.packages().iter().filter(is_built)
    }

    /// The digest of a package that it built.
    pub(crate) fn digest(&self, package: &PackageKey) -> Option<Sha256> {
        let package = self.manifest.package(package)?;
        package
            .sha256
            .filter(|_| package.progress >= Progress::Built)
    }

    /// Copies a package that it built to `OUTPUT/<mode>`: nothing but the bytes that it told of.
    ///
    /// # Errors
    /// The file is missing, no file, or another.
    pub(crate) fn copy_package(&self, key: &PackageKey, output: &Path) -> Result<(), Error> {
        let told = self.manifest.package(key);
        let told = told.and_then(|it| Some((it.sha256?, it.size?)));
        let Some((sha256, size)) = told else {
            let error = io::Error::other("its manifest does not tell of the package");
            return Err(Error::output("copy", self.folder.join(key.to_string()))(
                error,
            ));
        };
        let path = key.under(Path::new("packages"));
        let to = output.join(&path);
        copy(&self.folder, &path, &to, &Content::Known { sha256, size })
            .map_err(Error::output("copy", self.folder.join(&path)))
    }

    /// Copies the log of a package to `OUTPUT/<mode>`, where it has one.
    ///
    /// # Errors
    /// The file is missing, no file, or too large.
    pub(crate) fn copy_log(&self, package: &Package, output: &Path) -> Result<(), Error> {
        let Some(log) = &package.log else {
            return Ok(());
        };
        let path = log.under(Path::new(""));
        self.copy_text(&path, output)
            .map_err(Error::output("copy", self.folder.join(&path)))
    }

    /// Copies to `OUTPUT/<mode>` the logs of what failed, of which `shown` says why (see [`Manifest::with_reasons`]). One
    /// that could not be written is none.
    ///
    /// # Errors
    /// One is no file, or too large.
    pub(crate) fn copy_logs_of_failures(
        &self,
        shown: &Manifest,
        output: &Path,
    ) -> Result<(), Error> {
        let packages = self.planned.packages.iter();
        let errors = packages.filter_map(|key| shown.package(key)?.error.as_ref());
        for log in errors.filter_map(|error| error.log.as_ref()) {
            let path = log.under(Path::new(""));
            match self.copy_text(&path, output) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => copied.map_err(Error::output("copy", self.folder.join(&path)))?,
            }
        }
        Ok(())
    }

    fn copy_text(&self, path: &Path, output: &Path) -> io::Result<()> {
        let to = output.join(path);
        copy(&self.folder, path, &to, &Content::AtMost(LOG_LIMIT))
    }
}
