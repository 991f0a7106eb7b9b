//! One file that `init` has something to say about.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use fs_err as fs;
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::error::Error;

/// A file as it is and as it would be.
pub(super) struct Change {
    /// Where.
    pub(super) path: PathBuf,
    /// What is there.
    pub(super) before: Option<String>,
    /// What would be there.
    pub(super) after: String,
    /// Whether it is ours to replace when asked: otherwise `after` keeps all that was there.
    is_generated: bool,
    /// Whether it was written by this run.
    pub(super) is_written: bool,
}

/// How a file stands to what it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// There is nothing to do.
    Current,
    /// There is no such file.
    Missing,
    /// It would be another one.
    Differs,
}

impl Change {
    /// A file that is the user's as soon as it exists.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn starter(path: PathBuf, text: impl Into<String>) -> Result<Self, Error> {
        let before = read(&path)?;
        let after = before.clone().unwrap_or_else(|| text.into());
        Ok(Self::new(path, before, after, false))
    }

    /// A file of the user that something is added to.
    ///
    /// # Errors
    /// It cannot be read, or not be added to.
    pub(super) fn addition(
        path: PathBuf,
        add: impl FnOnce(&str) -> Result<String, Error>,
    ) -> Result<Self, Error> {
        let before = read(&path)?;
        let after = add(before.as_deref().unwrap_or_default())?;
        Ok(Self::new(path, before, after, false))
    }

    /// A file that follows from the repository, and is compared with what it would be.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn generated(path: PathBuf, text: String) -> Result<Self, Error> {
        let before = read(&path)?;
        Ok(Self::new(path, before, text, true))
    }

    fn new(path: PathBuf, before: Option<String>, after: String, is_generated: bool) -> Self {
        Self {
            path,
            before,
            after,
            is_generated,
            is_written: false,
        }
    }

    /// How the file stands to what it would be.
    pub(super) fn state(&self) -> State {
        match &self.before {
            None => State::Missing,
            Some(before) if *before == self.after => State::Current,
            Some(_) => State::Differs,
        }
    }

    /// Whether writing it is no more than was asked for.
    pub(super) fn is_due(&self, force: bool) -> bool {
        match self.state() {
            State::Current => false,
            State::Missing => true,
            State::Differs => force || !self.is_generated,
        }
    }

    /// Writes it: a new file only where none has come to be meanwhile, another one as a whole.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&mut self) -> Result<(), Error> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Error::output("create", folder))?;
        let written = match self.before {
            None => fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&self.path)
                .and_then(|mut file| file.write_all(self.after.as_bytes())),
            Some(_) => self.replace(),
        };
        written.map_err(Error::output("write", &self.path))?;
        self.is_written = true;
        Ok(())
    }

    fn replace(&self) -> std::io::Result<()> {
        // Where a link leads, so that it stays one.
        let path = fs::canonicalize(&self.path)?;
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(self.after.as_bytes())?;
        fs::set_permissions(file.path(), fs::metadata(&path)?.permissions())?;
        file.persist(&path)?;
        Ok(())
    }
}

/// The text of a file, if there is one.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::output("read", path)(error)),
    }
}
