//! The output folder: where everything lies, and the lock that one run holds.

use std::{
    ffi::OsStr,
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use conda_publish::RELEASES;
use conda_recipes::{EVERYTHING, keep_out_of_packages};
use fs_err as fs;
use release_manifest::{Digest, MANIFEST_NAME, Mode};

use crate::error::Error;

/// `OUTPUT/<mode>`, where one kind of release keeps its state.
#[derive(Clone, Debug)]
pub(crate) struct OutputFolder {
    path: PathBuf,
}

impl OutputFolder {
    /// The folder of `mode` below `output`.
    pub(crate) fn new(output: &Path, mode: Mode) -> Self {
        Self {
            path: output.join(mode.as_str()),
        }
    }

    /// The folder itself; paths in the manifest are relative to it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The release manifest.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST_NAME)
    }

    /// The release as a page to look at.
    pub(crate) fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// The transitions since the manifest was compacted.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// The plan.
    pub(crate) fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// Packages, with their bundles beside them; the local build channel.
    pub(crate) fn packages(&self) -> PathBuf {
        self.path.join("packages")
    }

    /// The manifest of a plan's release as it was attested, which doesn't change any more: where channels keep it too.
    pub(crate) fn attested_manifest(&self, plan: Digest) -> PathBuf {
        let plan = plan.sha256().to_string();
        self.path.join(RELEASES).join(plan).join(MANIFEST_NAME)
    }

    /// What the job that plans writes for those that build.
    pub(crate) fn shards(&self) -> PathBuf {
        self.path.join("shards")
    }

    /// Attested packages that later plans did not have any more.
    pub(crate) fn kept(&self) -> PathBuf {
        self.path.join("kept")
    }

    /// The rehearsal's channel.
    pub(crate) fn channel(&self) -> PathBuf {
        self.path.join("channel")
    }

    /// The rehearsal's Sigstore.
    pub(crate) fn sandbox(&self) -> PathBuf {
        self.path.join("sandbox")
    }
}

/// The advisory lock on an output folder; held until dropped, or until the process ends.
#[derive(Debug)]
pub(crate) struct OutputLock {
    _file: File,
}

impl OutputLock {
    /// Takes the lock, making the folder where it is missing, and keeps git and builds from seeing what releases write there.
    ///
    /// # Errors
    /// The folder cannot be written, the user's own files show it to builds, or another process holds the lock.
    pub(crate) fn take(output: &Path) -> Result<Self, Error> {
        claim(output)?;
        let path = output.join(LOCK);
        let failed = || Error::output("write", &path);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Where a locked file cannot be read, or is not written yet, the lock itself says enough.
                let _read = file.read_to_string(&mut process);
                let process = match process.trim() {
                    "" => "unknown",
                    process => process,
                };
                return Err(Error::Locked {
                    folder: output.to_owned(),
                    process: process.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
        }
        file.set_len(0).map_err(failed())?;
        file.rewind().map_err(failed())?;
        writeln!(file, "{}", std::process::id()).map_err(failed())?;
        Ok(Self { _file: file })
    }
}

/// The name of the lock in an output folder.
const LOCK: &str = ".lock";

/// Files and folders that releases write in an output folder, as patterns of ignore files.
const WRITTEN: [&str; 5] = [
    "/.lock",
    "/.gitignore",
    "/.condapackageignore",
    "/rehearsal/",
    "/live/",
];

/// The file that marks a folder which backups may leave out, <https://bford.info/cachedir/>.
const CACHE_TAG: (&str, &str) = (
    "CACHEDIR.TAG",
    "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is written by conda-release.\n",
);

/// Makes the output folder where it is missing, and leaves in it the files that hide from git, rattler-build and backups what
/// releases write. Where others have files in the folder, theirs stay visible.
fn claim(output: &Path) -> Result<(), Error> {
    fs::create_dir_all(output).map_err(Error::output("create", output))?;
    let read = || Error::output("read", output);
    let is_own = |name: &OsStr| {
        let name = name.to_string_lossy();
        name == CACHE_TAG.0 || WRITTEN.iter().any(|it| it.trim_matches('/') == name)
    };
    let mut is_shared = false;
    for entry in fs::read_dir(output).map_err(read())? {
        is_shared |= !is_own(&entry.map_err(read())?.file_name());
    }
    let mut patterns = match is_shared {
        true => &WRITTEN[..],
        false => &[EVERYTHING],
    };
    match keep_out_of_packages(output, patterns) {
        Ok(()) => {}
        // The ignore file is from a run that found files of others here, which are gone.
        Err(conda_recipes::Error::Unprotected { .. })
            if !is_shared && keep_out_of_packages(output, &WRITTEN).is_ok() =>
        {
            is_shared = true;
            patterns = &WRITTEN;
        }
        Err(conda_recipes::Error::Write { path, source }) => {
            return Err(Error::output("write", path)(source));
        }
        Err(error) => return Err(error.into()),
    }
    let lines: String = patterns.iter().map(|it| format!("{it}\n")).collect();
    write_new(&output.join(".gitignore"), &lines)?;
    if !is_shared {
        write_new(&output.join(CACHE_TAG.0), CACHE_TAG.1)?;
    }
    Ok(())
}

/// Writes a file where there is none.
fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    match File::options().write(true).create_new(true).open(path) {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .map_err(Error::output("write", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::output("write", path)(error)),
    }
}

/// Writes a file so that a reader sees the old bytes or the new ones, also after a power cut.
///
/// A file that already has these bytes is left alone.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(HALF_WRITTEN.0).suffix(HALF_WRITTEN.1);
        // For everybody the umask allows: other jobs and servers read what a release leaves.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(folder)
    };
    written().map_err(Error::output("write", path))
}

/// Removes from the folder what [`write_atomically`] left there when it was killed. Only for who
/// holds the lock: nobody else writes there then.
pub(crate) fn remove_half_written(folder: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::output("read", folder)(error)),
    };
    for entry in entries {
        let path = entry.map_err(Error::output("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(HALF_WRITTEN.0) && name.ends_with(HALF_WRITTEN.1) {
            fs::remove_file(&path).map_err(Error::output("remove", &path))?;
        }
    }
    Ok(())
}

/// How the names of files begin and end that are not yet what they will be.
const HALF_WRITTEN: (&str, &str) = (".half-written-", ".tmp");

/// Makes a rename in the folder durable.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    // Windows cannot open a folder as a file, and orders renames by itself.
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_the_process_of_the_first() {
        let output = tempfile::tempdir().unwrap();
        let first = OutputLock::take(output.path()).unwrap();
        match OutputLock::take(output.path()).unwrap_err() {
            Error::Locked { process, .. } => assert_eq!(process, std::process::id().to_string()),
            other => panic!("{other}"),
        }
        drop(first);
        OutputLock::take(output.path()).unwrap();
    }

    #[test]
    fn a_new_output_folder_hides_itself_whole() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        for _ in 0..2 {
            drop(OutputLock::take(&output).unwrap());
            for file in [".gitignore", ".condapackageignore"] {
                assert_eq!(fs::read_to_string(output.join(file)).unwrap(), "*\n");
            }
            assert!(output.join("CACHEDIR.TAG").is_file());
        }
    }

    #[test]
    fn a_folder_of_the_user_hides_what_releases_write_alone() {
        let output = tempfile::tempdir().unwrap();
        let read = |file: &str| fs::read_to_string(output.path().join(file)).unwrap();
        fs::write(output.path().join("notes.txt"), "mine").unwrap();
        fs::write(output.path().join(".gitignore"), "*.o\n").unwrap();
        drop(OutputLock::take(output.path()).unwrap());
        assert_eq!(read(".gitignore"), "*.o\n");
        let hidden = "/.lock\n/.gitignore\n/.condapackageignore\n/rehearsal/\n/live/\n";
        assert_eq!(read(".condapackageignore"), hidden);
        assert!(!output.path().join("CACHEDIR.TAG").exists());

        fs::write(output.path().join(".condapackageignore"), "!/live/\n").unwrap();
        let error = OutputLock::take(output.path()).unwrap_err();
        assert!(error.to_string().contains("/.lock"), "{error}");
        assert_eq!(read(".condapackageignore"), "!/live/\n");
    }

    #[test]
    fn an_output_folder_can_be_used_after_the_users_files_are_gone() {
        let output = tempfile::tempdir().unwrap();
        let notes = output.path().join("notes.txt");
        fs::write(&notes, "mine").unwrap();
        drop(OutputLock::take(output.path()).unwrap());
        fs::remove_file(&notes).unwrap();
        let ignore_file = output.path().join(".condapackageignore");
        let before = fs::read_to_string(&ignore_file).unwrap();
        drop(OutputLock::take(output.path()).unwrap());
        assert_eq!(fs::read_to_string(&ignore_file).unwrap(), before);
        // These patterns would show it to builds.
        assert!(!output.path().join("CACHEDIR.TAG").exists());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_written_can_be_read_by_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (plain, written) = (folder.path().join("plain"), folder.path().join("written"));
        fs::write(&plain, "").unwrap();
        write_atomically(&written, b"").unwrap();
        write_atomically(&written, b"one").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&written), mode(&plain));
    }

    #[test]
    fn what_a_killed_run_left_half_written_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [".half-written-Ab12.tmp", ".half-written", "plan.json"] {
            fs::write(path(name), "").unwrap();
        }
        remove_half_written(folder.path()).unwrap();
        assert!(!path(".half-written-Ab12.tmp").exists());
        assert!(path(".half-written").exists() && path("plan.json").exists());
        remove_half_written(&path("nowhere")).unwrap();
    }

    #[test]
    fn equal_bytes_are_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write_atomically(&path, b"one").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        write_atomically(&path, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }
}
