//! Attesting packages under one certificate, and verifying each attestation at once.

use std::path::Path;

use conda_attest::{
    ActionsEndpoint, BuildDefinition, Event as SignEvent, IdentitySource, PackageFile, Policy,
    Reporter, Session, SignOptions, Signed, ToSign, Trust,
};
use release_manifest::{
    Attestation, Event, PackageError, PackageKey, Phase, Progress, ProvenanceRecord, RelativePath,
};
use sigstore_sandbox::{Claims, Options, Sandbox};

use super::{
    outcome::{hold_back, ready},
    records::Records,
    whole,
};
use crate::{
    attesting::Attesting,
    error::{Error, with_causes},
    output::OutputFolder,
    printer::Printer,
    release::Release,
    source::Checkout,
    workspace::Workspace,
};

/// What `--trust` and the manifest call the rehearsal's Sigstore.
pub(crate) const REHEARSAL_TRUST: &str = "sandbox";

/// Who signs in a rehearsal: nobody that exists.
pub(crate) fn rehearsal_identity() -> Policy {
    Policy::exactly(sigstore_sandbox::IDENTITY, sigstore_sandbox::ISSUER)
}

/// The trusted root that an earlier rehearsal wrote into `folder`, if there is one.
///
/// # Errors
/// It is there and cannot be used.
pub(crate) fn rehearsal_trust(folder: &OutputFolder) -> Result<Option<Trust>, Error> {
    let root = folder.sandbox().join("trusted_root.json");
    match conda_recipes::is_missing(&root) {
        true => Ok(None),
        false => Ok(Some(named(Trust::from_file(&root, None)?))),
    }
}

fn named(trust: Trust) -> Trust {
    trust
        .with_name(REHEARSAL_TRUST)
        .with_audience(sigstore_sandbox::AUDIENCE)
}

/// Runs `work` with a Sigstore of our own on loopback, whose keys and log lie in `folder`.
///
/// # Errors
/// The Sigstore does not start, and whatever `work` fails with.
pub(crate) async fn with_sandbox<T>(
    folder: &Path,
    checkout: &Checkout,
    work: impl AsyncFnOnce(&Trust, &ActionsEndpoint) -> Result<T, Error>,
) -> Result<T, Error> {
    let claims = Claims {
        repository: checkout.source.repository.clone(),
        commit: checkout.source.commit.clone(),
        git_ref: checkout.git_ref.clone(),
        ..Claims::default()
    };
    let options = Options {
        claims,
        ..Options::default()
    };
    let sandbox = Sandbox::start(folder, options).await?;
    let trust = named(Trust::from_file(&sandbox.trust_config(), None)?);
    let endpoint = sandbox.token_endpoint();
    let identity =
        ActionsEndpoint::new(&endpoint.url, endpoint.bearer, sigstore_sandbox::AUDIENCE)?
            .of_sandbox();
    let result = work(&trust, &identity).await;
    sandbox.stop().await;
    result
}

/// Attests every package that is tested, and the release as a whole, in a rehearsal.
///
/// # Errors
/// No certificate can be had. What fails for a package alone is recorded with it.
pub(crate) async fn sign(
    release: &mut Release,
    workspace: &Workspace,
    checkout: &Checkout,
    keep_going: bool,
    printer: &Printer,
) -> Result<(), Error> {
    hold_back(release, Progress::Tested, keep_going, printer)?;
    if !wants_attestation(release, workspace, keep_going) {
        return Ok(());
    }
    let sandbox = release.folder().sandbox();
    with_sandbox(&sandbox, checkout, async |trust, identity| {
        sign_as(release, workspace, trust, identity, keep_going, printer).await
    })
    .await
}

/// Whether there is something to attest: packages that are tested, or the release of those that wait to be published.
pub(crate) fn wants_attestation(
    release: &Release,
    workspace: &Workspace,
    keep_going: bool,
) -> bool {
    !ready(release, Progress::Tested, keep_going).is_empty()
        || whole::is_due(release, workspace, keep_going)
}

/// Attests every package that is tested, as this identity, and then the release as a whole.
///
/// # Errors
/// As [`sign`].
pub(crate) async fn sign_as(
    release: &mut Release,
    workspace: &Workspace,
    trust: &Trust,
    identity: &dyn IdentitySource,
    keep_going: bool,
    printer: &Printer,
) -> Result<(), Error> {
    if !wants_attestation(release, workspace, keep_going) {
        return Ok(());
    }
    let packages = ready(release, Progress::Tested, keep_going)
        .iter()
        .filter_map(|key| to_sign(release, key, workspace.config().sign.provenance))
        .collect::<Vec<_>>();
    let options = SignOptions {
        source: release.plan().source.clone(),
        concurrency: workspace.config().sign.concurrency,
        ..SignOptions::new(release.plan().target_channel.clone())
    };
    release.set_trust(release_manifest::Trust {
        name: trust.name().to_owned(),
        root_sha256: trust.root_sha256(),
    });
    release.compact()?;
    let lines = Lines {
        records: Records::new(release),
        shown: Attesting::start(printer, packages.len()),
    };
    let session = Session::open(trust, identity, &options, &lines)?;
    let signed = sign_packages(&session, packages, &lines.records).await;
    lines.records.with(|release| release.compact())?;
    signed?;
    let is_due = |release: &Release| whole::is_due(release, workspace, keep_going);
    if lines.records.read(is_due) {
        whole::attest(&session, &lines.records, printer).await?;
    }
    Ok(())
}

async fn sign_packages(
    session: &Session<'_>,
    packages: Vec<ToSign>,
    records: &Records<'_>,
) -> Result<(), Error> {
    for (package, result) in session.sign(packages).await? {
        // What only lacks a token did not fail: another run with a new one goes on.
        if let Err(error) = result
            && !error.is_renewal_failure()
        {
            let failed = PackageError {
                phase: Phase::Sign,
                code: error.code().to_owned(),
                message: with_causes(&error),
                log: None,
            };
            records.record(&package.key(), |_| Ok(Event::Failed { error: failed }));
        }
    }
    Ok(())
}

/// A package of the release, as signing takes it; with what its provenance says, if it gets one.
fn to_sign(release: &Release, key: &PackageKey, with_provenance: bool) -> Option<ToSign> {
    let package = release.manifest().package(key)?;
    let planned = release.plan().package(key)?;
    let source = package.source.as_ref();
    let definition = || BuildDefinition {
        source: source.unwrap_or(&release.plan().source).clone(),
        recipe: planned.recipe.as_str().to_owned(),
        variant: planned.variant.clone(),
        build_platform: planned.build_platform,
        timestamp: package.timestamp.unwrap_or(release.plan().timestamp),
        sources: planned.sources.clone(),
    };
    Some(ToSign {
        package: PackageFile {
            path: key.under(&release.folder().packages()),
            file: package.file.clone(),
            subdir: package.subdir,
            sha256: package.sha256?,
        },
        provenance: with_provenance.then(definition),
    })
}

/// Records the events of the signer, and shows them.
struct Lines<'a> {
    records: Records<'a>,
    shown: Attesting<'a>,
}

impl Reporter for Lines<'_> {
    fn report(&self, event: SignEvent) {
        self.shown.report(event.clone());
        if let SignEvent::Signed {
            file,
            signed,
            milliseconds,
        } = event
        {
            self.records.record(&file, |release| {
                let attestation = attestation(release, &signed)?;
                Ok(Event::Attested {
                    attestation,
                    milliseconds,
                })
            });
        }
    }
}

/// What the manifest keeps of an attestation.
fn attestation(release: &Release, signed: &Signed) -> Result<Attestation, Error> {
    let provenance = signed.provenance.as_ref().map(|provenance| {
        Ok::<_, Error>(ProvenanceRecord {
            bundle: relative(release, &provenance.bundle)?,
            bundle_sha256: provenance.bundle_sha256,
            log_index: provenance.log_index,
        })
    });
    let provenance = provenance.transpose()?;
    Ok(Attestation {
        bundle: relative(release, &signed.bundle)?,
        bundle_sha256: signed.bundle_sha256,
        identity: signed.identity.clone(),
        issuer: signed.issuer.clone(),
        log_index: signed.log_index,
        signed_at: signed.signed_at,
        certificate_not_after: signed.certificate_not_after,
        retries: signed.retries,
        provenance,
    })
}

/// A path of the release as the manifest names it.
pub(super) fn relative(release: &Release, path: &Path) -> Result<RelativePath, Error> {
    let folder = release.folder();
    let relative = path.strip_prefix(folder.path()).unwrap_or(path);
    relative
        .to_string_lossy()
        .replace(std::path::MAIN_SEPARATOR, "/")
        .parse()
        .map_err(Error::state(folder.manifest()))
}
