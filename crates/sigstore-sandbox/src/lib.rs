//! An in-process Sigstore on loopback, for rehearsals and tests: Fulcio, a certificate transparency
//! log, Rekor in both its versions, a timestamp authority and an identity provider.
//!
//! Clients reach it as they reach the real one: through the URLs of a signing config, and verify
//! what it signed with a trusted root. Keys and log live in a folder: what was signed yesterday
//! still verifies after a restart, and the log goes on growing.
//!
//! ```no_run
//! # async fn run() -> Result<(), sigstore_sandbox::Error> {
//! use sigstore_sandbox::{Options, Sandbox};
//!
//! let sandbox = Sandbox::start("target/sandbox".as_ref(), Options::default()).await?;
//! println!("{}", sandbox.trust_config().display());
//! sandbox.stop().await;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod certificate;
mod claims;
mod ct;
mod error;
mod files;
mod fulcio;
mod gate;
mod keys;
mod log;
mod merkle;
mod note;
mod oidc;
mod rekor_v1;
mod rekor_v2;
mod rpc;
mod server;
mod trust;
mod tsa;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

pub use crate::{
    claims::Claims,
    error::Error,
    gate::{Capacity, Fault, FaultKind, Latency, Service, Weather},
};
use crate::{
    gate::{Gate, Rules},
    keys::Keys,
    log::{Format, Log},
    note::Notary,
    oidc::Issuer,
    rekor_v1::RekorV1,
    rekor_v2::RekorV2,
    server::{Logs, Services},
    trust::{Offer, TrustFiles},
};

/// What marks a sandbox: the organization of its authorities, in the trusted root and in their
/// certificates.
pub const MARK: &str = "conda-release sandbox - NOT FOR PRODUCTION";

/// The issuer of the sandbox's identity tokens.
pub const ISSUER: &str = "https://sandbox.conda-release.invalid";

/// The one identity of the sandbox: the subject of its tokens and the SAN of its certificates.
pub const IDENTITY: &str = "https://sandbox.conda-release.invalid/rehearsal";

/// The audience that identity tokens for the sandbox's Fulcio must have.
pub const AUDIENCE: &str = "conda-release-sandbox";

/// What a sandbox does besides answering. The default answers at once and correctly.
#[derive(Debug, Clone)]
pub struct Options {
    /// What identity tokens and certificates say about the source.
    pub claims: Claims,
    /// Failures on purpose.
    pub faults: Vec<Fault>,
    /// Failures at random.
    pub weather: Option<Weather>,
    /// How long the services take.
    pub latency: Latency,
    /// How many requests the services take at once: any number.
    pub max_concurrent: Capacity,
    /// Which transparency logs there are: Rekor v2's.
    pub rekor: RekorVersions,
    /// Whether the signing config names the timestamp authority. It does; the instance of Rekor v1
    /// can do without one.
    pub tsa: bool,
    /// How long certificates are valid: 10 minutes, as Fulcio's.
    pub certificate_lifetime: Duration,
    /// How long identity tokens are valid: 5 minutes, as GitHub's.
    pub token_lifetime: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            claims: Claims::default(),
            faults: Vec::new(),
            weather: None,
            latency: Latency::default(),
            max_concurrent: Capacity::default(),
            rekor: RekorVersions::default(),
            tsa: true,
            certificate_lifetime: Duration::from_secs(10 * 60),
            token_lifetime: Duration::from_secs(5 * 60),
        }
    }
}

/// The transparency logs that a sandbox has and its signing config names. Its trusted root knows
/// both, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RekorVersions {
    /// Rekor v2 alone.
    #[default]
    V2,
    /// Rekor v1 alone.
    V1,
    /// Two logs at one address; clients take v2 when they can.
    Both,
}

/// Where a client gets identity tokens, by the protocol of GitHub Actions:
/// `GET {url}&audience={audience}` with `Authorization: Bearer {bearer}` answers `{"value": "…"}`.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// GitHub's `ACTIONS_ID_TOKEN_REQUEST_URL`: it has a query already.
    pub url: String,
    /// GitHub's `ACTIONS_ID_TOKEN_REQUEST_TOKEN`: a secret, new with every start.
    pub bearer: String,
}

impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A running sandbox. Dropping it ends it too, but only [`stop`](Self::stop) waits for that.
pub struct Sandbox {
    url: String,
    files: TrustFiles,
    token_endpoint: TokenEndpoint,
    services: Arc<Services>,
    gate: Arc<Gate>,
    server: Abort,
    writers: Vec<std::thread::JoinHandle<()>>,
}

impl Sandbox {
    /// Starts a sandbox whose keys and log are in the folder `dir`, on a random port of loopback.
    ///
    /// A folder that has none gets new keys. The trusted root is the same bytes at each start; the
    /// signing config and the trust config name the new port.
    ///
    /// # Errors
    /// If another sandbox uses the folder, if its keys or log are damaged, or if it can't be read
    /// and written.
    pub async fn start(dir: &Path, options: Options) -> Result<Self, Error> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let folder = dir.to_owned();
        tokio::task::spawn_blocking(move || Self::start_in(&folder, options, listener, url))
            .await
            .map_err(io::Error::other)?
    }

    fn start_in(
        folder: &Path,
        options: Options,
        listener: TcpListener,
        url: String,
    ) -> Result<Self, Error> {
        let Options {
            claims,
            faults,
            weather,
            latency,
            max_concurrent: capacity,
            rekor,
            tsa,
            certificate_lifetime,
            token_lifetime,
        } = options;
        files::create_private_folder(folder)?;
        let lock = Arc::new(lock(folder)?);
        files::remove_unfinished(folder)?;
        let keys = Keys::open(folder)?;
        let (logs, writers) = open_logs(folder, &keys, rekor, &lock)?;
        let offer = Offer {
            url: &url,
            rekor,
            tsa,
        };
        let files = TrustFiles::write(folder, &keys, &offer)?;
        let issuer = Issuer::new(&keys.oidc, token_lifetime, claims)?;
        let token_endpoint = TokenEndpoint {
            url: format!("{url}{}?api-version=2.0", oidc::TOKEN_PATH),
            bearer: issuer.bearer().to_owned(),
        };
        let gate = Arc::new(Gate::new(Rules {
            latency,
            capacity,
            faults,
            weather,
        }));
        let services = Arc::new(Services {
            keys,
            issuer,
            certificate_lifetime,
            url: url.clone(),
        });
        let routes = server::routes(Arc::clone(&services), logs);
        let server = Abort(tokio::spawn(server::serve(
            listener,
            routes,
            Arc::clone(&gate),
        )));
        Ok(Self {
            url,
            files,
            token_endpoint,
            services,
            gate,
            server,
            writers,
        })
    }

    /// Where all services are reached: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `trust_config.json`: trusted root and signing config in one.
    pub fn trust_config(&self) -> PathBuf {
        self.files.trust_config.clone()
    }

    /// `trusted_root.json`: what verifies everything this folder's sandbox ever signed.
    pub fn trusted_root(&self) -> PathBuf {
        self.files.trusted_root.clone()
    }

    /// `signing_config.json`: where clients find the services.
    pub fn signing_config(&self) -> PathBuf {
        self.files.signing_config.clone()
    }

    /// Where clients get identity tokens.
    pub fn token_endpoint(&self) -> TokenEndpoint {
        self.token_endpoint.clone()
    }

    /// A new identity token for an audience, as the endpoint mints them.
    ///
    /// # Errors
    /// If it can't be signed.
    pub fn token(&self, audience: &str) -> Result<String, Error> {
        self.services.issuer.mint(audience)
    }

    /// A new identity token that ends after `lifetime` and makes other claims than the endpoint's.
    /// The certificate for it makes them, too.
    ///
    /// # Errors
    /// If the claims can't be made.
    pub fn token_with(
        &self,
        audience: &str,
        lifetime: Duration,
        claims: Claims,
    ) -> Result<String, Error> {
        let source = claims.try_into()?;
        self.services.issuer.mint_for(source, audience, lifetime)
    }

    /// The SAN of the certificates: [`IDENTITY`], unless [`Claims`] name a workflow.
    pub fn identity(&self) -> &str {
        self.services.issuer.identity()
    }

    /// The issuer of tokens and in certificates: [`ISSUER`], unless [`Claims`] name another.
    pub fn issuer(&self) -> &str {
        self.services.issuer.url()
    }

    /// How many requests a service got since the start, failed ones included.
    pub fn requests(&self, service: Service) -> u64 {
        self.gate.requests(service)
    }

    /// How many of them failed on purpose, by [`Fault`], [`Weather`] or [`Capacity`].
    pub fn failures(&self, service: Service) -> u64 {
        self.gate.failures(service)
    }

    /// How many requests a service had in work at once, at most.
    pub fn peak(&self, service: Service) -> usize {
        self.gate.peak(service)
    }

    /// Ends the server and its connections, and waits until the folder is free again.
    pub async fn stop(mut self) {
        self.server.0.abort();
        // Both can only fail by a panic, which was reported when it happened.
        let _ended = (&mut self.server.0).await;
        for writer in self.writers.drain(..) {
            let _ended = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.url)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// A task that ends with its handle.
struct Abort(JoinHandle<()>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The logs of a sandbox, and the threads that write them.
type OpenLogs = (Logs, Vec<std::thread::JoinHandle<()>>);

/// Opens the logs that there shall be.
fn open_logs(
    folder: &Path,
    keys: &Keys,
    versions: RekorVersions,
    lock: &Arc<std::fs::File>,
) -> Result<OpenLogs, Error> {
    let mut logs = Logs { v1: None, v2: None };
    let mut writers = Vec::new();
    if matches!(versions, RekorVersions::V1 | RekorVersions::Both) {
        let notary = Notary::rekor_v1(keys.rekor_v1.clone())?;
        let (log, writer) = Log::open(folder, Format::V1, notary.clone(), Arc::clone(lock))?;
        logs.v1 = Some(RekorV1::new(log, notary, &keys.rekor_v1)?);
        writers.push(writer);
    }
    if matches!(versions, RekorVersions::V2 | RekorVersions::Both) {
        let notary = Notary::rekor_v2(keys.rekor.clone());
        let (log, writer) = Log::open(folder, Format::V2, notary.clone(), Arc::clone(lock))?;
        logs.v2 = Some(RekorV2 { log, notary });
        writers.push(writer);
    }
    Ok((logs, writers))
}

/// Takes the folder for this sandbox alone. The lock ends with the file, and with the process.
fn lock(folder: &Path) -> Result<std::fs::File, Error> {
    let (file, _) = fs_err::File::create(folder.join("lock"))?.into_parts();
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}
