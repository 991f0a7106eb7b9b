//! The channel of one job: exactly the packages of the plan that the job waits for.
//!
//! Every build and every test solves against a folder of its own. Nothing is written there while the job runs but what the job
//! itself makes, so a solve neither misses a package that its plan node waits for nor sees one that happened to be finished, and
//! no job waits for the index of another.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use cep27::{Format, Subdir};
use rattler_conda_types::{Channel, ChannelUrl, PackageRecord};
use release_manifest::PackageKey;
use serde::Serialize;

use crate::remove::remove_folder;

/// A package of the local channel with its record.
#[derive(Clone, Debug)]
pub(crate) struct LocalPackage {
    /// Its file.
    pub(crate) path: PathBuf,
    /// Its subdir and file name.
    pub(crate) key: PackageKey,
    /// Its record, digests included.
    pub(crate) record: Arc<PackageRecord>,
}

/// The channel of a job.
#[derive(Debug)]
pub(crate) struct JobChannel {
    folder: PathBuf,
    packages: Vec<LocalPackage>,
}

impl JobChannel {
    /// Makes the channel in `folder`: links to `packages`, and repodata that lists them. Without packages it makes nothing, so that
    /// the job solves against the configured channels alone.
    ///
    /// An earlier job's channel in the folder is removed; other files stay (outputs of one staging output share them).
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn create(folder: PathBuf, packages: Vec<LocalPackage>) -> io::Result<Self> {
        for (_, earlier) in subdirs(&folder)? {
            remove_folder(&earlier)?;
        }
        if packages.is_empty() {
            return Ok(Self { folder, packages });
        }
        for LocalPackage { path, key, .. } in &packages {
            let linked = key.under(&folder);
            if let Some(parent) = linked.parent() {
                fs_err::create_dir_all(parent)?;
            }
            // Not every file system has links.
            if fs_err::hard_link(path, &linked).is_err() {
                fs_err::copy(path, &linked)?;
            }
        }
        write_repodata(
            &folder,
            packages
                .iter()
                .map(|package| (&package.key, &*package.record)),
        )?;
        Ok(Self { folder, packages })
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The packages in it.
    pub(crate) fn packages(&self) -> &[LocalPackage] {
        &self.packages
    }

    /// Removes it.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove_folder(&self.folder)
    }

    /// Its URL; none without packages.
    ///
    /// # Errors
    /// The folder is gone.
    pub(crate) fn url(&self) -> io::Result<Option<ChannelUrl>> {
        if self.packages.is_empty() {
            return Ok(None);
        }
        let channel = Channel::try_from_directory(&self.folder).map_err(io::Error::other)?;
        Ok(Some(channel.base_url))
    }
}

/// The subdirs of a channel in a folder, which need not exist.
pub(crate) fn subdirs(channel: &Path) -> io::Result<Vec<(Subdir, PathBuf)>> {
    let entries = match fs_err::read_dir(channel) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut subdirs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(subdir) = entry.file_name().to_string_lossy().parse()
            && entry.file_type()?.is_dir()
        {
            subdirs.push((subdir, entry.path()));
        }
    }
    Ok(subdirs)
}

/// Writes `<subdir>/repodata.json` for every subdir of `records`, and for `noarch`, which every channel has (CEP-26).
///
/// The records have no `indexed_timestamp`: rattler-build writes the records of host dependencies into the packages that it
/// makes, and the time of the day would make every package different from the one built before.
pub(crate) fn write_repodata<'a>(
    channel: &Path,
    records: impl IntoIterator<Item = (&'a PackageKey, &'a PackageRecord)>,
) -> io::Result<()> {
    let mut subdirs = BTreeMap::from([(Subdir::NOARCH, Repodata::new(Subdir::NOARCH))]);
    for (key, record) in records {
        let repodata = subdirs
            .entry(key.subdir)
            .or_insert_with(|| Repodata::new(key.subdir));
        let list = match key.file.format() {
            Format::Conda => &mut repodata.conda,
            Format::TarBz2 => &mut repodata.tar_bz2,
        };
        list.insert(key.file.to_string(), record);
    }
    for (subdir, repodata) in subdirs {
        let folder = channel.join(subdir.as_str());
        fs_err::create_dir_all(&folder)?;
        let new = folder.join(".tmp-repodata.json");
        fs_err::write(&new, serde_json::to_vec(&repodata)?)?;
        fs_err::rename(new, folder.join("repodata.json"))?;
    }
    Ok(())
}

/// The repodata of a subdir.
#[derive(Serialize)]
struct Repodata<'a> {
    info: Info,
    #[serde(rename = "packages")]
    tar_bz2: BTreeMap<String, &'a PackageRecord>,
    #[serde(rename = "packages.conda")]
    conda: BTreeMap<String, &'a PackageRecord>,
    repodata_version: u64,
}

#[derive(Serialize)]
struct Info {
    subdir: &'static str,
}

impl Repodata<'_> {
    fn new(subdir: Subdir) -> Self {
        Self {
            info: Info {
                subdir: subdir.as_str(),
            },
            tar_bz2: BTreeMap::new(),
            conda: BTreeMap::new(),
            repodata_version: 1,
        }
    }
}
