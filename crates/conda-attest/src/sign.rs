//! Signing a batch of packages under one certificate.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cep27::{Sha256, Statement, TargetChannel};
use futures::StreamExt as _;
use release_manifest::{Source, Timestamp};
use sha2::Digest as _;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::certificate::{Certificate, Services};
use crate::error::with_causes;
use crate::package::Contents;
use crate::retry::{Deadline, Retry};
use crate::verdict::Outcome;
use crate::verify::CERTIFICATE_EXPIRED;
use crate::{
    BuildDefinition, Error, Event, IdentitySource, Package, PackageFile, Policy, Reporter, Trust,
    Verdict, Verifier, write,
};

/// How a batch is signed.
#[derive(Clone, Debug)]
pub struct SignOptions {
    /// The channel that the packages are attested for.
    pub target_channel: TargetChannel,
    /// How many packages are attested at the same time.
    pub concurrency: NonZeroUsize,
    /// How long before its end a certificate is renewed.
    pub renew_before: Duration,
    /// What was built; a certificate that names another repository or commit is refused.
    pub source: Source,
    /// How long the whole batch may take, repeated requests included.
    pub deadline: Duration,
}

impl SignOptions {
    /// 32 packages at a time, certificates renewed two minutes before their end, no claims about
    /// the source, half an hour for everything.
    #[must_use]
    pub fn new(target_channel: TargetChannel) -> Self {
        Self {
            target_channel,
            concurrency: NonZeroUsize::MIN.saturating_add(31),
            renew_before: Duration::from_secs(120),
            source: Source {
                repository: None,
                commit: None,
                dirty: false,
            },
            deadline: Duration::from_secs(30 * 60),
        }
    }
}

/// A package to attest, and what its provenance shall say, if it gets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSign {
    /// The package.
    pub package: PackageFile,
    /// What it was built from; without it there is no provenance.
    pub provenance: Option<BuildDefinition>,
}

impl From<PackageFile> for ToSign {
    fn from(package: PackageFile) -> Self {
        Self {
            package,
            provenance: None,
        }
    }
}

/// An attestation that was made, verified and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The bundle's file, beside the package.
    pub bundle: PathBuf,
    /// The hash of that file.
    pub bundle_sha256: Sha256,
    /// Who signed: the subject alternative name of the certificate.
    pub identity: String,
    /// Who vouches for the identity.
    pub issuer: String,
    /// The index of its entry in the transparency log.
    pub log_index: Option<u64>,
    /// When, by the timestamp authority or the log.
    pub signed_at: Timestamp,
    /// The end of the certificate.
    pub certificate_not_after: Timestamp,
    /// How many requests and signatures had to be repeated for it.
    pub retries: u32,
    /// The provenance beside it, where one was asked for.
    pub provenance: Option<SignedProvenance>,
}

/// A provenance that was made, verified and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedProvenance {
    /// The bundle's file, `<package>.provenance.sigstore.json`.
    pub bundle: PathBuf,
    /// The hash of that file.
    pub bundle_sha256: Sha256,
    /// The index of its entry in the transparency log.
    pub log_index: Option<u64>,
}

/// Attests packages: one CEP-27 statement each, all signed with one ephemeral key under one
/// certificate, which is renewed in time.
///
/// Each package is hashed and compared with what the build recorded, before anything is signed or
/// logged; each bundle is verified before `<package>.sigstore.json` is written beside its package,
/// whole or not at all. What fails with one package does not touch the others: the result has one
/// entry for each package, in the order given. No token is asked for when there is no package.
///
/// # Errors
/// When nothing can be signed at all: the trust has no services, or there is no identity or no
/// certificate.
pub async fn sign(
    trust: &Trust,
    identity: &dyn IdentitySource,
    packages: Vec<impl Into<ToSign>>,
    options: &SignOptions,
    reporter: &dyn Reporter,
) -> Result<Vec<(PackageFile, Result<Signed, Error>)>, Error> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let packages: Vec<ToSign> = packages.into_iter().map(Into::into).collect();
    let batch = Batch {
        services: Services::new(trust)?,
        verifier: Arc::new(Verifier::new(trust)?.with_source(options.source.clone())),
        audience: trust.audience(),
        identity,
        options,
        reporter,
        deadline: Deadline::after(options.deadline),
        certificate: Mutex::new(None),
    };
    let first = batch.request_certificate().await?;
    *batch.certificate.lock().await = Some(Ok(Arc::new(first)));

    let attest = |(index, ToSign { package, .. }): (usize, ToSign)| {
        let batch = &batch;
        async move {
            let result = batch.attest_and_report(&package).await;
            (index, package, result)
        }
    };
    let mut results: Vec<_> = futures::stream::iter(packages.into_iter().enumerate())
        .map(attest)
        .buffer_unordered(options.concurrency.get())
        .collect()
        .await;
    results.sort_by_key(|(index, ..)| *index);
    Ok(results
        .into_iter()
        .map(|(_, package, result)| (package, result))
        .collect())
}

/// A signature is made anew when the log knows it already, or the certificate ended under way.
const MAX_SIGNATURES: u32 = 3;

struct Batch<'a> {
    services: Services,
    verifier: Arc<Verifier>,
    audience: &'a str,
    identity: &'a dyn IdentitySource,
    options: &'a SignOptions,
    reporter: &'a dyn Reporter,
    deadline: Deadline,
    /// The certificate in use, or why there will be none any more.
    certificate: Mutex<Option<Result<Arc<Certificate>, Arc<Error>>>>,
}

impl Batch<'_> {
    async fn attest_and_report(&self, package: &PackageFile) -> Result<Signed, Error> {
        let start = Instant::now();
        let result = self.attest(package).await;
        let file = package.key();
        self.reporter.report(match &result {
            Ok(signed) => Event::Signed {
                file,
                signed: signed.clone(),
                milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            },
            Err(error) => Event::Failed {
                file,
                code: error.code(),
                message: with_causes(error),
            },
        });
        result
    }

    async fn attest(&self, package: &PackageFile) -> Result<Signed, Error> {
        let contents = {
            let package = package.clone();
            spawn_blocking(move || Contents::read_expected(&package)).await??
        };
        let statement =
            Statement::new(&package.file, package.sha256, &self.options.target_channel).to_json();
        let key = package.key();
        let mut refused = None;
        for _ in 0..MAX_SIGNATURES {
            let certificate = self.certificate().await?;
            let signing = certificate.sign(&self.services, &statement, self.retry().about(&key));
            let Some(bundle) = signing.await? else {
                continue;
            };
            let bundle_sha256 = Sha256::from_bytes(sha2::Sha256::digest(&bundle).into());
            let (verdict, bundle) = self.judge(package, &contents, bundle, &certificate).await?;
            if let Some(evidence) = verdict.signed.clone().filter(|_| verdict.passed()) {
                let path = package.bundle_path();
                let target = path.clone();
                spawn_blocking(move || write::atomically(&target, &bundle)).await??;
                return Ok(Signed {
                    bundle: path,
                    bundle_sha256,
                    identity: evidence.identity,
                    issuer: evidence.issuer,
                    log_index: evidence.log_index,
                    signed_at: evidence.signed_at,
                    certificate_not_after: evidence.certificate_not_after,
                    retries: 0,
                    provenance: None,
                });
            }
            let ended = ended_under_way(&verdict);
            let file = package.file.clone();
            let error = Error::Refused {
                file,
                verdict: Box::new(verdict),
            };
            if !ended {
                return Err(error);
            }
            self.retire(&certificate).await;
            refused = Some(error);
        }
        Err(refused.unwrap_or_else(|| Error::Key {
            what: "a statement".to_owned(),
            reason: "the transparency log says that it has each new signature already".to_owned(),
        }))
    }

    /// Verifies a new bundle as anybody else would, off the thread that talks to the network.
    async fn judge(
        &self,
        package: &PackageFile,
        contents: &Contents,
        bundle: Vec<u8>,
        certificate: &Certificate,
    ) -> Result<(Verdict, Vec<u8>), Error> {
        let verifier = Arc::clone(&self.verifier);
        let package = Package::from(package);
        let contents = contents.clone();
        let policy = Policy::exactly(certificate.identity(), certificate.issuer());
        let channel = self.options.target_channel.clone();
        let judged = spawn_blocking(move || {
            let channel = Some(channel.as_str());
            let verdict = verifier.judge(&package, Ok(&contents), &bundle, &policy, channel);
            (verdict, bundle)
        });
        Ok(judged.await?)
    }

    /// The certificate to sign with: the batch's, or a new one when that is about to end. All
    /// packages wait for one request; where it is refused, none asks again.
    async fn certificate(&self) -> Result<Arc<Certificate>, Error> {
        let mut current = self.certificate.lock().await;
        match &*current {
            Some(Ok(certificate)) if certificate.is_fresh(self.options.renew_before) => {
                return Ok(Arc::clone(certificate));
            }
            Some(Err(refused)) => return Err(Error::NoCertificate(Arc::clone(refused))),
            _ => {}
        }
        match self.request_certificate().await {
            Ok(certificate) => {
                let certificate = Arc::new(certificate);
                *current = Some(Ok(Arc::clone(&certificate)));
                Ok(certificate)
            }
            Err(error) => {
                let error = Arc::new(error);
                *current = Some(Err(Arc::clone(&error)));
                Err(Error::NoCertificate(error))
            }
        }
    }

    /// Takes a certificate out of use, unless another package has done so already.
    async fn retire(&self, ended: &Arc<Certificate>) {
        let mut current = self.certificate.lock().await;
        if matches!(&*current, Some(Ok(certificate)) if Arc::ptr_eq(certificate, ended)) {
            *current = None;
        }
    }

    async fn request_certificate(&self) -> Result<Certificate, Error> {
        let token = self.identity.token().await?;
        token.check(self.audience)?;
        self.reporter.report(Event::Identity(token.facts()));
        let source = &self.options.source;
        let certificate =
            Certificate::request(&self.services, &token, source, self.retry()).await?;
        self.reporter.report(Event::Certificate {
            identity: certificate.identity().to_owned(),
            issuer: certificate.issuer().to_owned(),
            not_after: certificate.not_after(),
        });
        Ok(certificate)
    }

    fn retry(&self) -> Retry<'_> {
        Retry::new(self.deadline, self.reporter)
    }
}

/// Whether a slow log or clock let the certificate end between signature and timestamp.
fn ended_under_way(verdict: &Verdict) -> bool {
    verdict.failure().is_some_and(|check| {
        matches!(check.result, Outcome::Failed { reason, .. } if reason == CERTIFICATE_EXPIRED)
    })
}
