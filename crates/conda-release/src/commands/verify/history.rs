//! Channels whose packages were not attested from the beginning.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use cep27::{FileName, Sha256, Subdir};
use release_manifest::Timestamp;
use serde::Deserialize;

use super::{finding::Finding, report::Failure};
use crate::error::{Error, with_causes};

/// Since when the packages of a channel are attested, and which older ones there are.
///
/// When an attestation was signed, a trusted clock says; it counts from the moment on. How old a package without
/// one is, only its channel says, which may say anything: what the record claims is held against the package, never
/// for it. It is excused where the one who verifies knows these very bytes, from the report of an earlier audit.
pub(super) struct History {
    since: Timestamp,
    baseline: Option<Baseline>,
}

/// The packages that were without an attestation in an earlier report, with their hashes.
struct Baseline {
    packages: BTreeMap<(Subdir, FileName), Sha256>,
}

impl History {
    /// Attestations count from this moment on; packages without one are excused as the report `baseline` has them.
    ///
    /// # Errors
    /// The report cannot be read, or is none of these targets.
    pub(super) fn new(
        since: Timestamp,
        baseline: Option<&Path>,
        targets: &[String],
    ) -> Result<Self, Error> {
        let baseline = baseline.map(|file| Baseline::read(file, targets));
        Ok(Self {
            since,
            baseline: baseline.transpose()?,
        })
    }

    /// Why an attestation that was signed at that moment doesn't count, if it doesn't.
    pub(super) fn refuses(&self, signed_at: Timestamp) -> Option<Failure> {
        let since = self.since;
        (signed_at < since).then(|| {
            let message = format!("its attestation was signed at {signed_at}, before {since}");
            Failure::new(Finding::SignedBefore, message)
        })
    }

    /// What to make of a package without an attestation, and why.
    pub(super) fn without(
        &self,
        package: Option<(Subdir, &FileName)>,
        sha256: Option<Sha256>,
        claimed: Option<Timestamp>,
    ) -> Failure {
        let since = self.since;
        if let Some(claimed) = claimed.filter(|claimed| *claimed >= since) {
            return Failure::none(format!(
                "no attestation, though its record is of {claimed} and packages are attested since {since}"
            ));
        }
        let known = package
            .zip(self.baseline.as_ref())
            .and_then(|(package, baseline)| baseline.sha256(package));
        match (known, sha256) {
            (Some(known), Some(found)) if known == found => Failure::new(
                Finding::Historic,
                "no attestation, as in the baseline".to_owned(),
            ),
            (Some(known), found) => {
                let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
                Failure::new(
                    Finding::UnprovenAge,
                    format!(
                        "no attestation, and not the package of the baseline: expected sha256 {known}, found {found}"
                    ),
                )
            }
            (None, _) if claimed.is_none() => Failure::none(format!(
                "no attestation, and nothing says that it is from before {since}"
            )),
            (None, _) => Failure::new(
                Finding::UnprovenAge,
                match self.baseline {
                    Some(_) => format!(
                        "no attestation, and only the channel says that it is from before {since}: it is not in the baseline"
                    ),
                    None => format!(
                        "no attestation, and only the channel says that it is from before {since}; --baseline names a report of yours that knows it"
                    ),
                },
            ),
        }
    }
}

impl Baseline {
    fn read(file: &Path, targets: &[String]) -> Result<Self, Error> {
        let source = File::open(file).map_err(Error::output("read", file))?;
        let unusable = |reason: String| {
            Error::Usage(format!(
                "--baseline takes what `verify --output-format json` said of the same channel, and `{}` is not that: {reason}",
                file.display()
            ))
        };
        let report = Self::parse(source).map_err(|error| unusable(with_causes(&error)))?;
        if report.schema_version != super::report::SCHEMA_VERSION {
            return Err(unusable(format!(
                "its schema_version is {}",
                report.schema_version
            )));
        }
        let known = |target: &String| {
            let mut reported = report.targets.iter();
            reported.any(|it| it.trim_end_matches('/') == target.trim_end_matches('/'))
        };
        if let Some(target) = targets.iter().find(|target| !known(target)) {
            return Err(unusable(format!(
                "it is about {}, not `{target}`",
                report.targets.join(", ")
            )));
        }
        let packages = report
            .packages
            .into_iter()
            .filter(|entry| entry.finding.is_without())
            .filter_map(|entry| Some(((entry.subdir?, entry.file?), entry.sha256?)));
        Ok(Self {
            packages: packages.collect(),
        })
    }

    fn parse(source: impl Read) -> Result<EarlierReport, serde_json::Error> {
        serde_json::from_reader(BufReader::new(source))
    }

    fn sha256(&self, (subdir, file): (Subdir, &FileName)) -> Option<Sha256> {
        self.packages.get(&(subdir, file.clone())).copied()
    }
}

/// What is needed of a report.
#[derive(Deserialize)]
struct EarlierReport {
    schema_version: u32,
    targets: Vec<String>,
    packages: Vec<EarlierEntry>,
}

#[derive(Deserialize)]
struct EarlierEntry {
    file: Option<FileName>,
    subdir: Option<Subdir>,
    sha256: Option<Sha256>,
    finding: Finding,
}

/// A day, from its beginning, or a moment; both in UTC.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let day = || format!("{text}T00:00:00Z").parse();
    text.parse()
        .or_else(|_| day())
        .map_err(|_: release_manifest::Error| {
            "expected a day or a moment in UTC, as 2026-03-01 or 2026-03-01T12:00:00Z".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SINCE: &str = "2026-03-01";

    fn history(baseline: Option<Sha256>) -> History {
        let key = (Subdir::NOARCH, file());
        History {
            since: moment(SINCE).unwrap(),
            baseline: baseline.map(|sha256| Baseline {
                packages: BTreeMap::from([(key, sha256)]),
            }),
        }
    }

    fn file() -> FileName {
        "foo-1-0.conda".parse().unwrap()
    }

    fn hash(byte: u8) -> Sha256 {
        Sha256::from_bytes([byte; 32])
    }

    #[test]
    fn what_a_record_claims_never_excuses_and_always_accuses() {
        let (before, after) = (moment("2020-01-01").unwrap(), moment(SINCE).unwrap());
        for (baseline, found, claimed, expected) in [
            (None, Some(hash(1)), Some(before), Finding::UnprovenAge),
            (None, Some(hash(1)), Some(after), Finding::NoAttestation),
            (None, Some(hash(1)), None, Finding::NoAttestation),
            (
                Some(hash(1)),
                Some(hash(1)),
                Some(before),
                Finding::Historic,
            ),
            (Some(hash(1)), Some(hash(1)), None, Finding::Historic),
            (
                Some(hash(1)),
                Some(hash(1)),
                Some(after),
                Finding::NoAttestation,
            ),
            (
                Some(hash(1)),
                Some(hash(2)),
                Some(before),
                Finding::UnprovenAge,
            ),
            (Some(hash(1)), None, Some(before), Finding::UnprovenAge),
        ] {
            let file = file();
            let package = Some((Subdir::NOARCH, &file));
            let failure = history(baseline).without(package, found, claimed);
            assert_eq!(
                failure.finding, expected,
                "{baseline:?} {found:?} {claimed:?}"
            );
        }
    }

    #[test]
    fn an_attestation_counts_from_the_moment_on() {
        let history = history(None);
        let at = |text| history.refuses(moment(text).unwrap());
        assert!(at("2026-03-01T00:00:00Z").is_none());
        let refused = at("2026-02-28T23:59:59Z").unwrap();
        assert_eq!(refused.finding, Finding::SignedBefore);
    }

    #[test]
    fn a_day_begins_at_midnight() {
        assert_eq!(moment(SINCE), moment("2026-03-01T00:00:00Z"));
        for text in [
            "",
            "2026",
            "2026-02-30",
            "yesterday",
            "2026-03-01T00:00:00+01:00",
        ] {
            assert!(moment(text).is_err(), "{text}");
        }
    }
}
