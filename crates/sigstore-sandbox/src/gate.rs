//! What stands before the services: counters, latency, limits and failures on purpose.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, header::RETRY_AFTER},
};
use sha2::{Digest as _, Sha256};

use crate::{oidc::TOKEN_PATH, rekor_v1, rekor_v2};

/// One of the sandbox's services, for its working requests: those that sign something, and the
/// look-up that stands for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// `POST /api/v2/signingCert`
    Fulcio,
    /// `POST /ct/v1/add-pre-chain`. Our own Fulcio reaches the log without it.
    Ct,
    /// `POST /api/v2/log/entries` and `POST /api/v1/log/entries`
    Rekor,
    /// `GET /api/v1/log/entries…`: an entry that Rekor v1 has already.
    RekorLookup,
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
    /// An answer with this HTTP status in place of the service's. An invalid status is 500. With
    /// 429 and 503 goes `Retry-After: 1`.
    Status(u16),
    /// The connection is closed before the request is looked at.
    Drop,
    /// The request is carried out, and the connection is closed before the answer.
    LoseAnswer,
    /// No answer comes: the connection is closed after so long, unless the client gives up before.
    NoAnswer(Duration),
    /// The request waits this long before it is looked at, in addition to the [`Latency`].
    Delay(Duration),
    /// The certificate ends so long after its beginning. For [`Service::Fulcio`].
    ShortCertificate(Duration),
}

/// Failures at random: a share of the requests to Fulcio, Rekor and the timestamp authority fails,
/// each in one of the ways that networks and servers have. Equal seeds make the same requests fail,
/// counted for each service, in the same ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// What the failures are derived from.
    pub seed: u64,
    /// How many of a hundred requests fail.
    pub percent: u8,
    /// How long a request without an answer is held before its connection is closed.
    pub hold: Duration,
}

impl Weather {
    /// How a request fails, if it does.
    fn fate(&self, service: Service, request: u64) -> Option<FaultKind> {
        match service {
            Service::Fulcio | Service::Rekor | Service::RekorLookup | Service::Tsa => {}
            Service::Ct | Service::Oidc => return None,
        }
        let dice = Sha256::new()
            .chain_update(self.seed.to_be_bytes())
            .chain_update([service as u8])
            .chain_update(request.to_be_bytes())
            .finalize();
        let roll = u16::from_be_bytes([dice[0], dice[1]]) % 100;
        let kinds = [
            FaultKind::Status(500),
            FaultKind::Status(502),
            FaultKind::Status(503),
            FaultKind::Status(429),
            FaultKind::Drop,
            FaultKind::LoseAnswer,
            FaultKind::NoAnswer(self.hold),
        ];
        let kind = kinds[usize::from(dice[2]) % kinds.len()];
        (roll < self.percent.into()).then_some(kind)
    }
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

/// How many requests a service has in work at once. More are refused with 429 and `Retry-After`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// For certificates.
    pub fulcio: Option<usize>,
    /// For log entries, of both versions together.
    pub rekor: Option<usize>,
    /// For timestamps.
    pub tsa: Option<usize>,
}

/// A request extension: the certificate shall live no longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShortCertificate(pub(crate) Duration);

/// Tells the server to close the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(crate) struct Dropped;

/// What the gate does to requests.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) latency: Latency,
    pub(crate) capacity: Capacity,
    pub(crate) faults: Vec<Fault>,
    pub(crate) weather: Option<Weather>,
}

#[derive(Debug)]
pub(crate) struct Gate {
    rules: Rules,
    meters: [Meter; 6],
}

/// What became of a service's requests.
#[derive(Debug, Default)]
struct Meter {
    requests: AtomicU64,
    failures: AtomicU64,
    working: AtomicUsize,
    peak: AtomicUsize,
}

/// A request in work.
struct Working<'a> {
    meter: &'a Meter,
    /// How many there are now, with this one.
    count: usize,
}

impl Meter {
    fn enter(&self) -> Working<'_> {
        let count = self.working.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak.fetch_max(count, Ordering::Relaxed);
        Working { meter: self, count }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.meter.working.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            meters: Default::default(),
        }
    }

    /// How many requests a service got.
    pub(crate) fn requests(&self, service: Service) -> u64 {
        self.meters[service as usize]
            .requests
            .load(Ordering::Relaxed)
    }

    /// How many of them failed on purpose.
    pub(crate) fn failures(&self, service: Service) -> u64 {
        self.meters[service as usize]
            .failures
            .load(Ordering::Relaxed)
    }

    /// How many a service had in work at most.
    pub(crate) fn peak(&self, service: Service) -> usize {
        self.meters[service as usize].peak.load(Ordering::Relaxed)
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
        let Some(service) = Service::of(request.method(), request.uri().path()) else {
            return Ok(services(request).await);
        };
        let meter = &self.meters[service as usize];
        let number = meter.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let working = meter.enter();
        let fail = || meter.failures.fetch_add(1, Ordering::Relaxed);
        if self
            .capacity(service)
            .is_some_and(|most| working.count > most)
        {
            fail();
            return Ok(refusal(StatusCode::TOO_MANY_REQUESTS));
        }
        let latency = self.latency(service);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let mut lose_answer = false;
        for kind in self.fates(service, number) {
            match kind {
                FaultKind::Status(status) => {
                    fail();
                    let status = StatusCode::from_u16(status);
                    return Ok(refusal(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)));
                }
                FaultKind::Drop => {
                    fail();
                    return Err(Dropped);
                }
                FaultKind::NoAnswer(hold) => {
                    fail();
                    tokio::time::sleep(hold).await;
                    return Err(Dropped);
                }
                FaultKind::LoseAnswer => {
                    fail();
                    lose_answer = true;
                }
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

    /// What shall happen to a request.
    fn fates(&self, service: Service, number: u64) -> impl Iterator<Item = FaultKind> {
        let Rules {
            faults, weather, ..
        } = &self.rules;
        let chosen = faults
            .iter()
            .filter(move |fault| fault.service == service && fault.request == number)
            .map(|fault| fault.kind);
        chosen.chain(weather.and_then(|weather| weather.fate(service, number)))
    }

    fn latency(&self, service: Service) -> Duration {
        let Latency { fulcio, rekor, tsa } = self.rules.latency;
        match service {
            Service::Fulcio => fulcio,
            Service::Rekor | Service::RekorLookup => rekor,
            Service::Tsa => tsa,
            Service::Ct | Service::Oidc => Duration::ZERO,
        }
    }

    fn capacity(&self, service: Service) -> Option<usize> {
        let Capacity { fulcio, rekor, tsa } = self.rules.capacity;
        match service {
            Service::Fulcio => fulcio,
            Service::Rekor => rekor,
            Service::Tsa => tsa,
            Service::Ct | Service::Oidc | Service::RekorLookup => None,
        }
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from("a failure on purpose"));
    *response.status_mut() = status;
    if [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ]
    .contains(&status)
    {
        let second = HeaderValue::from_static("1");
        response.headers_mut().insert(RETRY_AFTER, second);
    }
    response
}

impl Service {
    fn of(method: &Method, path: &str) -> Option<Self> {
        match path {
            "/api/v2/signingCert" => Some(Self::Fulcio),
            "/ct/v1/add-pre-chain" => Some(Self::Ct),
            "/api/v1/timestamp" => Some(Self::Tsa),
            TOKEN_PATH => Some(Self::Oidc),
            rekor_v1::ENTRIES_PATH | rekor_v2::ENTRIES_PATH if method == Method::POST => {
                Some(Self::Rekor)
            }
            _ if path.starts_with(rekor_v1::ENTRIES_PATH) => Some(Self::RekorLookup),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    async fn send(gate: &Gate, path: &str) -> Result<StatusCode, Dropped> {
        let request = Request::post(path).body(()).unwrap();
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
        let gate = Gate::new(Rules {
            latency: Latency {
                rekor: latency,
                ..Latency::default()
            },
            faults: vec![fault],
            ..Rules::default()
        });
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
