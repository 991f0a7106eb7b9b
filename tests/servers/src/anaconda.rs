//! anaconda.org, with its storage and what clients read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use crate::listen::{Listening, bind, serve};
use crate::shelf::{answer, body, md5, sha256, text};
use crate::{Faults, Shelf};

/// The owner that there is.
pub const OWNER: &str = "acme";

/// The API, and a storage on another port; the channel of the label `main` is read below `/conda/acme`.
#[derive(Debug)]
pub struct AnacondaOrg {
    origin: String,
    inner: Arc<Inner>,
    listening: Listening,
    storage: Listening,
}

#[derive(Debug)]
struct Inner {
    token: String,
    storage: String,
    shelf: Shelf,
    state: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    packages: BTreeSet<String>,
    releases: BTreeSet<String>,
    /// By id: the path of the distribution, and its hash.
    staged: BTreeMap<String, (String, String)>,
    /// By id.
    objects: BTreeMap<String, Bytes>,
    /// By the path of the package: only those that are not under `main` alone.
    labels: BTreeMap<String, Vec<String>>,
    /// Where the next form is to be sent instead.
    post_url: Option<String>,
}

impl AnacondaOrg {
    /// Starts it on random ports of loopback. It takes this token.
    pub async fn start(token: &str) -> Self {
        let (listener, origin) = bind().await;
        let (storage_listener, storage) = bind().await;
        let inner = Arc::new(Inner {
            token: token.to_owned(),
            storage,
            shelf: Shelf::default(),
            state: Mutex::default(),
        });
        let router = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&inner));
        let storage_router = Router::new()
            .fallback(store)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner));
        Self {
            origin,
            inner,
            listening: serve(listener, router),
            storage: serve(storage_listener, storage_router),
        }
    }

    /// The URL of the API.
    pub fn api(&self) -> &str {
        &self.origin
    }

    /// Where clients read.
    pub fn channel(&self) -> String {
        format!("{}/conda/{OWNER}", self.origin)
    }

    /// What it has and has seen.
    pub fn shelf(&self) -> &Shelf {
        &self.inner.shelf
    }

    /// What goes wrong at the API.
    pub fn faults(&self) -> &Faults {
        self.listening.faults()
    }

    /// What goes wrong at the storage.
    pub fn storage_faults(&self) -> &Faults {
        self.storage.faults()
    }

    /// Puts a published package under these labels instead of `main`.
    pub fn label(&self, path: &str, labels: &[&str]) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let mut state = self.inner.state.lock().expect("no panic");
        state.labels.insert(path.to_owned(), labels);
    }

    /// Has all files sent to this URL.
    pub fn send_files_to(&self, url: &str) {
        self.inner.state.lock().expect("no panic").post_url = Some(url.to_owned());
    }
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let shelf = &inner.shelf;
    shelf.note(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // The real one has another host for clients; here they come with what is stored for this one.
    let read = match &path[..] {
        ["t", secret, read @ ..] if *secret == inner.token => read,
        read => read,
    };
    if let ["conda", owner, rest @ ..] = read {
        return match rest {
            [subdir, file] if *owner == OWNER => shelf.read(subdir, file),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let headers = request.headers().clone();
    if text(&headers, "Authorization") != Some(&format!("token {}", inner.token)) {
        let error = json!({ "error": "The token is not valid" });
        return answer(StatusCode::UNAUTHORIZED, error);
    }
    shelf.expect("Accept", text(&headers, "Accept"), Some("application/json"));
    let version = text(&headers, "x-binstar-api-version");
    shelf.expect("x-binstar-api-version", version, Some("1.12.2"));
    let body = body(request).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let not_found = || answer(StatusCode::NOT_FOUND, json!({ "error": "not found" }));
    let conflict = || answer(StatusCode::CONFLICT, json!({ "error": "already exists" }));
    let done = || answer(StatusCode::OK, json!({}));
    let mut state = inner.state.lock().expect("no panic");
    match (method.as_str(), &path[..]) {
        ("GET", ["user"]) => answer(StatusCode::OK, json!({ "login": "alice" })),
        ("GET", ["user", OWNER]) => answer(StatusCode::OK, json!({ "login": OWNER })),
        (_, [_, owner, ..]) if *owner != OWNER => not_found(),
        ("GET", ["package", _, name]) if state.packages.contains(*name) => done(),
        ("GET", ["package", ..]) => not_found(),
        ("POST" | "PATCH", ["package", _, name]) => {
            let attributes = &body["public_attrs"];
            shelf.expect("public", &body["public"], &json!(true));
            shelf.expect("publish", &body["publish"], &json!(false));
            shelf.expect("name", &attributes["name"], &json!(name));
            let types = &attributes["package_types"];
            shelf.expect("package_types", types, &json!(["conda"]));
            let is_new = state.packages.insert((*name).to_owned());
            match (method == "POST", is_new) {
                (true, false) => conflict(),
                (false, true) => not_found(),
                _ => done(),
            }
        }
        ("GET", ["release", _, name, version])
            if state.releases.contains(&format!("{name}/{version}")) =>
        {
            done()
        }
        ("GET", ["release", ..]) => not_found(),
        ("POST" | "PATCH", ["release", _, name, version]) => {
            shelf.expect("requirements", &body["requirements"], &json!([]));
            shelf.expect("announce", &body["announce"], &json!(false));
            shelf.expect(
                "description of a release",
                &body["description"],
                &Value::Null,
            );
            shelf.expect("its package", state.packages.contains(*name), true);
            let is_new = state.releases.insert(format!("{name}/{version}"));
            match (method == "POST", is_new) {
                (true, false) => conflict(),
                (false, true) => not_found(),
                _ => done(),
            }
        }
        ("POST", ["stage", _, name, version, subdir, file]) => {
            let release = format!("{name}/{version}");
            shelf.expect("its release", state.releases.contains(&release), true);
            let kind = &body["distribution_type"];
            shelf.expect("distribution_type", kind, &json!("conda"));
            shelf.expect("channels", &body["channels"], &json!(["main"]));
            shelf.expect("the index's name", &body["attrs"]["name"], &json!(name));
            shelf.expect(
                "the index's subdir",
                &body["attrs"]["subdir"],
                &json!(subdir),
            );
            let path = format!("{subdir}/{file}");
            if shelf.package(&path).is_some() {
                return conflict();
            }
            let id = format!("dist-{}", state.staged.len());
            let sha256 = body["sha256"].as_str().unwrap_or_default().to_owned();
            state.staged.insert(id.clone(), (path, sha256));
            let post_url = state.post_url.clone();
            answer(
                StatusCode::OK,
                json!({
                    "post_url": post_url.unwrap_or_else(|| inner.storage.clone()),
                    "form_data": { "key": id, "policy": "signed for an hour", "x-amz-signature": "a signature" },
                    "dist_id": id,
                }),
            )
        }
        ("POST", ["commit", _, _, _, subdir, file]) => {
            let path = format!("{subdir}/{file}");
            let id = body["dist_id"].as_str().unwrap_or_default();
            let Some((staged, hash)) = state.staged.remove(id) else {
                return not_found();
            };
            shelf.expect("the staged path", staged, path.clone());
            let Some(object) = state.objects.get(id) else {
                return shelf.complain("a commit without a file");
            };
            shelf.expect("the staged sha256", hash, sha256(object));
            shelf.publish(&path, object.clone());
            done()
        }
        ("GET", ["dist", _, _, _, subdir, file]) => {
            let path = format!("{subdir}/{file}");
            let labels = state.labels.get(&path).cloned();
            match shelf.package(&path) {
                Some(bytes) => answer(
                    StatusCode::OK,
                    json!({ "sha256": sha256(&bytes), "labels": labels.unwrap_or_else(|| vec!["main".to_owned()]) }),
                ),
                None => not_found(),
            }
        }
        ("DELETE", ["dist", _, name, version, subdir, file]) => {
            // The last file takes its release and package with it.
            state.releases.remove(&format!("{name}/{version}"));
            state.packages.remove(*name);
            match shelf.remove(&format!("{subdir}/{file}")) {
                Some(_) => answer(StatusCode::CREATED, json!({})),
                None => not_found(),
            }
        }
        _ => shelf.complain(format!("no such request: {method} /{}", path.join("/"))),
    }
}

/// The storage: a form that was signed, with the file as its last part.
async fn store(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let shelf = &inner.shelf;
    let never = ["Authorization", "x-binstar-api-version", "Cookie"];
    let parts = [
        "key",
        "policy",
        "x-amz-signature",
        "Content-Length",
        "Content-MD5",
        "file",
    ];
    // Torn: nothing is stored.
    let Some(form) = (shelf.signed_form(request, (&inner.token, &never), &parts)).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (Some(key), Some(file)) = (form.part("key"), form.part("file")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let length = form.part("Content-Length").unwrap_or_default();
    shelf.expect("Content-Length", length, file.len().to_string().into());
    let checksum = form.part("Content-MD5").unwrap_or_default();
    if checksum != STANDARD.encode(md5(&file)) {
        shelf.complain("Content-MD5 is not that of the file");
        return StatusCode::BAD_REQUEST.into_response();
    }
    let key = String::from_utf8_lossy(&key).into_owned();
    let mut state = inner.state.lock().expect("no panic");
    state.objects.insert(key, file);
    StatusCode::NO_CONTENT.into_response()
}
