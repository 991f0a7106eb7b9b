//! What earlier audits of a channel verified, so that it need not be fetched again.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use cep27::Sha256;
use conda_attest::{Policy, Trust};
use fs_err as fs;
use release_manifest::{PackageKey, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::{error::Error, output::write_atomically, printer::Printer};

/// A package that was verified, with the hashes under which that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Which.
    pub(super) package: PackageKey,
    /// Its hash, of the bytes as they came.
    pub(super) sha256: Sha256,
    /// That of its sidecar.
    pub(super) attestations_sha256: Sha256,
    /// Who signed.
    pub(super) identity: String,
    /// Who vouched for that.
    pub(super) issuer: String,
    /// When, by a trusted clock.
    pub(super) signed_at: Timestamp,
    /// The attested channel.
    pub(super) target_channel: Option<String>,
}

/// The packages that earlier audits verified.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<PackageKey, Known>);

impl Memory {
    /// What is known of the package with this hash.
    pub(super) fn of(&self, package: &PackageKey, sha256: Option<Sha256>) -> Option<&Known> {
        let known = self.0.get(package);
        known.filter(|known| sha256 == Some(known.sha256))
    }
}

/// The file of an audit's state: a line that says by what was verified, then a line for each package.
///
/// It is a hint of the one who verifies, as good as their own disk: who can write it can have a package passed over.
/// Each package is one append, so that a killed audit loses what was under way; a line that cannot be read, and what
/// follows it, is verified again.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    file: fs::File,
}

impl StateFile {
    /// Opens the state of audits that verify the same thing in the same way, or begins one.
    ///
    /// # Errors
    /// The file is something else, which is left alone, or cannot be read or written.
    pub(super) fn open(
        path: &Path,
        basis: &Basis,
        printer: &Printer,
    ) -> Result<(Self, Memory), Error> {
        let basis = basis.digest().map_err(failed(path))?;
        let memory = read(path, basis, printer)?;
        let header = Header {
            conda_release_audit: VERSION,
            basis,
        };
        let mut whole = line(&header).map_err(failed(path))?;
        for known in memory.0.values() {
            whole.extend(line(known).map_err(failed(path))?);
        }
        write_atomically(path, &whole)?;
        let file = fs::OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(failed(path))?;
        let path = path.to_owned();
        Ok((Self { path, file }, memory))
    }

    /// Keeps what was verified.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep(&mut self, known: &Known) -> Result<(), Error> {
        line(known)
            .and_then(|line| self.file.write_all(&line))
            .map_err(failed(&self.path))
    }
}

/// By what packages are verified. Another basis, and nothing that was verified counts.
#[derive(Serialize)]
pub(super) struct Basis<'a> {
    tool: &'static str,
    trusted_root: Sha256,
    policy: &'a Policy,
    channel: &'a str,
    attested: Option<&'a str>,
}

impl<'a> Basis<'a> {
    /// Trust, policy, the channel that is read, and the one that must have been attested where that is another.
    pub(super) fn new(
        trust: &Trust,
        policy: &'a Policy,
        channel: &'a str,
        attested: Option<&'a str>,
    ) -> Self {
        Self {
            // A later version may know better.
            tool: env!("CARGO_PKG_VERSION"),
            trusted_root: trust.root_sha256(),
            policy,
            channel: channel.trim_end_matches('/'),
            attested,
        }
    }

    fn digest(&self) -> io::Result<Sha256> {
        let digest = sha2::Sha256::digest(line(self)?);
        Ok(Sha256::from_bytes(digest.into()))
    }
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    conda_release_audit: u32,
    basis: Sha256,
}

fn read(path: &Path, basis: Sha256, printer: &Printer) -> Result<Memory, Error> {
    let failed = || Error::output("read", path);
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        Err(error) => return Err(failed()(error)),
    };
    let mut lines = BufReader::new(file).split(b'\n');
    let Some(first) = lines.next() else {
        return Ok(Memory::default());
    };
    let header = serde_json::from_slice::<Header>(&first.map_err(failed())?);
    let header = header.map_err(|_| {
        Error::Usage(format!(
            "--state takes a file of its own, and `{}` is something else",
            path.display()
        ))
    })?;
    if (header.conda_release_audit, header.basis) != (VERSION, basis) {
        printer.status(
            "Beginning",
            &format!(
                "anew: `{}` is of another channel, policy, trusted root or version of this program",
                path.display()
            ),
        );
        return Ok(Memory::default());
    }
    let mut known = BTreeMap::new();
    for line in lines {
        let Ok(one) = serde_json::from_slice::<Known>(&line.map_err(failed())?) else {
            break;
        };
        known.insert(one.package.clone(), one);
    }
    Ok(Memory(known))
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    Error::output("write", path)
}
