//! Checks, after a test, that what was installed and tested is the package that was built.

use std::{
    io,
    path::{Path, PathBuf},
};

use rattler_conda_types::{PackageRecord, PrefixRecord, package::CondaArchiveType};
use rattler_package_streaming::seek::read_package_file_content;

/// The file in a package that lists its tests.
const TESTS: &str = "info/tests/tests.yaml";
/// The depth of environments in the folder of a test: `test_x…/test_run_env`, below another one for a downstream test.
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

/// The traces of a test.
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

#[cfg(test)]
mod tests {
    use rattler_conda_types::{
        RepoDataRecord, compression_level::CompressionLevel, package::DistArchiveIdentifier,
    };
    use rattler_package_streaming::write::write_conda_package;

    use super::*;
    use crate::package_record::read_record;

    const NAME: &str = "it-1-0.conda";

    /// A package whose tests are `tests`.
    fn package(folder: &Path, tests: &str) -> PathBuf {
        let content = folder.join("content");
        let files = [
            (
                "info/index.json",
                r#"{"name": "it", "version": "1", "build": "0", "build_number": 0, "depends": [], "subdir": "noarch"}"#,
            ),
            (TESTS, tests),
        ];
        let files = files.map(|(name, text)| {
            let path = content.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, text).unwrap();
            path
        });
        let path = folder.join(NAME);
        let file = fs_err::File::create(&path).unwrap();
        let level = CompressionLevel::default();
        write_conda_package(file, &content, &files, level, None, "it-1-0", None, None).unwrap();
        path
    }

    /// Writes the traces of a test that installed the package of `record` and ran `tests`.
    fn tested(folder: &Path, record: PackageRecord, tests: &str) -> PathBuf {
        let left = folder.join("left");
        let environment = left.join("test_itA1b2C3/test_run_env/conda-meta");
        fs_err::create_dir_all(&environment).unwrap();
        let record = RepoDataRecord {
            package_record: record,
            identifier: DistArchiveIdentifier::try_from_filename(NAME).unwrap(),
            url: "file:///it-1-0.conda".parse().unwrap(),
            channel: None,
        };
        let record = PrefixRecord::from_repodata_record(record, Vec::new());
        fs_err::write(
            environment.join("it-1-0.json"),
            serde_json::to_vec(&record).unwrap(),
        )
        .unwrap();
        let ran = left.join("test_itA1b2C3/test").join(TESTS);
        fs_err::create_dir_all(ran.parent().unwrap()).unwrap();
        fs_err::write(ran, tests).unwrap();
        left
    }

    #[test]
    fn only_a_test_of_the_package_itself_counts() {
        let temporary = tempfile::tempdir().unwrap();
        let path = package(temporary.path(), "own");
        let record = read_record(&path).unwrap();
        let other = PackageRecord {
            sha256: Some([7; 32].into()),
            ..record.clone()
        };
        let none = temporary.path().join("none");
        assert!(check(&none, &path, &record, true).is_err());
        assert!(check(&none, &path, &record, false).is_ok());
        for (installed, ran, holds) in [
            (&record, "own", true),
            (&record, "another's", false),
            (&other, "own", false),
        ] {
            let left = tested(temporary.path(), installed.clone(), ran);
            let checked = check(&left, &path, &record, true);
            assert_eq!(checked.is_ok(), holds, "{checked:?}");
        }
    }
}
