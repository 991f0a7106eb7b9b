//! Packages and attestations that were made elsewhere, held against each other before anything is published.

use std::path::PathBuf;

use conda_attest::{PackageFile, Policy, Verifier};
use conda_publish::Upload;

use super::{Entry, Report, given::Given};
use crate::{error::Error, pipeline::Made, printer::Printer};

/// A package to publish, whose attestations verify.
pub(super) struct Proved {
    /// The package with its attestations.
    pub(super) upload: Upload,
    /// Who signed the one that proves it.
    pub(super) made: Made,
}

/// What packages are held against before they are published.
pub(super) struct Proving<'a> {
    /// The attestations.
    pub(super) given: &'a Given,
    /// Under whose trust.
    pub(super) verifier: Verifier,
    /// Who may have signed.
    pub(super) policy: Policy,
    /// The channel that must have been attested.
    pub(super) channel: &'a str,
    /// Where they go, for the report.
    pub(super) target: &'a str,
    /// Where refusals are told.
    pub(super) printer: &'a Printer,
}

impl Proving<'_> {
    /// The packages with the attestations that prove each; nothing where one has none, which is told.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn prove(&self, packages: &[PathBuf]) -> Result<Option<Vec<Proved>>, Error> {
        let Self {
            given,
            verifier,
            policy,
            channel,
            target,
            printer,
        } = self;
        let packages = packages
            .iter()
            .map(PackageFile::read)
            .collect::<Result<Vec<_>, _>>()?;
        for unused in given.unused(&packages) {
            printer.warning(&format!("{unused}, and of no use here"));
        }
        let mut proved = Vec::new();
        let mut refused = Vec::new();
        for package in &packages {
            match given.prove(package, verifier, policy, channel)? {
                Ok(proof) => {
                    for reason in proof.left_out {
                        printer.warning(&format!("left out for {}: {reason}", package.file));
                    }
                    proved.push(Proved {
                        upload: Upload {
                            source: package.path.clone(),
                            package: package.key(),
                            sha256: package.sha256,
                            bundles: proof.bundles,
                        },
                        made: proof.made,
                    });
                }
                Err(reason) => {
                    let path = package.path.display();
                    printer.failure("Refused", &format!("{path}: {reason}"));
                    refused.push(Entry {
                        package: package.key(),
                        url: None,
                        result: None,
                        error: Some(reason),
                    });
                }
            }
        }
        if refused.is_empty() {
            return Ok(Some(proved));
        }
        printer.warning("nothing was published: every package needs an attestation that verifies");
        printer.json(&Report::of(target, refused))?;
        Ok(None)
    }
}
