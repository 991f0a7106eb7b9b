//! Verifying one package after the other, and many at a time.

use std::{num::NonZeroUsize, panic::resume_unwind, sync::Arc, thread::available_parallelism};

use conda_attest::{Package, Policy, Verdict, Verifier};
use tokio::sync::Semaphore;

use super::{
    attestations::{Given, bundles_at},
    report::{Entry, Failure},
    targets::{Place, Source, Subject},
};
use crate::{error::Error, exit::Status, progress::Activity};

/// Verifies packages by one trusted root and one policy.
///
/// What it needs doesn't grow with their number: a package that is fetched is in a temporary file while it is
/// judged, and only a window of packages is under way.
pub(super) struct Judge<'a> {
    proof: Arc<Proof>,
    cores: Semaphore,
    window: usize,
    activity: &'a Activity,
}

struct Proof {
    verifier: Verifier,
    policy: Policy,
    given: Given,
}

/// Packages under way for each core: some wait for a server while others are hashed.
const WINDOW: usize = 4;

impl<'a> Judge<'a> {
    pub(super) fn new(
        verifier: Verifier,
        policy: Policy,
        given: Given,
        jobs: Option<NonZeroUsize>,
        activity: &'a Activity,
    ) -> Self {
        let cores = available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (cores, window) = match jobs {
            Some(jobs) => (jobs.min(cores), jobs.get()),
            None => (cores, cores.get().saturating_mul(WINDOW)),
        };
        Self {
            proof: Arc::new(Proof {
                verifier,
                policy,
                given,
            }),
            cores: Semaphore::new(cores.get()),
            window,
            activity,
        }
    }

    /// How many packages may be under way.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Verifies one package. That it cannot be had is in the entry.
    ///
    /// # Errors
    /// The runtime ends.
    pub(super) async fn entry(self: Arc<Self>, subject: Subject) -> Result<Entry, Error> {
        let (file, path) = subject.package.named();
        let outcome = self.outcome(subject, &path).await?;
        Ok(Entry::new(file, path, outcome))
    }

    async fn outcome(
        &self,
        subject: Subject,
        shown: &str,
    ) -> Result<Result<Vec<Verdict>, Failure>, Error> {
        let Subject {
            package,
            attestations,
            expected,
        } = subject;
        // Without attestations there is nothing to fetch a package for.
        let bundles = match attestations {
            Source::Nowhere(failure) => return Ok(Err(failure)),
            Source::Remote(channel, key) => match channel.sidecar(&key).await {
                Ok(sidecar) => Bundles::Sidecar(sidecar),
                Err(error) => return Ok(Err(Failure::of(&error))),
            },
            Source::Folder(reader, key) => Bundles::Folder(reader, key),
            Source::Files(files) => Bundles::Files(files),
            Source::Given => Bundles::Given,
        };
        if let Bundles::Sidecar(None) = bundles {
            return Ok(Err(Failure::none("the channel has no attestation of it")));
        }
        let (package, download) = match package {
            Place::Nowhere(_, failure) => return Ok(Err(failure)),
            Place::File(package) => (package, None),
            Place::Remote(channel, listed) => {
                self.activity.begin("Fetching", shown);
                let download = channel.download(&listed).await;
                self.activity.end(shown);
                match download {
                    Ok(download) => (
                        Package {
                            path: download.path().to_owned(),
                            file: listed.package.file,
                            subdir: Some(listed.package.subdir),
                            sha256: Some(listed.sha256.unwrap_or(download.sha256())),
                        },
                        Some(download),
                    ),
                    Err(error) => return Ok(Err(Failure::of(&error))),
                }
            }
        };
        let _core = self.cores.acquire().await.map_err(|_| stopped())?;
        let proof = self.proof.clone();
        let judged =
            tokio::task::spawn_blocking(move || proof.judge(package, bundles, expected.as_deref()));
        let outcome = match judged.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => return Err(stopped()),
            },
        };
        // The file is needed until here.
        drop(download);
        Ok(outcome)
    }
}

/// Attestations, as near as they can be without reading a file.
enum Bundles {
    Given,
    Files(Vec<std::path::PathBuf>),
    Folder(
        Arc<conda_publish::ChannelReader>,
        release_manifest::PackageKey,
    ),
    Sidecar(Option<conda_publish::Sidecar>),
}

impl Proof {
    fn judge(
        &self,
        package: Package,
        bundles: Bundles,
        channel: Option<&str>,
    ) -> Result<Vec<Verdict>, Failure> {
        let verify = |bundles: &[&[u8]]| match bundles {
            [] => Err(Failure::none("no attestation was found")),
            bundles => {
                Ok(self
                    .verifier
                    .verify_all(package.clone(), bundles, &self.policy, channel))
            }
        };
        let verify_sidecar = |sidecar: Option<conda_publish::Sidecar>| {
            let bundles = sidecar.iter().flat_map(conda_publish::Sidecar::bundles);
            verify(&bundles.map(str::as_bytes).collect::<Vec<_>>())
        };
        match bundles {
            Bundles::Given => verify(&self.given.about(&package.file)?),
            Bundles::Files(files) => {
                let bundles = bundles_at(&files)?;
                verify(&bundles.iter().map(Vec::as_slice).collect::<Vec<_>>())
            }
            Bundles::Folder(reader, key) => {
                verify_sidecar(reader.sidecar(&key).map_err(|error| Failure::of(&error))?)
            }
            Bundles::Sidecar(sidecar) => verify_sidecar(sidecar),
        }
    }
}

fn stopped() -> Error {
    Error::Interrupted(Status::Interrupted)
}
