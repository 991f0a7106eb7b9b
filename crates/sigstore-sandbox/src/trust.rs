//! The files by which clients know and find the sandbox.

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::Encode as _;
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;

use crate::{
    Error, MARK, RekorVersions,
    certificate::public_key_der,
    files::write_atomically,
    keys::Keys,
    note::{self, Notary},
};

/// What a signing config offers.
pub(crate) struct Offer<'a> {
    /// Where all services are.
    pub(crate) url: &'a str,
    pub(crate) rekor: RekorVersions,
    pub(crate) tsa: bool,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(crate) struct TrustFiles {
    pub(crate) trusted_root: PathBuf,
    pub(crate) signing_config: PathBuf,
    pub(crate) trust_config: PathBuf,
}

impl TrustFiles {
    /// Writes the files. The trusted root depends on nothing but the keys; the other two name the
    /// loopback URL of the running server.
    pub(crate) fn write(folder: &Path, keys: &Keys, offer: &Offer<'_>) -> Result<Self, Error> {
        let files = Self {
            trusted_root: folder.join("trusted_root.json"),
            signing_config: folder.join("signing_config.json"),
            trust_config: folder.join("trust_config.json"),
        };
        let trusted_root = trusted_root(keys)?;
        let signing_config = signing_config(keys.valid_from, offer);
        let trust_config = json!({
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": trusted_root,
            "signingConfig": signing_config,
        });
        write(&files.trusted_root, &trusted_root)?;
        write(&files.signing_config, &signing_config)?;
        write(&files.trust_config, &trust_config)?;
        Ok(files)
    }
}

/// Writes a file that is not already there with the same bytes.
fn write(path: &Path, value: &Value) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(Error::encode)?;
    text.push(b'\n');
    if fs_err::read(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    Ok(write_atomically(path, &text)?)
}

/// `application/vnd.dev.sigstore.trustedroot+json;version=0.1`, with URIs that never change and
/// lead nowhere.
fn trusted_root(keys: &Keys) -> Result<Value, Error> {
    let valid_for = json!({ "start": keys.valid_from.to_string() });
    let rekor_v1 = public_key_der(&keys.rekor_v1)?;
    let rekor_v2 = keys
        .rekor
        .verifying_key()
        .to_public_key_der()
        .map_err(Error::encode)?;
    let tlog = |name: &str, key: &[u8], details: &str, notary: &Notary| {
        json!({
            "baseUrl": format!("https://{name}"),
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(key),
                "keyDetails": details,
                "validFor": valid_for,
            },
            "logId": { "keyId": STANDARD.encode(notary.log_id()) },
        })
    };
    let ct_key = public_key_der(&keys.ct)?;
    Ok(json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [
            tlog(
                note::REKOR_V2,
                rekor_v2.as_bytes(),
                "PKIX_ED25519",
                &Notary::rekor_v2(keys.rekor.clone()),
            ),
            tlog(
                note::REKOR_V1,
                &rekor_v1,
                "PKIX_ECDSA_P256_SHA_256",
                &Notary::rekor_v1(keys.rekor_v1.clone())?,
            ),
        ],
        "certificateAuthorities": [{
            "subject": { "organization": MARK, "commonName": "sandbox fulcio" },
            "uri": "https://fulcio.sandbox.conda-release.invalid",
            "certChain": chain(&[&keys.fulcio.certificate])?,
            "validFor": valid_for,
        }],
        "ctlogs": [{
            "baseUrl": "https://ct.sandbox.conda-release.invalid",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(&ct_key),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": valid_for,
            },
            "logId": { "keyId": STANDARD.encode(Sha256::digest(&ct_key)) },
        }],
        "timestampAuthorities": [{
            "subject": { "organization": MARK, "commonName": "sandbox timestamp authority" },
            "uri": "https://tsa.sandbox.conda-release.invalid/api/v1/timestamp",
            "certChain": chain(&[&keys.tsa.certificate, &keys.tsa_root])?,
            "validFor": valid_for,
        }],
    }))
}

/// `application/vnd.dev.sigstore.signingconfig.v0.2+json`
fn signing_config(valid_from: Timestamp, offer: &Offer<'_>) -> Value {
    let Offer { url, rekor, tsa } = *offer;
    let service = |path: &str, version: u8| {
        json!({
            "url": format!("{url}{path}"),
            "majorApiVersion": version,
            "validFor": { "start": valid_from.to_string() },
            "operator": MARK,
        })
    };
    let logs: &[u8] = match rekor {
        RekorVersions::V1 => &[1],
        RekorVersions::V2 => &[2],
        RekorVersions::Both => &[2, 1],
    };
    let mut config = json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [service("", 1)],
        "oidcUrls": [service("", 1)],
        "rekorTlogUrls": logs.iter().map(|&version| service("", version)).collect::<Vec<_>>(),
        "rekorTlogConfig": { "selector": "ANY" },
    });
    if tsa {
        config["tsaUrls"] = json!([service("/api/v1/timestamp", 1)]);
        config["tsaConfig"] = json!({ "selector": "ANY" });
    }
    config
}

fn chain(certificates: &[&Certificate]) -> Result<Value, Error> {
    let certificates = certificates
        .iter()
        .map(|certificate| Ok(json!({ "rawBytes": STANDARD.encode(certificate.to_der()?) })))
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "certificates": certificates }))
}
