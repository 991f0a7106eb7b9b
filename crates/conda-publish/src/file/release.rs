//! The manifest of a release in a folder.

use std::path::Path;

use release_manifest::PublishResult;
use url::Url;

use super::Kind;
use super::folder::Folder;
use super::index::files;
use crate::disk::{self, At as _};
use crate::release::{LIMIT, RELEASES};
use crate::{Error, ReleasePlaced, ReleaseUpload};

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
