//! Outputs of the step that this process runs in, for later steps and jobs.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{append, command};

/// The file in which the runner takes outputs.
#[derive(Debug)]
pub(crate) struct Outputs(PathBuf);

impl Outputs {
    /// The file that `GITHUB_OUTPUT` names, if it names one.
    pub(crate) fn detect() -> Option<Self> {
        let path = std::env::var_os("GITHUB_OUTPUT").filter(|path| !path.is_empty())?;
        Some(Self(path.into()))
    }

    /// Where they are written.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Sets outputs, each a name and its value of any lines.
    ///
    /// # Errors
    /// The file is not there, is no file, or cannot be written.
    pub(crate) fn set<'a>(
        &self,
        outputs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<()> {
        let lines = outputs
            .into_iter()
            .map(|(name, value)| command::output(name, value));
        append(&self.0, &lines.collect::<String>())
    }
}
