//! The release as a whole: its manifest, attested once its packages are, and published after them.

use std::path::Path;

use conda_attest::{Predicate, Session, Verifier};
use conda_publish::{Channel, Document, GithubRelease, ReleasePlaced, ReleaseUpload};
use release_manifest::{
    DOCUMENT_LIMIT, Manifest, Mode, Progress, PublishResult, RELEASE_BUNDLE_NAME, RelativePath,
    ReleaseRecord, ReleaseStatement,
};

use super::{
    checking::{Known, bundle, evidence, is_recorded},
    outcome::ready,
    records::Records,
    signing::relative,
};
use crate::{
    error::Error,
    input,
    output::write_atomically,
    printer::{Printer, count},
    release::Release,
    workspace::Workspace,
};

/// Whether the release is to be attested: packages of it are to be published, and what is recorded of the whole is not
/// about them as they are attested now.
pub(super) fn is_due(release: &Release, workspace: &Workspace, keep_going: bool) -> bool {
    workspace.config().publish.manifest
        && release.manifest().release.is_none()
        && !ready(release, Progress::Attested, keep_going).is_empty()
}

/// Attests the manifest as it stands, with the packages that it says are attested.
///
/// # Errors
/// There is no certificate any more, the services do not answer, or the output folder cannot be written.
pub(super) async fn attest(
    session: &Session<'_>,
    records: &Records<'_>,
    printer: &Printer,
) -> Result<(), Error> {
    let (bytes, path) = records.with(|release| {
        let folder = release.folder();
        let path = folder.attested_manifest(release.manifest().plan_digest);
        Ok((release.manifest().to_json(), path))
    })?;
    let statement = ReleaseStatement::about(&bytes).map_err(Error::state(&path))?;
    write_atomically(&path, &bytes)?;
    let bundle = path.with_file_name(RELEASE_BUNDLE_NAME);
    let signed = session.sign_release(&statement, &bundle).await?;
    printer.status(
        "Attested",
        &format!("the release, {}", subjects(&statement)),
    );
    records.with(|release| {
        let record = ReleaseRecord {
            manifest: relative(release, &path)?,
            manifest_sha256: statement.manifest(),
            bundle: relative(release, &signed.bundle)?,
            bundle_sha256: signed.bundle_sha256,
            log_index: signed.log_index,
            signed_at: signed.signed_at,
            url: None,
        };
        release.set_attestation(Some(record))
    })
}

fn subjects(statement: &ReleaseStatement) -> String {
    format!(
        "{} and its manifest",
        count(statement.packages().len(), "package")
    )
}

/// Takes back what is recorded of the attestation of the whole, where it does not hold (any more): it is made anew.
///
/// # Errors
/// The output folder cannot be written.
pub(super) fn check(
    release: &mut Release,
    verifier: &Verifier,
    known: &Known<'_>,
    printer: &Printer,
) -> Result<(), Error> {
    let Some(record) = &release.manifest().release else {
        return Ok(());
    };
    match holds(release, record, verifier, known) {
        Ok(()) => Ok(()),
        Err(reason) => {
            printer.warning(&format!(
                "the attestation of the release: {reason}; it is made anew"
            ));
            release.set_attestation(None)
        }
    }
}

/// Whether the files are those that were recorded, and prove what the manifest says of the packages now.
fn holds(
    release: &Release,
    record: &ReleaseRecord,
    verifier: &Verifier,
    known: &Known<'_>,
) -> Result<(), String> {
    let folder = release.folder().path();
    let manifest = input::read(&record.manifest.under(folder), DOCUMENT_LIMIT)
        .map_err(|error| error.to_string())?;
    is_recorded("the manifest", &manifest, record.manifest_sha256)?;
    let bundle = bundle(folder, &record.bundle, record.bundle_sha256)?;
    let attested = ReleaseStatement::about(&manifest).map_err(|error| error.to_string())?;
    let now = ReleaseStatement::about(&release.manifest().to_json())
        .map_err(|error| error.to_string())?;
    if now.purl() != attested.purl() || now.packages() != attested.packages() {
        return Err("it names other packages than are attested now".to_owned());
    }
    let verdict = verifier.verify_release(&attested, &bundle, &known.policy);
    let proved = evidence(verdict, Predicate::Release)?;
    if !(known.signed_by)(&proved) {
        return Err("it was attested by another identity than the current one".to_owned());
    }
    match proved.log_index == record.log_index && proved.signed_at == record.signed_at {
        true => Ok(()),
        false => Err("what was recorded of it is not what the bundle proves".to_owned()),
    }
}

/// Refuses to publish packages whose release is not attested.
///
/// # Errors
/// It is to be attested and is not.
pub(crate) fn require(
    release: &Release,
    workspace: &Workspace,
    keep_going: bool,
) -> Result<(), Error> {
    match is_due(release, workspace, keep_going) {
        true => Err(Error::ReleaseNotAttested(release.folder().manifest())),
        false => Ok(()),
    }
}

/// Whether the manifest of the release waits to be published: every package that it attests is.
pub(crate) fn waits(release: &Release) -> bool {
    let record = release.manifest().release.as_ref();
    record.is_some_and(|record| record.url.is_none()) && is_published(release.manifest())
}

fn is_published(manifest: &Manifest) -> bool {
    let mut attested = manifest
        .packages()
        .iter()
        .filter(|package| package.progress >= Progress::Attested);
    attested.all(|package| package.progress == Progress::Published)
}

/// Publishes the manifest as it was attested, with its attestation, where the channel keeps such.
///
/// # Errors
/// The channel cannot be written, or the files are not those that were recorded.
pub(crate) async fn publish(
    release: &mut Release,
    channel: &dyn Channel,
    printer: &Printer,
) -> Result<(), Error> {
    let Some(record) = release
        .manifest()
        .release
        .clone()
        .filter(|_| waits(release))
    else {
        return Ok(());
    };
    let Some(keeper) = channel.releases() else {
        return Ok(());
    };
    let upload = upload(release, &record);
    let placed = keeper.put_release(&upload).await?;
    tell(&placed, &upload, printer);
    // A rehearsal leaves nothing of earlier ones, as its channel does.
    if release.plan().mode == Mode::Rehearsal {
        forget_others(&upload.manifest.path)?;
    }
    release.set_attestation(Some(ReleaseRecord {
        url: Some(placed.url),
        ..record
    }))
}

/// Adds the manifest as it was attested, with its attestation, to the assets of a release on GitHub, once its packages are
/// published.
///
/// # Errors
/// GitHub refuses, or the files are not those that were recorded.
pub(crate) async fn add_to_assets(
    release: &Release,
    page: &GithubRelease,
    printer: &Printer,
) -> Result<(), Error> {
    let record = release.manifest().release.as_ref();
    if let Some(record) = record.filter(|_| is_published(release.manifest())) {
        let upload = upload(release, record);
        tell(&page.put(&upload).await?, &upload, printer);
    }
    Ok(())
}

/// The manifest as it was attested, as channels take it.
fn upload(release: &Release, record: &ReleaseRecord) -> ReleaseUpload {
    let folder = release.folder().path();
    let document = |path: &RelativePath, sha256| Document {
        path: path.under(folder),
        sha256,
    };
    ReleaseUpload {
        plan: release.manifest().plan_digest,
        manifest: document(&record.manifest, record.manifest_sha256),
        attestation: document(&record.bundle, record.bundle_sha256),
    }
}

fn tell(placed: &ReleasePlaced, upload: &ReleaseUpload, printer: &Printer) {
    match placed.result {
        PublishResult::Uploaded => {
            printer.status(
                "Published",
                &format!("the release manifest: {}", placed.url),
            );
        }
        PublishResult::Identical => {}
        PublishResult::Exists => printer.warning(&format!(
            "{} has the manifest of an earlier release, which stays; this one is in {}",
            placed.url,
            upload.manifest.path.display()
        )),
    }
}

/// Removes the manifests of other plans.
fn forget_others(manifest: &Path) -> Result<(), Error> {
    let Some((current, releases)) = manifest.parent().and_then(|it| Some((it, it.parent()?)))
    else {
        return Ok(());
    };
    let entries = fs_err::read_dir(releases).map_err(Error::output("read", releases))?;
    for entry in entries {
        let path = entry.map_err(Error::output("read", releases))?.path();
        if path != current {
            fs_err::remove_dir_all(&path).map_err(Error::output("remove", &path))?;
        }
    }
    Ok(())
}
