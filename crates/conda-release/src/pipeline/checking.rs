//! State is a hint: what an earlier run recorded is believed after the bytes say the same.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use cep27::Sha256;
use conda_attest::{Evidence, Policy, Predicate, Trust, Verdict, Verifier};
use conda_publish::{ChannelReader, FileChannel};
use rayon::prelude::*;
use release_manifest::{Event, Mode, Package, Progress, RelativePath, Source};
use sha2::Digest as _;
use url::Url;

use super::whole;
use crate::{error::Error, printer::Printer, release::Release};

/// What is known, against which records of an earlier run are held.
pub(crate) struct Known<'a> {
    /// What attestations are verified under; without it, none holds.
    pub(crate) trust: Option<&'a Trust>,
    /// Who may have signed.
    pub(crate) policy: Policy,
    /// Whether who signed, as far as proved, is who signs now.
    pub(crate) signed_by: &'a (dyn Fn(&Evidence) -> bool + Sync),
    /// Whether an attestation holds only with a provenance beside it.
    pub(crate) asks_for_provenance: bool,
    /// Whether a published package is in the channel as it was recorded; else why not.
    pub(crate) is_published: &'a (dyn Fn(&Package) -> Result<(), String> + Sync),
    /// Records of later steps are left alone.
    pub(crate) last: Progress,
}

impl Known<'_> {
    /// What is known of packages that were built, and of nothing further.
    pub(crate) fn built() -> Self {
        Self {
            trust: None,
            policy: Policy::Anyone,
            signed_by: &|_| true,
            asks_for_provenance: false,
            is_published: &|_| Ok(()),
            last: Progress::Built,
        }
    }
}

/// Takes every package back to the last step that still holds.
///
/// A package counts as built while its bytes have the recorded hash; as attested while its bundle
/// has, and verifies, and so does its provenance where there is one or one is asked for; as
/// published while the channel serves it so.
///
/// # Errors
/// The journal cannot be written, or the trusted root cannot be used.
pub(crate) fn check(
    release: &mut Release,
    known: &Known<'_>,
    printer: &Printer,
) -> Result<(), Error> {
    hold(release, known, printer, |_| true)
}

fn hold(
    release: &mut Release,
    known: &Known<'_>,
    printer: &Printer,
    which: impl Fn(&Package) -> bool + Sync,
) -> Result<(), Error> {
    let verifier = known.trust.map(Verifier::new).transpose()?;
    let checks = Checks {
        release: &*release,
        verifier: verifier.as_ref(),
        known,
    };
    let packages = release.manifest().packages();
    let returned: Vec<_> = packages
        .par_iter()
        .filter(|package| which(package))
        .filter_map(|package| {
            checks
                .holds(package)
                .err()
                .map(|(to, reason)| (package.key(), to, reason))
        })
        .collect();
    for (package, to, reason) in returned {
        printer.warning(&format!(
            "{package}: {reason}; taken back to {}",
            to.as_str()
        ));
        release.record(&package, Event::Returned { to, reason })?;
    }
    match verifier {
        Some(verifier) => {
            // The attestation of the whole is kept for the same plan alone, and so for the same source.
            let verifier = of_source(&verifier, release, &release.manifest().source);
            whole::check(release, &verifier, known, printer)
        }
        None => Ok(()),
    }
}

/// The verifier for what was released from `source`: live, its certificates name it. A rehearsal's name what was checked
/// out when it was signed, whatever was committed since.
fn of_source(verifier: &Verifier, release: &Release, source: &Source) -> Verifier {
    match release.plan().mode {
        Mode::Live => verifier.clone().with_source(source.clone()),
        Mode::Rehearsal => verifier.clone(),
    }
}

/// Takes every package that is attested and not published back to the last step that still holds.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_unpublished(
    release: &mut Release,
    known: &Known<'_>,
    printer: &Printer,
) -> Result<(), Error> {
    hold(release, known, printer, |package| {
        package.progress == Progress::Attested
    })
}

/// Whether a folder's channel serves a package with its attestations as they were recorded.
pub(crate) fn served_from(channel: FileChannel) -> impl Fn(&Package) -> Result<(), String> + Sync {
    // Read once for all packages.
    let reader = ChannelReader::open(channel.root()).map_err(|error| error.to_string());
    move |package| {
        let Some(published) = &package.published else {
            return Err("no publication was recorded".to_owned());
        };
        let key = package.key();
        let served = channel.lookup(&key).map_err(|error| error.to_string())?;
        if served != package.sha256 {
            return Err("the channel does not serve the recorded bytes".to_owned());
        }
        let url = Url::from_file_path(key.under(channel.root()));
        if url.is_ok_and(|url| url.as_str() != published.url) {
            return Err(format!("the channel is not at {}", published.url));
        }
        let reader = reader.as_ref().map_err(String::clone)?;
        let sidecar = channel
            .sidecar_seen_by(reader, &key)
            .map_err(|error| error.to_string())?;
        if sidecar.map(|sidecar| sidecar.sha256()) != published.sidecar_sha256 {
            return Err("the channel does not advertise the recorded attestations".to_owned());
        }
        Ok(())
    }
}

struct Checks<'a> {
    release: &'a Release,
    verifier: Option<&'a Verifier>,
    known: &'a Known<'a>,
}

impl Checks<'_> {
    /// Whether everything recorded of the package still holds; else how far it does, and why no further.
    fn holds(&self, package: &Package) -> Result<(), (Progress, String)> {
        if package.progress >= Progress::Built {
            self.built(package)
                .map_err(|reason| (Progress::Planned, reason))?;
        }
        let reached = package.progress.min(self.known.last);
        if reached >= Progress::Attested {
            self.attested(package)
                .map_err(|reason| (self.attested_again_from(package), reason))?;
        }
        if reached >= Progress::Published {
            (self.known.is_published)(package).map_err(|reason| (Progress::Attested, reason))?;
        }
        Ok(())
    }

    /// The step from which a package is attested again. Live, an attestation names the commit that is released now: what
    /// was built from another one is built again.
    fn attested_again_from(&self, package: &Package) -> Progress {
        let is_of_this_source = package.source.as_ref() == Some(&self.release.plan().source);
        match self.release.plan().mode == Mode::Rehearsal || is_of_this_source {
            true => Progress::Tested,
            false => Progress::Planned,
        }
    }

    fn built(&self, package: &Package) -> Result<(), String> {
        let path = package.key().under(&self.release.folder().packages());
        let found =
            content_of(&path).map_err(|error| format!("the package cannot be read: {error}"))?;
        match package.sha256 {
            Some(expected) if expected == found.sha256 && package.size == Some(found.size) => {
                Ok(())
            }
            Some(expected) => Err(format!(
                "the package has {} bytes with SHA-256 {}, built were {} with {expected}",
                found.size,
                found.sha256,
                package.size.unwrap_or_default(),
            )),
            None => Err("no SHA-256 was recorded".to_owned()),
        }
    }

    fn attested(&self, package: &Package) -> Result<(), String> {
        let (Some(attestation), Some(verifier)) = (&package.attestation, self.verifier) else {
            return Err("its attestation cannot be verified without the trusted root".to_owned());
        };
        let folder = self.release.folder().path();
        let read = |path, sha256| bundle(folder, path, sha256);
        let mut bundles = vec![read(&attestation.bundle, attestation.bundle_sha256)?];
        match &attestation.provenance {
            Some(provenance) => {
                bundles.push(read(&provenance.bundle, provenance.bundle_sha256)?);
            }
            None if self.known.asks_for_provenance => {
                return Err("it has no provenance, which is asked for".to_owned());
            }
            None => {}
        }
        let key = package.key();
        let subject = conda_attest::Package {
            path: key.under(&self.release.folder().packages()),
            file: package.file.clone(),
            subdir: Some(package.subdir),
            sha256: package.sha256,
        };
        let channel = self.release.plan().target_channel.as_str();
        let source = package.source.as_ref();
        let verifier = of_source(
            verifier,
            self.release,
            source.unwrap_or(&self.release.plan().source),
        );
        let verdicts = verifier.verify_all(subject, &bundles, &self.known.policy, Some(channel));
        let kinds = [Predicate::Publish, Predicate::Provenance];
        let mut proved = Vec::new();
        for (verdict, kind) in verdicts.into_iter().zip(kinds) {
            proved.push(evidence(verdict, kind)?);
        }
        let is_proved = proved.first().is_some_and(|proved| {
            proved.identity == attestation.identity
                && proved.issuer == attestation.issuer
                && proved.log_index == attestation.log_index
                && proved.signed_at == attestation.signed_at
                && proved.certificate_not_after == attestation.certificate_not_after
        });
        let recorded = attestation.provenance.as_ref();
        let is_traced =
            proved.get(1).map(|proved| proved.log_index) == recorded.map(|it| it.log_index);
        if !is_proved || !is_traced {
            return Err(
                "what was recorded of its attestation is not what the bundle proves".to_owned(),
            );
        }
        match proved.iter().all(self.known.signed_by) {
            true => Ok(()),
            false => Err("it was attested by another identity than the current one".to_owned()),
        }
    }
}

/// A bundle of a release in `folder`, whose bytes are those that were recorded.
pub(super) fn bundle(
    folder: &Path,
    path: &RelativePath,
    expected: Sha256,
) -> Result<Vec<u8>, String> {
    let path = path.under(folder);
    let bundle = conda_attest::read_bundle(&path).map_err(|error| error.to_string())?;
    is_recorded("the bundle", &bundle, expected)?;
    Ok(bundle)
}

/// Whether bytes are those that were recorded.
pub(super) fn is_recorded(what: &str, bytes: &[u8], expected: Sha256) -> Result<(), String> {
    match hash(bytes) {
        found if found == expected => Ok(()),
        found => Err(format!("{what} has SHA-256 {found}, made was {expected}")),
    }
}

/// What is proved about a statement of this kind; else why it is not.
pub(super) fn evidence(verdict: Verdict, kind: Predicate) -> Result<Evidence, String> {
    let refusal = format!("the bundle does not verify: {verdict}");
    match verdict.passed() && verdict.predicate == kind {
        true => verdict.signed.ok_or(refusal),
        false => Err(refusal),
    }
}

/// The SHA-256 of bytes.
pub(crate) fn hash(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// The content of a file, as far as it is recorded.
struct Content {
    sha256: Sha256,
    size: u64,
}

/// What is in a regular file, which no link stands for.
fn content_of(path: &Path) -> io::Result<Content> {
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("no regular file"));
    }
    let mut file = File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => {
                let sha256 = Sha256::from_bytes(hasher.finalize().into());
                return Ok(Content { sha256, size });
            }
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}
