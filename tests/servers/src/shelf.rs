//! Published packages as clients see them, and what a server noticed about its requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use axum::Json;
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::Digest as _;

/// What a server has, has seen and has to complain of.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    packages: BTreeMap<String, Bytes>,
    requests: Vec<String>,
    complaints: Vec<String>,
}

impl Shelf {
    /// The bytes of a package, by `subdir/file`.
    pub fn package(&self, path: &str) -> Option<Bytes> {
        self.lock().packages.get(path).cloned()
    }

    /// Publishes bytes, as somebody else would.
    pub fn publish(&self, path: &str, bytes: impl Into<Bytes>) {
        self.lock().packages.insert(path.to_owned(), bytes.into());
    }

    /// Method and path of every request, in the order of their arrival.
    pub fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    /// What broke the protocol.
    pub fn complaints(&self) -> Vec<String> {
        self.lock().complaints.clone()
    }

    pub(crate) fn remove(&self, path: &str) -> Option<Bytes> {
        self.lock().packages.remove(path)
    }

    pub(crate) fn note(&self, request: &Request) {
        let noted = format!("{} {}", request.method(), request.uri());
        self.lock().requests.push(noted);
    }

    /// Records a breach of the protocol, which is answered with 400.
    pub(crate) fn complain(&self, of: impl Into<String>) -> Response {
        let of = of.into();
        self.lock().complaints.push(of.clone());
        answer(StatusCode::BAD_REQUEST, json!({ "detail": of }))
    }

    /// Records that a request should have had something else.
    pub(crate) fn expect<T: PartialEq + std::fmt::Debug>(&self, what: &str, found: T, wanted: T) {
        if found != wanted {
            let complaint = format!("{what}: expected {wanted:?}, found {found:?}");
            self.lock().complaints.push(complaint);
        }
    }

    /// Records where a secret came that has no business there.
    fn expect_no_secret(&self, headers: &HeaderMap, secret: &str) {
        for (name, value) in headers {
            if String::from_utf8_lossy(value.as_bytes()).contains(secret) {
                let complaint = format!("a credential came in {name}");
                self.lock().complaints.push(complaint);
            }
        }
    }

    /// A form of these parts, as it comes to a storage, which must be told nothing that is for the server; `None` where it
    /// ended early.
    pub(crate) async fn signed_form(
        &self,
        request: Request,
        (secret, headers): (&str, &[&str]),
        parts: &[&str],
    ) -> Option<Form> {
        self.expect_no_secret(request.headers(), secret);
        for name in headers {
            self.expect(name, text(request.headers(), name), None);
        }
        let form = form(request).await?;
        let names: Vec<&str> = form.0.iter().map(|(name, _)| name.as_str()).collect();
        self.expect("the parts of the form", &names[..], parts);
        Some(form)
    }

    /// Answers as a channel that clients read: `noarch` always has an index, others with their first package.
    pub(crate) fn read(&self, subdir: &str, file: &str) -> Response {
        let content = self.lock();
        let within = format!("{subdir}/");
        if file != "repodata.json" {
            return match content.packages.get(&format!("{within}{file}")) {
                Some(bytes) => bytes.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            };
        }
        let records: serde_json::Map<String, Value> = (content.packages.iter())
            .filter_map(|(path, bytes)| {
                let file = path.strip_prefix(&within)?.to_owned();
                Some((
                    file,
                    json!({ "sha256": sha256(bytes), "size": bytes.len() }),
                ))
            })
            .collect();
        match records.is_empty() && subdir != "noarch" {
            true => StatusCode::NOT_FOUND.into_response(),
            false => Json(
                json!({ "info": { "subdir": subdir }, "packages": {}, "packages.conda": records }),
            )
            .into_response(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().expect("no panic")
    }
}

/// A header's text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(crate) fn answer(status: StatusCode, body: Value) -> Response {
    (status, Json(body)).into_response()
}

/// The body of a request, whole; `None` where it ended early.
pub(crate) async fn body(request: Request) -> Option<Bytes> {
    axum::body::to_bytes(request.into_body(), usize::MAX)
        .await
        .ok()
}

/// The parts of a form, in their order.
pub(crate) struct Form(Vec<(String, Bytes)>);

impl Form {
    /// The part of this name.
    pub(crate) fn part(&self, name: &str) -> Option<Bytes> {
        let mut parts = self.0.iter();
        let (_, part) = parts.find(|(it, _)| it == name)?;
        Some(part.clone())
    }
}

/// A form; `None` where it ended early.
async fn form(request: Request) -> Option<Form> {
    use axum::extract::{FromRequest as _, Multipart};
    let mut form = Multipart::from_request(request, &()).await.ok()?;
    let mut parts = Vec::new();
    loop {
        match form.next_field().await.ok()? {
            Some(part) => {
                let name = part.name().unwrap_or_default().to_owned();
                parts.push((name, part.bytes().await.ok()?));
            }
            None => return Some(Form(parts)),
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&sha2::Sha256::digest(bytes))
}

pub(crate) fn md5(bytes: &[u8]) -> Vec<u8> {
    use rattler_digest::digest::Digest as _;
    rattler_digest::Md5::digest(bytes).to_vec()
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
