//! Attestations that were made elsewhere: taken out of their files, matched to their packages, verified.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use cep27::{FileName, Sha256};
use conda_attest::{Claims, PackageFile, Policy, Predicate, Subject, Verifier, read_bundles};
use conda_publish::Bundle;
use tempfile::TempDir;

use crate::{
    error::Error,
    glob,
    pipeline::{self, Made},
};

/// Attestations of any packages, each of which may come from a file of its own or be one of many in it.
///
/// The folder with what is published of them lives as long as this does.
pub(super) struct Given {
    attestations: Vec<Attestation>,
    folder: TempDir,
}

/// What an identity policy, a trusted root and a channel say about a package's attestations.
pub(super) struct Proof {
    /// Those to publish with it, of which the first is a publish attestation.
    pub(super) bundles: Vec<Bundle>,
    /// Who signed the first.
    pub(super) made: Made,
    /// Why others that are about it are left out.
    pub(super) left_out: Vec<String>,
}

/// One attestation, of which nothing is believed yet.
#[derive(Debug)]
struct Attestation {
    /// The file that it comes from, and which one in it.
    origin: String,
    text: Vec<u8>,
    sha256: Sha256,
    claims: Claims,
}

/// The attestations that have something to do with a package.
#[derive(Debug, Default, PartialEq, Eq)]
struct Matched {
    /// They name it and have its digest: for one subject both, whatever else they are about.
    exact: Vec<usize>,
    /// They name it with another digest.
    other_bytes: Vec<usize>,
    /// They have its digest under other names.
    other_name: Vec<usize>,
}

impl Given {
    /// Reads files of bundles, JSON lines, arrays and sidecars, and what globs match.
    ///
    /// # Errors
    /// A file that cannot be read or holds anything else, or a glob without a match.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let mut attestations: Vec<Attestation> = Vec::new();
        let mut seen = BTreeSet::new();
        for file in glob::expand(files)? {
            let texts = read_bundles(&file).map_err(no_bundle(&file))?;
            let count = texts.len();
            for (index, text) in texts.into_iter().enumerate() {
                let sha256 = pipeline::hash(&text);
                if seen.insert(sha256) {
                    attestations.push(Attestation {
                        origin: origin(&file, index, count),
                        claims: Claims::of(&text).map_err(no_bundle(&file))?,
                        text,
                        sha256,
                    });
                }
            }
        }
        // What is published does not depend on the order in which it was given.
        attestations.sort_by_key(|attestation| {
            let rank = match attestation.claims.predicate {
                Predicate::Publish => 0,
                Predicate::Provenance => 1,
                _ => 2,
            };
            (rank, attestation.sha256)
        });
        let folder = tempfile::tempdir()
            .map_err(Error::output("create a folder in", std::env::temp_dir()))?;
        Ok(Self {
            attestations,
            folder,
        })
    }

    /// The attestations that prove a package to `policy`, as files to publish with it.
    ///
    /// # Errors
    /// The folder for them cannot be written. Why nothing proves the package is the inner error.
    pub(super) fn prove(
        &self,
        package: &PackageFile,
        verifier: &Verifier,
        policy: &Policy,
        channel: &str,
    ) -> Result<Result<Proof, String>, Error> {
        let matched = matched(&self.attestations, &package.file, package.sha256);
        let exact: Vec<&Attestation> = self.at(&matched.exact).collect();
        let texts: Vec<&[u8]> = exact.iter().map(|it| it.text.as_slice()).collect();
        let verdicts = verifier.verify_all(package, &texts, policy, Some(channel));
        let (mut bundles, mut made) = (Vec::new(), None);
        let (mut reasons, mut only_built) = (Vec::new(), None);
        for (attestation, verdict) in exact.into_iter().zip(verdicts) {
            let origin = &attestation.origin;
            let is_logged = verdict.signed.as_ref().is_some_and(|signed| signed.logged);
            if let Some(reason) = attestation.never_publishes() {
                reasons.push(reason);
            } else if !verdict.passed() {
                reasons.push(format!("{origin}: {verdict}"));
            } else if !is_logged {
                reasons.push(format!("{origin} is in no log that everybody can see"));
            } else if let (true, None, Some(signed)) =
                (verdict.verifies_package(), &made, verdict.signed)
            {
                made = Some(Made {
                    identity: signed.identity,
                    issuer: signed.issuer,
                    log_index: signed.log_index,
                });
                bundles.insert(0, attestation);
            } else {
                bundles.push(attestation);
            }
            if attestation.claims.predicate == Predicate::Provenance {
                only_built.get_or_insert(attestation);
            }
        }
        if let Some(made) = made {
            let bundles = bundles
                .into_iter()
                .map(|attestation| self.file(attestation));
            return Ok(Ok(Proof {
                made,
                bundles: bundles.collect::<Result<_, _>>()?,
                left_out: reasons,
            }));
        }
        reasons.extend(
            self.at(&matched.other_bytes)
                .map(|it| it.of_other_bytes(package)),
        );
        reasons.extend(self.at(&matched.other_name).map(Attestation::of_other_name));
        reasons.extend(only_built.map(Attestation::only_provenance));
        if reasons.is_empty() {
            reasons.push(match self.attestations.as_slice() {
                [] => "no attestation: there is none beside it, and --attestation names no other"
                    .to_owned(),
                [one] => format!("no attestation: {} is about {}", one.origin, one.named()),
                several => format!(
                    "no attestation: none of the {} that were given is about it",
                    several.len()
                ),
            });
        }
        Ok(Err(reasons.join("; ")))
    }

    /// The attestations that are about none of these packages: where they come from, and what they are about.
    pub(super) fn unused(&self, packages: &[PackageFile]) -> Vec<String> {
        let used: BTreeSet<usize> = packages
            .iter()
            .flat_map(|package| matched(&self.attestations, &package.file, package.sha256).exact)
            .collect();
        let all = self.attestations.iter().enumerate();
        let unused = all.filter(|(index, _)| !used.contains(index));
        unused
            .map(|(_, attestation)| {
                format!("{} is about {}", attestation.origin, attestation.named())
            })
            .collect()
    }

    fn at<'a>(&'a self, indices: &'a [usize]) -> impl Iterator<Item = &'a Attestation> {
        indices
            .iter()
            .filter_map(|&index| self.attestations.get(index))
    }

    /// The bundle in a file of its own, as channels take it.
    fn file(&self, attestation: &Attestation) -> Result<Bundle, Error> {
        let sha256 = attestation.sha256;
        let path = self.folder.path().join(format!("{sha256}.sigstore.json"));
        if !path.exists() {
            std::fs::write(&path, &attestation.text).map_err(Error::output("write", &path))?;
        }
        Ok(Bundle { path, sha256 })
    }
}

impl Attestation {
    /// Why no channel takes it for a publish attestation, whoever signed it.
    fn never_publishes(&self) -> Option<String> {
        let Self { origin, claims, .. } = self;
        match claims.predicate {
            Predicate::Publish if claims.subjects.len() > 1 => Some(format!(
                "{origin} is about {} packages at once, as `actions/attest` makes it of a glob, and CEP-27 wants one: \
                 run the action once for each package (a matrix or loop with one `subject-path` each), or attest \
                 here with `sign`",
                claims.subjects.len()
            )),
            Predicate::Publish | Predicate::Provenance => None,
            Predicate::Release | Predicate::Other => Some(format!(
                "{origin} is no publish attestation (CEP-27): its predicate type is `{}`",
                cep27::printable(&claims.predicate_type)
            )),
        }
    }

    fn only_provenance(&self) -> String {
        format!(
            "{} is SLSA provenance, as `actions/attest-build-provenance` makes it: it says how the package was built, \
             and not that anybody publishes it; attest it with `actions/attest` and `predicate-type: {}`, or here \
             with `sign`",
            self.origin,
            cep27::PREDICATE_TYPE
        )
    }

    fn of_other_bytes(&self, package: &PackageFile) -> String {
        let subjects = self.claims.subjects.iter();
        let named = subjects.filter(|subject| names(subject, &package.file));
        let hashes: Vec<String> = named.map(hash).collect();
        format!(
            "{} is about other bytes of that name: expected sha256 {}, found {}",
            self.origin,
            package.sha256,
            hashes.join(", ")
        )
    }

    fn of_other_name(&self) -> String {
        format!(
            "{} is about the same bytes under another name: {}",
            self.origin,
            self.named()
        )
    }

    /// The names of a few of its subjects.
    fn named(&self) -> String {
        const A_FEW: usize = 3;
        let subjects = &self.claims.subjects;
        let named = |subject: &Subject| match &subject.name {
            Some(name) => format!("`{}`", cep27::printable(name)),
            None => format!("something without a name (sha256 {})", hash(subject)),
        };
        let mut shown: Vec<String> = subjects.iter().take(A_FEW).map(named).collect();
        match subjects.len() {
            0 => shown.push("nothing".to_owned()),
            count if count > A_FEW => shown.push(format!("{} more", count - A_FEW)),
            _ => {}
        }
        shown.join(", ")
    }
}

/// What has to do with a package, by name and digest alone.
fn matched(attestations: &[Attestation], file: &FileName, sha256: Sha256) -> Matched {
    let mut matched = Matched::default();
    for (index, attestation) in attestations.iter().enumerate() {
        let subjects = &attestation.claims.subjects;
        let has = |wanted: &dyn Fn(&Subject) -> bool| subjects.iter().any(wanted);
        let is_it = |subject: &Subject| subject.sha256 == Some(sha256);
        if has(&|subject| names(subject, file) && is_it(subject)) {
            matched.exact.push(index);
        } else if has(&|subject| names(subject, file)) {
            matched.other_bytes.push(index);
        } else if has(&is_it) {
            matched.other_name.push(index);
        }
    }
    matched
}

fn names(subject: &Subject, file: &FileName) -> bool {
    subject.name.as_deref() == Some(file.as_str())
}

fn hash(subject: &Subject) -> String {
    match subject.sha256 {
        Some(sha256) => sha256.to_string(),
        None => "none".to_owned(),
    }
}

fn origin(file: &Path, index: usize, count: usize) -> String {
    let file = cep27::printable(&file.display().to_string());
    match count {
        1 => format!("`{file}`"),
        count => format!("`{file}` (bundle {} of {count})", index + 1),
    }
}

/// What is no bundle makes the file none; that it cannot be read is an error of its own.
fn no_bundle(file: &Path) -> impl FnOnce(conda_attest::Error) -> Error {
    move |error| match error {
        conda_attest::Error::Bundle { .. } => Error::no_bundle(file)(error),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILES: [&str; 3] = ["a-1-0.conda", "b-1-0.conda", "b-1-0.tar.bz2"];

    fn hash_of(byte: u8) -> Sha256 {
        Sha256::from_bytes([byte; 32])
    }

    fn subject() -> impl Strategy<Value = Subject> {
        let name = prop::option::of(prop::sample::select(&FILES[..]));
        (name, prop::option::of(0..3_u8)).prop_map(|(name, byte)| Subject {
            name: name.map(str::to_owned),
            sha256: byte.map(hash_of),
        })
    }

    fn attestations() -> impl Strategy<Value = Vec<Attestation>> {
        let subjects = prop::collection::vec(subject(), 0..3);
        prop::collection::vec(subjects, 0..8).prop_map(|all| {
            let numbered = (0_u8..).zip(all);
            numbered
                .map(|(number, subjects)| Attestation {
                    origin: format!("`{number}`"),
                    text: vec![number],
                    sha256: hash_of(number),
                    claims: Claims {
                        predicate: Predicate::Publish,
                        predicate_type: cep27::PREDICATE_TYPE.to_owned(),
                        subjects,
                    },
                })
                .collect()
        })
    }

    /// What was matched, by where it comes from.
    fn origins(all: &[Attestation], matched: &Matched) -> [BTreeSet<String>; 3] {
        [&matched.exact, &matched.other_bytes, &matched.other_name]
            .map(|indices| indices.iter().map(|&at| all[at].origin.clone()).collect())
    }

    proptest! {
        #[test]
        fn what_is_matched_does_not_depend_on_the_order(
            mut all in attestations(),
            places in prop::collection::vec(any::<u8>(), 8),
        ) {
            for file in FILES.map(|file| file.parse().unwrap()) {
                for byte in 0..3 {
                    let before = origins(&all, &matched(&all, &file, hash_of(byte)));
                    let mut placed: Vec<_> = places.iter().zip(all).collect();
                    placed.sort_by_key(|(place, _)| **place);
                    all = placed.into_iter().map(|(_, attestation)| attestation).collect();
                    prop_assert_eq!(origins(&all, &matched(&all, &file, hash_of(byte))), before);
                    all.reverse();
                }
            }
        }

        #[test]
        fn a_package_gets_what_names_it_with_its_digest_and_nothing_else(all in attestations()) {
            for file in FILES.map(|file| file.parse::<FileName>().unwrap()) {
                for byte in 0..3 {
                    let found = matched(&all, &file, hash_of(byte)).exact;
                    let wanted = Subject {
                        name: Some(file.to_string()),
                        sha256: Some(hash_of(byte)),
                    };
                    let expected: Vec<usize> = (0..all.len())
                        .filter(|&at| all[at].claims.subjects.contains(&wanted))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn an_empty_file_and_one_with_something_else_are_no_attestations() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundles.jsonl");
        for text in ["", "[]", "{}", "[1]", "null", "{}\n{", "not json"] {
            std::fs::write(&file, text).unwrap();
            let error = Given::read(std::slice::from_ref(&file)).err().unwrap();
            assert!(matches!(error, Error::NoBundle { .. }), "{text}: {error}");
        }
        let missing = folder.path().join("missing.json");
        let error = Given::read(&[missing]).err().unwrap();
        assert!(matches!(error, Error::Attest(_)), "{error}");
    }
}
