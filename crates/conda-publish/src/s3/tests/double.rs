//! Servers that aren't what they should be, made from one that is.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};

use super::*;
use crate::Error;

/// A server that keeps objects and has no idea of conditions.
#[derive(Debug, Clone, Default)]
struct Unconditional {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// Which of its answers to writes heed conditions, as if it did.
    heeds_puts: bool,
}

async fn serve(server: Unconditional) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(server);
    tokio::spawn(async move { axum::serve(listener, router).await });
    endpoint
}

async fn answer(State(server): State<Unconditional>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut objects = server.objects.lock().unwrap();
    let xml = |text: &str| answer_with(200, text.into());
    match parts.method.as_str() {
        "POST" if query.contains("uploads") => xml(
            "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>",
        ),
        "POST" => {
            xml("<CompleteMultipartUploadResult><ETag>\"1\"</ETag></CompleteMultipartUploadResult>")
        }
        "PUT" if query.contains("partNumber") => answer_with(200, Vec::new()),
        "PUT" => {
            let is_met = is_met(&parts.headers, objects.get(&path));
            if server.heeds_puts && !is_met {
                return answer_with(412, Vec::new());
            }
            objects.insert(path, bytes);
            answer_with(200, Vec::new())
        }
        "DELETE" if query.is_empty() || query.contains("x-id=DeleteObject") => {
            objects.remove(&path);
            answer_with(204, Vec::new())
        }
        "DELETE" => answer_with(204, Vec::new()),
        "GET" if query.contains("list-type=2") => xml("<ListBucketResult/>"),
        _ => answer_with(404, Vec::new()),
    }
}

fn is_met(headers: &HeaderMap, there: Option<&Vec<u8>>) -> bool {
    let is = headers.get("if-match").map(|etag| etag == ETAG);
    match (headers.contains_key("if-none-match"), is) {
        (true, _) => there.is_none(),
        (false, Some(is)) => is,
        (false, None) => true,
    }
}

const ETAG: &str = "\"1\"";

fn answer_with(status: u16, body: Vec<u8>) -> Response<Body> {
    let answer = Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("etag", ETAG);
    answer.body(body.into()).unwrap()
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_refused_and_nothing_is_left_there() {
    for heeds_puts in [false, true] {
        let server = Unconditional {
            heeds_puts,
            ..Unconditional::default()
        };
        let endpoint = serve(server.clone()).await;
        let error = channel_at(&endpoint, PATH).preflight().await.unwrap_err();
        match &error {
            Error::Unsupported { reason, .. } => assert!(reason.contains("If-None-Match")),
            error => panic!("{heeds_puts}: {error:?}"),
        }
        assert!(server.objects.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_credentials() {
    let seen = Arc::new(Mutex::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}/token", listener.local_addr().unwrap());
    let count = seen.clone();
    let router = Router::new().fallback(async move || *count.lock().unwrap() += 1);
    tokio::spawn(async move { axum::serve(listener, router).await });

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .fallback(async move || (StatusCode::TEMPORARY_REDIRECT, [("location", elsewhere)]));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let error = channel_at(&endpoint, PATH).preflight().await.unwrap_err();
    assert!(matches!(error, Error::Redirected { .. }), "{error:?}");
    assert!(!error.to_string().contains("token"), "{error}");
    assert_eq!(*seen.lock().unwrap(), 0);
}
