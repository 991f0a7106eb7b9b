//! A TUF repository that signs whatever a test wants, and a server on loopback for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use ed25519_dalek::{Signer as _, SigningKey};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use sigstore_crypto::{KeyPair, sha256};
use sigstore_trust_root::{SIGSTORE_PRODUCTION_SIGNING_CONFIG, SIGSTORE_PRODUCTION_TRUSTED_ROOT};
use url::Url;

pub(super) type Files = BTreeMap<String, Vec<u8>>;

pub(super) const TRUSTED_ROOT: &str = "trusted_root.json";
pub(super) const SIGNING_CONFIG: &str = "signing_config.v0.2.json";

/// The two kinds of keys that Sigstore's repositories have.
#[derive(Clone, Copy)]
pub(super) enum Algorithm {
    Ecdsa,
    Ed25519,
}

#[derive(Clone)]
enum Secret {
    Ecdsa(Arc<KeyPair>),
    Ed25519(Arc<SigningKey>),
}

#[derive(Clone)]
pub(super) struct Key {
    id: String,
    public: Value,
    secret: Secret,
}

impl Key {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let (keytype, scheme, public, secret) = match algorithm {
            Algorithm::Ecdsa => {
                let pair = KeyPair::generate_ecdsa_p256().unwrap();
                let public = pair.public_key_der().unwrap().to_pem();
                let secret = Secret::Ecdsa(Arc::new(pair));
                ("ecdsa", "ecdsa-sha2-nistp256", public, secret)
            }
            Algorithm::Ed25519 => {
                let key = SigningKey::from_bytes(&rand::random());
                let public = hex(key.verifying_key().as_bytes());
                ("ed25519", "ed25519", public, Secret::Ed25519(Arc::new(key)))
            }
        };
        let public = json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}});
        let canonical = sigstore_tuf::canonical_json::to_canonical_bytes(&public).unwrap();
        Self {
            id: sha256(&canonical).to_hex(),
            public,
            secret,
        }
    }

    fn sign(&self, message: &[u8]) -> Value {
        let signature = match &self.secret {
            Secret::Ecdsa(pair) => hex(pair.sign(message).unwrap().as_bytes()),
            Secret::Ed25519(key) => hex(&key.sign(message).to_bytes()),
        };
        json!({"keyid": self.id, "sig": signature})
    }
}

/// One of the four top-level roles.
#[derive(Clone)]
pub(super) struct Role {
    pub(super) version: u64,
    pub(super) expires: Timestamp,
    /// Who is named in the root.
    pub(super) keys: Vec<Key>,
    /// Who signs.
    pub(super) signers: Vec<Key>,
    pub(super) threshold: usize,
}

impl Role {
    fn new(algorithm: Algorithm) -> Self {
        let key = Key::new(algorithm);
        Self {
            version: 1,
            expires: "2999-01-01T00:00:00Z".parse().unwrap(),
            keys: vec![key.clone()],
            signers: vec![key],
            threshold: 1,
        }
    }

    pub(super) fn set_key(&mut self, algorithm: Algorithm) {
        self.keys = vec![Key::new(algorithm)];
        self.signers.clone_from(&self.keys);
    }

    fn metadata(&self, kind: &str, body: Value) -> Vec<u8> {
        signed(self.version, self.expires, kind, body, &self.signers)
    }

    fn in_root(&self) -> Value {
        let ids: Vec<_> = self.keys.iter().map(|key| &key.id).collect();
        json!({"keyids": ids, "threshold": self.threshold})
    }
}

#[derive(Clone)]
pub(super) struct Repository {
    pub(super) root: Role,
    pub(super) timestamp: Role,
    pub(super) snapshot: Role,
    pub(super) targets: Role,
    /// The target files.
    pub(super) contents: Files,
    /// Every root there was, the first one first.
    pub(super) roots: Vec<Vec<u8>>,
}

impl Repository {
    /// The public-good instance's trust material under keys of our own, of both kinds in use.
    pub(super) fn new() -> Self {
        let contents = [
            (TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT),
            (SIGNING_CONFIG, SIGSTORE_PRODUCTION_SIGNING_CONFIG),
        ];
        let mut repository = Self {
            root: Role::new(Algorithm::Ecdsa),
            timestamp: Role::new(Algorithm::Ed25519),
            snapshot: Role::new(Algorithm::Ecdsa),
            targets: Role::new(Algorithm::Ed25519),
            contents: contents
                .map(|(name, text)| (name.to_owned(), text.into()))
                .into(),
            roots: Vec::new(),
        };
        let signers = repository.root.signers.clone();
        repository.push_root(&signers);
        repository
    }

    /// The root that clients have from elsewhere.
    pub(super) fn bootstrap(&self) -> Vec<u8> {
        self.roots[0].clone()
    }

    /// A new root, which the old one's keys vouch for.
    pub(super) fn change_root(&mut self, change: impl FnOnce(&mut Self)) {
        let mut signers = self.root.signers.clone();
        change(self);
        self.root.version += 1;
        signers.extend(self.root.signers.clone());
        signers.sort_by(|one, other| one.id.cmp(&other.id));
        signers.dedup_by(|one, other| one.id == other.id);
        self.push_root(&signers);
    }

    /// A new root with these signatures, whatever they are worth.
    pub(super) fn push_root(&mut self, signers: &[Key]) {
        let roles = [
            ("root", &self.root),
            ("timestamp", &self.timestamp),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
        ];
        let keys: BTreeMap<_, _> = roles
            .iter()
            .flat_map(|(_, role)| &role.keys)
            .map(|key| (&key.id, &key.public))
            .collect();
        let roles: BTreeMap<_, _> = roles.map(|(name, role)| (name, role.in_root())).into();
        let body = json!({"consistent_snapshot": true, "keys": keys, "roles": roles});
        let root = signed(self.root.version, self.root.expires, "root", body, signers);
        self.roots.push(root);
    }

    /// The next version of everything below the root.
    pub(super) fn update(&mut self) {
        for role in [&mut self.timestamp, &mut self.snapshot, &mut self.targets] {
            role.version += 1;
        }
    }

    /// What a server of this repository has.
    pub(super) fn files(&self) -> Files {
        let mut files = Files::new();
        let mut listed = serde_json::Map::new();
        for (name, content) in &self.contents {
            let hash = sha256(content).to_hex();
            let entry = json!({"length": content.len(), "hashes": {"sha256": hash}});
            listed.insert(name.clone(), entry);
            files.insert(format!("targets/{hash}.{name}"), content.clone());
        }
        let targets = self.targets.metadata("targets", json!({"targets": listed}));
        let meta = json!({"targets.json": pin(&targets, self.targets.version)});
        let snapshot = self.snapshot.metadata("snapshot", json!({"meta": meta}));
        let meta = json!({"snapshot.json": pin(&snapshot, self.snapshot.version)});
        let timestamp = self.timestamp.metadata("timestamp", json!({"meta": meta}));
        files.insert(format!("{}.targets.json", self.targets.version), targets);
        files.insert(format!("{}.snapshot.json", self.snapshot.version), snapshot);
        files.insert("timestamp.json".to_owned(), timestamp);
        for (index, root) in self.roots.iter().enumerate() {
            files.insert(format!("{}.root.json", index + 1), root.clone());
        }
        files
    }
}

fn signed(version: u64, expires: Timestamp, kind: &str, body: Value, signers: &[Key]) -> Vec<u8> {
    let mut document = json!({
        "_type": kind, "spec_version": "1.0.31", "version": version, "expires": expires.to_string(),
    });
    let Value::Object(body) = body else {
        panic!("a role is an object");
    };
    document.as_object_mut().unwrap().extend(body);
    let canonical = sigstore_tuf::canonical_json::to_canonical_bytes(&document).unwrap();
    let signatures: Vec<_> = signers.iter().map(|key| key.sign(&canonical)).collect();
    serde_json::to_vec(&json!({"signed": document, "signatures": signatures})).unwrap()
}

fn pin(bytes: &[u8], version: u64) -> Value {
    let hash = sha256(bytes).to_hex();
    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": hash}})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a server does instead of answering.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Status(u16),
    /// Nothing, for as long as the client waits.
    Hang,
    /// The beginning of the answer.
    Cut,
}

#[derive(Default)]
struct Served {
    files: Files,
    /// Requests for files whose names end so fail, so many times.
    fault: Option<(&'static str, Fault, u32)>,
    requests: Vec<String>,
}

pub(super) struct Server {
    pub(super) url: Url,
    served: Arc<Mutex<Served>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/tuf", listener.local_addr().unwrap());
        let served = Arc::new(Mutex::new(Served::default()));
        let app = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&served));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url: url.parse().unwrap(),
            served,
            task,
        }
    }

    pub(super) fn serve(&self, files: Files) {
        self.served.lock().unwrap().files = files;
    }

    /// From here on, requests for files whose names end so fail.
    pub(super) fn fail(&self, files: &'static str, fault: Fault) {
        self.fail_times(files, fault, u32::MAX);
    }

    pub(super) fn fail_times(&self, files: &'static str, fault: Fault, times: u32) {
        self.served.lock().unwrap().fault = Some((files, fault, times));
    }

    /// The files asked for since the last time.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.served.lock().unwrap().requests)
    }

    /// Nobody is there any more.
    pub(super) async fn stop(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn answer(State(served): State<Arc<Mutex<Served>>>, uri: Uri) -> Response {
    let name = uri.path().trim_start_matches("/tuf/").to_owned();
    let (content, fault) = {
        let mut served = served.lock().unwrap();
        served.requests.push(name.clone());
        let fault = match &mut served.fault {
            Some((files, fault, times)) if name.ends_with(*files) && *times > 0 => {
                *times -= 1;
                Some(*fault)
            }
            _ => None,
        };
        (served.files.get(&name).cloned(), fault)
    };
    match (fault, content) {
        (None, Some(content)) => content.into_response(),
        (None, None) => StatusCode::NOT_FOUND.into_response(),
        (Some(Fault::Status(status)), _) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, [("location", "/elsewhere")]).into_response()
        }
        (Some(Fault::Hang), _) => std::future::pending().await,
        (Some(Fault::Cut), _) => {
            let begun = futures::stream::iter([Ok(Bytes::from_static(b"{"))]);
            let lost = futures::stream::once(async {
                // What has begun leaves before the connection ends.
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(begun.chain(lost)).into_response()
        }
    }
}
