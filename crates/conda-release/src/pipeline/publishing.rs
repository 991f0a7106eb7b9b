//! Publishing into a folder: the rehearsal's channel, or one that `--to` names.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use conda_publish::{Bundle, FileChannel, Placed, Upload};
use release_manifest::{
    Event, PackageError, PackageKey, Phase, Progress, PublishResult, Published,
};

use super::outcome::ready;
use crate::{
    error::{Error, with_causes},
    printer::{Printer, duration},
    progress::Activity,
    release::{Release, now},
};

/// Publishes every package that is attested into the rehearsal's channel, which then holds the
/// packages of this plan and no others.
///
/// # Errors
/// The channel as a whole cannot be written. What fails for a package alone is recorded with it.
pub(crate) async fn publish(
    release: &mut Release,
    channel: &FileChannel,
    keep_going: bool,
    printer: &Printer,
) -> Result<(), Error> {
    let keys = ready(release, Progress::Attested, keep_going);
    let is_there = |progress| progress == Progress::Published;
    let packages = release.manifest().packages();
    let there = packages
        .iter()
        .filter(|package| is_there(package.progress))
        .map(|package| package.key());
    let kept: BTreeSet<PackageKey> = there.chain(keys.iter().cloned()).collect();
    if keys.is_empty() && kept.len() < packages.len() {
        // Something failed before: what an earlier run published stays for the next one.
        return Ok(());
    }
    channel.retain(&kept)?;
    let placed = place(release, channel, &keys, printer).await?;
    channel.finish().await?;
    // Recorded after the index: until then no client finds them.
    for (package, (placed, milliseconds)) in placed {
        let published = Published {
            url: placed.url,
            sidecar_sha256: placed.sidecar_sha256,
            at: now(),
            result: placed.result,
        };
        release.record(
            &package,
            Event::Published {
                published,
                milliseconds,
            },
        )?;
    }
    release.compact()
}

async fn place(
    release: &mut Release,
    channel: &FileChannel,
    keys: &[PackageKey],
    printer: &Printer,
) -> Result<BTreeMap<PackageKey, (Placed, u64)>, Error> {
    let activity = Activity::start(printer, "Publishing", keys.len());
    let mut all = BTreeMap::new();
    for key in keys {
        let Some(upload) = upload(release, key) else {
            continue;
        };
        activity.begin("Publishing", &key.to_string());
        let started = Instant::now();
        let result = channel.put(&upload).await;
        activity.end(&key.to_string());
        activity.step();
        match result {
            Ok(placed) => {
                let taken = started.elapsed();
                printer.status("Published", &line(key, placed.result, taken));
                all.insert(
                    key.clone(),
                    (placed, u64::try_from(taken.as_millis()).unwrap_or(u64::MAX)),
                );
            }
            Err(error) => {
                let error = PackageError {
                    phase: Phase::Publish,
                    code: error.code().to_owned(),
                    message: failed(key, &error, printer),
                    log: None,
                };
                release.record(key, Event::Failed { error })?;
            }
        }
    }
    Ok(all)
}

/// How a published package is announced.
pub(crate) fn line(key: &PackageKey, result: PublishResult, taken: Duration) -> String {
    match result {
        PublishResult::Uploaded => format!("{key} in {}", duration(taken)),
        PublishResult::Identical | PublishResult::Exists => {
            format!("{key}: already there, identical")
        }
    }
}

/// Says that a package could not be published, and what to do about it. Returns the message, for the record.
pub(crate) fn failed(key: &PackageKey, error: &conda_publish::Error, printer: &Printer) -> String {
    let message = with_causes(error);
    printer.failure("Failed", &format!("{key} to publish: {message}"));
    if let Some(help) = error.help() {
        printer.note(&format!("{:>12} {help}", "help:"));
    }
    message
}

/// A package of the release with its attestation and its provenance, as channels take it.
pub(crate) fn upload(release: &Release, key: &PackageKey) -> Option<Upload> {
    let package = release.manifest().package(key)?;
    let attestation = package.attestation.as_ref()?;
    let provenance = attestation.provenance.as_ref();
    let bundles = [(&attestation.bundle, attestation.bundle_sha256)]
        .into_iter()
        .chain(provenance.map(|provenance| (&provenance.bundle, provenance.bundle_sha256)));
    Some(Upload {
        source: key.under(&release.folder().packages()),
        package: key.clone(),
        sha256: package.sha256?,
        bundles: bundles
            .map(|(path, sha256)| Bundle {
                path: path.under(release.folder().path()),
                sha256,
            })
            .collect(),
    })
}
