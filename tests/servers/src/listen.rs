//! A port of loopback, and what is answered there.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tower::ServiceExt as _;

use crate::Faults;

/// A server that ends with this.
#[derive(Debug)]
pub(crate) struct Listening {
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

impl Listening {
    /// What goes wrong there.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A random port, and the origin of URLs there.
pub(crate) async fn bind() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, origin)
}

/// Answers requests, in the way that its faults have it.
///
/// Hyper rather than `axum::serve`, since only an error of the service closes a connection without an answer.
pub(crate) fn serve(listener: TcpListener, router: Router) -> Listening {
    let faults = Arc::<Faults>::default();
    let of_requests = Arc::clone(&faults);
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::task::yield_now().await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let (router, faults) = (router.clone(), Arc::clone(&of_requests));
            connections.spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let router = router.clone();
                    faults.pass(request.map(Body::new), move |request| async {
                        let Ok(response): Result<Response, _> = router.oneshot(request).await;
                        response
                    })
                });
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A client that goes away is its own matter.
                let _ended = connection.await;
            });
        }
    });
    Listening { faults, task }
}
