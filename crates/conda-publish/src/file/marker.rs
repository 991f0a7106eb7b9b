//! What a folder is for, and whether it may be used so.

use std::fs;
use std::path::Path;

use release_manifest::Mode;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::folder::{Folder, OWN};
use crate::Error;
use crate::disk::{self, At};
use crate::repodata::REPODATA;

/// What was found in a folder that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The mark of this very use.
    Marked,
    /// Nothing at all, or a channel that another tool made.
    Unmarked,
}

/// Judges whether a folder may be used so. Writes nothing.
pub(super) fn examine(root: &Path, kind: Kind) -> Result<Found, Error> {
    let other_kind = |found| Error::OtherKind {
        path: root.to_owned(),
        expected: describe(kind),
        found,
    };
    if let Some(marked) = read(root)? {
        return if marked == kind {
            Ok(Found::Marked)
        } else {
            Err(other_kind(describe(marked)))
        };
    }
    let Some(content) = content(root)? else {
        return Ok(Found::Unmarked);
    };
    let noarch = root.join("noarch");
    if !disk::folder(&noarch)? || disk::open(&noarch.join(REPODATA))?.is_none() {
        return Err(Error::ForeignFolder {
            path: root.to_owned(),
            found: cep27::printable(&content),
        });
    }
    match kind {
        Kind::Target(Mode::Live) => Ok(Found::Unmarked),
        // Whose channel it is nobody knows: a rehearsal must not change it.
        Kind::Target(Mode::Rehearsal) | Kind::Rehearsal => {
            Err(other_kind("a channel made by another tool"))
        }
    }
}

/// Marks a folder for the use it was opened for.
pub(super) fn write(folder: &Folder) -> Result<(), Error> {
    let (role, mode) = match folder.kind {
        Kind::Rehearsal => (Role::Mirror, Mode::Rehearsal),
        Kind::Target(mode) => (Role::Target, mode),
    };
    let marker = Marker {
        schema_version: SCHEMA_VERSION,
        role,
        mode,
    };
    let path = folder.root.join(OWN).join(NAME);
    let mut text = serde_json::to_vec_pretty(&marker).map_err(|error| Error::Marker {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    text.push(b'\n');
    folder.scratch.write(&text, &path)?.replace()?;
    disk::sync_folder(&folder.root.join(OWN))
}

const NAME: &str = "channel.json";
const SCHEMA_VERSION: u32 = 1;
/// In bytes.
const LIMIT: u64 = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Marker {
    schema_version: u32,
    role: Role,
    mode: Mode,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    /// Holds exactly the packages of the current plan.
    Mirror,
    /// Holds what was published.
    Target,
}

/// Enough of a marker of any version to tell which it is.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

fn read(root: &Path) -> Result<Option<Kind>, Error> {
    let own = root.join(OWN);
    if !disk::folder(&own)? {
        return Ok(None);
    }
    let path = own.join(NAME);
    let Some(bytes) = disk::read(&path, LIMIT)? else {
        return Ok(None);
    };
    let invalid = |reason: String| Error::Marker {
        path: path.clone(),
        reason,
    };
    let Version { schema_version } =
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if schema_version != SCHEMA_VERSION {
        return Err(invalid(format!(
            "it has schema version {schema_version}, this version of conda-release knows {SCHEMA_VERSION}"
        )));
    }
    let Marker {
        schema_version: _,
        role,
        mode,
    } = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    match (role, mode) {
        (Role::Mirror, Mode::Rehearsal) => Ok(Some(Kind::Rehearsal)),
        (Role::Target, mode) => Ok(Some(Kind::Target(mode))),
        (Role::Mirror, Mode::Live) => Err(invalid("a mirror is never live".to_owned())),
    }
}

/// One of the things in a folder, other than what an interrupted first run leaves; `None` where it is empty.
fn content(root: &Path) -> Result<Option<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root).at("list", root)? {
        names.push(
            entry
                .at("list", root)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.retain(|name| name != OWN);
    Ok(names.into_iter().min())
}

fn describe(kind: Kind) -> &'static str {
    match kind {
        Kind::Rehearsal => "a rehearsal's own channel",
        Kind::Target(Mode::Rehearsal) => "a folder that rehearsals publish to",
        Kind::Target(Mode::Live) => "a live channel",
    }
}
