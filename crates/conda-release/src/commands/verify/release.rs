//! The attestation of a release as a whole, beside its manifest.

use std::path::{Path, PathBuf};

use conda_attest::{CheckName, Outcome, Policy, Verdict, Verifier, read_bundle};
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

impl Release {
    /// Judges the attestation beside a manifest, if there is one. Its packages are judged by themselves.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub(super) fn judge(
        manifest: &Path,
        verifier: &Verifier,
        policy: &Policy,
    ) -> Result<Self, Error> {
        let bytes = input::read(manifest, DOCUMENT_LIMIT)?;
        let release = ReleaseStatement::about(&bytes).map_err(Error::state(manifest))?;
        let file = bundle_of(manifest, &bytes)?;
        let of = |state, error, attestation| Self {
            path: manifest.display().to_string(),
            state,
            error,
            attestation,
        };
        // What cannot be looked at must not be passed over.
        if !file.try_exists().unwrap_or(true) {
            return Ok(of(State::Unattested, None, None));
        }
        let bundle = match read_bundle(&file) {
            Ok(bundle) => bundle,
            Err(error) => {
                let failure = Failure {
                    finding: Finding::InvalidAttestation,
                    code: error.code().to_owned(),
                    message: with_causes(&error),
                };
                return Ok(of(State::Refused, Some(failure), None));
            }
        };
        let verdict = verifier.verify_release(&release, &bundle, policy);
        Ok(of(state(&verdict), None, Some(verdict)))
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

/// Where the attestation is: beside the manifest, or where it says itself while it changes.
fn bundle_of(manifest: &Path, bytes: &[u8]) -> Result<PathBuf, Error> {
    let beside = manifest.with_file_name(RELEASE_BUNDLE_NAME);
    // What cannot be looked at must not be passed over.
    if beside.try_exists().unwrap_or(true) {
        return Ok(beside);
    }
    let read = Manifest::from_json(bytes).map_err(Error::state(manifest))?;
    let folder = manifest.parent().unwrap_or(Path::new(""));
    Ok(read
        .release
        .map_or(beside, |record| record.bundle.under(folder)))
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
