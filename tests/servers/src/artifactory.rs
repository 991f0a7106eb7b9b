//! Artifactory, with one local conda repository.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::AUTHORIZATION;
use serde_json::json;

use crate::listen::{Listening, bind, serve};
use crate::shelf::{answer, body, sha256, text};
use crate::{Faults, Shelf};

const CHECKSUM: &str = "X-Checksum-Sha256";

/// The repository is `conda-local`; it replaces files without asking, as the real one does.
#[derive(Debug)]
pub struct Artifactory {
    origin: String,
    inner: Arc<Inner>,
    listening: Listening,
}

#[derive(Debug)]
struct Inner {
    authorization: String,
    shelf: Shelf,
    tells_checksums: AtomicBool,
}

impl Artifactory {
    /// Starts it on a random port of loopback. It takes this value of `Authorization` and no other.
    pub async fn start(authorization: &str) -> Self {
        let inner = Arc::new(Inner {
            authorization: authorization.to_owned(),
            shelf: Shelf::default(),
            tells_checksums: AtomicBool::new(true),
        });
        let router = Router::new()
            .fallback(handle)
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner));
        let (listener, origin) = bind().await;
        Self {
            origin,
            inner,
            listening: serve(listener, router),
        }
    }

    /// The URL of the repository, or of another one.
    pub fn url(&self, repository: &str) -> String {
        format!("{}/artifactory/{repository}", self.origin)
    }

    /// What it has and has seen.
    pub fn shelf(&self) -> &Shelf {
        &self.inner.shelf
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        self.listening.faults()
    }

    /// Keeps no SHA-256 of files, as servers of old.
    pub fn forget_checksums(&self) {
        self.inner.tells_checksums.store(false, Ordering::Relaxed);
    }
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let shelf = &inner.shelf;
    shelf.note(&request);
    let headers = request.headers().clone();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // Anybody may read this repository.
    if let ("GET", ["artifactory", "conda-local", subdir, file]) = (method.as_str(), &path[..]) {
        return shelf.read(subdir, file);
    }
    if let ("GET", ["artifactory", _, _, _]) = (method.as_str(), &path[..])
        && path[1] != "api"
    {
        return StatusCode::NOT_FOUND.into_response();
    }
    if text(&headers, AUTHORIZATION.as_str()) != Some(&inner.authorization) {
        return errors(StatusCode::UNAUTHORIZED, "Bad credentials");
    }
    match (method.as_str(), &path[..]) {
        ("GET", ["artifactory", "api", "storage", "conda-local"]) => answer(
            StatusCode::OK,
            json!({ "repo": "conda-local", "path": "/" }),
        ),
        ("GET", ["artifactory", "api", "storage", _]) => {
            errors(StatusCode::NOT_FOUND, "Unable to find item")
        }
        ("HEAD", ["artifactory", "conda-local", subdir, file]) => {
            match shelf.package(&format!("{subdir}/{file}")) {
                None => StatusCode::NOT_FOUND.into_response(),
                Some(_) if !inner.tells_checksums.load(Ordering::Relaxed) => {
                    StatusCode::OK.into_response()
                }
                Some(bytes) => [(CHECKSUM, sha256(&bytes))].into_response(),
            }
        }
        ("PUT", ["artifactory", "conda-local", subdir, file]) => {
            let (subdir, file) = (subdir.to_string(), file.to_string());
            let length = text(&headers, "Content-Length").map(str::to_owned);
            // Torn: nothing is stored.
            let Some(bytes) = body(request).await else {
                return StatusCode::BAD_REQUEST.into_response();
            };
            shelf.expect("Content-Length", length, Some(bytes.len().to_string()));
            let hash = sha256(&bytes);
            if text(&headers, CHECKSUM) != Some(&hash) {
                shelf.complain(format!("{CHECKSUM} is not that of the bytes"));
                return errors(StatusCode::CONFLICT, "Checksum error");
            }
            shelf.publish(&format!("{subdir}/{file}"), bytes);
            let stored = json!({ "repo": "conda-local", "path": format!("/{subdir}/{file}"), "checksums": { "sha256": hash } });
            answer(StatusCode::CREATED, stored)
        }
        _ => shelf.complain(format!("no such request: {method} /{}", path.join("/"))),
    }
}

fn errors(status: StatusCode, message: &str) -> Response {
    answer(
        status,
        json!({ "errors": [{ "status": status.as_u16(), "message": message }] }),
    )
}
