use std::path::{Path, PathBuf};

use cep27::{Sha256, Subdir};
use release_manifest::PackageKey;

use crate::repodata::{REPODATA, Record, Repodata};
use crate::sidecar::{SIDECAR_LIMIT, Sidecar};
use crate::{Error, disk};

/// Reads a channel in a folder as conda clients do: through its repodata. Writes nothing.
#[derive(Debug, Clone)]
pub struct ChannelReader {
    root: PathBuf,
}

/// A package that a channel's repodata lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its subdir and file name.
    pub package: PackageKey,
    /// Where its file is to be.
    pub path: PathBuf,
    /// The hash that the repodata has for it.
    pub sha256: Option<Sha256>,
}

impl ChannelReader {
    /// Opens a channel: a folder with a `noarch/repodata.json`, which CEP-26 asks of each.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let reader = Self {
            root: root.to_owned(),
        };
        match Repodata::read(&reader.folder(Subdir::NOARCH))? {
            Some(_) => Ok(reader),
            None => Err(Error::Repodata {
                path: reader.folder(Subdir::NOARCH).join(REPODATA),
                reason: "it is not there".to_owned(),
            }),
        }
    }

    /// Every package that the repodata lists, sorted.
    pub fn packages(&self) -> Result<Vec<Listed>, Error> {
        let mut packages = Vec::new();
        for subdir in Subdir::ALL.iter().copied() {
            let folder = self.folder(subdir);
            let Some(repodata) = Repodata::read(&folder)? else {
                continue;
            };
            for (name, record) in repodata.records() {
                let invalid = |reason: String| Error::Repodata {
                    path: folder.join(REPODATA),
                    reason,
                };
                let file = name
                    .parse()
                    .map_err(|error: cep27::NameError| invalid(error.to_string()))?;
                let sha256 = match &record.sha256 {
                    None => None,
                    Some(text) => Some(text.parse().map_err(|_| {
                        invalid(format!(
                            "the sha256 of {name} is not one: {}",
                            cep27::printable(text)
                        ))
                    })?),
                };
                packages.push(Listed {
                    package: PackageKey { subdir, file },
                    path: folder.join(name),
                    sha256,
                });
            }
        }
        packages.sort_by(|a, b| a.package.cmp(&b.package));
        Ok(packages)
    }

    /// The attestations that the repodata advertises for a package; `None` where it advertises none.
    ///
    /// CEP-50: found through repodata only and read under the hashed name, whose bytes never change; a malformed
    /// hash is refused before a path is made of it; the size is capped while reading, the hash checked before
    /// parsing. Attestations that are advertised but unusable are an error, never "none".
    pub fn sidecar(&self, package: &PackageKey) -> Result<Option<Sidecar>, Error> {
        let folder = self.folder(package.subdir);
        let repodata = Repodata::read(&folder)?;
        let Some(record) = repodata
            .as_ref()
            .and_then(|repodata| repodata.record(package))
        else {
            return Err(Error::NotListed {
                package: Box::new(package.clone()),
                channel: self.root.clone(),
            });
        };
        let Some(sha256) = advertised(record, package)? else {
            return Ok(None);
        };

        let unusable = |reason: String| Error::Advertised {
            package: Box::new(package.clone()),
            reason,
        };
        let name = format!("{}.sigs.{sha256}", package.file);
        let bytes = disk::read(&folder.join(&name), SIDECAR_LIMIT)?
            .ok_or_else(|| unusable(format!("{name} is not there")))?;
        if bytes.len() as u64 > SIDECAR_LIMIT {
            return Err(unusable(format!(
                "{name} is larger than {SIDECAR_LIMIT} bytes"
            )));
        }
        let found = disk::hash_of(&bytes);
        if found != sha256 {
            return Err(unusable(format!("{name} has the sha256 {found}")));
        }
        Sidecar::parse(&bytes)
            .map(Some)
            .map_err(|reason| unusable(format!("{name}: {reason}")))
    }

    fn folder(&self, subdir: Subdir) -> PathBuf {
        self.root.join(subdir.as_str())
    }
}

fn advertised(record: &Record, package: &PackageKey) -> Result<Option<Sha256>, Error> {
    let Some(value) = &record.attestations_sha256 else {
        return Ok(None);
    };
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| Error::AttestationsHash {
            package: Box::new(package.clone()),
            found: cep27::printable(&value.to_string()),
        })
}
