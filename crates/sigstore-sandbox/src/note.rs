//! Checkpoints as C2SP signed notes (<https://c2sp.org/signed-note>, <https://c2sp.org/tlog-checkpoint>).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::Signer as _;
use p256::ecdsa::{
    DerSignature,
    signature::{Signer as _, Verifier as _},
};
use sha2::{Digest as _, Sha256};
use sigstore_types::{Checkpoint, Sha256Hash};

use crate::Error;

/// The name of the Rekor v2 log: the first line of its checkpoints, and their signer.
pub(crate) const REKOR_V2: &str = "rekor.sandbox.conda-release.invalid";

/// The name of the Rekor v1 log: the signer of its checkpoints, whose first line has the number of
/// its tree, too.
pub(crate) const REKOR_V1: &str = "rekor-v1.sandbox.conda-release.invalid";

/// The number of the Rekor v1 log's tree, as Trillian gives them: 63 bits.
pub(crate) const TREE_ID: i64 = 1_234_567_890_123_456_789;

/// The signed-note type of Ed25519 keys.
const ED25519: u8 = 1;

/// Signs the checkpoints of one log.
#[derive(Clone)]
pub(crate) struct Notary {
    /// The first line of the checkpoints.
    origin: String,
    /// Whose signature it is.
    name: &'static str,
    id: [u8; 32],
    key: Key,
}

#[derive(Clone)]
enum Key {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
}

impl Notary {
    /// Of Rekor v2, which signs with Ed25519. Its log is known by the hash over name, type and raw
    /// key whose first four bytes are the key id of its notes.
    pub(crate) fn rekor_v2(key: ed25519_dalek::SigningKey) -> Self {
        let id = Sha256::new()
            .chain_update(REKOR_V2)
            .chain_update([b'\n', ED25519])
            .chain_update(key.verifying_key().as_bytes())
            .finalize();
        Self {
            origin: REKOR_V2.to_owned(),
            name: REKOR_V2,
            id: id.into(),
            key: Key::Ed25519(key),
        }
    }

    /// Of Rekor v1, which signs with ECDSA. Its log is known by the hash over the key's
    /// SubjectPublicKeyInfo, and so are its notes.
    pub(crate) fn rekor_v1(key: p256::ecdsa::SigningKey) -> Result<Self, Error> {
        let id = Sha256::digest(crate::certificate::public_key_der(&key)?);
        Ok(Self {
            origin: format!("{REKOR_V1} - {TREE_ID}"),
            name: REKOR_V1,
            id: id.into(),
            key: Key::EcdsaP256(key),
        })
    }

    /// What a trusted root calls the log: `logId.keyId`.
    pub(crate) fn log_id(&self) -> [u8; 32] {
        self.id
    }

    /// Signs a message: raw for Ed25519, in DER for ECDSA with SHA-256.
    pub(crate) fn sign_message(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Key::EcdsaP256(key) => {
                let signature: DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
        }
    }

    /// The signed checkpoint of a tree.
    pub(crate) fn sign(&self, size: u64, root: &Sha256Hash) -> String {
        let Self { origin, name, .. } = self;
        let text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root.as_bytes()));
        let mut signature = self.id[..4].to_vec();
        signature.extend(self.sign_message(text.as_bytes()));
        format!("{text}\n\u{2014} {name} {}\n", STANDARD.encode(signature))
    }

    /// Parses a checkpoint signed by this notary.
    pub(crate) fn open(&self, note: &str) -> Result<Checkpoint, String> {
        let checkpoint = Checkpoint::from_text(note).map_err(|error| error.to_string())?;
        let signed = checkpoint.signed_data().to_vec();
        let genuine = checkpoint
            .signatures()
            .iter()
            .any(|line| self.verify(&signed, line.signature.as_bytes()));
        if genuine {
            Ok(checkpoint)
        } else {
            Err("it is signed by another key".to_owned())
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Key::EcdsaP256(key) => DerSignature::from_bytes(signature)
                .is_ok_and(|signature| key.verifying_key().verify(message, &signature).is_ok()),
        }
    }
}
