//! The part of a subdir's `repodata.json` that concerns publishing.

use std::collections::BTreeMap;
use std::path::Path;

use release_manifest::PackageKey;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{Error, disk};

/// The name of the index of a subdir.
pub(crate) const REPODATA: &str = "repodata.json";

/// An order of magnitude above the largest public channels.
const LIMIT: u64 = 2 * 1024 * 1024 * 1024;

/// The records of a subdir by file name.
#[derive(Debug, Default)]
pub(crate) struct Repodata {
    records: BTreeMap<String, Record>,
}

/// What a record says about a package's files.
#[derive(Debug, Deserialize)]
pub(crate) struct Record {
    pub(crate) sha256: Option<String>,
    pub(crate) size: Option<u64>,
    /// As it stands there: a malformed value must be told from an absent one.
    #[serde(default, deserialize_with = "even_null")]
    pub(crate) attestations_sha256: Option<Value>,
}

impl Repodata {
    /// Reads the repodata of a subdir's folder; `None` where there is none.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(REPODATA);
        let Some(bytes) = disk::read(&path, LIMIT)? else {
            return Ok(None);
        };
        if bytes.len() as u64 > LIMIT {
            let reason = format!("it is larger than {LIMIT} bytes");
            return Err(Error::Repodata { path, reason });
        }
        match serde_json::from_slice::<Layout>(&bytes) {
            Ok(layout) => Ok(Some(layout.into())),
            Err(error) => Err(Error::Repodata {
                path,
                reason: error.to_string(),
            }),
        }
    }

    pub(crate) fn record(&self, package: &PackageKey) -> Option<&Record> {
        self.records.get(package.file.as_str())
    }

    pub(crate) fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }
}

#[derive(Deserialize)]
struct Layout {
    #[serde(default)]
    packages: BTreeMap<String, Record>,
    #[serde(default, rename = "packages.conda")]
    conda: BTreeMap<String, Record>,
    #[serde(default)]
    v3: V3,
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
        Self { records }
    }
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
