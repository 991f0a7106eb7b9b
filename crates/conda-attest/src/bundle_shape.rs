//! What a bundle may consist of, as in Sigstore's protobuf definitions.
//!
//! Parsers differ in what they make of members they do not know, of two contents where one is
//! meant, and of a missing type. A bundle here means one thing to all of them.

use serde_json::Value;

/// What may stand at a place of a bundle.
enum Shape {
    /// A string or a number.
    Leaf,
    /// An object with no members but these.
    Object(&'static [(&'static str, Shape)]),
    /// An array of these.
    Array(&'static Shape),
}

use Shape::{Array, Leaf, Object};

const CERTIFICATE: Shape = Object(&[("rawBytes", Leaf)]);

const LOG_ENTRY: Shape = Object(&[
    ("logIndex", Leaf),
    ("logId", Object(&[("keyId", Leaf)])),
    ("kindVersion", Object(&[("kind", Leaf), ("version", Leaf)])),
    ("integratedTime", Leaf),
    (
        "inclusionPromise",
        Object(&[("signedEntryTimestamp", Leaf)]),
    ),
    (
        "inclusionProof",
        Object(&[
            ("logIndex", Leaf),
            ("rootHash", Leaf),
            ("treeSize", Leaf),
            ("hashes", Array(&Leaf)),
            ("checkpoint", Object(&[("envelope", Leaf)])),
        ]),
    ),
    ("canonicalizedBody", Leaf),
]);

const BUNDLE: Shape = Object(&[
    ("mediaType", Leaf),
    (
        "verificationMaterial",
        Object(&[
            ("publicKey", Object(&[("hint", Leaf)])),
            ("certificate", CERTIFICATE),
            (
                "x509CertificateChain",
                Object(&[("certificates", Array(&CERTIFICATE))]),
            ),
            ("tlogEntries", Array(&LOG_ENTRY)),
            (
                "timestampVerificationData",
                Object(&[(
                    "rfc3161Timestamps",
                    Array(&Object(&[("signedTimestamp", Leaf)])),
                )]),
            ),
        ]),
    ),
    (
        "messageSignature",
        Object(&[
            (
                "messageDigest",
                Object(&[("algorithm", Leaf), ("digest", Leaf)]),
            ),
            ("signature", Leaf),
        ]),
    ),
    (
        "dsseEnvelope",
        Object(&[
            ("payload", Leaf),
            ("payloadType", Leaf),
            (
                "signatures",
                Array(&Object(&[("sig", Leaf), ("keyid", Leaf)])),
            ),
        ]),
    ),
]);

/// Of these members of an object, one has to be there.
const ALTERNATIVES: [(&str, &[&str]); 3] = [
    ("", &["mediaType"]),
    ("", &["dsseEnvelope", "messageSignature"]),
    (
        "/verificationMaterial",
        &["certificate", "x509CertificateChain", "publicKey"],
    ),
];

/// Whether a document has the members of a bundle, all that are needed and no others. `null` is as
/// good as absent, as everywhere in protobuf's JSON.
///
/// # Errors
/// What was expected and found, with a JSON pointer.
pub(crate) fn check(bundle: &Value) -> Result<(), String> {
    check_shape(bundle, &BUNDLE, "")?;
    for (pointer, members) in ALTERNATIVES {
        let object = bundle.pointer(pointer).unwrap_or(&Value::Null);
        let given = members.iter().filter(|member| !object[**member].is_null());
        let count = given.count();
        if count != 1 {
            return Err(format!(
                "expected `{}` at `{pointer}`, found {count} of it",
                members.join("` or `")
            ));
        }
    }
    Ok(())
}

fn check_shape(value: &Value, shape: &Shape, pointer: &str) -> Result<(), String> {
    match (shape, value) {
        (Leaf, Value::String(_) | Value::Number(_)) => Ok(()),
        (_, Value::Null) if !pointer.is_empty() => Ok(()),
        (Object(known), Value::Object(members)) => {
            for (name, value) in members {
                let shape = known.iter().find(|(known, _)| known == name);
                let Some((_, shape)) = shape else {
                    let name = cep27::printable(name);
                    return Err(format!("a bundle has no member `{name}` at `{pointer}`"));
                };
                check_shape(value, shape, &format!("{pointer}/{name}"))?;
            }
            Ok(())
        }
        (Array(shape), Value::Array(elements)) => {
            for (index, element) in elements.iter().enumerate() {
                check_shape(element, shape, &format!("{pointer}/{index}"))?;
            }
            Ok(())
        }
        _ => Err(format!("a bundle has something else at `{pointer}`")),
    }
}
