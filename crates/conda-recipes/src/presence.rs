//! Telling a missing file from one that cannot be read.

use std::{io::ErrorKind, path::Path};

/// Returns true if nothing is at a path.
///
/// A link to nowhere, and a path that this user may not look at, are not missing: reading them fails, and says why.
pub fn is_missing(path: &Path) -> bool {
    let missing = [ErrorKind::NotFound, ErrorKind::NotADirectory];
    std::fs::symlink_metadata(path).is_err_and(|error| missing.contains(&error.kind()))
}
