//! A package and its sidecars, put into a folder in CEP-50's order.

use std::path::Path;

use release_manifest::{PackageKey, PublishResult};

use super::Kind;
use super::folder::{Folder, hashed_name};
use crate::channel::{Placed, Upload};
use crate::disk::{self, At, Whole};
use crate::sidecar::{BundleText, SIDECAR_LIMIT, Sidecar};
use crate::{Error, archive};

impl Folder {
    pub(super) fn put(&self, upload: &Upload) -> Result<Placed, Error> {
        let package = &upload.package;
        let path = self.path(package)?;
        let bundles = upload
            .bundles
            .iter()
            .map(|bundle| BundleText::read(bundle, package))
            .collect::<Result<_, _>>()?;
        // Copying takes the time: others may write meanwhile.
        let copy = if self.has(upload)? {
            None
        } else {
            Some(self.copy(upload, &path)?)
        };

        let writing = self.lock()?;
        // Known to be writable before the package appears.
        let sidecar = self.next_sidecar(package, bundles)?;
        disk::create_folder(&self.subdir(package.subdir))?;
        let result = match copy {
            Some(copy) if !self.has(upload)? => self.place(copy, upload)?,
            Some(_) | None => PublishResult::Identical,
        };
        self.write_sidecar(package, sidecar.as_ref())?;
        disk::sync_folder(&self.subdir(package.subdir))?;
        drop(writing);

        Ok(Placed {
            url: url(&path),
            sidecar_sha256: sidecar.map(|sidecar| sidecar.sha256()),
            result,
        })
    }

    /// Whether the channel has this package already, with these bytes. Other bytes in a target are an error.
    fn has(&self, upload: &Upload) -> Result<bool, Error> {
        match (self.lookup(&upload.package)?, self.kind) {
            (Some(there), _) if there == upload.sha256 => Ok(true),
            (None, _) | (Some(_), Kind::Rehearsal) => Ok(false),
            (Some(there), Kind::Target(_)) => Err(Error::Conflict {
                package: Box::new(upload.package.clone()),
                there,
                here: upload.sha256,
            }),
        }
    }

    fn copy<'a>(&self, upload: &Upload, name: &'a Path) -> Result<Whole<'a>, Error> {
        let (copy, found) = self.scratch.copy(&upload.source, name)?;
        if found != upload.sha256 {
            return Err(Error::PackageChanged {
                package: Box::new(upload.package.clone()),
                path: upload.source.clone(),
                expected: upload.sha256,
                found,
            });
        }
        archive::check(copy.path(), &upload.source, &upload.package)?;
        Ok(copy)
    }

    fn place(&self, copy: Whole<'_>, upload: &Upload) -> Result<PublishResult, Error> {
        match self.kind {
            Kind::Rehearsal => copy.replace()?,
            Kind::Target(_) => {
                if !copy.create()? {
                    // Another program that doesn't know our lock took the name just now.
                    return Err(std::io::ErrorKind::AlreadyExists.into())
                        .at("write", &self.path(&upload.package)?);
                }
            }
        }
        self.hashed().insert(upload.package.clone(), upload.sha256);
        Ok(PublishResult::Uploaded)
    }

    /// The sidecar that a package is to have: what there is and what is new; in a mirror, exactly what is given.
    fn next_sidecar(
        &self,
        package: &PackageKey,
        bundles: Vec<BundleText>,
    ) -> Result<Option<Sidecar>, Error> {
        let there = match self.kind {
            Kind::Rehearsal => None,
            Kind::Target(_) => read_sidecar(&self.sidecar(package)?)?,
        };
        let sidecar = Sidecar::with(there, bundles);
        match sidecar
            .as_ref()
            .map(|sidecar| sidecar.as_bytes().len() as u64)
        {
            Some(size) if size > SIDECAR_LIMIT => Err(Error::SidecarFull {
                package: Box::new(package.clone()),
                size,
            }),
            _ => Ok(sidecar),
        }
    }

    /// The hashed sidecar first, then the mutable one (CEP-50). What is right already is left alone.
    fn write_sidecar(&self, package: &PackageKey, sidecar: Option<&Sidecar>) -> Result<(), Error> {
        let mutable = self.sidecar(package)?;
        let Some(sidecar) = sidecar else {
            if self.kind == Kind::Rehearsal {
                disk::remove(&mutable)?;
            }
            return Ok(());
        };
        let hashed = hashed_name(&mutable, sidecar.sha256());
        match disk::hash(&hashed)? {
            Some(found) if found == sidecar.sha256() => {}
            Some(found) if self.kind != Kind::Rehearsal => {
                return Err(Error::Sidecar {
                    path: hashed,
                    reason: format!("its content has the sha256 {found}"),
                });
            }
            Some(_) | None => self.scratch.write(sidecar.as_bytes(), &hashed)?.replace()?,
        }
        if disk::hash(&mutable)? != Some(sidecar.sha256()) {
            self.scratch
                .write(sidecar.as_bytes(), &mutable)?
                .replace()?;
        }
        Ok(())
    }
}

/// Where clients of this machine find a file.
pub(super) fn url(path: &Path) -> String {
    url::Url::from_file_path(path).map_or_else(|()| path.display().to_string(), String::from)
}

/// Reads a mutable sidecar; `None` where there is none.
pub(super) fn read_sidecar(path: &Path) -> Result<Option<Sidecar>, Error> {
    let Some(bytes) = disk::read(path, SIDECAR_LIMIT)? else {
        return Ok(None);
    };
    Sidecar::parse(&bytes)
        .map(Some)
        .map_err(|reason| Error::Sidecar {
            path: path.to_owned(),
            reason,
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use release_manifest::Mode;
    use tempfile::tempdir;

    use super::*;
    use crate::fixture::upload;

    #[test]
    fn a_name_taken_at_the_last_moment_is_not_taken_over() {
        let (sources, root) = (tempdir().unwrap(), tempdir().unwrap());
        let folder = Folder::open(root.path(), Kind::Target(Mode::Live)).unwrap();
        let upload = upload(sources.path(), "noarch/a-1-0.conda", "ours");
        let path = folder.path(&upload.package).unwrap();
        let copy = folder.copy(&upload, &path).unwrap();
        // By a program that doesn't know our lock.
        fs::write(&path, "theirs").unwrap();
        assert_eq!(folder.place(copy, &upload).unwrap_err().code(), "io");
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
    }
}
