//! Where the attestations of a package are.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use cep27::FileName;
use conda_attest::{bundles_in, read_bundle};

use super::{finding::Finding, report::Failure};
use crate::{
    error::{Error, with_causes},
    input,
};

/// Attestations of any packages, as `--bundle` gives them.
#[derive(Debug, Default)]
pub(super) struct Given {
    bundles: Vec<Vec<u8>>,
    by_file: BTreeMap<FileName, Vec<usize>>,
}

/// Each of a few attestations that are about other packages tells so; of many, one sentence does.
const A_FEW: usize = 4;

impl Given {
    /// Reads files of bundles, JSON lines, arrays and sidecars.
    ///
    /// # Errors
    /// A file that cannot be read, or holds none.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let mut given = Self::default();
        for file in files {
            let bytes = input::read(file, cep27::JSON_LIMIT)?;
            given
                .bundles
                .extend(bundles_in(&bytes).map_err(Error::no_bundle(file))?);
        }
        for (index, bundle) in given.bundles.iter().enumerate() {
            for statement in cep27::validate_document(bundle).statements {
                given.by_file.entry(statement.file).or_default().push(index);
            }
        }
        Ok(given)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    /// Those that name the package; a few that name none too, so that each says why not.
    pub(super) fn about(&self, file: &FileName) -> Result<Vec<&[u8]>, Failure> {
        match self.by_file.get(file) {
            Some(named) => Ok(named
                .iter()
                .filter_map(|&index| self.bundles.get(index))
                .map(Vec::as_slice)
                .collect()),
            None if self.bundles.len() <= A_FEW => {
                Ok(self.bundles.iter().map(Vec::as_slice).collect())
            }
            None => Err(Failure::none(format!(
                "no attestation: none of the {} that were given is about it",
                self.bundles.len()
            ))),
        }
    }
}

/// The bundle beside a package or a manifest: `<package>.sigstore.json`.
pub(in crate::commands) fn beside(package: &Path) -> PathBuf {
    with_suffix(package, ".sigstore.json")
}

/// Every file with attestations beside a package: those that `sign` writes, and sidecars as channels serve them.
pub(in crate::commands) fn all_beside(package: &Path) -> Vec<PathBuf> {
    [
        ".sigstore.json",
        ".provenance.sigstore.json",
        ".sigs",
        ".v0.sigs",
    ]
    .map(|suffix| with_suffix(package, suffix))
    .into_iter()
    // What cannot be looked at must not be passed over.
    .filter(|file| file.try_exists().unwrap_or(true))
    .collect()
}

/// The bundles of files, in their order.
pub(super) fn bundles_at(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut all = Vec::new();
    for file in files {
        let named = |error: conda_attest::Error| Failure {
            finding: Finding::InvalidAttestation,
            code: error.code().to_owned(),
            message: format!("`{}`: {}", file.display(), with_causes(&error)),
        };
        all.extend(bundles_in(&read_bundle(file).map_err(named)?).map_err(named)?);
    }
    Ok(all)
}

fn with_suffix(package: &Path, suffix: &str) -> PathBuf {
    let mut path = package.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
