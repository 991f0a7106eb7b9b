//! Cloudsmith, with its storage and what clients read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::{Value, json};

use crate::listen::{Listening, bind, serve};
use crate::shelf::{answer, body, hexadecimal, md5, text};
use crate::{Faults, Shelf};

/// The API below `/v1`, and a storage on another port; the repository `acme/pkgs` is read below `/conda/acme/pkgs`.
#[derive(Debug)]
pub struct Cloudsmith {
    origin: String,
    inner: Arc<Inner>,
    listening: Listening,
    storage: Listening,
}

#[derive(Debug)]
struct Inner {
    key: String,
    storage: String,
    shelf: Shelf,
    state: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    /// By id: file name, MD5, and the bytes once they are there.
    files: BTreeMap<String, (String, String, Option<Bytes>)>,
    /// By slug: the file's id, whether it replaces another, and how often it was asked for.
    packages: BTreeMap<String, (String, bool, u32)>,
    /// Never ends with a package.
    is_stuck: bool,
}

impl Cloudsmith {
    /// Starts it on random ports of loopback. It takes this API key.
    pub async fn start(key: &str) -> Self {
        let (listener, origin) = bind().await;
        let (storage_listener, storage) = bind().await;
        let inner = Arc::new(Inner {
            key: key.to_owned(),
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
    pub fn api(&self) -> String {
        format!("{}/v1", self.origin)
    }

    /// Where clients read.
    pub fn channel(&self) -> String {
        format!("{}/conda/acme/pkgs", self.origin)
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

    /// Processes no package to its end any more.
    pub fn get_stuck(&self) {
        self.inner.state.lock().expect("no panic").is_stuck = true;
    }
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let shelf = &inner.shelf;
    shelf.note(&request);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // The real one has another host for clients; here they come with what is stored for this one.
    let read = match &path[..] {
        ["t", secret, read @ ..] if *secret == inner.key => read,
        read => read,
    };
    if let ["conda", rest @ ..] = read {
        return match rest {
            ["acme", "pkgs", subdir, file] => shelf.read(subdir, file),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let headers = request.headers().clone();
    if text(&headers, "X-Api-Key") != Some(&inner.key) {
        let detail = json!({ "detail": "Invalid token." });
        return answer(StatusCode::UNAUTHORIZED, detail);
    }
    shelf.expect("Accept", text(&headers, "Accept"), Some("application/json"));
    let body = body(request).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let not_found = || answer(StatusCode::NOT_FOUND, json!({ "detail": "Not found." }));
    let mut state = inner.state.lock().expect("no panic");
    match (method.as_str(), &path[..]) {
        ("GET", ["v1", "user", "self", ""]) => {
            answer(StatusCode::OK, json!({ "authenticated": true }))
        }
        ("GET", ["v1", "repos", "acme", "pkgs", ""]) => {
            answer(StatusCode::OK, json!({ "slug": "pkgs" }))
        }
        ("GET", ["v1", "repos", ..]) => not_found(),
        ("POST", ["v1", "files", "acme", "pkgs", ""]) => {
            shelf.expect("method", &body["method"], &json!("post"));
            let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let id = format!("file{}", state.files.len());
            let file = (field("filename"), field("md5_checksum"), None);
            state.files.insert(id.clone(), file);
            answer(
                StatusCode::ACCEPTED,
                json!({
                    "identifier": id, "upload_url": inner.storage,
                    "upload_fields": { "key": id, "policy": "signed for an hour" },
                }),
            )
        }
        ("POST", ["v1", "packages", "acme", "pkgs", "upload", "conda", ""]) => {
            let id = body["package_file"].as_str().unwrap_or_default().to_owned();
            let Some(republish) = body["republish"].as_bool() else {
                return shelf.complain("no republish");
            };
            match state.files.get(&id) {
                Some((.., Some(_))) if state.packages.values().all(|it| it.0 != id) => {}
                _ => {
                    let detail = json!({ "detail": "the file cannot be used" });
                    return answer(StatusCode::UNPROCESSABLE_ENTITY, detail);
                }
            }
            let slug = format!("slug{}", state.packages.len());
            state.packages.insert(slug.clone(), (id, republish, 0));
            answer(
                StatusCode::CREATED,
                json!({ "slug_perm": slug, "slug": "a-package" }),
            )
        }
        ("GET", ["v1", "packages", "acme", "pkgs", slug, "status", ""]) => {
            let is_stuck = state.is_stuck;
            let Some((id, republish, asked)) = state.packages.get_mut(*slug) else {
                return not_found();
            };
            *asked += 1;
            let (id, republish) = (id.clone(), *republish);
            if *asked < 3 || is_stuck {
                let progress = json!({ "is_sync_completed": false, "is_sync_failed": false });
                return answer(StatusCode::OK, progress);
            }
            // The real one reads the subdir from the package; tests here publish to this one.
            let file = state.files.get(&id);
            let Some((name, _, Some(bytes))) = file else {
                return not_found();
            };
            let path = format!("noarch/{name}");
            if shelf.package(&path).is_some() && !republish {
                let reason = "Package duplicates another";
                return answer(
                    StatusCode::OK,
                    json!({ "is_sync_completed": false, "is_sync_failed": true, "status_reason": reason }),
                );
            }
            shelf.publish(&path, bytes.clone());
            let progress = json!({ "is_sync_completed": true, "is_sync_failed": false });
            answer(StatusCode::OK, progress)
        }
        (_, ["v1", _, owner, repository, ..]) if (*owner, *repository) != ("acme", "pkgs") => {
            not_found()
        }
        _ => shelf.complain(format!("no such request: {method} /{}", path.join("/"))),
    }
}

/// The storage: a form that was signed, with the file as its last part.
async fn store(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let shelf = &inner.shelf;
    let never = ["Authorization", "X-Api-Key", "Cookie"];
    let parts = ["key", "policy", "file"];
    // Torn: nothing is stored.
    let Some(form) = (shelf.signed_form(request, (&inner.key, &never), &parts)).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (Some(key), Some(bytes)) = (form.part("key"), form.part("file")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let key = String::from_utf8_lossy(&key).into_owned();
    let mut state = inner.state.lock().expect("no panic");
    let Some((_, checksum, there)) = state.files.get_mut(&key) else {
        return StatusCode::FORBIDDEN.into_response();
    };
    shelf.expect("md5_checksum", checksum.clone(), hexadecimal(&md5(&bytes)));
    *there = Some(bytes);
    StatusCode::NO_CONTENT.into_response()
}
