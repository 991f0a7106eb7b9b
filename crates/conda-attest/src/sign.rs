//! Signing a batch of packages under one certificate.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cep27::{Sha256, Statement, TargetChannel};
use futures::StreamExt as _;
use release_manifest::{ReleaseStatement, Source, Timestamp};
use sha2::Digest as _;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::certificate::Certificate;
use crate::error::with_causes;
use crate::package::Contents;
use crate::retry::{Deadline, Retry};
use crate::services::Services;
use crate::verdict::{Outcome, Predicate};
use crate::verify::CERTIFICATE_EXPIRED;
use crate::{
    BuildDefinition, Error, Event, Evidence, IdentitySource, IdentityToken, Package, PackageFile,
    Policy, Reporter, Trust, Verdict, Verifier, provenance, write,
};

/// How a batch is signed.
#[derive(Clone, Debug)]
pub struct SignOptions {
    /// The channel that the packages are attested for.
    pub target_channel: TargetChannel,
    /// How many packages are attested at the same time at most. Each service gets as many requests
    /// at a time as it can bear, which is found out by the way.
    pub concurrency: NonZeroUsize,
    /// How long before its end a certificate is renewed; one that lives less than five times as
    /// long is used for four fifths of its life.
    pub renew_before: Duration,
    /// What was built; a certificate that names another repository or commit is refused.
    pub source: Source,
    /// How long the whole batch may take, repeated requests included.
    pub deadline: Duration,
    /// How long a service may take for one answer. A log that answers with its next checkpoint
    /// needs up to 20 seconds.
    pub request_timeout: Duration,
}

impl SignOptions {
    /// Up to 32 packages at a time, certificates renewed two minutes before their end, no claims
    /// about the source, half an hour for everything and 25 seconds for an answer.
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
            request_timeout: Duration::from_secs(25),
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
/// whole or not at all, and so is the provenance where one is asked for. What fails with one package
/// does not touch the others: the result has one entry for each package, in the order given. No
/// token is asked for when there is no package.
///
/// When a certificate ends and none can follow, since the token has ended and its provider makes no
/// other, the packages that are left fail with that ([`Error::is_renewal_failure`]).
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
    let session = Session::open(trust, identity, options, reporter)?;
    session.sign(packages).await
}

/// A signature is made anew when the log knows it already, or the certificate ended under way.
const MAX_SIGNATURES: u32 = 5;

/// Signs one thing after the other under one certificate, with one deadline: the packages of a
/// release, and then the release itself.
///
/// No token is asked for before there is something to sign. What holds for [`sign`] holds here.
pub struct Session<'a> {
    services: Services,
    verifier: Arc<Verifier>,
    audience: &'a str,
    identity: &'a dyn IdentitySource,
    options: &'a SignOptions,
    reporter: &'a dyn Reporter,
    deadline: Deadline,
    /// The certificate in use, or why there will be none any more.
    certificate: Mutex<Option<Result<Arc<Certificate>, Arc<Error>>>>,
    /// Identity and issuer of the first certificate.
    signer: OnceLock<(String, String)>,
}

/// What a statement is about.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// That the package is published.
    Publish(&'a PackageFile, &'a Contents),
    /// How it was built.
    Provenance(&'a PackageFile, &'a Contents, &'a BuildDefinition),
    /// Which packages a release is made of.
    Release(&'a ReleaseStatement),
}

impl Subject<'_> {
    fn predicate(self) -> Predicate {
        match self {
            Self::Publish(..) => Predicate::Publish,
            Self::Provenance(..) => Predicate::Provenance,
            Self::Release(_) => Predicate::Release,
        }
    }

    fn refused(self, verdict: Verdict) -> Error {
        let verdict = Box::new(verdict);
        match self {
            Self::Publish(package, _) | Self::Provenance(package, ..) => Error::Refused {
                file: package.file.clone(),
                verdict,
            },
            Self::Release(_) => Error::ReleaseRefused { verdict },
        }
    }
}

/// A bundle that verifies, in memory.
pub(crate) struct Made {
    pub(crate) bundle: Vec<u8>,
    pub(crate) sha256: Sha256,
    pub(crate) evidence: Evidence,
}

impl<'a> Session<'a> {
    /// Prepares for signing. Nobody is asked for anything yet.
    ///
    /// # Errors
    /// When the trust has no services to sign with.
    pub fn open(
        trust: &'a Trust,
        identity: &'a dyn IdentitySource,
        options: &'a SignOptions,
        reporter: &'a dyn Reporter,
    ) -> Result<Self, Error> {
        Ok(Self {
            services: Services::new(trust, options.concurrency, options.request_timeout)?,
            verifier: Arc::new(Verifier::new(trust)?.with_source(options.source.clone())),
            audience: trust.audience(),
            identity,
            options,
            reporter,
            deadline: Deadline::after(options.deadline),
            certificate: Mutex::new(None),
            signer: OnceLock::new(),
        })
    }

    /// Attests packages, as [`sign`] does.
    ///
    /// # Errors
    /// When nothing can be signed at all: there is no identity or no certificate.
    pub async fn sign(
        &self,
        packages: Vec<impl Into<ToSign>>,
    ) -> Result<Vec<(PackageFile, Result<Signed, Error>)>, Error> {
        if packages.is_empty() {
            return Ok(Vec::new());
        }
        self.require_certificate().await?;
        let packages: Vec<ToSign> = packages.into_iter().map(Into::into).collect();
        let attest = |(index, package): (usize, ToSign)| async move {
            let result = self.attest_and_report(&package).await;
            (index, package.package, result)
        };
        let mut results: Vec<_> = futures::stream::iter(packages.into_iter().enumerate())
            .map(attest)
            .buffer_unordered(self.options.concurrency.get())
            .collect()
            .await;
        results.sort_by_key(|(index, ..)| *index);
        Ok(results
            .into_iter()
            .map(|(_, package, result)| (package, result))
            .collect())
    }

    /// The first certificate. Where it is refused, so is all that was to be signed.
    pub(crate) async fn require_certificate(&self) -> Result<(), Error> {
        let mut current = self.certificate.lock().await;
        if current.is_none() {
            *current = Some(Ok(Arc::new(self.request_certificate().await?)));
        }
        Ok(())
    }

    async fn attest_and_report(&self, package: &ToSign) -> Result<Signed, Error> {
        let start = Instant::now();
        let result = self.attest(package).await;
        let file = package.package.key();
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

    async fn attest(
        &self,
        ToSign {
            package,
            provenance,
        }: &ToSign,
    ) -> Result<Signed, Error> {
        if let Ok(current) = self.certificate.try_lock()
            && let Some(Err(refused)) = &*current
        {
            // Nothing can be signed any more: no need to read the package.
            return Err(Error::NoCertificate(Arc::clone(refused)));
        }
        let contents = {
            let package = package.clone();
            spawn_blocking(move || Contents::read_expected(&package)).await??
        };
        let retry = self.retry().about(package.key());
        let publish = Subject::Publish(package, &contents);
        let publish = self.make(publish, &retry).await?;
        let provenance = match provenance {
            Some(definition) => {
                let subject = Subject::Provenance(package, &contents, definition);
                let made = self.make(subject, &retry).await?;
                let bundle = package.provenance_path();
                write(&bundle, made.bundle).await?;
                Some(SignedProvenance {
                    bundle,
                    bundle_sha256: made.sha256,
                    log_index: made.evidence.log_index,
                })
            }
            None => None,
        };
        let bundle = package.bundle_path();
        // Last, as it is what tells that the package is attested.
        write(&bundle, publish.bundle).await?;
        Ok(Signed {
            bundle,
            bundle_sha256: publish.sha256,
            identity: publish.evidence.identity,
            issuer: publish.evidence.issuer,
            log_index: publish.evidence.log_index,
            signed_at: publish.evidence.signed_at,
            certificate_not_after: publish.evidence.certificate_not_after,
            retries: retry.repeated(),
            provenance,
        })
    }

    /// Signs a statement, has it logged, and verifies the bundle.
    pub(crate) async fn make(
        &self,
        subject: Subject<'_>,
        retry: &Retry<'_>,
    ) -> Result<Made, Error> {
        let mut refused = None;
        for attempt in 0..MAX_SIGNATURES {
            if attempt > 0 {
                retry.count();
            }
            let certificate = self.certificate().await?;
            let statement = self.statement(subject, &certificate)?;
            let signing = certificate.sign(&self.services, &statement, retry);
            let Some(bundle) = signing.await? else {
                continue;
            };
            let sha256 = Sha256::from_bytes(sha2::Sha256::digest(&bundle).into());
            let (verdict, bundle) = self.judge(subject, bundle, &certificate).await?;
            let good = verdict.passed() && verdict.predicate == subject.predicate();
            if let Some(evidence) = verdict.signed.clone().filter(|_| good) {
                return Ok(Made {
                    bundle,
                    sha256,
                    evidence,
                });
            }
            let ended = ended_under_way(&verdict);
            let error = subject.refused(verdict);
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

    fn statement(&self, subject: Subject<'_>, certificate: &Certificate) -> Result<Vec<u8>, Error> {
        let target_channel = &self.options.target_channel;
        match subject {
            Subject::Publish(package, _) => {
                Ok(Statement::new(&package.file, package.sha256, target_channel).to_json())
            }
            Subject::Release(release) => Ok(release.to_json()),
            Subject::Provenance(package, _, definition) => {
                provenance::statement(package, definition, target_channel, certificate.info())
                    .map_err(|error| Error::Key {
                        what: "a provenance".to_owned(),
                        reason: error.to_string(),
                    })
            }
        }
    }

    /// Verifies a new bundle as anybody else would, off the thread that talks to the network.
    async fn judge(
        &self,
        subject: Subject<'_>,
        bundle: Vec<u8>,
        certificate: &Certificate,
    ) -> Result<(Verdict, Vec<u8>), Error> {
        let verifier = Arc::clone(&self.verifier);
        let policy = Policy::exactly(certificate.identity(), certificate.issuer());
        let judged = match subject {
            Subject::Publish(package, contents) | Subject::Provenance(package, contents, _) => {
                let (package, contents) = (Package::from(package), contents.clone());
                let channel = self.options.target_channel.clone();
                spawn_blocking(move || {
                    let (contents, channel) = (Ok(&contents), Some(channel.as_str()));
                    let verdict = verifier.judge(&package, contents, &bundle, &policy, channel);
                    (verdict, bundle)
                })
            }
            Subject::Release(release) => {
                let release = release.clone();
                spawn_blocking(move || {
                    let verdict = verifier.verify_release(&release, &bundle, &policy);
                    (verdict, bundle)
                })
            }
        };
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
        let token = self.token().await?;
        let source = &self.options.source;
        let request = async |token: &IdentityToken| {
            Certificate::request(&self.services, token, source, &self.retry()).await
        };
        let certificate = match request(&token).await {
            // It ended while requests were repeated.
            Err(_) if token.is_expired() => request(&self.token().await?).await?,
            result => result?,
        };
        self.check_signer(&certificate)?;
        self.reporter.report(Event::Certificate {
            identity: certificate.identity().to_owned(),
            issuer: certificate.issuer().to_owned(),
            not_after: certificate.not_after(),
        });
        Ok(certificate)
    }

    async fn token(&self) -> Result<IdentityToken, Error> {
        let token = self.identity.token().await?;
        token.check(self.audience)?;
        self.reporter.report(Event::Identity(token.facts()));
        Ok(token)
    }

    /// All of a batch is signed by one: the owner of the first certificate.
    fn check_signer(&self, certificate: &Certificate) -> Result<(), Error> {
        let signer = self
            .signer
            .get_or_init(|| (certificate.identity().into(), certificate.issuer().into()));
        let (identity, issuer) = signer;
        for (claim, expected, found) in [
            ("identity", identity, certificate.identity()),
            ("issuer", issuer, certificate.issuer()),
        ] {
            if expected != found {
                return Err(Error::Certificate {
                    claim,
                    expected: cep27::printable(expected),
                    found: cep27::printable(found),
                });
            }
        }
        Ok(())
    }

    /// The patience of the batch.
    pub(crate) fn retry(&self) -> Retry<'_> {
        Retry::new(self.deadline, self.reporter)
    }
}

pub(crate) async fn write(path: &Path, bundle: Vec<u8>) -> Result<(), Error> {
    let path = path.to_owned();
    spawn_blocking(move || write::atomically(&path, &bundle)).await?
}

/// Whether a slow log or clock let the certificate end between signature and timestamp.
fn ended_under_way(verdict: &Verdict) -> bool {
    verdict.failure().is_some_and(|check| {
        matches!(check.result, Outcome::Failed { reason, .. } if reason == CERTIFICATE_EXPIRED)
    })
}
