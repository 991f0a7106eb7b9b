//! The manifest of a release in a folder.

use std::cmp::Reverse;
use std::path::Path;

use release_manifest::{Digest, MANIFEST_NAME, PublishResult};
use url::Url;

use super::Kind;
use super::folder::Folder;
use super::index::files;
use crate::disk::{self, At as _};
use crate::release::{LIMIT, RELEASES, plan_of};
use crate::{Error, ReleasePlaced, ReleaseUpload};

/// The plans whose releases the channel in a folder keeps, the newest release first.
pub(crate) fn kept(root: &Path) -> Result<Vec<Digest>, Error> {
    let releases = root.join(RELEASES);
    if !disk::folder(&releases)? {
        return Ok(Vec::new());
    }
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(&releases).at("list", &releases)? {
        let entry = entry.at("list", &releases)?;
        let Some(plan) = entry.file_name().to_str().and_then(plan_of) else {
            continue;
        };
        let path = entry.path().join(MANIFEST_NAME);
        // A killed run leaves the folder of a release without its manifest.
        if let Some(manifest) = disk::open(&path)? {
            let modified = manifest.metadata().and_then(|it| it.modified());
            kept.push((Reverse(modified.at("read", &path)?), plan));
        }
    }
    kept.sort();
    Ok(kept.into_iter().map(|(_, plan)| plan).collect())
}

/// The bytes of the release manifest of a plan; `None` where there is none.
pub(crate) fn manifest(root: &Path, plan: Digest) -> Result<Option<Vec<u8>>, Error> {
    let folder = root.join(RELEASES).join(plan.sha256().to_string());
    disk::read(&folder.join(MANIFEST_NAME), LIMIT)
}

impl Folder {
    /// Writes the documents of a release in their order, unless another release of its plan has its name. A mirror of
    /// the current plan has that of the current plan, and no other.
    pub(super) fn put_release(&self, release: &ReleaseUpload) -> Result<ReleasePlaced, Error> {
        let documents = release.read()?;
        let writing = self.lock()?;
        let releases = self.root.join(RELEASES);
        let folder = releases.join(release.folder());
        disk::create_folder(&releases)?;
        disk::create_folder(&folder)?;
        let [(manifest, _), _] = &documents;
        let path = folder.join(manifest);
        let url = Url::from_file_path(&path).map(String::from);
        let mut placed = ReleasePlaced::at(url.unwrap_or_else(|()| path.display().to_string()));
        for (name, bytes) in &documents {
            let document = self.place_document(&folder.join(name), bytes)?;
            if placed.add(document).is_break() {
                break;
            }
        }
        disk::sync_folder(&folder)?;
        if self.kind == Kind::Rehearsal {
            forget_others(&releases, &release.folder())?;
        }
        disk::sync_folder(&releases)?;
        drop(writing);
        Ok(placed)
    }

    fn place_document(&self, path: &Path, bytes: &[u8]) -> Result<PublishResult, Error> {
        match disk::read(path, LIMIT)? {
            Some(there) if there == bytes => return Ok(PublishResult::Identical),
            Some(_) if self.kind != Kind::Rehearsal => return Ok(PublishResult::Exists),
            Some(_) | None => {}
        }
        let whole = self.scratch.write(bytes, path)?;
        match self.kind {
            Kind::Rehearsal => whole.replace()?,
            Kind::Target(_) => {
                // Another program that doesn't know our lock took the name just now.
                if !whole.create()? {
                    return Ok(PublishResult::Exists);
                }
            }
        }
        Ok(PublishResult::Uploaded)
    }
}

fn forget_others(releases: &Path, current: &str) -> Result<(), Error> {
    for entry in std::fs::read_dir(releases).at("list", releases)? {
        let path = entry.at("list", releases)?.path();
        if path.file_name().is_some_and(|name| name == current) || !disk::folder(&path)? {
            continue;
        }
        for file in files(&path)? {
            disk::remove(&file.path)?;
        }
        std::fs::remove_dir(&path).at("remove", &path)?;
    }
    Ok(())
}
