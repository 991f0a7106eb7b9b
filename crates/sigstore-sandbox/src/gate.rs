//! What stands before the services: counters, latency and failures on purpose.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};

use crate::oidc::TOKEN_PATH;

/// One of the sandbox's services, for its working requests: those that sign something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// `POST /api/v2/signingCert`
    Fulcio,
    /// `POST /ct/v1/add-pre-chain`. Our own Fulcio reaches the log without it.
    Ct,
    /// `POST /api/v2/log/entries`
    Rekor,
    /// `POST /api/v1/timestamp`
    Tsa,
    /// `GET` of an identity token.
    Oidc,
}

/// A failure on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The service that fails.
    pub service: Service,
    /// Which request to it since the start fails, counted from 1.
    pub request: u64,
    /// How it fails.
    pub kind: FaultKind,
}

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// An answer with this HTTP status in place of the service's. An invalid status is 500.
    Status(u16),
    /// The connection is closed before the request is looked at.
    Drop,
    /// The request is carried out, and the connection is closed before the answer.
    LoseAnswer,
    /// The request waits this long before it is looked at, in addition to the [`Latency`].
    Delay(Duration),
    /// The certificate ends so long after its beginning. For [`Service::Fulcio`].
    ShortCertificate(Duration),
}

/// How long every request waits before a service looks at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// For certificates.
    pub fulcio: Duration,
    /// For log entries.
    pub rekor: Duration,
    /// For timestamps.
    pub tsa: Duration,
}

/// A request extension: the certificate shall live no longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShortCertificate(pub(crate) Duration);

/// Tells the server to close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(crate) struct Dropped;

#[derive(Debug)]
pub(crate) struct Gate {
    latency: Latency,
    faults: Vec<Fault>,
    requests: [AtomicU64; 5],
}

impl Gate {
    pub(crate) fn new(latency: Latency, faults: Vec<Fault>) -> Self {
        Self {
            latency,
            faults,
            requests: Default::default(),
        }
    }

    /// How many requests a service got.
    pub(crate) fn requests(&self, service: Service) -> u64 {
        self.requests[service as usize].load(Ordering::Relaxed)
    }

    /// Counts a request, delays it, and hands it to `services` unless it shall fail.
    pub(crate) async fn pass<B, F>(
        &self,
        mut request: Request<B>,
        services: impl FnOnce(Request<B>) -> F,
    ) -> Result<Response<Body>, Dropped>
    where
        F: Future<Output = Response<Body>>,
    {
        let Some(service) = Service::of(request.uri().path()) else {
            return Ok(services(request).await);
        };
        let number = self.requests[service as usize].fetch_add(1, Ordering::Relaxed) + 1;
        self.wait(service).await;
        let mut lose_answer = false;
        for fault in self
            .faults
            .iter()
            .filter(|fault| fault.service == service && fault.request == number)
        {
            match fault.kind {
                FaultKind::Status(status) => {
                    let mut response = Response::new(Body::from("a failure on purpose"));
                    *response.status_mut() =
                        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    return Ok(response);
                }
                FaultKind::Drop => return Err(Dropped),
                FaultKind::LoseAnswer => lose_answer = true,
                FaultKind::Delay(delay) => tokio::time::sleep(delay).await,
                FaultKind::ShortCertificate(lifetime) => {
                    request.extensions_mut().insert(ShortCertificate(lifetime));
                }
            }
        }
        let response = services(request).await;
        if lose_answer {
            Err(Dropped)
        } else {
            Ok(response)
        }
    }

    async fn wait(&self, service: Service) {
        let latency = match service {
            Service::Fulcio => self.latency.fulcio,
            Service::Rekor => self.latency.rekor,
            Service::Tsa => self.latency.tsa,
            Service::Ct | Service::Oidc => Duration::ZERO,
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
}

impl Service {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/api/v2/signingCert" => Some(Self::Fulcio),
            "/ct/v1/add-pre-chain" => Some(Self::Ct),
            "/api/v2/log/entries" => Some(Self::Rekor),
            "/api/v1/timestamp" => Some(Self::Tsa),
            TOKEN_PATH => Some(Self::Oidc),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    async fn send(gate: &Gate, path: &str) -> Result<StatusCode, Dropped> {
        let request = Request::builder().uri(path).body(()).unwrap();
        let response = gate.pass(request, async |_| Response::default()).await?;
        Ok(response.status())
    }

    /// Time is virtual here: it passes only while everyone sleeps.
    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_the_latency_of_their_service_and_the_delay_of_their_number() {
        let [latency, delay] = [500, 40].map(Duration::from_millis);
        let fault = Fault {
            service: Service::Rekor,
            request: 2,
            kind: FaultKind::Delay(delay),
        };
        let gate = Gate::new(
            Latency {
                rekor: latency,
                ..Latency::default()
            },
            vec![fault],
        );
        for (path, expected) in [
            ("/api/v2/log/entries", latency),
            ("/api/v2/log/entries", latency + delay),
            ("/api/v2/log/entries", latency),
            ("/api/v1/timestamp", Duration::ZERO),
            ("/api/v2/checkpoint", Duration::ZERO),
        ] {
            let start = Instant::now();
            assert_eq!(send(&gate, path).await.unwrap(), StatusCode::OK);
            assert_eq!(start.elapsed(), expected, "{path}");
        }
        assert_eq!(gate.requests(Service::Rekor), 3);
        assert_eq!(gate.requests(Service::Tsa), 1);
        assert_eq!(gate.requests(Service::Fulcio), 0);
    }
}
