//! GitHub's attestation store: <https://docs.github.com/en/rest/repos/attestations>.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use cep27::Sha256;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sigstore_trust_root::TrustedRoot;

use crate::Faults;
use crate::attestation;
use crate::listen::{Listening, bind, serve};
use crate::shelf;

/// What the server has, and whom it trusts.
#[derive(Debug, Clone, Default)]
pub struct GithubOptions {
    /// `owner/name` of its one repository.
    pub repository: String,
    /// What each token allows of attestations: `true` for writing.
    pub tokens: BTreeMap<String, bool>,
    /// What attestations are verified against.
    pub trusted_root: PathBuf,
    /// Whether lists only say where bundles are, as for large ones.
    pub hides_bundles: bool,
    /// The tag of its one release, where it has one.
    pub release: Option<String>,
    /// Where it says that assets are uploaded to, if not to itself.
    pub uploads: Option<String>,
}

/// The server, on a random port of loopback. Dropping it ends it.
#[derive(Debug)]
pub struct GithubServer {
    shared: Arc<Shared>,
    listening: Listening,
}

#[derive(Debug)]
struct Shared {
    origin: String,
    options: GithubOptions,
    root: TrustedRoot,
    state: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    /// The digest of its subject, and the bundle.
    attestations: Vec<(Sha256, Value)>,
    /// The assets of its release.
    assets: BTreeMap<String, Bytes>,
    complaints: Vec<String>,
}

type Refusal = (StatusCode, Json<Value>);

impl GithubServer {
    /// Starts it.
    ///
    /// # Panics
    /// If it can't.
    pub async fn start(options: GithubOptions) -> Self {
        let (listener, origin) = bind().await;
        let root = TrustedRoot::from_file(&options.trusted_root).expect("a trusted root");
        let shared = Arc::new(Shared {
            origin,
            options,
            root,
            state: Mutex::default(),
        });
        let router = Router::new()
            .route("/repos/{owner}/{repo}", get(repository))
            .route("/repos/{owner}/{repo}/attestations", post(store))
            .route("/repos/{owner}/{repo}/attestations/{digest}", get(list))
            .route("/repos/{owner}/{repo}/releases/tags/{tag}", get(release))
            .route(
                "/uploads/repos/{owner}/{repo}/releases/1/assets",
                post(add_asset),
            )
            .fallback(nowhere)
            .with_state(Arc::clone(&shared));
        Self {
            listening: serve(listener, router),
            shared,
        }
    }

    /// Its URL, without a slash at the end: `GITHUB_API_URL`.
    pub fn url(&self) -> &str {
        &self.shared.origin
    }

    /// What it does wrong on purpose.
    pub fn faults(&self) -> &Faults {
        self.listening.faults()
    }

    /// Every breach of the protocol so far.
    pub fn complaints(&self) -> Vec<String> {
        self.shared.state().complaints.clone()
    }

    /// The assets of its release, by name.
    pub fn assets(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.shared.state();
        let assets = state.assets.iter();
        assets
            .map(|(name, bytes)| (name.clone(), bytes.to_vec()))
            .collect()
    }

    /// The digests of what attestations were stored, in order.
    pub fn stored(&self) -> Vec<Sha256> {
        let state = self.shared.state();
        state
            .attestations
            .iter()
            .map(|(digest, _)| *digest)
            .collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Ledger> {
        self.state.lock().expect("no panic")
    }

    fn complain(&self, what: String) -> Refusal {
        self.state().complaints.push(what.clone());
        refuse(StatusCode::BAD_REQUEST, &what)
    }

    /// Checks what every request must have; gives whether it may write.
    fn check(&self, headers: &HeaderMap, owner: &str, repo: &str) -> Result<bool, Refusal> {
        let text = |name: &str| {
            let value = headers.get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        for (name, expected) in [
            (ACCEPT.as_str(), "application/vnd.github+json"),
            ("x-github-api-version", "2022-11-28"),
        ] {
            if text(name) != expected {
                return Err(self.complain(format!("{name} is {}", text(name))));
            }
        }
        if text(USER_AGENT.as_str()).is_empty() {
            return Err(self.complain("there is no user agent".to_owned()));
        }
        let token = text(AUTHORIZATION.as_str()).strip_prefix("Bearer ");
        let may_write = token.and_then(|token| self.options.tokens.get(token));
        let Some(&may_write) = may_write else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "Bad credentials"));
        };
        match format!("{owner}/{repo}") == self.options.repository {
            true => Ok(may_write),
            false => Err(refuse(StatusCode::NOT_FOUND, "Not Found")),
        }
    }

    /// [`check`](Self::check) of a request that writes.
    fn check_writer(&self, headers: &HeaderMap, owner: &str, repo: &str) -> Result<(), Refusal> {
        match self.check(headers, owner, repo)? {
            true => Ok(()),
            false => {
                let said = "Resource not accessible by integration";
                Err(refuse(StatusCode::FORBIDDEN, said))
            }
        }
    }
}

async fn repository(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    shared.check(&headers, &owner, &repo)?;
    Ok(Json(json!({ "full_name": format!("{owner}/{repo}") })))
}

async fn store(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    shared.check_writer(&headers, &owner, &repo)?;
    let kind = headers.get(CONTENT_TYPE);
    if kind.and_then(|kind| kind.to_str().ok()) != Some("application/json") {
        return Err(shared.complain("an attestation is not application/json".to_owned()));
    }
    let mut body: serde_json::Map<String, Value> = serde_json::from_slice(&body)
        .map_err(|error| shared.complain(format!("an attestation is no JSON: {error}")))?;
    let (Some(bundle), true) = (body.remove("bundle"), body.is_empty()) else {
        return Err(shared.complain("expected a bundle and nothing else".to_owned()));
    };
    let digest = judge(&shared.root, &bundle)
        .map_err(|reason| refuse(StatusCode::UNPROCESSABLE_ENTITY, &reason))?;
    let mut state = shared.state();
    state.attestations.push((digest, bundle));
    let answer = json!({ "id": state.attestations.len() });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, digest)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    shared.check(&headers, &owner, &repo)?;
    let digest = digest
        .strip_prefix("sha256:")
        .and_then(|it| it.parse().ok());
    let digest: Sha256 = digest.ok_or_else(|| shared.complain("no digest".to_owned()))?;
    let state = shared.state();
    let of_it = state
        .attestations
        .iter()
        .rev()
        .filter(|(of, _)| *of == digest);
    let listed: Vec<_> = of_it
        .map(|(_, bundle)| match shared.options.hides_bundles {
            true => json!({ "bundle": null, "bundle_url": "https://example.invalid/" }),
            false => json!({ "bundle": bundle }),
        })
        .collect();
    match listed.is_empty() {
        true => Err(refuse(StatusCode::NOT_FOUND, "Not Found")),
        false => Ok(Json(json!({ "attestations": listed }))),
    }
}

/// <https://docs.github.com/en/rest/releases/releases#get-a-release-by-tag-name>
async fn release(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo, tag)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    shared.check(&headers, &owner, &repo)?;
    if shared.options.release.as_ref() != Some(&tag) {
        return Err(refuse(StatusCode::NOT_FOUND, "Not Found"));
    }
    let asset = |(name, bytes): (&String, &Bytes)| json!({ "name": name, "size": bytes.len(), "digest": format!("sha256:{}", shelf::sha256(bytes)) });
    let assets: Vec<Value> = shared.state().assets.iter().map(asset).collect();
    let origin = shared.options.uploads.as_ref().unwrap_or(&shared.origin);
    Ok(Json(json!({
        "id": 1,
        "tag_name": tag,
        "html_url": format!("https://github.com/{owner}/{repo}/releases/tag/{tag}"),
        "upload_url": format!("{origin}/uploads/repos/{owner}/{repo}/releases/1/assets{{?name,label}}"),
        "assets": assets,
    })))
}

/// <https://docs.github.com/en/rest/releases/assets#upload-a-release-asset>
async fn add_asset(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    shared.check_writer(&headers, &owner, &repo)?;
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let name = match (query.get("name"), query.len(), kind) {
        (Some(name), 1, Some("application/json")) => name.clone(),
        _ => return Err(shared.complain(format!("an asset with {query:?}, {kind:?}"))),
    };
    let mut state = shared.state();
    if state.assets.contains_key(&name) {
        let said = json!({
            "message": "Validation Failed",
            "errors": [{ "resource": "ReleaseAsset", "code": "already_exists", "field": "name" }],
        });
        return Err((StatusCode::UNPROCESSABLE_ENTITY, Json(said)));
    }
    state.assets.insert(name.clone(), body);
    let answer = json!({ "id": state.assets.len(), "name": name, "state": "uploaded" });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn nowhere(State(shared): State<Arc<Shared>>, uri: http::Uri) -> Refusal {
    shared.complain(format!("there is no {uri}"))
}

/// The digest of what a bundle attests, if it is genuine.
fn judge(root: &TrustedRoot, bundle: &Value) -> Result<Sha256, String> {
    let text = bundle.to_string();
    let statement = attestation::statement(&text)?;
    let statement: Value = serde_json::from_slice(&statement).map_err(|error| error.to_string())?;
    let digest = statement["subject"][0]["digest"]["sha256"].as_str();
    let digest = digest.and_then(|digest| digest.parse().ok());
    let digest = digest.ok_or("the subject has no sha256")?;
    attestation::prove(root, digest, &text).map(|()| digest)
}

fn refuse(status: StatusCode, message: &str) -> Refusal {
    (status, Json(json!({ "message": message })))
}
