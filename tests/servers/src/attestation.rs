//! Verifying attestations as servers do, with code that is not ours.

use cep27::{Expected, FileName, Sha256, Subdir};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::bundle::SignatureContent;
use sigstore_types::{Bundle, Sha256Hash};
use sigstore_verify::{VerificationPolicy, Verifier};

/// The in-toto statement that a bundle signs.
pub(crate) fn statement(bundle: &str) -> Result<Vec<u8>, String> {
    let bundle = Bundle::from_json(bundle).map_err(|error| error.to_string())?;
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => Ok(envelope.payload.as_bytes().to_vec()),
        _ => Err("the bundle has no statement".to_owned()),
    }
}

/// Whether a genuine certificate signed and logged a statement about these bytes.
pub(crate) fn prove(root: &TrustedRoot, sha256: Sha256, bundle: &str) -> Result<(), String> {
    let verifier = Verifier::new(root).map_err(|error| error.to_string())?;
    let bundle = Bundle::from_json(bundle).map_err(|error| error.to_string())?;
    let digest = Sha256Hash::from(*sha256.as_bytes());
    verifier
        .verify(digest, &bundle, &VerificationPolicy::any_identity())
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Verifies the publish attestation of a package (CEP-27, rule 9: servers verify as clients do).
pub(crate) fn verify(
    root: &TrustedRoot,
    (file, subdir, sha256): (&FileName, Subdir, Sha256),
    channel: &str,
    bundle: &str,
) -> Result<(), String> {
    prove(root, sha256, bundle)?;
    let expected = Expected {
        file,
        sha256,
        channel: Some(channel),
        subdir: Some(subdir),
    };
    match cep27::validate_against(&statement(bundle)?, &expected) {
        Ok(_) => Ok(()),
        Err(violations) => {
            let all: Vec<_> = violations.iter().map(ToString::to_string).collect();
            Err(all.join("; "))
        }
    }
}
