use cep27::Sha256;
use serde_json::value::RawValue;

use crate::disk;

/// The size, in bytes, up to which a sidecar is written and read: what conda clients cap it at.
pub const SIDECAR_LIMIT: u64 = 4 * 1024 * 1024;

/// The attestations of a package: a JSON array of one or more Sigstore bundles (CEP-50).
///
/// It is append-only, and its elements are kept as the bytes they were accepted as: their text is never parsed
/// and written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    text: String,
    bundles: Vec<String>,
}

impl Sidecar {
    /// Reads a sidecar. The error says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > SIDECAR_LIMIT {
            return Err(format!("it is larger than {SIDECAR_LIMIT} bytes"));
        }
        let text = str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
        let elements: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|error| format!("it is not a JSON array of bundles: {error}"))?;
        if elements.is_empty() {
            return Err("it has no bundle".to_owned());
        }
        if let Some(at) = elements.iter().position(|element| !is_object(element)) {
            return Err(format!("its element {at} is not a JSON object"));
        }
        let bundles = elements
            .into_iter()
            .map(|element| element.get().to_owned())
            .collect();
        Ok(Self {
            text: text.to_owned(),
            bundles,
        })
    }

    /// The text of each bundle, byte for byte as it was accepted, oldest first. The order means nothing to a
    /// verifier.
    pub fn bundles(&self) -> impl ExactSizeIterator<Item = &str> {
        self.bundles.iter().map(String::as_str)
    }

    /// What repodata calls `attestations_sha256`: the hash of the whole sidecar.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        disk::hash_of(self.as_bytes())
    }

    /// The sidecar as it is served.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Adds bundles to a sidecar, or to none yet; `None` only if there are none at all.
    ///
    /// A bundle whose bytes it has already is not added again. What is there stays as it is, byte for byte.
    pub(crate) fn with(sidecar: Option<Self>, bundles: Vec<BundleText>) -> Option<Self> {
        bundles.into_iter().fold(sidecar, |sidecar, bundle| {
            Some(Self::append(sidecar, bundle))
        })
    }

    fn append(sidecar: Option<Self>, BundleText(bundle): BundleText) -> Self {
        match sidecar {
            None => Self {
                text: format!("[{bundle}]"),
                bundles: vec![bundle],
            },
            Some(same) if same.bundles.contains(&bundle) => same,
            Some(Self {
                mut text,
                mut bundles,
            }) => {
                // The bracket that ends the array is the last one: only white space may follow it.
                text.truncate(text.rfind(']').unwrap_or(text.len()));
                text.truncate(text.trim_end().len());
                text.push(',');
                text.push_str(&bundle);
                text.push(']');
                bundles.push(bundle);
                Self { text, bundles }
            }
        }
    }
}

/// The JSON text of one bundle, without white space around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleText(String);

impl BundleText {
    /// Takes the text of a bundle's file. The error says what is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > SIDECAR_LIMIT {
            return Err(format!("it is larger than {SIDECAR_LIMIT} bytes"));
        }
        let element: &RawValue =
            serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        if !is_object(element) {
            return Err("it is not a JSON object".to_owned());
        }
        Ok(Self(element.get().to_owned()))
    }
}

fn is_object(element: &RawValue) -> bool {
    element.get().starts_with('{')
}
