//! The attestation of a release as a whole.

use std::path::{Path, PathBuf};

use conda_attest::{CheckName, Outcome, Policy, Verdict, Verifier, read_bundle};
use conda_publish::KeptRelease;
use release_manifest::{DOCUMENT_LIMIT, Manifest, RELEASE_BUNDLE_NAME, ReleaseStatement};
use serde::Serialize;

use super::{
    finding::Finding,
    report::{Failure, failures},
};
use crate::{
    error::{Error, with_causes},
    exit::Status,
    foreign::harmless,
    input,
};

/// What came of the attestation of a release.
#[derive(Serialize)]
pub(super) struct Release {
    /// Its manifest.
    path: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation: Option<Verdict>,
}

/// What is proved of a release's manifest.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is attested as it stands there, with the packages that it names.
    Attested,
    /// It has changed since it was attested; what it says of the packages' bytes has not.
    Changed,
    /// It has no attestation.
    Unattested,
    /// Its attestation does not hold, or says something else.
    Refused,
}

/// A release's manifest and its attestation.
pub(super) struct Documents {
    /// The path or URL of the manifest.
    path: String,
    statement: ReleaseStatement,
    /// The bundle, if there is one.
    bundle: Option<Result<Vec<u8>, Failure>>,
}

impl Documents {
    /// A manifest in a file; its attestation is beside it, or where it says itself while it changes.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub(super) fn read(path: &Path) -> Result<(Self, Manifest), Error> {
        let bytes = input::read(path, DOCUMENT_LIMIT)?;
        let manifest = Manifest::from_json(&bytes).map_err(Error::state(path))?;
        let bundle = bundle_of(path, &manifest);
        // What cannot be looked at must not be passed over.
        let is_there = bundle.try_exists().unwrap_or(true);
        let unreadable = |error: conda_attest::Error| Failure {
            finding: Finding::InvalidAttestation,
            code: error.code().to_owned(),
            message: with_causes(&error),
        };
        let documents = Self {
            path: path.display().to_string(),
            statement: ReleaseStatement::about(&bytes).map_err(Error::state(path))?,
            bundle: is_there.then(|| read_bundle(&bundle).map_err(unreadable)),
        };
        Ok((documents, manifest))
    }

    /// A manifest that a channel on a server keeps.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn kept(release: KeptRelease) -> Result<(Self, Manifest), Error> {
        let invalid = || Error::state(&release.url);
        let manifest = Manifest::from_json(&release.manifest).map_err(invalid())?;
        let documents = Self {
            statement: ReleaseStatement::about(&release.manifest).map_err(invalid())?,
            bundle: release.attestation.map(Ok),
            path: release.url,
        };
        Ok((documents, manifest))
    }
}

impl Release {
    /// Judges the attestation of a manifest, if there is one. Its packages are judged by themselves.
    pub(super) fn judge(documents: Documents, verifier: &Verifier, policy: &Policy) -> Self {
        let (state, error, attestation) = match documents.bundle {
            None => (State::Unattested, None, None),
            Some(Err(failure)) => (State::Refused, Some(failure), None),
            Some(Ok(bundle)) => {
                let verdict = verifier.verify_release(&documents.statement, &bundle, policy);
                (state(&verdict), None, Some(verdict))
            }
        };
        Self {
            path: documents.path,
            state,
            error,
            attestation,
        }
    }

    /// A release without an attestation of its own is as good as its packages.
    pub(super) fn status(&self) -> Status {
        match self.state {
            State::Attested | State::Changed | State::Unattested => Status::Done,
            State::Refused => Status::Verify,
        }
    }

    /// What is proved, and every check that failed.
    pub(super) fn lines(&self) -> String {
        let path = harmless(&self.path);
        let signed = self.attestation.as_ref().and_then(|it| it.signed.as_ref());
        let by = signed.map_or(String::new(), |signed| {
            format!(" by {} at {}", harmless(&signed.identity), signed.signed_at)
        });
        match self.state {
            State::Attested => format!("✓ {path}\n    attested with its packages{by}"),
            State::Changed => format!(
                "- {path}\n    it has changed since it was attested{by}: the bytes of its packages are the attested ones"
            ),
            State::Unattested => format!(
                "- {path}\n    it has no attestation of its own (yet): its packages are verified by theirs"
            ),
            State::Refused => {
                let mut lines = vec![format!("✗ {path}")];
                let error = self.error.as_ref();
                lines.extend(error.map(|error| format!("    {}", harmless(&error.message))));
                lines.extend(self.attestation.iter().flat_map(|it| failures(it, "    ")));
                lines.join("\n")
            }
        }
    }
}

/// Where the attestation of a manifest is.
fn bundle_of(path: &Path, manifest: &Manifest) -> PathBuf {
    let beside = path.with_file_name(RELEASE_BUNDLE_NAME);
    // What cannot be looked at must not be passed over.
    if beside.try_exists().unwrap_or(true) {
        return beside;
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    match &manifest.release {
        Some(record) => record.bundle.under(folder),
        None => beside,
    }
}

/// The bytes of a manifest change with every step of its release; everything else must hold.
fn state(verdict: &Verdict) -> State {
    let manifest = CheckName::Manifest.code();
    let holds = |check: &conda_attest::Check| matches!(check.result, Outcome::Passed);
    let mut others = verdict.checks.iter().filter(|check| check.code != manifest);
    match verdict.passed() {
        true => State::Attested,
        false if others.all(holds) => State::Changed,
        false => State::Refused,
    }
}
