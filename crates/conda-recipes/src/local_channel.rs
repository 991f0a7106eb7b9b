//! The local build channel, `OUTPUT/<mode>/packages`: exactly the good packages of the current plan, first among the channels.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use cep27::{FileName, Subdir};
use rattler_build_core::{
    metadata::{BuildConfiguration, build_reindexed_channels},
    tool_configuration::Configuration,
};
use rattler_conda_types::ChannelUrl;
use release_manifest::PackageKey;

use crate::remove::remove_folder;

/// How the names of archives begin that rattler-build is still writing.
const UNFINISHED: &str = ".tmp";

/// The folder `packages`, with what rattler-build keeps beside the subdirs.
pub(crate) struct LocalChannel {
    root: PathBuf,
    broken: PathBuf,
}

impl LocalChannel {
    /// The channel of `output`, which is `OUTPUT/<mode>`.
    pub(crate) fn new(output: &Path) -> Self {
        Self {
            root: output.join("packages"),
            broken: output.join("broken"),
        }
    }

    /// Where a package is.
    pub(crate) fn path(&self, package: &PackageKey) -> PathBuf {
        path_in(&self.root, package)
    }

    /// Removes every package but those of `keep`, with the files that belong to it (its bundle, its sidecars), and what failed
    /// or killed builds and staging outputs of earlier runs left.
    ///
    /// `rattler_index` keeps the record of a file whose name it knows. So the old file goes before the index is made, and the
    /// record with it: a rebuilt package gets its own. Staging results go because their cache key does not know the sources.
    pub(crate) fn retain(&self, keep: &BTreeSet<PackageKey>) -> io::Result<()> {
        for folder in ["bld", "build_cache", "test"] {
            remove_folder(&self.root.join(folder))?;
        }
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

    /// Indexes the channel and returns all channels, this one first.
    ///
    /// The records lose `indexed_timestamp`: rattler-build writes the records of host dependencies into the packages it makes,
    /// and a wall-clock time would make every package different from the one built before.
    pub(crate) async fn refresh(
        &self,
        configuration: &BuildConfiguration,
        tool: &Configuration,
    ) -> io::Result<Vec<ChannelUrl>> {
        let channels = build_reindexed_channels(configuration, tool).await?;
        let _indexing = tool.output_dir_lock.lock().await;
        for (_, folder) in subdirs(&self.root)? {
            forget_index_times(&folder.join("repodata.json"))?;
        }
        Ok(channels)
    }

    /// Moves a package that must not be used to `broken/<subdir>/`; `false` when there is none.
    pub(crate) fn set_aside(&self, package: &PackageKey) -> io::Result<bool> {
        let from = self.path(package);
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
        path_in(&self.broken, package)
    }

    /// Forgets the package that an earlier run set aside.
    pub(crate) fn forget_broken(&self, package: &PackageKey) -> io::Result<()> {
        match fs_err::remove_file(self.path_of_broken(package)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn path_in(root: &Path, package: &PackageKey) -> PathBuf {
    root.join(package.subdir.to_string())
        .join(package.file.to_string())
}

/// The platform folders of a channel.
fn subdirs(root: &Path) -> io::Result<Vec<(Subdir, PathBuf)>> {
    let entries = match fs_err::read_dir(root) {
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

fn forget_index_times(repodata: &Path) -> io::Result<()> {
    let text = match fs_err::read(repodata) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut document: serde_json::Value = serde_json::from_slice(&text)?;
    let mut changed = false;
    for section in ["packages", "packages.conda"] {
        let records = document
            .get_mut(section)
            .and_then(|section| section.as_object_mut());
        for record in records.into_iter().flat_map(|records| records.values_mut()) {
            let time = record
                .as_object_mut()
                .and_then(|record| record.remove("indexed_timestamp"));
            changed |= time.is_some();
        }
    }
    if changed {
        let new = repodata.with_extension("json.new");
        fs_err::write(&new, serde_json::to_vec_pretty(&document)?)?;
        fs_err::rename(new, repodata)?;
    }
    Ok(())
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
        fs_err::create_dir_all(output.path().join("packages/build_cache/staging_0")).unwrap();
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
        LocalChannel::new(output.path())
            .retain(&BTreeSet::from([key("noarch/a-1-0.conda")]))
            .unwrap();
        let mut left: Vec<_> = fs_err::read_dir(noarch)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["a-1-0.conda", "repodata.json"]);
        assert!(!output.path().join("packages/build_cache").exists());
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
