//! A server like prefix.dev: <https://prefix.dev/docs>, as `rattler_upload` talks to it.

mod channel;
mod mint;
mod upload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use cep27::Sha256;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use sigstore_trust_root::TrustedRoot;
use tempfile::TempDir;

use self::channel::{Packages, Stored};
use crate::Faults;
use crate::listen::{Listening, bind, serve};

/// The path of uploads, for [`Faults`].
pub const UPLOAD: &str = "/api/v1/upload/";

/// The path at which tokens are minted, for [`Faults`].
pub const MINT: &str = "/api/oidc/mint_token";

/// What the server has, and whom it trusts.
#[derive(Debug, Clone, Default)]
pub struct PrefixOptions {
    /// The name of its one channel, which may have namespaces: `my-channel` if empty.
    pub channel: String,
    /// What attestations are verified against; without one, every attestation is refused.
    pub trusted_root: Option<PathBuf>,
    /// Whether packages without an attestation are refused.
    pub requires_attestation: bool,
    /// Who may publish without a key.
    pub publisher: Option<Publisher>,
    /// What each API key allows.
    pub api_keys: BTreeMap<String, Access>,
    /// How many uploads a minted token is good for: any number.
    pub token_uses: Option<u64>,
    /// How many bytes the channel may have: any number.
    pub quota: Option<u64>,
    /// Whether reading takes credentials.
    pub private: bool,
    /// By which origin of URLs clients know it, if that is not its own.
    pub known_as: Option<String>,
}

/// A trusted publisher of the channel.
#[derive(Debug, Clone)]
pub struct Publisher {
    /// Where the issuer's configuration is found, without `/.well-known/…`.
    pub discovery: String,
    /// Who the tokens must be from.
    pub issuer: String,
    /// `owner/name` of the repository.
    pub repository: String,
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and publishing.
    Write,
}

/// An upload that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// The package's file name.
    pub file: String,
    /// The hash of its bytes.
    pub sha256: Sha256,
    /// Whether an attestation came with it, and was verified.
    pub attested: bool,
    /// Whether it could replace another.
    pub force: bool,
    /// Whether it came with a minted token, not with a key.
    pub minted: bool,
}

/// The server, on a random port of loopback. Dropping it ends it.
#[derive(Debug)]
pub struct PrefixServer {
    shared: Arc<Shared>,
    listening: Listening,
}

#[derive(Debug)]
struct Shared {
    listens_at: String,
    origin: String,
    channel: String,
    options: PrefixOptions,
    root: Option<TrustedRoot>,
    folder: TempDir,
    http: reqwest::Client,
    state: Mutex<Ledger>,
}

/// What changes while it runs.
#[derive(Debug, Default)]
struct Ledger {
    packages: Packages,
    /// How many uploads each minted token is still good for.
    tokens: BTreeMap<String, u64>,
    mints: u64,
    uploads: Vec<Uploaded>,
    /// Uploads that ended before they were whole.
    broken: u64,
    /// Requests for uploads, whatever became of them.
    attempts: u64,
    /// Credentials that came with requests to read.
    readers: Vec<Option<String>>,
    complaints: Vec<String>,
}

/// Whose credentials came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Caller {
    access: Access,
    minted: bool,
}

/// A status and what is said with it.
type Refusal = (StatusCode, String);

impl PrefixServer {
    /// Starts it.
    ///
    /// # Panics
    /// If it can't.
    pub async fn start(options: PrefixOptions) -> Self {
        let (listener, origin) = bind().await;
        let listens_at = origin.clone();
        let root = options
            .trusted_root
            .as_ref()
            .map(|path| TrustedRoot::from_file(path).expect("a trusted root"));
        let channel = match options.channel.as_str() {
            "" => "my-channel".to_owned(),
            name => name.to_owned(),
        };
        let origin = options.known_as.clone().unwrap_or(origin);
        let shared = Arc::new(Shared {
            listens_at,
            origin,
            channel,
            options,
            root,
            folder: tempfile::tempdir().expect("a folder"),
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            state: Mutex::default(),
        });
        let router = Router::new()
            .route(MINT, post(mint::mint))
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        Self {
            listening: serve(listener, router),
            shared,
        }
    }

    /// The origin of its URLs as clients know it.
    pub fn url(&self) -> &str {
        &self.shared.origin
    }

    /// Where it listens, for a way to it.
    pub fn listens_at(&self) -> &str {
        &self.shared.listens_at
    }

    /// The URL of its channel, which attestations are for.
    pub fn channel(&self) -> String {
        self.shared.channel_url()
    }

    /// What it does wrong on purpose.
    pub fn faults(&self) -> &Faults {
        self.listening.faults()
    }

    /// Every breach of the protocol so far.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.state().complaints.clone()
    }

    /// Every upload that was taken, in order.
    pub fn uploads(&self) -> Vec<Uploaded> {
        self.shared.state().uploads.clone()
    }

    /// How many uploads ended before they were whole.
    pub fn broken_uploads(&self) -> u64 {
        self.shared.state().broken
    }

    /// How many requests to upload came, whatever became of them.
    pub fn attempts(&self) -> u64 {
        self.shared.state().attempts
    }

    /// How many tokens were minted.
    pub fn mints(&self) -> u64 {
        self.shared.state().mints
    }

    /// The credentials of each request to read.
    pub fn readers(&self) -> Vec<Option<String>> {
        self.shared.state().readers.clone()
    }

    /// Ends every token that was minted so far.
    pub fn expire_tokens(&self) {
        for uses in self.shared.state().tokens.values_mut() {
            *uses = 0;
        }
    }

    /// Forgets every package.
    pub fn clear(&self) {
        let mut state = self.shared.state();
        state.packages = Packages::default();
        state.uploads.clear();
    }

    /// Leaves new packages out of repodata from now on, as while an index lags.
    pub fn stop_indexing(&self) {
        self.shared.state().packages.stop_indexing();
    }

    /// Shows no attestations, as while they lag behind their packages, or shows them again.
    pub fn hide_attestations(&self, hides: bool) {
        self.shared.state().packages.hide_attestations(hides);
    }

    /// The names of all packages that it has, as `subdir/file`.
    pub fn packages(&self) -> Vec<String> {
        let state = self.shared.state();
        state.packages.names()
    }

    /// Puts a package there as somebody else would have.
    ///
    /// # Panics
    /// If it is none.
    pub async fn publish(&self, path: &Path) {
        let copy = tempfile::NamedTempFile::new_in(self.shared.folder.path()).expect("a file");
        fs_err::copy(path, copy.path()).expect("a copy");
        let bytes = fs_err::read(path).expect("a package");
        let sha256 = crate::prefix::upload::hash(&bytes);
        let name = path.file_name().and_then(|name| name.to_str());
        let file = name.expect("a name").parse().expect("a package's name");
        let stored = Stored::read(copy, &file, sha256, None).expect("a package");
        let folder = self.shared.folder.path();
        self.shared.state().packages.insert(stored, folder);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Ledger> {
        self.state.lock().expect("no panic")
    }

    fn channel_url(&self) -> String {
        format!("{}/{}", self.origin, self.channel)
    }

    /// A breach of the protocol.
    fn complain(&self, what: impl Into<String>) -> Refusal {
        let what = what.into();
        self.state().complaints.push(what.clone());
        (StatusCode::BAD_REQUEST, what)
    }

    /// Who asks. An upload uses a minted token up.
    fn caller(&self, headers: &HeaderMap, uploads: bool) -> Result<Caller, Refusal> {
        let unknown = |what: &str| (StatusCode::UNAUTHORIZED, what.to_owned());
        let given = headers.get(AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok());
        let Some(token) = given.and_then(|given| given.strip_prefix("Bearer ")) else {
            return Err(unknown("expected a bearer token"));
        };
        if let Some(&access) = self.options.api_keys.get(token) {
            return Ok(Caller {
                access,
                minted: false,
            });
        }
        match self.state().tokens.get_mut(token) {
            None => Err(unknown("unknown token")),
            Some(0) => Err(unknown("expired token")),
            Some(uses) => {
                *uses -= u64::from(uploads);
                Ok(Caller {
                    access: Access::Write,
                    minted: true,
                })
            }
        }
    }
}

/// Uploads to, and reading of, channels whose names may have slashes.
async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let answered = match (request.method().clone(), path.strip_prefix(UPLOAD)) {
        (Method::POST, Some(channel)) => upload::upload(&shared, channel, request).await,
        (Method::GET, None) => channel::read(&shared, request).await,
        (method, _) => Err(shared.complain(format!("there is no {method} {path}"))),
    };
    match answered {
        Ok(response) => response,
        Err((status, said)) => (status, said).into_response(),
    }
}
