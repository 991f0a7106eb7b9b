//! Publishing: into the rehearsal's own channel, or into one that exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    time::Duration,
};

use conda_publish::{AttestationStore, Bundle, Channel, FileChannel, Keeps, Present, Upload};
use release_manifest::{
    Event, PackageError, PackageKey, Phase, Progress, PublishResult, Published,
};

use super::{
    outcome::{hold_back, ready},
    uploading::{Fate, Item, Uploading},
    whole,
};
use crate::{
    error::{Error, with_causes},
    printer::{Printer, count, duration},
    release::{Release, now},
    workspace::Workspace,
};

/// How many packages are uploaded at the same time where nothing else is configured.
pub(super) const CONCURRENCY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// How packages are published.
pub(crate) struct PublishOptions {
    /// How many at the same time at most.
    pub(crate) concurrency: Option<NonZeroUsize>,
    /// How long all uploads may take.
    pub(crate) deadline: Duration,
    /// Whether other bytes under a published name are replaced, by a server that offers it.
    pub(crate) force: bool,
    /// How many of its attestations go into the channel with a package: the first of them.
    pub(crate) attestations: usize,
    /// Where attestations go besides.
    pub(crate) stores: Vec<Box<dyn AttestationStore>>,
    /// After a failure, what does not need the failed package is published.
    pub(crate) keep_going: bool,
}

/// Publishes every package that is attested into the rehearsal's channel, which then holds the
/// packages of this plan and no others, and its manifest as it was attested.
///
/// # Errors
/// The release is not attested, or the channel as a whole cannot be written. What fails for a package alone is recorded with it.
pub(crate) async fn publish(
    release: &mut Release,
    channel: &FileChannel,
    workspace: &Workspace,
    keep_going: bool,
    printer: &Printer,
) -> Result<(), Error> {
    hold_back(release, Progress::Attested, keep_going, printer)?;
    whole::require(release, workspace, keep_going)?;
    let keys = ready(release, Progress::Attested, keep_going);
    let is_there = |progress| progress == Progress::Published;
    let packages = release.manifest().packages();
    let there = packages
        .iter()
        .filter(|package| is_there(package.progress))
        .map(|package| package.key());
    let wanted = packages.iter().filter(|package| package.skipped.is_none());
    let wanted = wanted.count();
    let kept: BTreeSet<PackageKey> = there.chain(keys.iter().cloned()).collect();
    if keys.is_empty() && kept.len() < wanted {
        // Something failed before: what an earlier run published stays for the next one.
        return Ok(());
    }
    channel.retain(&kept)?;
    let items = items(release, &keys);
    // One after the other: a folder is written no faster by many.
    let uploading = Uploading {
        channel,
        attestations: usize::MAX,
        stores: &[],
        complete: &BTreeSet::new(),
        concurrency: NonZeroUsize::MIN,
        deadline: workspace.config().publish.deadline,
    };
    let fates = uploading.run(items, BTreeMap::new(), printer).await;
    channel.finish().await?;
    record(release, fates)?;
    release.compact()?;
    whole::publish(release, channel, printer).await
}

/// Publishes every package that is attested into a channel that exists.
///
/// What the channel has under its name with other bytes is a conflict: it is recorded with its package, and holds up
/// only what runs with that.
///
/// # Errors
/// The channel as a whole cannot be asked or written. What fails for a package alone is recorded with it.
pub(crate) async fn publish_to(
    release: &mut Release,
    channel: &dyn Channel,
    options: &PublishOptions,
    printer: &Printer,
) -> Result<(), Error> {
    let keys = ready(release, Progress::Attested, options.keep_going);
    if keys.is_empty() {
        return Ok(());
    }
    let fates = upload_all(items(release, &keys), channel, options, printer).await?;
    record(release, fates)?;
    release.compact()
}

/// Compares packages with what the channel has, uploads what is no conflict, and has clients find it.
///
/// # Errors
/// The channel as a whole cannot be asked or written.
pub(crate) async fn upload_all(
    items: Vec<Item>,
    channel: &dyn Channel,
    options: &PublishOptions,
    printer: &Printer,
) -> Result<BTreeMap<PackageKey, Fate>, Error> {
    let names = items.iter().map(|item| item.upload.package.clone());
    let there = channel.lookup(&names.collect()).await?;
    let (items, fates) = without_conflicts(items, &there, options.force, printer);
    let identical = identical(&items, &there);
    printer.status(
        "Comparing",
        &format!(
            "with the channel: {} new, {} already there, {}",
            items.len() - identical.len(),
            identical.len(),
            count(fates.len(), "conflict")
        ),
    );
    // A sidecar may have room for further attestations, and what is forced is sent whatever is there.
    let complete = match channel.attestations() {
        Keeps::Sidecars => BTreeSet::new(),
        Keeps::Native { .. } | Keeps::Nothing if options.force => BTreeSet::new(),
        Keeps::Native { .. } | Keeps::Nothing => identical,
    };
    let uploading = Uploading {
        channel,
        attestations: options.attestations,
        stores: &options.stores,
        complete: &complete,
        concurrency: options.concurrency.unwrap_or(CONCURRENCY),
        deadline: options.deadline,
    };
    let fates = uploading.run(items, fates, printer).await;
    if fates.values().any(|fate| matches!(fate, Fate::Placed(..))) {
        channel.finish().await?;
    }
    Ok(fates)
}

/// The packages that can be uploaded, and what becomes of those that the channel has with other bytes.
fn without_conflicts(
    items: Vec<Item>,
    there: &BTreeMap<PackageKey, Present>,
    force: bool,
    printer: &Printer,
) -> (Vec<Item>, BTreeMap<PackageKey, Fate>) {
    let mut fates = BTreeMap::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in items {
        let upload = &item.upload;
        let found = there.get(&upload.package).and_then(|it| it.sha256);
        match found {
            Some(found) if found != upload.sha256 && !force => {
                let error = conda_publish::Error::Conflict {
                    package: Box::new(upload.package.clone()),
                    there: found,
                    here: upload.sha256,
                };
                failed(&upload.package, &error, printer);
                fates.insert(upload.package.clone(), Fate::Failed(error));
            }
            _ => kept.push(item),
        }
    }
    (kept, fates)
}

/// The packages whose very bytes the channel has.
fn identical(items: &[Item], there: &BTreeMap<PackageKey, Present>) -> BTreeSet<PackageKey> {
    let is_there = |upload: &&Upload| {
        let found = there.get(&upload.package).and_then(|it| it.sha256);
        found == Some(upload.sha256)
    };
    let uploads = items.iter().map(|item| &item.upload);
    let identical = uploads.filter(is_there);
    identical.map(|upload| upload.package.clone()).collect()
}

/// The packages as they are uploaded, each after those that it runs with.
fn items(release: &Release, keys: &[PackageKey]) -> Vec<Item> {
    let runs_with = |key| release.plan().package(key).map(|it| it.runs_with.clone());
    let item = |key| {
        let upload = upload(release, key)?;
        let mut after: BTreeSet<PackageKey> = runs_with(key)?.into_iter().collect();
        after.remove(key);
        Some(Item { upload, after })
    };
    keys.iter().filter_map(item).collect()
}

/// Records what became of each package: after the index, as until then no client finds them.
fn record(release: &mut Release, fates: BTreeMap<PackageKey, Fate>) -> Result<(), Error> {
    for (package, fate) in fates {
        let event = match fate {
            Fate::Placed(placed, taken) => Event::Published {
                published: Published {
                    url: placed.url,
                    sidecar_sha256: placed.sidecar_sha256,
                    at: now(),
                    result: placed.result,
                    seen: None,
                },
                milliseconds: u64::try_from(taken.as_millis()).unwrap_or(u64::MAX),
            },
            Fate::Failed(error) => unpublished(&error),
            Fate::Blocked(by) => Event::Blocked { by },
            Fate::Left => continue,
        };
        release.record(&package, event)?;
    }
    Ok(())
}

/// The event of a package that is not published.
fn unpublished(error: &conda_publish::Error) -> Event {
    Event::Failed {
        error: PackageError {
            phase: Phase::Publish,
            code: error.code().to_owned(),
            message: with_causes(error),
            log: None,
        },
    }
}

/// Records of a package that was published that it is not: the channel has not what was made for it.
///
/// # Errors
/// The journal cannot be written.
pub(crate) fn take_back(
    release: &mut Release,
    package: &PackageKey,
    error: &conda_publish::Error,
) -> Result<(), Error> {
    let returned = Event::Returned {
        to: Progress::Attested,
        reason: with_causes(error),
    };
    release.record(package, returned)?;
    release.record(package, unpublished(error))
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
