//! Sidecars: the attestations of a package in a channel (CEP-50).

use cep27::Sha256;
use release_manifest::PackageKey;
use serde_json::value::RawValue;

use crate::disk;
use crate::{Bundle, Error};

/// The size, in bytes, up to which a sidecar is written and read: what conda clients cap it at.
pub const SIDECAR_LIMIT: u64 = 4 * 1024 * 1024;

/// The name under which a sidecar's bytes never change: `<artifact>.sigs.<sha256>` (CEP-50).
pub(crate) fn hashed_name(package: &PackageKey, sha256: Sha256) -> String {
    format!("{}.sigs.{sha256}", package.file)
}

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

    /// Reads a sidecar that is to have this hash, which is checked before anything is parsed (CEP-50).
    ///
    /// The error says what is wrong with it.
    pub(crate) fn parse_hashed(bytes: &[u8], sha256: Sha256) -> Result<Self, String> {
        if bytes.len() as u64 > SIDECAR_LIMIT {
            return Err(format!("it is larger than {SIDECAR_LIMIT} bytes"));
        }
        match disk::hash_of(bytes) {
            found if found == sha256 => Self::parse(bytes),
            found => Err(format!("it has the sha256 {found}")),
        }
    }

    /// The text of each bundle, byte for byte as it was accepted, oldest first. The order means nothing to a
    /// verifier.
    pub fn bundles(&self) -> impl ExactSizeIterator<Item = &str> {
        self.bundles.iter().map(String::as_str)
    }

    /// The same, to be added elsewhere.
    pub(crate) fn into_bundles(self) -> Vec<BundleText> {
        self.bundles.into_iter().map(BundleText).collect()
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
    /// Reads the file of a bundle, if it is the one that was verified.
    pub(crate) fn read(bundle: &Bundle, package: &PackageKey) -> Result<Self, Error> {
        let path = &bundle.path;
        let bytes = disk::read_existing(path, SIDECAR_LIMIT)?;
        let found = disk::hash_of(&bytes);
        if found != bundle.sha256 {
            let (package, path) = (Box::new(package.clone()), path.clone());
            return Err(Error::BundleChanged {
                package,
                path,
                expected: bundle.sha256,
                found,
            });
        }
        Self::parse(&bytes).map_err(|reason| Error::Bundle {
            package: Box::new(package.clone()),
            path: path.clone(),
            reason,
        })
    }

    /// The text, byte for byte as it was verified.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Objects whose text no serialiser would write.
    fn bundle() -> impl Strategy<Value = String> {
        let space = "[ \n\t]{0,3}";
        (
            space,
            "[a-z\\]\\[{},]{0,4}",
            space,
            "[0-9]{1,3}(\\.0{1,3})?",
            space,
        )
            .prop_filter("no leading zero", |(_, _, _, number, _)| {
                !number.starts_with('0') || number.starts_with("0.")
            })
            .prop_map(|(a, key, b, number, c)| format!("{{{a}\"{key}\"{b}:{number}{c}}}"))
    }

    fn text(bundle: &str) -> BundleText {
        BundleText::parse(bundle.as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn every_bundle_is_kept_once_byte_for_byte_in_order(bundles in prop::collection::vec(bundle(), 1..12)) {
            let mut expected: Vec<&str> = Vec::new();
            let mut sidecar = None;
            for bundle in &bundles {
                if !expected.contains(&bundle.as_str()) {
                    expected.push(bundle);
                }
                sidecar = Sidecar::with(sidecar, vec![text(bundle)]);
                let now = sidecar.as_ref().unwrap();
                prop_assert_eq!(now.bundles().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(&Sidecar::parse(now.as_bytes()).unwrap(), now);
            }
        }

        #[test]
        fn what_another_tool_wrote_stays_byte_for_byte(
            bundles in prop::collection::vec((bundle(), "[ \n]{0,2}", "[ \n]{0,2}"), 1..5),
            end in "[ \n]{0,3}",
            new in "[A-Z]{5}",
        ) {
            let elements: Vec<_> = bundles.iter().map(|(bundle, a, b)| format!("{a}{bundle}{b}")).collect();
            let foreign = format!(" [{}]{end}", elements.join(","));
            let old = Sidecar::parse(foreign.as_bytes()).unwrap();
            let new = Sidecar::with(Some(old), vec![text(&format!("{{\"{new}\":1}}"))]).unwrap();
            let kept = foreign.trim_end().strip_suffix(']').unwrap().trim_end();
            prop_assert!(str::from_utf8(new.as_bytes()).unwrap().starts_with(kept));
            prop_assert_eq!(new.bundles().len(), bundles.len() + 1);
            prop_assert_eq!(Sidecar::parse(new.as_bytes()).unwrap(), new);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop((Sidecar::parse(&bytes), BundleText::parse(&bytes)));
        }
    }

    #[test]
    fn what_breaks_cep_50_is_refused() {
        for (bytes, expected) in [
            (&b"[]"[..], "it has no bundle"),
            (b"{}", "it is not a JSON array of bundles"),
            (b"[{}] x", "it is not a JSON array of bundles"),
            (b"[{}, 1]", "its element 1 is not a JSON object"),
            (b"[{\"a\":\"\xff\"}]", "it is not UTF-8"),
            (
                &vec![b' '; SIDECAR_LIMIT as usize + 1],
                "it is larger than 4194304 bytes",
            ),
        ] {
            let reason = Sidecar::parse(bytes).unwrap_err();
            assert!(reason.starts_with(expected), "{reason}");
        }
    }

    #[test]
    fn nesting_without_end_is_no_danger() {
        let deep = format!("[{}", "[".repeat(1_000_000));
        assert!(Sidecar::parse(deep.as_bytes()).is_err());
        let deep = format!(
            "{{\"a\":{}{}}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        // Whether it is refused is the verifier's matter.
        drop(BundleText::parse(deep.as_bytes()));
    }
}
