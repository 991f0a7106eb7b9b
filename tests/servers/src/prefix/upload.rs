//! `POST /api/v1/upload/{channel}[?force=true]`: a package and its attestation.

use axum::extract::multipart::Field;
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::response::{IntoResponse as _, Response};
use cep27::{FileName, Sha256};
use futures::StreamExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use sha2::Digest as _;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt as _;

use super::channel::Stored;
use super::{Access, Caller, Refusal, Shared, Uploaded};
use crate::attestation;

/// The size, in bytes, up to which an attestation is read.
const ATTESTATION_LIMIT: usize = 4 * 1024 * 1024;

/// A package as it came, before anything is made of it.
struct Received {
    file: FileName,
    bytes: NamedTempFile,
    size: u64,
    sha256: Sha256,
    attestation: Option<String>,
}

pub(super) async fn upload(
    shared: &Shared,
    channel: &str,
    request: Request,
) -> Result<Response, Refusal> {
    shared.state().attempts += 1;
    let force = match request.uri().query() {
        None => false,
        Some("force=true") => true,
        Some(query) => return Err(shared.complain(format!("the query {query}"))),
    };
    let allowed = check(shared, channel, request.headers());
    let caller = match allowed {
        Ok(caller) => caller,
        Err(refusal) => {
            // A client that is still sending would not see the answer.
            let mut body = request.into_body().into_data_stream();
            while let Some(Ok(_)) = body.next().await {}
            return Err(refusal);
        }
    };
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| shared.complain(error.body_text()))?;
    let received = receive(shared, &mut parts).await?;
    accept(shared, received, force, caller)
}

/// What is known before the body is read.
fn check(shared: &Shared, channel: &str, headers: &HeaderMap) -> Result<Caller, Refusal> {
    if headers.get(CONTENT_LENGTH).is_none() || headers.contains_key(TRANSFER_ENCODING) {
        return Err(shared.complain("an upload does not say how long it is"));
    }
    let kind = text(headers, CONTENT_TYPE.as_str());
    if !kind.starts_with("multipart/form-data; boundary=") {
        return Err(shared.complain(format!("an upload is {kind}")));
    }
    let caller = shared.caller(headers, true)?;
    if channel != shared.channel {
        return Err((StatusCode::NOT_FOUND, format!("no channel {channel}")));
    }
    match caller.access {
        Access::Write => Ok(caller),
        Access::Read => Err((
            StatusCode::FORBIDDEN,
            "this key may not publish to the channel".to_owned(),
        )),
    }
}

async fn receive(shared: &Shared, parts: &mut Multipart) -> Result<Received, Refusal> {
    let broken = |what: String| {
        shared.state().broken += 1;
        (StatusCode::BAD_REQUEST, what)
    };
    let next = parts.next_field().await;
    let field = next.map_err(|error| broken(error.body_text()))?;
    let field = field.ok_or_else(|| shared.complain("an upload has no part"))?;
    let mut received = package(shared, field).await?;
    let next = parts.next_field().await;
    if let Some(field) = next.map_err(|error| broken(error.body_text()))? {
        if field.name() != Some("attestation") || field.file_name().is_some() {
            return Err(shared.complain(format!("the second part is {:?}", field.name())));
        }
        let text = field.text().await;
        let text = text.map_err(|error| broken(error.body_text()))?;
        if text.len() > ATTESTATION_LIMIT {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "attestation".to_owned()));
        }
        received.attestation = Some(text);
    }
    let next = parts.next_field().await;
    match next.map_err(|error| broken(error.body_text()))? {
        None => Ok(received),
        Some(field) => Err(shared.complain(format!("there is a part {:?}", field.name()))),
    }
}

/// The part `file`, with every header it must have.
async fn package(shared: &Shared, mut field: Field<'_>) -> Result<Received, Refusal> {
    let headers = field.headers();
    let name = text(headers, "x-file-name").to_owned();
    let claimed = text(headers, "x-file-sha256").to_owned();
    let length = text(headers, CONTENT_LENGTH.as_str()).to_owned();
    let kind = text(headers, CONTENT_TYPE.as_str());
    for (what, found, expected) in [
        ("name of the first part", field.name(), "file"),
        ("file name of the package", field.file_name(), &name),
        (
            "content type of the package",
            Some(kind),
            "application/octet-stream",
        ),
    ] {
        if found != Some(expected) {
            let found = format!("the {what} is {found:?}, not {expected:?}");
            return Err(shared.complain(found));
        }
    }
    let file: FileName = name
        .parse()
        .map_err(|error| shared.complain(format!("X-File-Name: {error}")))?;
    let claimed: Sha256 = claimed
        .parse()
        .map_err(|error| shared.complain(format!("X-File-SHA256: {error}")))?;

    let bytes = NamedTempFile::new_in(shared.folder.path()).map_err(failed)?;
    let handle = bytes.reopen().map_err(failed)?;
    let mut writer = tokio::io::BufWriter::new(tokio::fs::File::from_std(handle));
    let (mut size, mut hasher) = (0, sha2::Sha256::new());
    loop {
        match field.chunk().await {
            Ok(Some(chunk)) => {
                size += chunk.len() as u64;
                hasher.update(&chunk);
                writer.write_all(&chunk).await.map_err(failed)?;
            }
            Ok(None) => break,
            Err(error) => {
                shared.state().broken += 1;
                return Err((StatusCode::BAD_REQUEST, error.body_text()));
            }
        }
    }
    writer.flush().await.map_err(failed)?;
    if length != size.to_string() {
        let found = format!("{file} says to have {length} bytes, and has {size}");
        return Err(shared.complain(found));
    }
    let sha256 = Sha256::from_bytes(hasher.finalize().into());
    if sha256 != claimed {
        shared.complain(format!("{file} has not the hash that X-File-SHA256 says"));
        return Err((StatusCode::UNPROCESSABLE_ENTITY, "another hash".to_owned()));
    }
    Ok(Received {
        file,
        bytes,
        size,
        sha256,
        attestation: None,
    })
}

/// Takes a package into the channel, or says what is wrong with it.
fn accept(
    shared: &Shared,
    received: Received,
    force: bool,
    caller: Caller,
) -> Result<Response, Refusal> {
    let Received {
        file,
        bytes,
        size,
        sha256,
        attestation,
    } = received;
    let unprocessable = |what: String| (StatusCode::UNPROCESSABLE_ENTITY, what);
    let attested = attestation.is_some();
    let stored = Stored::read(bytes, &file, sha256, attestation).map_err(unprocessable)?;
    match (stored.attestation(), &shared.root) {
        (None, _) if shared.options.requires_attestation => {
            return Err(unprocessable("the attestation is missing".to_owned()));
        }
        (None, _) => {}
        (Some(_), None) => return Err(unprocessable("nobody is trusted".to_owned())),
        (Some(bundle), Some(root)) => {
            let package = (&file, stored.subdir(), sha256);
            attestation::verify(root, package, &shared.channel_url(), bundle)
                .map_err(|reason| unprocessable(format!("the attestation: {reason}")))?;
        }
    }
    let mut state = shared.state();
    if state.packages.has(&stored) && !force {
        let taken = format!("{file} already exists");
        return Err((StatusCode::CONFLICT, taken));
    }
    let quota = shared.options.quota.unwrap_or(u64::MAX);
    if state.packages.size() + size > quota {
        let full = format!("the channel may have {quota} bytes");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, full));
    }
    state.packages.insert(stored, shared.folder.path());
    state.uploads.push(Uploaded {
        file: file.to_string(),
        sha256,
        attested,
        force,
        minted: caller.minted,
    });
    Ok(StatusCode::CREATED.into_response())
}

pub(super) fn hash(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn failed(error: std::io::Error) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}
