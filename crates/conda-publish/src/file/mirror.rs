//! What sets a mirror of the current plan apart: it forgets.

use std::collections::BTreeSet;

use release_manifest::PackageKey;

use super::Kind;
use super::folder::{Folder, hashed_name, sidecar_of};
use super::index::{files, owner};
use crate::{Error, disk};

impl Folder {
    /// Removes every package that is not in `packages`, with its sidecars.
    pub(super) fn retain(&self, packages: &BTreeSet<PackageKey>) -> Result<(), Error> {
        if self.kind != Kind::Rehearsal {
            return Err(Error::NotAMirror {
                path: self.root.clone(),
            });
        }
        let writing = self.lock()?;
        for subdir in self.subdirs()? {
            for file in files(&self.subdir(subdir))? {
                let Some(package) = owner(&file.name) else {
                    continue;
                };
                let kept = package
                    .parse()
                    .is_ok_and(|file| packages.contains(&PackageKey { subdir, file }));
                if !kept {
                    disk::remove(&file.path)?;
                }
            }
        }
        self.hashed()
            .retain(|package, _| packages.contains(package));
        drop(writing);
        Ok(())
    }

    /// Removes from a mirror the sidecars that no record advertises any more.
    pub(super) fn prune(&self) -> Result<(), Error> {
        if self.kind != Kind::Rehearsal {
            return Ok(());
        }
        for subdir in self.subdirs()? {
            let path = self.subdir(subdir);
            for file in files(&path)? {
                let Some(package) = owner(&file.name).filter(|package| *package != file.name)
                else {
                    continue;
                };
                let mutable = sidecar_of(&path.join(package));
                let is_current = path.join(package).exists()
                    && match disk::hash(&mutable)? {
                        Some(sha256) => {
                            file.path == mutable || file.path == hashed_name(&mutable, sha256)
                        }
                        None => false,
                    };
                if !is_current {
                    disk::remove(&file.path)?;
                }
            }
        }
        Ok(())
    }
}
