//! The hash of an envelope in a `dsse/0.0.1` entry of Rekor v1.
//!
//! The log hashes the envelope as it was sent, and no bundle keeps that text: only what it says.
//! What it said is known, however, and clients write it in few ways, all of which are tried.

use sha2::Digest as _;
use sigstore_types::DsseEnvelope;

/// Orders of the members: sigstore-js and Go's protobuf, `dsse` in Go and sigstore-rust, then the
/// rest.
const MEMBERS: [[Member; 3]; 6] = {
    use Member::{Payload, PayloadType, Signatures};
    [
        [Payload, PayloadType, Signatures],
        [PayloadType, Payload, Signatures],
        [PayloadType, Signatures, Payload],
        [Payload, Signatures, PayloadType],
        [Signatures, Payload, PayloadType],
        [Signatures, PayloadType, Payload],
    ]
};

/// An empty key id is written or left out.
const KEY_IDS: [KeyId; 3] = [KeyId::Absent, KeyId::After, KeyId::Before];

/// What stands after a comma and after a colon: Python writes both spaces, and Go's protobuf one of
/// these, by a coin that falls when a program is built.
const SPACES: [(&str, &str); 4] = [("", ""), (" ", " "), (" ", ""), ("", " ")];

#[derive(Clone, Copy)]
enum Member {
    Payload,
    PayloadType,
    Signatures,
}

#[derive(Clone, Copy)]
enum KeyId {
    Absent,
    After,
    Before,
}

/// Whether a hash in lower-case hexadecimal digits is that of this envelope, as some client would
/// have written it.
pub(crate) fn is_hash_of(hash: &str, envelope: &DsseEnvelope) -> bool {
    let Ok(expected) = hash.parse::<cep27::Sha256>() else {
        return false;
    };
    let parts = Parts {
        payload: envelope.payload.to_base64(),
        payload_type: &envelope.payload_type,
        signature: envelope.signature.sig.to_base64(),
    };
    SPACES.iter().any(|&spaces| {
        MEMBERS.iter().any(|&members| {
            KEY_IDS.iter().any(|&key_id| {
                let text = parts.text(members, key_id, spaces);
                let digest = sha2::Sha256::digest(text.as_bytes());
                expected == cep27::Sha256::from_bytes(digest.into())
            })
        })
    })
}

/// An envelope with one signature. Nothing in it needs escaping: base64, and a payload type that is
/// one of a statement.
struct Parts<'a> {
    payload: String,
    payload_type: &'a str,
    signature: String,
}

impl Parts<'_> {
    fn text(&self, members: [Member; 3], key_id: KeyId, (comma, colon): (&str, &str)) -> String {
        let signature = &self.signature;
        let signature = match key_id {
            KeyId::Absent => format!(r#"{{"sig":{colon}"{signature}"}}"#),
            KeyId::After => {
                format!(r#"{{"sig":{colon}"{signature}",{comma}"keyid":{colon}""}}"#)
            }
            KeyId::Before => {
                format!(r#"{{"keyid":{colon}"",{comma}"sig":{colon}"{signature}"}}"#)
            }
        };
        let members = members.map(|member| match member {
            Member::Payload => format!(r#""payload":{colon}"{}""#, self.payload),
            Member::PayloadType => format!(r#""payloadType":{colon}"{}""#, self.payload_type),
            Member::Signatures => format!(r#""signatures":{colon}[{signature}]"#),
        });
        format!("{{{}}}", members.join(&format!(",{comma}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sigstore_types::{DsseSignature, PayloadBytes, SignatureBytes};

    #[test]
    fn an_envelope_is_known_by_its_hash_however_a_client_wrote_it() {
        let envelope = |payload: &[u8]| {
            let signature = SignatureBytes::from_bytes(b"signature");
            DsseEnvelope::new(
                cep27::DSSE_PAYLOAD_TYPE,
                PayloadBytes::from_bytes(payload),
                DsseSignature::new(signature, sigstore_types::KeyId::default()),
            )
        };
        let known = envelope(b"{}");
        for written in [
            r#"{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"c2lnbmF0dXJl","keyid":""}]}"#,
            r#"{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"sig":"c2lnbmF0dXJl"}]}"#,
            r#"{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"","sig":"c2lnbmF0dXJl"}]}"#,
            r#"{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": [{"sig": "c2lnbmF0dXJl"}]}"#,
            r#"{"payload":"e30=", "payloadType":"application/vnd.in-toto+json", "signatures":[{"sig":"c2lnbmF0dXJl"}]}"#,
        ] {
            let digest = sha2::Sha256::digest(written.as_bytes());
            let hash = cep27::Sha256::from_bytes(digest.into()).to_string();
            assert!(is_hash_of(&hash, &known), "{written}");
            assert!(!is_hash_of(&hash, &envelope(b"{ }")), "{written}");
            assert!(!is_hash_of(&hash.to_uppercase(), &known), "{written}");
        }
    }
}
