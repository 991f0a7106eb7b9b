//! Outputs of a job of GitHub Actions.

use std::{
    fs::File,
    io::{self, Write as _},
};

use release_manifest::Digest;

use crate::error::Error;

/// Sets the output `shard-<number>` to the digest of the manifest that a build job hands over. Each job
/// of a matrix has an output of its own.
///
/// # Errors
/// As [`export`].
pub(crate) fn export_shard(number: u32, digest: Digest) -> Result<(), Error> {
    export([(format!("shard-{number}"), digest.to_string().as_str())])
}

/// Sets outputs of the step that this process runs in, where `GITHUB_OUTPUT` names its file. Values
/// are of one line.
///
/// # Errors
/// The file cannot be written.
pub(super) fn export<'a>(
    outputs: impl IntoIterator<Item = (String, &'a str)>,
) -> Result<(), Error> {
    let Some(path) = std::env::var_os("GITHUB_OUTPUT").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let write = || -> io::Result<()> {
        let mut file = File::options().append(true).create(true).open(&path)?;
        for (name, value) in outputs {
            writeln!(file, "{name}={value}")?;
        }
        Ok(())
    };
    write().map_err(Error::output("write", &path))
}
