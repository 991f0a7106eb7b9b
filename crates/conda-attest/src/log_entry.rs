//! What sigstore-verify leaves open about log entries: it is content with *one* proved entry, and
//! ignores the fields that an entry repeats or does not need.

use sigstore_rekor::body::RekorEntryBody;
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{DsseEnvelope, HashAlgorithm, KindVersion, TransparencyLogEntry};

use crate::envelope_hash;
use crate::verdict::Refusal;

/// Whether an entry has all the proof it needs, from the one log that it names, and nothing beside
/// that is not proved.
pub(crate) fn check(
    entry: &TransparencyLogEntry,
    envelope: Option<&DsseEnvelope>,
    root: &TrustedRoot,
) -> Result<(), Refusal> {
    let refuse = |code, message: &str| Err(Refusal::new(code, message.to_owned()));
    let Some(proof) = &entry.inclusion_proof else {
        return refuse("no_inclusion_proof", "a log entry has no inclusion proof");
    };
    let Some(checkpoint) = proof.checkpoint.checkpoint() else {
        return refuse("no_checkpoint", "an inclusion proof has no checkpoint");
    };
    let is_for_content = match entry.kind_version {
        KindVersion::DsseV001 | KindVersion::IntotoV002 => envelope.is_some(),
        KindVersion::HashedRekordV002 => true,
        KindVersion::HashedRekordV001 => envelope.is_none(),
        _ => false,
    };
    if !is_for_content {
        return refuse(
            "entry_kind",
            "the kind of a log entry is not one for what was signed",
        );
    }
    let log_id = entry.log_id.key_id.as_bytes();
    let logs = || root.tlogs.iter().map(|log| log.log_id.key_id.as_bytes());
    if !logs().any(|log| log == log_id) {
        return refuse("unknown_log", "a log entry names a log that is not trusted");
    }
    // One good signature of any trusted log satisfies sigstore-verify: so there are to be none but
    // of this log. Those of witnesses do not count.
    let mut signers = checkpoint.signatures().iter().filter_map(|signature| {
        let hint = signature.key_id.as_slice();
        logs().find(|log| log.starts_with(hint))
    });
    match (signers.next(), signers.all(|log| log == log_id)) {
        (Some(first), true) if first == log_id => {}
        _ => {
            return refuse(
                "unknown_log",
                "the checkpoint is not signed by the log of the entry alone",
            );
        }
    }
    if proof.tree_size != checkpoint.tree_size() || proof.root_hash != *checkpoint.root_hash() {
        return refuse(
            "proof_mismatch",
            "an inclusion proof and its checkpoint are of different trees",
        );
    }
    if is_v2(entry) {
        // The name beside a signature is not signed; the origin in the checkpoint is.
        let origin = checkpoint.origin();
        if checkpoint.signatures().iter().any(|signature| {
            log_id.starts_with(signature.key_id.as_slice()) && signature.name != origin
        }) {
            return refuse(
                "checkpoint",
                "the signature of a checkpoint names another log",
            );
        }
        if proof.log_index != entry.log_index {
            return refuse(
                "log_index",
                "a log entry and its inclusion proof differ in their index",
            );
        }
        if entry.integrated_time.is_some() || entry.inclusion_promise.is_some() {
            return refuse(
                "unsigned_time",
                "a Rekor v2 entry has a time or promise nobody signed",
            );
        }
    }
    Ok(())
}

/// Whether an entry, where it has one (`dsse/0.0.1`), has the hash of this envelope.
pub(crate) fn check_envelope_hash(
    entry: &TransparencyLogEntry,
    envelope: Option<&DsseEnvelope>,
) -> Result<(), Refusal> {
    if entry.kind_version != KindVersion::DsseV001 {
        return Ok(());
    }
    let body = RekorEntryBody::parse(&entry.canonicalized_body, entry.kind_version)
        .map_err(|error| Refusal::new("log_entry", error.to_string()))?;
    let is_known = match (&body, envelope) {
        (RekorEntryBody::DsseV001(body), Some(envelope)) => {
            let hash = &body.spec.envelope_hash;
            hash.algorithm == HashAlgorithm::Sha2256
                && envelope_hash::is_hash_of(&hash.value, envelope)
        }
        _ => false,
    };
    match is_known {
        true => Ok(()),
        false => Err(Refusal::new(
            "envelope_hash",
            "a log entry has the hash of another envelope",
        )),
    }
}

/// Whether it is from a log of the second generation, Rekor v2.
pub(crate) fn is_v2(entry: &TransparencyLogEntry) -> bool {
    entry.kind_version == KindVersion::HashedRekordV002
}
