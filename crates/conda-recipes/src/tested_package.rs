//! Checks, after a test, that what was installed and tested is the package that was built.

use std::{
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::{PackageRecord, PrefixRecord, package::CondaArchiveType};
use rattler_package_streaming::seek::read_package_file_content;

/// Where a package says which tests it has.
const TESTS: &str = "info/tests/tests.yaml";
/// How deeply environments are nested in the folder of a test: `test_x…/test_run_env`, below another one for a downstream test.
const DEPTH: usize = 5;

/// Compares the environments and the tests left in `folder` with the package at `path`, whose record is `record`.
///
/// A test of dependents is skipped where they cannot be installed; `must_be_installed` says that there are other tests.
///
/// # Errors
/// An environment has other bytes under the package's name, the tests are those of another package, or no environment has the
/// package and one must.
pub(crate) fn check(
    folder: &Path,
    path: &Path,
    record: &PackageRecord,
    must_be_installed: bool,
) -> io::Result<()> {
    let mut found = Found::default();
    found.search(folder, DEPTH)?;
    let name = format!(
        "{}-{}-{}.json",
        record.name.as_normalized(),
        record.version,
        record.build
    );
    let mut installed = 0;
    for environment in &found.environments {
        let file = environment.join(&name);
        if !file.try_exists()? {
            continue;
        }
        let installed_record = PrefixRecord::from_path(&file)?;
        if installed_record.repodata_record.package_record.sha256 != record.sha256 {
            return Err(io::Error::other(format!(
                "the test environment has another package under the name `{name}`"
            )));
        }
        installed += 1;
    }
    if must_be_installed && installed == 0 {
        return Err(io::Error::other(
            "no test environment has the package in it",
        ));
    }
    if found.tests.is_empty() {
        return Ok(());
    }
    let format = CondaArchiveType::try_from(path)
        .ok_or_else(|| io::Error::other("the file name is not that of a package"))?;
    let own = read_package_file_content(fs_err::File::open(path)?, format, TESTS)
        .map_err(io::Error::other)?;
    for tests in &found.tests {
        if fs_err::read(tests)? != own {
            return Err(io::Error::other(
                "the tests that ran are not those of the package",
            ));
        }
    }
    Ok(())
}

/// What a test left.
#[derive(Default)]
struct Found {
    /// The `conda-meta` folders of environments.
    environments: Vec<PathBuf>,
    /// The lists of the tests that ran.
    tests: Vec<PathBuf>,
}

impl Found {
    fn search(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let entries = match fs_err::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let path = entry.path();
            if path.join("conda-meta").is_dir() {
                self.environments.push(path.join("conda-meta"));
            } else if entry.file_name() == "test" && path.join(TESTS).is_file() {
                self.tests.push(path.join(TESTS));
            } else if depth > 0 {
                self.search(&path, depth - 1)?;
            }
        }
        Ok(())
    }
}
