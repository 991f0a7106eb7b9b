//! The sandbox's keys and long-lived certificates: made once for a folder, stored in one file.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use der::{DecodePem as _, EncodePem as _, pem::LineEnding};
use jiff::Timestamp;
use p256::{
    ecdsa::SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _},
};
use serde::{Deserialize, Serialize};
use x509_cert::Certificate;

use crate::{
    Error,
    certificate::{Certified, new_key, validity},
    files::write_atomically,
};

/// How long the authorities' certificates are valid.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Trust begins so long before its keys were made, against clocks that are set back a little.
const LEEWAY: Duration = Duration::from_secs(60 * 60);

/// All private keys of a sandbox.
pub(crate) struct Keys {
    /// Since when they are to be trusted, to the second.
    pub(crate) valid_from: Timestamp,
    pub(crate) fulcio: Certified,
    pub(crate) ct: SigningKey,
    pub(crate) rekor: ed25519_dalek::SigningKey,
    pub(crate) rekor_v1: SigningKey,
    pub(crate) tsa: Certified,
    /// The authority of the TSA's certificate. Its key was thrown away.
    pub(crate) tsa_root: Certificate,
    pub(crate) oidc: SigningKey,
}

impl Keys {
    /// Reads the keys stored in `folder`, or makes and stores new ones: all of them, or those that
    /// a folder from before they existed lacks.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("keys.json");
        let stored = match fs_err::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let keys = match &stored {
            Some(bytes) => Self::from_json(bytes).map_err(|problem| Error::Keys {
                path: path.clone(),
                problem: problem.to_string(),
            })?,
            None => Self::generate()?,
        };
        let json = keys.to_json()?;
        if stored.is_none_or(|stored| stored != json) {
            write_atomically(&path, &json)?;
        }
        Ok(keys)
    }

    fn generate() -> Result<Self, Error> {
        let now = Duration::from_secs(Timestamp::now().as_second().unsigned_abs());
        let start = now.saturating_sub(LEEWAY);
        let validity = validity(start, start + LIFETIME)?;
        let tsa_root = Certified::authority("sandbox timestamp root", validity)?;
        Ok(Self {
            valid_from: Timestamp::UNIX_EPOCH + start,
            fulcio: Certified::authority("sandbox fulcio", validity)?,
            ct: new_key(),
            rekor: ed25519_dalek::SigningKey::from_bytes(&rand::random()),
            rekor_v1: new_key(),
            tsa: tsa_root.timestamper("sandbox timestamp authority", validity)?,
            tsa_root: tsa_root.certificate,
            oidc: new_key(),
        })
    }

    fn from_json(bytes: &[u8]) -> Result<Self, Box<dyn std::error::Error>> {
        let file: File = serde_json::from_slice(bytes)?;
        let seed: [u8; 32] = STANDARD
            .decode(&file.rekor)?
            .try_into()
            .map_err(|_| "expected 32 bytes in `rekor`")?;
        Ok(Self {
            valid_from: Timestamp::from_second(file.valid_from)?,
            fulcio: file.fulcio.open()?,
            ct: SigningKey::from_pkcs8_pem(&file.ct)?,
            rekor: ed25519_dalek::SigningKey::from_bytes(&seed),
            rekor_v1: match &file.rekor_v1 {
                Some(key) => SigningKey::from_pkcs8_pem(key)?,
                None => new_key(),
            },
            tsa: file.tsa.open()?,
            tsa_root: Certificate::from_pem(&file.tsa_root)?,
            oidc: SigningKey::from_pkcs8_pem(&file.oidc)?,
        })
    }

    fn to_json(&self) -> Result<Vec<u8>, Error> {
        let file = File {
            valid_from: self.valid_from.as_second(),
            fulcio: Stored::new(&self.fulcio)?,
            ct: pem(&self.ct)?,
            rekor: STANDARD.encode(self.rekor.to_bytes()),
            rekor_v1: Some(pem(&self.rekor_v1)?),
            tsa: Stored::new(&self.tsa)?,
            tsa_root: self.tsa_root.to_pem(LineEnding::LF)?,
            oidc: pem(&self.oidc)?,
        };
        serde_json::to_vec_pretty(&file).map_err(Error::encode)
    }
}

/// The file: PEM, but for the Ed25519 seed in base64. `valid_from` in seconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    valid_from: i64,
    fulcio: Stored,
    ct: String,
    rekor: String,
    /// Absent in folders from before the sandbox spoke Rekor v1.
    rekor_v1: Option<String>,
    tsa: Stored,
    tsa_root: String,
    oidc: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    key: String,
    certificate: String,
}

impl Stored {
    fn new(certified: &Certified) -> Result<Self, Error> {
        Ok(Self {
            key: pem(&certified.key)?,
            certificate: certified.certificate.to_pem(LineEnding::LF)?,
        })
    }

    fn open(&self) -> Result<Certified, Box<dyn std::error::Error>> {
        Ok(Certified {
            key: SigningKey::from_pkcs8_pem(&self.key)?,
            certificate: Certificate::from_pem(&self.certificate)?,
        })
    }
}

fn pem(key: &SigningKey) -> Result<String, Error> {
    Ok(key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(Error::encode)?
        .to_string())
}
