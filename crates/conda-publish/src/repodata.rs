//! The part of a subdir's `repodata.json` that concerns publishing and verifying.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::path::Path;

use cep27::{Sha256, Subdir};
use release_manifest::{PackageKey, Timestamp};
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{Error, disk};

/// The name of the index of a subdir.
pub(crate) const REPODATA: &str = "repodata.json";

/// The size, in bytes, up to which repodata is read: an order of magnitude above the largest public channels.
pub(crate) const REPODATA_LIMIT: u64 = 2 * 1024 * 1024 * 1024;

/// A package that a channel's repodata lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its subdir and file name.
    pub package: PackageKey,
    /// The hash that the repodata has for it.
    pub sha256: Option<Sha256>,
    /// The size, in bytes, that the repodata has for it.
    pub size: Option<u64>,
    /// Whether the repodata advertises attestations for it (CEP-50).
    pub attested: bool,
    /// Its build number, as its record has it.
    pub build_number: Option<u64>,
    /// When it was built, as its record has it: the channel's word, and nothing that anybody proved.
    pub claimed: Option<Timestamp>,
}

/// The records of a subdir by file name.
#[derive(Debug, Default)]
pub(crate) struct Repodata {
    records: BTreeMap<String, Record>,
    base_url: Option<String>,
}

/// What a record says about a package's files.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) sha256: Option<String>,
    pub(crate) size: Option<u64>,
    /// As it stands there: a malformed value must be told from an absent one.
    #[serde(default, deserialize_with = "even_null")]
    pub(crate) attestations_sha256: Option<Value>,
    pub(crate) build_number: Option<u64>,
    /// Nothing hangs on it being there, or being a number.
    #[serde(default, deserialize_with = "moment")]
    pub(crate) timestamp: Option<Timestamp>,
}

impl Repodata {
    /// Reads the repodata of a subdir's folder; `None` where there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(REPODATA);
        let Some(bytes) = disk::read(&path, REPODATA_LIMIT)? else {
            return Ok(None);
        };
        let repodata = match bytes.len() as u64 > REPODATA_LIMIT {
            true => Err(too_large()),
            false => serde_json::from_slice::<Layout>(&bytes).map_err(|error| error.to_string()),
        };
        match repodata {
            Ok(layout) => Ok(Some(layout.into())),
            Err(reason) => Err(Error::Repodata {
                at: path.display().to_string(),
                reason,
            }),
        }
    }

    /// Reads repodata that is never in memory as a whole. The error says what is wrong with it.
    pub(crate) fn parse(source: impl Read) -> Result<Self, String> {
        let mut source = std::io::BufReader::new(source.take(REPODATA_LIMIT + 1));
        let layout = serde_json::from_reader::<_, Layout>(&mut source);
        match (source.get_ref().limit(), layout) {
            (0, _) => Err(too_large()),
            (_, Ok(layout)) => Ok(layout.into()),
            (_, Err(error)) => Err(error.to_string()),
        }
    }

    pub(crate) fn record(&self, package: &PackageKey) -> Option<&Record> {
        self.records.get(package.file.as_str())
    }

    pub(crate) fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// Where the packages are, if not beside the repodata (CEP-15).
    pub(crate) fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    /// Every package, sorted by name; a record that names none is an error of its own, of the repodata `at` a place.
    pub(crate) fn packages(
        &self,
        subdir: Subdir,
        at: String,
    ) -> impl Iterator<Item = Result<Listed, Error>> {
        self.records
            .iter()
            .map(move |(name, record)| match listed(subdir, name, record) {
                Ok(listed) => Ok(listed),
                Err(reason) => Err(Error::Repodata {
                    at: at.clone(),
                    reason,
                }),
            })
    }
}

impl Record {
    /// Whether attestations are advertised, whatever is said of them.
    pub(crate) fn is_attested(&self) -> bool {
        self.attestations_sha256.is_some()
    }

    /// The hash under which the record advertises the attestations of its package (CEP-50); `None` where it
    /// advertises none.
    ///
    /// A malformed hash is refused before a path or URL is made of it.
    pub(crate) fn advertised(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let Some(value) = &self.attestations_sha256 else {
            return Ok(None);
        };
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| Error::AttestationsHash {
                package: Box::new(package.clone()),
                found: cep27::printable(&value.to_string()),
            })
    }
}

fn listed(subdir: Subdir, name: &str, record: &Record) -> Result<Listed, String> {
    let file = name
        .parse()
        .map_err(|error: cep27::NameError| error.to_string())?;
    let sha256 = match &record.sha256 {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            format!(
                "the sha256 of {name} is not one: {}",
                cep27::printable(text)
            )
        })?),
    };
    Ok(Listed {
        package: PackageKey { subdir, file },
        sha256,
        size: record.size,
        attested: record.is_attested(),
        build_number: record.build_number,
        claimed: record.timestamp,
    })
}

fn too_large() -> String {
    format!("it is larger than {REPODATA_LIMIT} bytes")
}

/// The members of repodata that matter here; empty where the document lacks them.
#[derive(Default)]
struct Layout {
    info: Info,
    packages: BTreeMap<String, Record>,
    conda: BTreeMap<String, Record>,
    v3: V3,
}

/// The members of which repodata has at least one (CEP-36), unless it is the empty object.
const MEMBERS: &[&str] = &[
    "info",
    "packages",
    "packages.conda",
    "v3",
    "removed",
    "repodata_version",
];

/// Checks that a JSON object with these members is repodata. The error names a member that it has instead.
///
/// All members are optional, so another server's `{"error": …}` would otherwise pass for an empty channel.
pub(crate) fn check_members<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut other = None;
    for name in names {
        if MEMBERS.contains(&name) {
            return Ok(());
        }
        other.get_or_insert(name);
    }
    match other {
        None => Ok(()),
        Some(name) => Err(format!(
            "expected a member such as `packages.conda`, found only others such as `{}`",
            cep27::printable(name)
        )),
    }
}

impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LayoutVisitor)
    }
}

/// Written by hand, since a derived one takes an array for an object without members.
struct LayoutVisitor;

impl<'de> Visitor<'de> for LayoutVisitor {
    type Value = Layout;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Layout, A::Error> {
        let mut layout = Layout::default();
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                name if names.contains(name) => {
                    let name = cep27::printable(name);
                    return Err(A::Error::custom(format!("duplicate member `{name}`")));
                }
                "info" => layout.info = map.next_value()?,
                "packages" => layout.packages = map.next_value()?,
                "packages.conda" => layout.conda = map.next_value()?,
                "v3" => layout.v3 = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            names.insert(name);
        }
        check_members(names.iter().map(String::as_str)).map_err(A::Error::custom)?;
        Ok(layout)
    }
}

#[derive(Default, Deserialize)]
struct Info {
    base_url: Option<String>,
}

/// The third revision keeps records by the file name without its extension (CEP-48).
#[derive(Default, Deserialize)]
struct V3 {
    #[serde(default, rename = "tar.bz2")]
    tar_bz2: BTreeMap<String, Record>,
    #[serde(default)]
    conda: BTreeMap<String, Record>,
}

impl From<Layout> for Repodata {
    fn from(
        Layout {
            info: Info { base_url },
            packages,
            conda,
            v3: V3 {
                tar_bz2,
                conda: v3_conda,
            },
        }: Layout,
    ) -> Self {
        let named =
            |extension: &'static str| move |(stem, record)| (format!("{stem}{extension}"), record);
        let mut records = packages;
        records.extend(conda);
        records.extend(tar_bz2.into_iter().map(named(".tar.bz2")));
        records.extend(v3_conda.into_iter().map(named(".conda")));
        Self { records, base_url }
    }
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What is larger than the seconds until the year 9999 is in milliseconds, as conda clients have it.
const LAST_SECOND: i64 = 253_402_300_799;

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let moment = Value::deserialize(deserializer)?;
    let seconds = moment.as_i64().map(|moment| match moment {
        ..=LAST_SECOND => moment,
        milliseconds => milliseconds / 1000,
    });
    Ok(seconds.map(Timestamp::from_unix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_no_repodata_is_never_an_empty_subdir() {
        for text in [
            "[]",
            "null",
            "\"\"",
            "7",
            "",
            r#"{"error": "sign in first"}"#,
            r#"{"message": "not found", "status": 404}"#,
            r#"{"packages": null}"#,
            r#"{"packages": {}, "packages": {}}"#,
            r#"{"packages.conda": {"#,
            r#"{"packages.conda": {}} <html>"#,
        ] {
            assert!(Repodata::parse(text.as_bytes()).is_err(), "{text}");
        }
        for text in [
            "{}",
            r#"{"info": {"subdir": "noarch"}, "packages": {}}"#,
            r#"{"repodata_version": 1, "signatures": {}}"#,
        ] {
            let repodata = Repodata::parse(text.as_bytes()).unwrap();
            assert!(repodata.records().is_empty(), "{text}");
        }
    }

    #[test]
    fn a_record_claims_a_time_in_seconds_or_milliseconds() {
        let claimed = |record: &str| {
            let text = format!("{{\"packages.conda\": {{\"foo-1-0.conda\": {record}}}}}");
            let repodata = Repodata::parse(text.as_bytes()).unwrap();
            let listed = repodata.packages(Subdir::NOARCH, String::new()).next();
            let claimed = listed.unwrap().unwrap().claimed;
            claimed.map(|moment| moment.to_string())
        };
        let day = Some("2026-01-01T00:00:00Z".to_owned());
        for (record, expected) in [
            (r#"{"timestamp": 1767225600000}"#, &day),
            (r#"{"timestamp": 1767225600}"#, &day),
            (r#"{"timestamp": "soon"}"#, &None),
            (r#"{"timestamp": null}"#, &None),
            (r#"{"timestamp": 1e300}"#, &None),
            ("{}", &None),
        ] {
            assert_eq!(&claimed(record), expected, "{record}");
        }
    }
}
