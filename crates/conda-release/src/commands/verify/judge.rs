//! Verifying one package after the other, and many at a time.

use std::{num::NonZeroUsize, panic::resume_unwind, sync::Arc, thread::available_parallelism};

use conda_attest::{Package, Policy, Verdict, Verifier};
use tokio::sync::Semaphore;

use super::{
    attestations::{Given, bundles_at},
    finding::Finding,
    report::{Entry, Failure, Judgement, Rules},
    state::{Known, Memory},
    targets::{Place, Source, Subject},
};
use crate::{error::Error, exit::Status, progress::Activity};

/// Verifies packages by one trusted root and one policy.
///
/// What it needs doesn't grow with their number: a package that is fetched is in a temporary file while it is
/// judged, and only a window of packages is under way.
pub(super) struct Judge<'a> {
    proof: Arc<Proof>,
    rules: Rules,
    memory: Memory,
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

/// Packages under way on the smallest machine: a server far away is waited for, however few cores there are.
const LEAST_WINDOW: usize = 16;

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
            None => (cores, cores.get().saturating_mul(WINDOW).max(LEAST_WINDOW)),
        };
        Self {
            proof: Arc::new(Proof {
                verifier,
                policy,
                given,
            }),
            rules: Rules::default(),
            memory: Memory::default(),
            cores: Semaphore::new(cores.get()),
            window,
            activity,
        }
    }

    /// What else is asked of packages than an attestation that verifies.
    pub(super) fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Passes over packages of a channel on a server that have been verified already.
    pub(super) fn with_memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
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
        let facts = subject.facts();
        let outcome = self.outcome(subject, &facts.path).await?;
        Ok(Entry::new(facts, outcome, &self.rules))
    }

    async fn outcome(&self, subject: Subject, shown: &str) -> Result<Judgement, Error> {
        let known = match &subject.package {
            Place::Remote(_, listed) => self.memory.of(&listed.package, listed.sha256),
            Place::File(_) | Place::Nowhere(..) => None,
        };
        let Subject {
            package,
            attestations,
            expected,
        } = subject;
        // Without attestations there is nothing to fetch a package for.
        let bundles = match attestations {
            Source::Nowhere(failure) => return Ok(Judgement::Failed(failure)),
            Source::Remote(channel, key) => {
                if let Some(known) = known
                    && let Ok(Some(sha256)) = channel.advertised(&key)
                    && sha256 == known.attestations_sha256
                {
                    return Ok(Judgement::Known(known.clone()));
                }
                match channel.sidecar(&key).await {
                    Ok(sidecar) => Bundles::Sidecar(sidecar),
                    Err(error) => return Ok(Judgement::Failed(Failure::of(&error))),
                }
            }
            Source::Folder(reader, listed) => Bundles::Folder(reader, listed.package),
            Source::Files(files) => Bundles::Files(files),
            Source::Given => Bundles::Given,
        };
        let sidecar = match &bundles {
            Bundles::Sidecar(None) => return Ok(Judgement::Failed(absent(known))),
            Bundles::Sidecar(Some(sidecar)) => Some(sidecar.sha256()),
            _ => None,
        };
        // Where attestations are not advertised by their hash (prefix.dev's older convention), it is known only now.
        if let Some(known) = known
            && sidecar == Some(known.attestations_sha256)
        {
            return Ok(Judgement::Known(known.clone()));
        }
        let (package, download) = match package {
            Place::Nowhere(_, failure) => return Ok(Judgement::Failed(failure)),
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
                    Err(error) => return Ok(Judgement::Failed(Failure::of(&error))),
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
        Ok(match outcome {
            Ok(verdicts) => Judgement::Judged { verdicts, sidecar },
            Err(failure) => Judgement::Failed(failure),
        })
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

/// There is no attestation, or none any more.
fn absent(known: Option<&Known>) -> Failure {
    match known {
        None => Failure::none("the channel has no attestation of it"),
        Some(known) => Failure::new(
            Finding::AttestationRemoved,
            format!(
                "the channel has no attestation of it any more: {} signed one at {}",
                known.identity, known.signed_at
            ),
        ),
    }
}

fn stopped() -> Error {
    Error::Interrupted(Status::Interrupted)
}
