//! A subdir's repodata as a text that is changed in places: what isn't understood stays as it is, byte for byte.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;

use cep27::{Format, Sha256, Subdir};
use rattler_conda_types::PackageRecord;
use release_manifest::PackageKey;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::repodata::{Record, check_members};

const PACKAGES: &str = "packages";
const CONDA: &str = "packages.conda";
const V3: &str = "v3";
const ATTESTATIONS: &str = "attestations_sha256";

/// The members of a JSON object in their order, each as the text it is.
#[derive(Debug, Clone, Default)]
struct Members(Vec<(String, Box<RawValue>)>);

/// The repodata of a subdir.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// All but the maps of records.
    members: Members,
    packages: Members,
    conda: Members,
    /// The third revision keeps records by the file name without its extension (CEP-48).
    v3: Members,
    v3_packages: Members,
    v3_conda: Members,
    changed: bool,
}

impl Document {
    /// Of a subdir without packages.
    pub(super) fn empty(subdir: Subdir) -> Result<Self, serde_json::Error> {
        let mut members = Members::default();
        members.set(
            "info",
            to_raw_value(&serde_json::json!({"subdir": subdir.as_str()}))?,
        );
        for (name, value) in [(PACKAGES, "{}"), (CONDA, "{}"), ("removed", "[]")] {
            members.set(name, RawValue::from_string(value.to_owned())?);
        }
        members.set("repodata_version", to_raw_value(&1)?);
        members.set(V3, RawValue::from_string("{}".to_owned())?);
        Self::from_members(members).map(|document| Self {
            changed: true,
            ..document
        })
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let members: Members = serde_json::from_slice(bytes)?;
        let names = members.0.iter().map(|(name, _)| name.as_str());
        check_members(names).map_err(serde_json::Error::custom)?;
        Self::from_members(members)
    }

    fn from_members(members: Members) -> Result<Self, serde_json::Error> {
        let v3: Members = members.object(V3)?;
        Ok(Self {
            packages: members.object(PACKAGES)?,
            conda: members.object(CONDA)?,
            v3_packages: v3.object("tar.bz2")?,
            v3_conda: v3.object("conda")?,
            v3,
            members,
            changed: false,
        })
    }

    /// Whether it is another than what was parsed.
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// What every record says, by file name.
    pub(super) fn records(&self) -> Result<BTreeMap<String, Record>, serde_json::Error> {
        let mut records = BTreeMap::new();
        for (members, extension) in [
            (&self.packages, ""),
            (&self.conda, ""),
            (&self.v3_packages, ".tar.bz2"),
            (&self.v3_conda, ".conda"),
        ] {
            for (name, record) in &members.0 {
                records.insert(
                    format!("{name}{extension}"),
                    serde_json::from_str(record.get())?,
                );
            }
        }
        Ok(records)
    }

    /// Adds a package's record, or replaces that of its name.
    pub(super) fn insert(
        &mut self,
        package: &PackageKey,
        record: &PackageRecord,
        attestations: Option<Sha256>,
    ) -> Result<(), serde_json::Error> {
        self.remove(package);
        let record = to_raw_value(record)?;
        let name = package.file.as_str();
        match package.file.format() {
            Format::TarBz2 => self.packages.insert(name, record),
            Format::Conda => self.conda.insert(name, record),
        }
        self.changed = true;
        self.attest(package, attestations)
    }

    /// Has a package's record say that these are its attestations, or that it has none.
    pub(super) fn attest(
        &mut self,
        package: &PackageKey,
        attestations: Option<Sha256>,
    ) -> Result<(), serde_json::Error> {
        let Some(record) = self.record_mut(package) else {
            return Ok(());
        };
        let mut members: Members = serde_json::from_str(record.get())?;
        match attestations {
            Some(sha256) => members.set(ATTESTATIONS, to_raw_value(&sha256.to_string())?),
            None => members.0.retain(|(name, _)| name != ATTESTATIONS),
        }
        *record = to_raw_value(&members)?;
        self.changed = true;
        Ok(())
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut v3 = self.v3.clone();
        for (name, records) in [("tar.bz2", &self.v3_packages), ("conda", &self.v3_conda)] {
            if !records.0.is_empty() || v3.get(name).is_some() {
                v3.set(name, to_raw_value(records)?);
            }
        }
        let mut members = self.members.clone();
        for (name, records) in [(PACKAGES, &self.packages), (CONDA, &self.conda), (V3, &v3)] {
            if !records.0.is_empty() || members.get(name).is_some() {
                members.set(name, to_raw_value(records)?);
            }
        }
        serde_json::to_vec(&members)
    }

    fn record_mut(&mut self, package: &PackageKey) -> Option<&mut Box<RawValue>> {
        let (file, stem) = (package.file.as_str(), stem(package));
        let (legacy, v3) = match package.file.format() {
            Format::TarBz2 => (&mut self.packages, &mut self.v3_packages),
            Format::Conda => (&mut self.conda, &mut self.v3_conda),
        };
        match v3.get_mut(stem) {
            Some(record) => Some(record),
            None => legacy.get_mut(file),
        }
    }

    fn remove(&mut self, package: &PackageKey) {
        let (file, stem) = (package.file.as_str(), stem(package));
        let (legacy, v3) = match package.file.format() {
            Format::TarBz2 => (&mut self.packages, &mut self.v3_packages),
            Format::Conda => (&mut self.conda, &mut self.v3_conda),
        };
        legacy.0.retain(|(name, _)| name != file);
        v3.0.retain(|(name, _)| name != stem);
    }
}

fn stem(package: &PackageKey) -> &str {
    let file = package.file.as_str();
    let extension = match package.file.format() {
        Format::TarBz2 => ".tar.bz2",
        Format::Conda => ".conda",
    };
    file.strip_suffix(extension).unwrap_or(file)
}

/// Whether a compressed text is this one. One that is longer is not read to its end.
pub(super) fn is_compressed(compressed: &[u8], text: &[u8]) -> bool {
    let Ok(decoder) = zstd::Decoder::new(compressed) else {
        return false;
    };
    let mut decoder = decoder.take(text.len() as u64 + 1);
    let mut left = text;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match decoder.read(&mut chunk) {
            Ok(0) => return left.is_empty(),
            Ok(read) => match left.strip_prefix(&chunk[..read]) {
                Some(rest) => left = rest,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

/// Compresses a text as clients prefer it.
pub(super) fn compress(text: &[u8]) -> std::io::Result<Vec<u8>> {
    const LEVEL: i32 = 9;
    zstd::encode_all(text, LEVEL)
}

impl Members {
    fn get(&self, name: &str) -> Option<&RawValue> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| &**value)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Box<RawValue>> {
        let found = self.0.iter_mut().find(|(other, _)| other == name);
        found.map(|(_, value)| value)
    }

    fn object(&self, name: &str) -> Result<Self, serde_json::Error> {
        match self.get(name) {
            Some(value) => serde_json::from_str(value.get()),
            None => Ok(Self::default()),
        }
    }

    /// Replaces a member in its place, or adds it at the end.
    fn set(&mut self, name: &str, value: Box<RawValue>) {
        match self.get_mut(name) {
            Some(there) => *there = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Adds a member before the first that comes after it by name: sorted stays sorted.
    fn insert(&mut self, name: &str, value: Box<RawValue>) {
        let place = self.0.partition_point(|(other, _)| other.as_str() < name);
        self.0.insert(place, (name.to_owned(), value));
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::key;

    const FOREIGN: &str = r#"{"unknown":[1.50e0, {"b":1,"a":2}],"packages.conda":{"z-1-0.conda":{"zeta":1, "sha256":"x","attestations_sha256":"old","alpha":2.0},"b-1-0.conda":{"n":1e3}},"packages":{},"info":{"subdir":"noarch","more":  null},"v3":{"other":{},"conda":{"w-1-0":{"k":"v"}}}}"#;

    #[test]
    fn what_is_not_changed_stays_byte_for_byte_in_its_order() {
        let document = Document::parse(FOREIGN.as_bytes()).unwrap();
        assert!(!document.is_changed());
        let text = String::from_utf8(document.to_bytes().unwrap()).unwrap();
        assert_eq!(text, FOREIGN);
    }

    #[test]
    fn attestations_change_one_member_of_one_record() {
        let mut document = Document::parse(FOREIGN.as_bytes()).unwrap();
        let new = crate::disk::hash_of(b"new");
        document
            .attest(&key("noarch/z-1-0.conda"), Some(new))
            .unwrap();
        document
            .attest(&key("noarch/w-1-0.conda"), Some(new))
            .unwrap();
        let text = String::from_utf8(document.to_bytes().unwrap()).unwrap();
        let expected = FOREIGN
            .replace(r#""zeta":1, "sha256""#, r#""zeta":1,"sha256""#)
            .replace("\"old\"", &format!("\"{new}\""))
            .replace(
                r#"{"k":"v"}"#,
                &format!(r#"{{"k":"v","attestations_sha256":"{new}"}}"#),
            );
        assert_eq!(text, expected);
        document.attest(&key("noarch/z-1-0.conda"), None).unwrap();
        let records = document.records().unwrap();
        assert!(records["z-1-0.conda"].attestations_sha256.is_none());
        assert!(records["w-1-0.conda"].attestations_sha256.is_some());
    }

    #[test]
    fn compressed_repodata_is_compared_without_being_trusted() {
        let text = b"{\"a\": 1}".repeat(100_000);
        let compressed = compress(&text).unwrap();
        assert!(is_compressed(&compressed, &text));
        assert!(!is_compressed(&compressed, &text[1..]));
        assert!(!is_compressed(&compressed, &text[..text.len() - 1]));
        assert!(!is_compressed(&compressed[..compressed.len() - 1], &text));
        assert!(!is_compressed(b"not compressed", &text));
    }
}
