//! Package files, and what they say of themselves in `info/index.json`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cep27::{FileName, Format, Sha256, Subdir};
use release_manifest::PackageKey;
use serde::Deserialize;
use sha2::Digest as _;

use crate::Error;

/// A package to attest, as the build recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its file name, which is attested.
    pub file: FileName,
    /// The folder of the channel that it belongs to.
    pub subdir: Subdir,
    /// The hash taken when it was built.
    pub sha256: Sha256,
}

impl PackageFile {
    /// A package as it stands on disk: its hash, and the subdir that its own `index.json` names.
    ///
    /// # Errors
    /// When the path does not end in a conda file name, or the file is no such package.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let Package { path, file, .. } = Package::at(path)?;
        let contents = Contents::read(&path, file.format())?;
        contents.check_index(&file, None)?;
        let unknown = |reason: String| Error::Archive {
            file: file.clone(),
            reason,
        };
        let index = contents
            .index
            .as_ref()
            .map_err(|reason| unknown(reason.clone()))?;
        let subdir = index
            .subdir
            .parse()
            .map_err(|error: cep27::NameError| unknown(error.to_string()))?;
        Ok(Self {
            path,
            subdir,
            sha256: contents.sha256,
            file,
        })
    }

    /// A package's name within a channel: `linux-64/libgreet-1.0.0-h123_0.conda`.
    #[must_use]
    pub fn key(&self) -> PackageKey {
        PackageKey {
            subdir: self.subdir,
            file: self.file.clone(),
        }
    }

    /// Where its attestation is written: `<package>.sigstore.json`.
    #[must_use]
    pub fn bundle_path(&self) -> PathBuf {
        self.beside(".sigstore.json")
    }

    /// Where its provenance is written: `<package>.provenance.sigstore.json`.
    #[must_use]
    pub fn provenance_path(&self) -> PathBuf {
        self.beside(".provenance.sigstore.json")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }
}

/// A package to verify, with as much as is known of it beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Where it lies.
    pub path: PathBuf,
    /// The file name it was published under.
    pub file: FileName,
    /// The folder of the channel that it came from.
    pub subdir: Option<Subdir>,
    /// The hash that it must have.
    pub sha256: Option<Sha256>,
}

impl Package {
    /// A package of which nothing is known but its path.
    ///
    /// # Errors
    /// When the path does not end in a conda file name.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let name = path.file_name().and_then(|name| name.to_str());
        let file = match name.map(str::parse) {
            Some(Ok(file)) => file,
            Some(Err(source)) => {
                return Err(Error::FileName {
                    path,
                    source: Some(source),
                });
            }
            None => return Err(Error::FileName { path, source: None }),
        };
        Ok(Self {
            path,
            file,
            subdir: None,
            sha256: None,
        })
    }
}

impl From<&PackageFile> for Package {
    fn from(package: &PackageFile) -> Self {
        Self {
            path: package.path.clone(),
            file: package.file.clone(),
            subdir: Some(package.subdir),
            sha256: Some(package.sha256),
        }
    }
}

/// What is in a package file: everything that is compared with its attestation. Taken from one file
/// handle, so that hash and contents are of the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) sha256: Sha256,
    pub(crate) index: Result<Index, String>,
}

/// What `info/index.json` says about the package around it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) build: String,
    pub(crate) subdir: String,
}

/// `info/index.json` is a kilobyte or two.
const MAX_INDEX: u64 = 1 << 20;
/// The info section holds recipe, tests and licences; the whole of a `.tar.bz2` is looked through.
const MAX_UNPACKED: u64 = 4 << 30;

impl Contents {
    /// Hashes a package file and reads its `info/index.json`, without following links.
    pub(crate) fn read(path: &Path, format: Format) -> Result<Self, Error> {
        let mut file = open(path)?;
        let sha256 = hash(&mut file).map_err(Error::io("read", path))?;
        file.seek(SeekFrom::Start(0))
            .map_err(Error::io("read", path))?;
        Ok(Self {
            sha256,
            index: read_index(file, format),
        })
    }

    /// Reads a package and refuses it unless it is the one that was built, and says so itself.
    pub(crate) fn read_expected(package: &PackageFile) -> Result<Self, Error> {
        let contents = Self::read(&package.path, package.file.format())?;
        if contents.sha256 != package.sha256 {
            return Err(Error::Changed {
                file: package.file.clone(),
                expected: package.sha256,
                found: contents.sha256,
            });
        }
        contents.check_index(&package.file, Some(package.subdir))?;
        Ok(contents)
    }

    /// Whether the package says of itself what its file name and its folder say.
    pub(crate) fn check_index(&self, file: &FileName, subdir: Option<Subdir>) -> Result<(), Error> {
        let index = self.index.as_ref().map_err(|reason| Error::Archive {
            file: file.clone(),
            reason: reason.clone(),
        })?;
        let fields = [
            ("name", Some(file.name()), &index.name),
            ("version", Some(file.version()), &index.version),
            ("build", Some(file.build()), &index.build),
            ("subdir", subdir.map(Subdir::as_str), &index.subdir),
        ];
        for (field, expected, found) in fields {
            if let Some(expected) = expected.filter(|expected| expected != found) {
                return Err(Error::Index {
                    file: file.clone(),
                    field,
                    expected: expected.to_owned(),
                    found: cep27::printable(found),
                });
            }
        }
        Ok(())
    }
}

/// Opens a regular file for reading; a link, device or pipe in its place is refused, and opening it
/// does not wait.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let not_a_file = || Error::NotAFile {
        path: path.to_owned(),
    };
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed());
    }
    #[cfg(not(unix))]
    if std::fs::symlink_metadata(path)
        .map_err(Error::io("read", path))?
        .is_symlink()
    {
        return Err(not_a_file());
    }
    let opened = options.open(path);
    #[cfg(unix)]
    if let Err(error) = &opened
        && error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
    {
        // What O_NOFOLLOW says of a link.
        return Err(not_a_file());
    }
    let file = opened.map_err(Error::io("read", path))?;
    if !file.metadata().map_err(Error::io("read", path))?.is_file() {
        return Err(not_a_file());
    }
    Ok(file)
}

/// Reads a small file.
pub(crate) fn read_capped(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > limit {
        let source = std::io::Error::other(format!("larger than {limit} bytes"));
        return Err(Error::io("read", path)(source));
    }
    Ok(bytes)
}

fn hash(file: &mut File) -> std::io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Sha256::from_bytes(hasher.finalize().into())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_index(file: File, format: Format) -> Result<Index, String> {
    let file = std::io::BufReader::new(file);
    match format {
        Format::Conda => {
            let archive = rattler_package_streaming::seek::stream_conda_info(file)
                .map_err(|error| error.to_string())?;
            find_index(archive)
        }
        Format::TarBz2 => find_index(rattler_package_streaming::read::stream_tar_bz2(file)),
    }
}

/// Looks through the whole archive, since a second `info/index.json` would replace the first when
/// the package is unpacked.
fn find_index<R: Read>(mut archive: tar::Archive<R>) -> Result<Index, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut found = None;
    let mut unpacked = 0_u64;
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        unpacked = unpacked.saturating_add(entry.size());
        if unpacked > MAX_UNPACKED {
            return Err(format!("unpacks to more than {MAX_UNPACKED} bytes"));
        }
        let path = entry.path().map_err(text)?;
        let is_index = path
            .components()
            .filter(|part| !matches!(part, std::path::Component::CurDir))
            .eq(Path::new("info/index.json").components());
        if !is_index {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            return Err("it is not a regular file".to_owned());
        }
        if entry.size() > MAX_INDEX {
            return Err(format!("it is larger than {MAX_INDEX} bytes"));
        }
        let mut json = Vec::new();
        entry.read_to_end(&mut json).map_err(text)?;
        let value = cep27::check_json(&json).map_err(|found| crate::trust::list(&found))?;
        let index = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if found.replace(index).is_some() {
            return Err("there are two of it".to_owned());
        }
    }
    found.ok_or_else(|| "there is none".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &[u8] = br#"{"name": "a", "version": "1", "build": "0", "subdir": "noarch"}"#;

    fn archive(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, bytes) in members {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            if *kind == tar::EntryType::Symlink {
                header.set_link_name("elsewhere").unwrap();
            }
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn index_in(members: &[(&str, tar::EntryType, &[u8])]) -> Result<Index, String> {
        find_index(tar::Archive::new(archive(members).as_slice()))
    }

    #[test]
    fn there_is_one_index_and_it_is_a_file() {
        use tar::EntryType::{Regular, Symlink};
        let index = ("info/index.json", Regular, INDEX);
        let other = ("info/about.json", Regular, b"{}".as_slice());
        assert_eq!(index_in(&[other, index]).unwrap().name, "a");
        assert_eq!(
            index_in(&[("./info/index.json", Regular, INDEX)])
                .unwrap()
                .name,
            "a"
        );
        assert!(index_in(&[other]).is_err());
        assert!(index_in(&[index, other, index]).is_err());
        assert!(index_in(&[index, ("./info/index.json", Regular, INDEX)]).is_err());
        assert!(index_in(&[("info/index.json", Symlink, b"")]).is_err());
        let large = vec![b' '; usize::try_from(MAX_INDEX).unwrap() + 1];
        assert!(index_in(&[("info/index.json", Regular, &large)]).is_err());
        assert!(index_in(&[("sub/info/index.json", Regular, INDEX)]).is_err());
    }

    #[test]
    fn an_archive_that_claims_to_be_huge_is_not_unpacked() {
        let mut header = tar::Header::new_gnu();
        header.set_path("huge").unwrap();
        header.set_size(MAX_UNPACKED + 1);
        header.set_cksum();
        let endless = header.as_bytes().as_slice().chain(std::io::repeat(0));
        let refusal = find_index(tar::Archive::new(endless)).unwrap_err();
        assert!(refusal.contains("unpacks to more"), "{refusal}");
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        open(&file).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        // Nobody writes into the pipe: waiting for that would be for ever.
        for refused in [&link, &dangling, &pipe, &folder.path().to_owned()] {
            assert_eq!(
                open(refused).unwrap_err().code(),
                "not_a_file",
                "{}",
                refused.display()
            );
        }
    }

    #[test]
    fn a_path_tells_its_package() {
        let package = Package::at("a/b/libgreet-1.0.0-h1_0.conda").unwrap();
        assert_eq!(package.file.name(), "libgreet");
        for path in ["a/b", "greet.conda", "..", "/", ""] {
            assert_eq!(Package::at(path).unwrap_err().code(), "file_name", "{path}");
        }
    }
}
