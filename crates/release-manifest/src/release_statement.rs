//! The statement that attests a whole release: which packages it is made of, and its manifest.

use std::collections::BTreeMap;
use std::fmt;

use cep27::{STATEMENT_TYPE, Sha256, TargetChannel};
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Manifest, PackageKey};

/// The type of in-toto's release predicate, version 0.1.
pub const RELEASE_TYPE: &str = "https://in-toto.io/attestation/release/v0.1";
/// The file name of a release's manifest, which is its name as a subject too.
pub const MANIFEST_NAME: &str = "release-manifest.json";
/// The file name of the bundle that attests a release, beside its manifest.
pub const RELEASE_BUNDLE_NAME: &str = "release-manifest.json.sigstore.json";

/// The statement that a release is made of these packages and this manifest, as we write and read it.
///
/// It is an in-toto statement with the [release predicate]. Subjects are the manifest, as
/// `release-manifest.json`, and every attested package by its [key](PackageKey),
/// `<subdir>/<file>`: two subdirs may have packages of one file name, and what is named so is
/// taken for no subject of a publish attestation, which CEP-27 names by the file alone.
///
/// The predicate's `purl` names the release: `pkg:generic/<channel>@<plan digest>`, where the
/// channel is the target channel's URL without its scheme.
///
/// [release predicate]: https://github.com/in-toto/attestation/blob/main/spec/predicates/release.md
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseStatement {
    purl: String,
    manifest: Sha256,
    packages: BTreeMap<PackageKey, Sha256>,
}

/// What one statement says otherwise than another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// They are about two releases: of other plans, or for other channels.
    Release {
        /// The purl that was expected.
        expected: String,
        /// The purl that was found.
        found: String,
    },
    /// A package is in one of them alone, or has two hashes.
    Package {
        /// The package.
        package: PackageKey,
        /// Its hash, where it is expected at all.
        expected: Option<Sha256>,
        /// Its hash in the statement, where it has one.
        found: Option<Sha256>,
    },
    /// The manifest has other bytes.
    Manifest {
        /// The hash that was expected.
        expected: Sha256,
        /// The hash that was found.
        found: Sha256,
    },
}

impl ReleaseStatement {
    /// The statement about a release whose manifest has these very bytes: its subjects are the
    /// packages that have an attestation in it.
    ///
    /// # Errors
    /// When the bytes are no manifest.
    pub fn about(manifest: &[u8]) -> Result<Self, Error> {
        let read = Manifest::from_json(manifest)?;
        let attested = read.packages().iter().filter_map(|package| {
            package.attestation.as_ref()?;
            Some((package.key(), package.sha256?))
        });
        Ok(Self {
            purl: purl(&read.target_channel, read.plan_digest),
            manifest: Digest::of(manifest).sha256(),
            packages: attested.collect(),
        })
    }

    /// Reads a statement strictly: nothing twice, nothing beyond what [`to_json`](Self::to_json)
    /// writes, in whatever order.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        let refused = |reason: String| Error::ReleaseStatement { reason };
        let value = cep27::check_json(json).map_err(|violations| {
            let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
            refused(all.join("; "))
        })?;
        let statement: Statement = serde_json::from_value(value)
            .map_err(|error| refused(cep27::printable(&error.to_string())))?;
        for (what, expected, found) in [
            ("_type", STATEMENT_TYPE, &statement.statement_type),
            ("predicateType", RELEASE_TYPE, &statement.predicate_type),
        ] {
            if expected != found {
                let found = cep27::printable(found);
                return Err(refused(format!(
                    "expected {what} `{expected}`, found `{found}`"
                )));
            }
        }
        let (mut manifest, mut packages) = (None, BTreeMap::new());
        for Subject { name, digest } in statement.subject {
            let sha256 = digest.sha256;
            let twice = match name.as_str() {
                MANIFEST_NAME => manifest.replace(sha256).is_some(),
                package => packages.insert(package.parse()?, sha256).is_some(),
            };
            if twice {
                return Err(refused(format!("the subject `{name}` is there twice")));
            }
        }
        let manifest =
            manifest.ok_or_else(|| refused(format!("no subject is `{MANIFEST_NAME}`")))?;
        Ok(Self {
            purl: statement.predicate.purl,
            manifest,
            packages,
        })
    }

    /// The statement's one serialisation, the bytes to sign: compact JSON, members in the order
    /// of the specification, the manifest before the packages in the order of their keys.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let subject = |name: String, sha256| Subject {
            name,
            digest: DigestSet { sha256 },
        };
        let manifest = subject(MANIFEST_NAME.to_owned(), self.manifest);
        let packages = self.packages.iter();
        let packages = packages.map(|(key, sha256)| subject(key.to_string(), *sha256));
        to_json(&Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: [manifest].into_iter().chain(packages).collect(),
            predicate_type: RELEASE_TYPE.to_owned(),
            predicate: Predicate {
                purl: self.purl.clone(),
            },
        })
    }

    /// The package URL of the release.
    #[must_use]
    pub fn purl(&self) -> &str {
        &self.purl
    }

    /// The hash of the manifest.
    #[must_use]
    pub fn manifest(&self) -> Sha256 {
        self.manifest
    }

    /// The packages with their hashes.
    #[must_use]
    pub fn packages(&self) -> &BTreeMap<PackageKey, Sha256> {
        &self.packages
    }

    /// The first thing that another statement says otherwise than this one; the bytes of the
    /// manifest last, since they change with every step of a release.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        if self.purl != other.purl {
            return Some(Difference::Release {
                expected: self.purl.clone(),
                found: other.purl.clone(),
            });
        }
        let mut keys = self.packages.keys().chain(other.packages.keys());
        let hashes = |key| (self.packages.get(key), other.packages.get(key));
        if let Some(key) = keys.find(|key| hashes(*key).0 != hashes(*key).1) {
            let (expected, found) = hashes(key);
            return Some(Difference::Package {
                package: key.clone(),
                expected: expected.copied(),
                found: found.copied(),
            });
        }
        (self.manifest != other.manifest).then_some(Difference::Manifest {
            expected: self.manifest,
            found: other.manifest,
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { expected, found } => {
                let (expected, found) = (cep27::printable(expected), cep27::printable(found));
                write!(
                    f,
                    "it is about another release: expected `{expected}`, found `{found}`"
                )
            }
            Self::Package {
                package,
                expected: None,
                ..
            } => write!(f, "it names `{package}`, which is not expected in it"),
            Self::Package {
                package,
                found: None,
                ..
            } => write!(f, "it does not name `{package}`"),
            Self::Package {
                package,
                expected: Some(expected),
                found: Some(found),
            } => write!(
                f,
                "it names `{package}` with the sha256 {found}, expected {expected}"
            ),
            Self::Manifest { expected, found } => write!(
                f,
                "it is about a manifest with the sha256 {found}, expected {expected}"
            ),
        }
    }
}

/// The package URL of a plan's release in a channel.
fn purl(channel: &TargetChannel, plan: Digest) -> String {
    let url = channel.as_str();
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    let mut purl = "pkg:generic/".to_owned();
    for character in place.chars() {
        // A URL's own escapes are a purl's too.
        if character.is_ascii_alphanumeric() || "-._~:/%".contains(character) {
            purl.push(character);
        } else {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                purl.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    format!("{purl}@{}", plan.sha256())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Predicate {
    purl: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    name: String,
    digest: DigestSet,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestSet {
    sha256: Sha256,
}

#[expect(clippy::expect_used, reason = "strings in structs always serialise")]
fn to_json(statement: &Statement) -> Vec<u8> {
    serde_json::to_vec(statement).expect("strings in structs")
}
