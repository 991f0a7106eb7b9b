//! Reading a channel as conda clients do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cep27::Subdir;
use release_manifest::{Digest, PackageKey};

use crate::Error;
use crate::disk::{self, At as _};
use crate::file::release;
use crate::repodata::{Listed, REPODATA, Repodata};
use crate::sidecar::{self, SIDECAR_LIMIT, Sidecar};

/// Reads a channel in a folder as conda clients do: through its repodata. Writes nothing.
///
/// It sees the repodata as it was when it was opened.
#[derive(Debug)]
pub struct ChannelReader {
    root: PathBuf,
    repodata: BTreeMap<Subdir, Repodata>,
}

impl ChannelReader {
    /// Opens a channel: a folder with a `noarch/repodata.json`, which CEP-26 asks of each.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::find(root)?.ok_or_else(|| Error::RepodataMissing {
            at: noarch_repodata(root).display().to_string(),
            beside: None,
        })
    }

    /// Opens a channel; `None` where nothing was published yet: the folder is missing, or no subdir of it has content.
    ///
    /// # Errors
    /// Part of a channel is there without its `noarch/repodata.json`, or repodata is unreadable or invalid: never taken
    /// for an empty channel.
    pub fn find(root: &Path) -> Result<Option<Self>, Error> {
        let mut repodata = BTreeMap::new();
        for subdir in Subdir::ALL.iter().copied() {
            if let Some(found) = Repodata::read(&root.join(subdir.as_str()))? {
                repodata.insert(subdir, found);
            }
        }
        if repodata.contains_key(&Subdir::NOARCH) {
            return Ok(Some(Self {
                root: root.to_owned(),
                repodata,
            }));
        }
        match first_content(root)? {
            None => Ok(None),
            Some(found) => Err(Error::RepodataMissing {
                at: noarch_repodata(root).display().to_string(),
                beside: Some(found.display().to_string()),
            }),
        }
    }

    /// Checks that every subdir with packages has repodata: without it, a list of the packages is not complete.
    ///
    /// # Errors
    /// A subdir has packages and no repodata, as where its index was lost or its publisher was killed; a folder cannot be read.
    pub fn check_indexed(&self) -> Result<(), Error> {
        for subdir in Subdir::ALL.iter().copied() {
            let folder = self.folder(subdir);
            if self.repodata.contains_key(&subdir) || !disk::folder(&folder)? {
                continue;
            }
            for entry in fs::read_dir(&folder).at("list", &folder)? {
                let entry = entry.at("list", &folder)?;
                let name = entry.file_name();
                if name.to_string_lossy().parse::<cep27::FileName>().is_ok() {
                    return Err(Error::RepodataMissing {
                        at: folder.join(REPODATA).display().to_string(),
                        beside: Some(entry.path().display().to_string()),
                    });
                }
            }
        }
        Ok(())
    }

    /// Every package that the repodata lists, sorted; a record that names none is an error of its own.
    pub fn packages(&self) -> impl Iterator<Item = Result<Listed, Error>> {
        self.repodata.iter().flat_map(|(&subdir, repodata)| {
            let at = self.folder(subdir).join(REPODATA);
            repodata.packages(subdir, at.display().to_string())
        })
    }

    /// Where the file of a package is to be.
    #[must_use]
    pub fn path(&self, package: &PackageKey) -> PathBuf {
        package.under(&self.root)
    }

    /// The attestations that the repodata advertises for a package; `None` where it advertises none.
    ///
    /// CEP-50: found through repodata only and read under the hashed name, whose bytes never change; a malformed
    /// hash is refused before a path is made of it; the size is capped while reading, the hash checked before
    /// parsing. Attestations that are advertised but unusable are an error, never "none".
    pub fn sidecar(&self, package: &PackageKey) -> Result<Option<Sidecar>, Error> {
        let repodata = self.repodata.get(&package.subdir);
        let Some(record) = repodata.and_then(|repodata| repodata.record(package)) else {
            return Err(Error::NotListed {
                package: Box::new(package.clone()),
                channel: self.root.display().to_string(),
            });
        };
        let Some(sha256) = record.advertised(package)? else {
            return Ok(None);
        };

        let unusable = |reason: String| Error::Advertised {
            package: Box::new(package.clone()),
            reason,
        };
        let name = sidecar::hashed_name(package, sha256);
        let bytes = disk::read(&self.folder(package.subdir).join(&name), SIDECAR_LIMIT)?
            .ok_or_else(|| unusable(format!("{name} is not there")))?;
        Sidecar::parse_hashed(&bytes, sha256)
            .map(Some)
            .map_err(|reason| unusable(format!("{name}: {reason}")))
    }

    /// The plans whose releases the channel keeps, the newest release first.
    pub fn kept(&self) -> Result<Vec<Digest>, Error> {
        release::kept(&self.root)
    }

    /// The bytes of the release manifest of a plan; `None` where there is none.
    pub fn manifest(&self, plan: Digest) -> Result<Option<Vec<u8>>, Error> {
        release::manifest(&self.root, plan)
    }

    fn folder(&self, subdir: Subdir) -> PathBuf {
        self.root.join(subdir.as_str())
    }
}

fn noarch_repodata(root: &Path) -> PathBuf {
    root.join(Subdir::NOARCH.as_str()).join(REPODATA)
}

/// Something in a subdir of a folder; `None` where every subdir is missing or empty.
///
/// A link to a missing folder, such as one on a volume that is not mounted, is an error and not a missing subdir.
fn first_content(root: &Path) -> Result<Option<PathBuf>, Error> {
    let is_dangling = root.is_symlink() && !root.try_exists().at("read", root)?;
    if is_dangling {
        return Err(Error::Link {
            path: root.to_owned(),
        });
    }
    for subdir in Subdir::ALL {
        let path = root.join(subdir.as_str());
        if !disk::folder(&path)? {
            continue;
        }
        if let Some(entry) = fs::read_dir(&path).at("list", &path)?.next() {
            return entry.at("list", &path).map(|entry| Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use cep27::Sha256;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture::key;

    const NAME: &str = "foo-1-0.conda";

    #[test]
    fn packages_without_repodata_are_no_empty_subdir() {
        let folder = channel(json!({}));
        let reader = ChannelReader::open(folder.path()).unwrap();
        reader.check_indexed().unwrap();
        let subdir = folder.path().join("linux-64");
        fs::create_dir(&subdir).unwrap();
        reader.check_indexed().unwrap();
        fs::write(subdir.join(NAME), "").unwrap();
        let error = reader.check_indexed().unwrap_err();
        assert_eq!(error.code(), "repodata_missing", "{error}");
    }

    /// A channel whose only record is this.
    fn channel(record: Value) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("noarch")).unwrap();
        let repodata = json!({"packages.conda": {NAME: record}}).to_string();
        fs::write(root.path().join("noarch/repodata.json"), repodata).unwrap();
        root
    }

    fn sidecar(root: &Path) -> Result<Option<Sidecar>, Error> {
        ChannelReader::open(root)
            .unwrap()
            .sidecar(&key("noarch/foo-1-0.conda"))
    }

    #[test]
    fn a_malformed_hash_is_refused_before_a_path_is_made_of_it() {
        let hex = "a".repeat(64);
        for value in [
            json!("../../../etc/passwd"),
            json!(hex.to_uppercase()),
            json!(hex[1..]),
            json!(7),
            json!(null),
            json!(""),
        ] {
            let root = channel(json!({"attestations_sha256": value}));
            let error = sidecar(root.path()).unwrap_err();
            assert_eq!(error.code(), "attestations_hash_malformed");
            assert!(
                error.to_string().contains("noarch/foo-1-0.conda"),
                "{error}"
            );
        }
    }

    #[test]
    fn advertised_but_unusable_is_never_none() {
        let write = |content: &[u8], advertised: Option<Sha256>| {
            let sha256 = advertised.unwrap_or_else(|| disk::hash_of(content));
            let root = channel(json!({"attestations_sha256": sha256}));
            fs::write(
                root.path().join(format!("noarch/{NAME}.sigs.{sha256}")),
                content,
            )
            .unwrap();
            root
        };
        assert_eq!(
            sidecar(write(b"[{}]", None).path())
                .unwrap()
                .unwrap()
                .bundles()
                .collect::<Vec<_>>(),
            ["{}"]
        );
        let absent = channel(json!({"attestations_sha256": "a".repeat(64)}));
        for (root, expected) in [
            (absent, "is not there"),
            (
                write(b"[{}]", Some(disk::hash_of(b"other"))),
                "it has the sha256",
            ),
            (write(b"{}", None), "it is not a JSON array"),
            (
                write(&vec![b' '; SIDECAR_LIMIT as usize + 2], None),
                "it is larger than 4194304 bytes",
            ),
        ] {
            let error = sidecar(root.path()).unwrap_err();
            assert_eq!(error.code(), "attestations_unusable");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn none_means_that_none_are_advertised() {
        assert_eq!(sidecar(channel(json!({})).path()).unwrap(), None);
        // The mutable sidecar alone is nothing that clients look for.
        let root = channel(json!({}));
        fs::write(root.path().join(format!("noarch/{NAME}.sigs")), "[{}]").unwrap();
        assert_eq!(sidecar(root.path()).unwrap(), None);
    }

    #[test]
    fn a_package_that_is_not_listed_is_an_error() {
        let root = channel(json!({}));
        let error = ChannelReader::open(root.path())
            .unwrap()
            .sidecar(&key("linux-64/foo-1-0.conda"))
            .unwrap_err();
        assert_eq!(error.code(), "not_listed");
    }

    #[test]
    fn records_of_the_third_revision_count() {
        let root = channel(json!({}));
        let repodata =
            json!({"v3": {"conda": {"bar-1-0": {"sha256": "b".repeat(64)}}}}).to_string();
        fs::write(root.path().join("noarch/repodata.json"), repodata).unwrap();
        let listed = ChannelReader::open(root.path())
            .unwrap()
            .packages()
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        assert_eq!(listed[0].package, key("noarch/bar-1-0.conda"));
    }

    #[test]
    fn a_folder_without_noarch_repodata_is_no_channel() {
        let root = tempfile::tempdir().unwrap();
        let error = ChannelReader::open(root.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("noarch/repodata.json is missing"),
            "{error}"
        );
    }

    #[test]
    fn only_a_folder_without_content_is_a_new_channel() {
        let root = tempfile::tempdir().unwrap();
        let code = |root: &Path| ChannelReader::find(root).map_err(|error| error.code());
        let missing = root.path().join("missing");
        for new in [root.path(), &missing] {
            assert!(code(new).unwrap().is_none());
        }
        // What an interrupted first run leaves.
        fs::create_dir_all(root.path().join(".conda-release/tmp")).unwrap();
        fs::create_dir(root.path().join("noarch")).unwrap();
        assert!(code(root.path()).unwrap().is_none());

        let linux = root.path().join("linux-64");
        fs::create_dir(&linux).unwrap();
        fs::write(linux.join("repodata.json"), r#"{"packages": {}}"#).unwrap();
        assert_eq!(code(root.path()).unwrap_err(), "repodata_missing");
        fs::remove_file(linux.join("repodata.json")).unwrap();
        fs::write(linux.join("foo-1-0.conda"), "").unwrap();
        assert_eq!(code(root.path()).unwrap_err(), "repodata_missing");

        let noarch = root.path().join("noarch/repodata.json");
        for garbage in ["<html>", "", "[]", r#"{"error": 1}"#, r#"{"packages": {"#] {
            fs::write(&noarch, garbage).unwrap();
            assert_eq!(
                code(root.path()).unwrap_err(),
                "repodata_invalid",
                "{garbage}"
            );
        }
        fs::write(&noarch, "{}").unwrap();
        assert!(code(root.path()).unwrap().is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_missing_folder_is_no_new_channel() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("channel");
        std::os::unix::fs::symlink(folder.path().join("unmounted"), &root).unwrap();
        assert_eq!(ChannelReader::find(&root).unwrap_err().code(), "link");
        fs::remove_file(&root).unwrap();
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(folder.path().join("unmounted"), root.join("noarch")).unwrap();
        assert_eq!(ChannelReader::find(&root).unwrap_err().code(), "link");
    }
}
