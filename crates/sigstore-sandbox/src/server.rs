//! The HTTP server on loopback.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    routing::{get, post},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};
use tower::ServiceExt as _;

use crate::{
    ct, fulcio, gate::Gate, keys::Keys, oidc, oidc::Issuer, rekor_v1, rekor_v1::RekorV1, rekor_v2,
    rekor_v2::RekorV2, tsa,
};

/// What the request handlers share.
pub(crate) struct Services {
    pub(crate) keys: Keys,
    pub(crate) issuer: Issuer,
    pub(crate) certificate_lifetime: Duration,
    /// Where the server is reached, without a trailing slash.
    pub(crate) url: String,
}

/// The transparency logs that a sandbox has.
pub(crate) struct Logs {
    pub(crate) v1: Option<RekorV1>,
    pub(crate) v2: Option<RekorV2>,
}

/// Every path of the sandbox. They don't collide, so one address serves all.
pub(crate) fn routes(services: Arc<Services>, Logs { v1, v2 }: Logs) -> Router {
    let logs = [v1.map(rekor_v1::routes), v2.map(rekor_v2::routes)];
    let services = Router::new()
        .route("/api/v2/signingCert", post(fulcio::signing_cert))
        .route("/api/v2/trustBundle", get(fulcio::trust_bundle))
        .route("/api/v2/configuration", get(fulcio::configuration))
        .route("/ct/v1/add-pre-chain", post(ct::add_pre_chain))
        .route("/api/v1/timestamp", post(tsa::timestamp))
        .route("/.well-known/openid-configuration", get(oidc::discovery))
        .route("/jwks", get(oidc::jwks))
        .route(oidc::TOKEN_PATH, get(oidc::token))
        .with_state(services);
    logs.into_iter().flatten().fold(services, Router::merge)
}

/// Serves until the task that runs it is aborted, which ends all connections. Hyper rather than
/// `axum::serve`, since only an error of the service closes a connection without an answer.
pub(crate) async fn serve(listener: TcpListener, routes: Router, gate: Arc<Gate>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, usually: wait for some to be closed.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        let (routes, gate) = (routes.clone(), Arc::clone(&gate));
        connections.spawn(async move {
            let service = service_fn(|request| {
                let routes = routes.clone();
                gate.pass(request, |request| async {
                    let Ok(response) = routes.oneshot(request).await;
                    response
                })
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}
