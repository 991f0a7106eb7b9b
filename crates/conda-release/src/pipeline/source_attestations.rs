//! Verifying the attestations that recipes require of their sources, before anything is built from them.

use std::collections::{BTreeMap, BTreeSet};

use cep27::Sha256;
use conda_attest::{Publisher, Trust, Verifier, fetch_source_bundles, verify_source};
use conda_recipes::Failure;
use release_manifest::{PackageKey, Plan, SourceDigest};

use crate::{
    commands::trust::TrustArgs,
    error::{Error, with_causes},
    printer::Printer,
    workspace::Workspace,
};

/// The trust under which attestations of sources are verified.
pub(crate) struct SourceTrust<'a> {
    /// The command line.
    pub(crate) trust: &'a TrustArgs,
    /// The configuration.
    pub(crate) workspace: &'a Workspace,
}

/// Verifies every attestation that a recipe of these packages requires. Returns the result for each package that has any.
///
/// The digest of a source stands in the plan and is what the build is given, so that no source is needed here.
///
/// # Errors
/// The trusted root cannot be had. Without such packages it is not loaded.
pub(crate) async fn verify_sources(
    plan: &Plan,
    packages: &BTreeSet<PackageKey>,
    trust: &SourceTrust<'_>,
    printer: &Printer,
) -> Result<BTreeMap<PackageKey, Result<(), Failure>>, Error> {
    let required = |package: &&PackageKey| {
        let planned = plan.package(package);
        planned.is_some_and(|planned| {
            let mut sources = planned.sources.iter();
            sources.any(|source| source.attestation().is_some())
        })
    };
    let packages: Vec<&PackageKey> = packages.iter().filter(required).collect();
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    let trust = trust.load(printer).await?;
    let verifier = Verifier::new(&trust)?;
    let mut known: BTreeMap<&SourceDigest, Result<(), Failure>> = BTreeMap::new();
    let mut results = BTreeMap::new();
    for package in packages {
        let sources = plan.package(package).into_iter();
        let mut result = Ok(());
        for source in sources.flat_map(|planned| &planned.sources) {
            let verified = match known.get(source) {
                Some(verified) => verified.clone(),
                None => {
                    let verified = verify(&verifier, source, printer).await;
                    known.insert(source, verified.clone());
                    verified
                }
            };
            result = result.and(verified);
        }
        results.insert(package.clone(), result);
    }
    Ok(results)
}

impl SourceTrust<'_> {
    async fn load(&self, printer: &Printer) -> Result<Trust, Error> {
        self.trust.to_verify_sources(self.workspace, printer).await
    }
}

async fn verify(
    verifier: &Verifier,
    source: &SourceDigest,
    printer: &Printer,
) -> Result<(), Failure> {
    let Some(required) = source.attestation() else {
        return Ok(());
    };
    let unverified = |reason: String| {
        Failure {
        code: "unverified_source".to_owned(),
        message: format!("the attestation of the source `{}` was not verified", source.uri),
        causes: vec![reason],
        help: Some("nothing is built from it; compare `attestation` in the recipe with what its publisher signs, and name the Sigstore instance with --trust where it is not the public one".to_owned()),
        excerpt: None,
        related: Vec::new(),
    }
    };
    let sha256: Sha256 = source
        .digest
        .get("sha256")
        .and_then(|digest| digest.parse().ok())
        .ok_or_else(|| unverified("the source has no SHA-256".to_owned()))?;
    let url = required.bundle.as_deref().ok_or_else(|| {
        unverified("missing `bundle_url`, which is optional for sources from PyPI alone".to_owned())
    })?;
    let url = url
        .parse()
        .map_err(|error| unverified(format!("`bundle_url` is not a URL: {error}")))?;
    let mut publishers: Vec<Publisher> = Vec::new();
    for publisher in &required.publishers {
        let publisher = publisher.parse();
        publishers.push(publisher.map_err(|error| unverified(with_causes(&error)))?);
    }
    let bundles = fetch_source_bundles(&url).await;
    let bundles = bundles.map_err(|error| unverified(with_causes(&error)))?;
    let signed = verify_source(verifier, sha256, &bundles, &publishers)
        .map_err(|error| unverified(with_causes(&error)))?;
    for evidence in signed {
        let line = format!("source {} signed by {}", source.uri, evidence.identity);
        printer.status("Verified", &line);
    }
    Ok(())
}
