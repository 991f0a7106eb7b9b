//! A host that nobody meant to send anything to.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use http::header::AUTHORIZATION;

use crate::listen::{Listening, bind, serve};

/// Another server, to lead clients to: it records what comes.
#[derive(Debug)]
pub struct Elsewhere {
    origin: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _listening: Listening,
}

/// A request that came there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its path.
    pub path: String,
    /// Its credentials, if any came.
    pub authorization: Option<String>,
    /// The text of its body.
    pub body: String,
}

impl Elsewhere {
    /// Starts it on a random port of loopback.
    pub async fn start() -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let router = Router::new().fallback(record).with_state(Arc::clone(&seen));
        let (listener, origin) = bind().await;
        Self {
            _listening: serve(listener, router),
            origin,
            seen,
        }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.origin
    }

    /// What came.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn record(State(seen): State<Arc<Mutex<Vec<Seen>>>>, request: Request) {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let authorization = parts.headers.get(AUTHORIZATION);
    let arrived = Seen {
        path: parts.uri.path().to_owned(),
        authorization: authorization.map(|value| value.to_str().expect("text").to_owned()),
        body: String::from_utf8_lossy(&body.unwrap_or_default()).into_owned(),
    };
    seen.lock().expect("no panic").push(arrived);
}
