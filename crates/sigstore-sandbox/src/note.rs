//! Checkpoints as C2SP signed notes (<https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use sigstore_types::{Checkpoint, Sha256Hash};

/// The origin of the sandbox's log: the first line of its checkpoints and the name of their signer.
pub(crate) const ORIGIN: &str = "rekor.sandbox.conda-release.invalid";

/// The signed-note type of Ed25519 keys.
const ED25519: u8 = 1;

/// Identifies the log: the hash over name, type and raw key whose first four bytes are the key id
/// of its signed notes. Not, as for Rekor v1, the hash of the key's SubjectPublicKeyInfo.
pub(crate) fn log_id(key: &SigningKey) -> [u8; 32] {
    Sha256::new()
        .chain_update(ORIGIN)
        .chain_update([b'\n', ED25519])
        .chain_update(key.verifying_key().as_bytes())
        .finalize()
        .into()
}

/// The signed checkpoint of a tree.
pub(crate) fn sign(key: &SigningKey, size: u64, root: &Sha256Hash) -> String {
    let text = format!("{ORIGIN}\n{size}\n{}\n", STANDARD.encode(root.as_bytes()));
    let mut signature = log_id(key)[..4].to_vec();
    signature.extend(key.sign(text.as_bytes()).to_bytes());
    format!("{text}\n\u{2014} {ORIGIN} {}\n", STANDARD.encode(signature))
}

/// Parses a checkpoint signed by this key.
pub(crate) fn open(key: &SigningKey, note: &str) -> Result<Checkpoint, String> {
    let checkpoint = Checkpoint::from_text(note).map_err(|error| error.to_string())?;
    let signed = checkpoint.signed_data().to_vec();
    let genuine = checkpoint.signatures().iter().any(|line| {
        Signature::from_slice(line.signature.as_bytes())
            .is_ok_and(|signature| key.verify(&signed, &signature).is_ok())
    });
    if genuine {
        Ok(checkpoint)
    } else {
        Err("it is signed by another key".to_owned())
    }
}
