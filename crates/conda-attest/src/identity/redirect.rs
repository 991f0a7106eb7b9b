//! Where the browser brings the code: a page on this machine, for one login.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::form_urlencoded;

const PATH: &str = "/callback";

/// A page on loopback that waits for the code of one login.
pub(crate) struct Redirect {
    listener: TcpListener,
    port: u16,
    state: Arc<str>,
}

/// The code, or why there is none.
type Outcome = Result<String, String>;

impl Redirect {
    /// Listens for the login that knows `state`.
    pub(crate) async fn listen(state: &str) -> std::io::Result<Self> {
        // Not `localhost`, which somebody else may have in the other address family (RFC 8252, 8.3).
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self {
            port: listener.local_addr()?.port(),
            listener,
            state: state.into(),
        })
    }

    /// What the identity provider is told to send the browser to.
    pub(crate) fn uri(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// Waits until the browser comes with the code. Whoever else comes, with another path or
    /// without this login's state, changes nothing: a browser also asks for icons, and opens
    /// connections that it does not use.
    pub(crate) async fn code(self) -> Outcome {
        let (sender, mut outcome) = mpsc::channel(1);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(outcome) = outcome.recv() => {
                    // The browser still has to see its page.
                    connections.detach_all();
                    return outcome;
                }
                Ok((stream, _)) = self.listener.accept() => {
                    let (state, sender) = (Arc::clone(&self.state), sender.clone());
                    let service = service_fn(move |request| {
                        let response = answer(&request, &state, &sender);
                        std::future::ready(Ok::<_, Infallible>(response))
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .keep_alive(false)
                        .serve_connection(TokioIo::new(stream), service);
                    connections.spawn(connection);
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    }
}

fn answer(
    request: &Request<Incoming>,
    expected: &str,
    sender: &mpsc::Sender<Outcome>,
) -> Response<String> {
    if request.method() != Method::GET || request.uri().path() != PATH {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    let query = request.uri().query().unwrap_or_default();
    let parameter = |name: &str| {
        let mut all = form_urlencoded::parse(query.as_bytes());
        all.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    };
    if parameter("state").as_deref() != Some(expected) {
        return page(
            StatusCode::BAD_REQUEST,
            "This is not the login that was begun.",
        );
    }
    let error = parameter("error_description").or_else(|| parameter("error"));
    let outcome = match (error, parameter("code")) {
        (Some(error), _) => Err(error),
        (None, Some(code)) if !code.is_empty() => Ok(code),
        (None, _) => Err("it sent no code".to_owned()),
    };
    let response = match outcome {
        Ok(_) => page(
            StatusCode::OK,
            "You are logged in, and can close this page.",
        ),
        // What went wrong is foreign text: it is for the terminal, where it is made harmless.
        Err(_) => page(
            StatusCode::BAD_REQUEST,
            "The login failed: see the terminal.",
        ),
    };
    // The first outcome counts: a page that is loaded again changes nothing.
    let _unless_decided = sender.try_send(outcome);
    response
}

fn page(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(format!(
        "<!doctype html><meta charset=utf-8><title>conda-release</title><p>{text}\n"
    ));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
