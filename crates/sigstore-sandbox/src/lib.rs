//! An in-process Sigstore on loopback, for rehearsals and tests: Fulcio, a certificate transparency
//! log, Rekor v2, a timestamp authority and an identity provider.
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
mod rekor;
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
    error::Error,
    gate::{Fault, FaultKind, Latency, Service},
};
use crate::{gate::Gate, keys::Keys, log::Log, oidc::Issuer, server::Services, trust::TrustFiles};

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
    /// How long the services take.
    pub latency: Latency,
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
            latency: Latency::default(),
            certificate_lifetime: Duration::from_secs(10 * 60),
            token_lifetime: Duration::from_secs(5 * 60),
        }
    }
}

/// What is known about the repository that packages come from. It is put into the tokens under
/// GitHub's names and into the certificates under Fulcio's numbers, here in brackets; what is not
/// given is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// `https://host/owner/name` (.12; its owner .16)
    pub repository: Option<String>,
    /// The commit's full hash (.10, .13, .19)
    pub commit: Option<String>,
    /// A full ref, such as `refs/heads/main` (.14)
    pub git_ref: Option<String>,
    /// The path of a workflow file in the repository (.18, together with repository and ref)
    pub workflow: Option<String>,
    /// An immutable number (.15)
    pub repository_id: Option<String>,
    /// An immutable number (.17)
    pub owner_id: Option<String>,
    /// `public`, `private` or `internal` (.22)
    pub visibility: Option<String>,
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
    gate: Arc<Gate>,
    server: Abort,
    writer: Option<std::thread::JoinHandle<()>>,
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
        files::create_private_folder(folder)?;
        let lock = lock(folder)?;
        files::remove_unfinished(folder)?;
        let keys = Keys::open(folder)?;
        let (log, writer) = Log::open(folder, keys.rekor.clone(), lock)?;
        let files = TrustFiles::write(folder, &keys, &url)?;
        let issuer = Issuer::new(&keys.oidc, options.token_lifetime, options.claims)?;
        let token_endpoint = TokenEndpoint {
            url: format!("{url}{}?api-version=2.0", oidc::TOKEN_PATH),
            bearer: issuer.bearer().to_owned(),
        };
        let gate = Arc::new(Gate::new(options.latency, options.faults));
        let services = Arc::new(Services {
            keys,
            log,
            issuer,
            certificate_lifetime: options.certificate_lifetime,
            url: url.clone(),
        });
        let server = Abort(tokio::spawn(server::serve(
            listener,
            services,
            Arc::clone(&gate),
        )));
        Ok(Self {
            url,
            files,
            token_endpoint,
            gate,
            server,
            writer: Some(writer),
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

    /// The SAN of the certificates: [`IDENTITY`].
    pub fn identity(&self) -> &str {
        IDENTITY
    }

    /// The issuer of tokens and in certificates: [`ISSUER`].
    pub fn issuer(&self) -> &str {
        ISSUER
    }

    /// How many requests a service got since the start, failed ones included.
    pub fn requests(&self, service: Service) -> u64 {
        self.gate.requests(service)
    }

    /// Ends the server and its connections, and waits until the folder is free again.
    pub async fn stop(mut self) {
        self.server.0.abort();
        // Both can only fail by a panic, which was reported when it happened.
        let _ended = (&mut self.server.0).await;
        if let Some(writer) = self.writer.take() {
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

/// Takes the folder for this sandbox alone. The lock ends with the file, and with the process.
fn lock(folder: &Path) -> Result<std::fs::File, Error> {
    let (file, _) = fs_err::File::create(folder.join("lock"))?.into_parts();
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(error.into()),
    }
}
