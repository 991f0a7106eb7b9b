//! What networks and servers do to requests, on purpose.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt as _;
use http::header::{CONTENT_ENCODING, LOCATION, RETRY_AFTER};
use tokio::sync::Notify;

/// How a request fails, or is slow.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status without a text.
    Status(u16),
    /// This status, and the number of seconds to wait.
    RetryAfter(u16, u64),
    /// This status with this text.
    Answer(u16, Vec<u8>),
    /// The connection is closed before the request is looked at.
    Drop,
    /// The request is carried out, and the connection closed before the answer.
    LoseAnswer,
    /// The request waits this long before it is looked at.
    Delay(Duration),
    /// The request waits until this is said before it is looked at.
    Until(Arc<Notify>),
    /// A redirect to this URL.
    Redirect(String),
    /// No answer, for ever.
    Hang,
    /// A good status, and a byte now and then, for ever.
    Drip,
    /// A good status, and bytes without end.
    Endless,
    /// A good status, and some kilobytes that claim to be a gigabyte, compressed.
    Bomb,
}

/// What is to happen to which requests.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<String, Plan>>);

/// For the requests whose path begins alike.
#[derive(Debug, Default)]
struct Plan {
    seen: u64,
    next: VecDeque<Fault>,
    every: Option<(u64, Fault)>,
    always: Option<Fault>,
}

impl Faults {
    /// Does these to the next requests whose path begins so, one each.
    pub fn next(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.plan(path, |plan| plan.next.extend(faults));
    }

    /// Does this to every `n`th request whose path begins so.
    pub fn every(&self, path: &str, n: u64, fault: Fault) {
        self.plan(path, |plan| plan.every = Some((n, fault)));
    }

    /// Does this to all requests whose path begins so.
    pub fn always(&self, path: &str, fault: Fault) {
        self.plan(path, |plan| plan.always = Some(fault));
    }

    /// Answers everything as it should be again.
    pub fn clear(&self) {
        self.0.lock().expect("no panic").clear();
    }

    fn plan(&self, path: &str, change: impl FnOnce(&mut Plan)) {
        let mut plans = self.0.lock().expect("no panic");
        change(plans.entry(path.to_owned()).or_default());
    }

    fn take(&self, path: &str) -> Option<Fault> {
        let mut plans = self.0.lock().expect("no panic");
        let plan = plans
            .iter_mut()
            .filter(|(prefix, _)| path.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len());
        let (_, plan) = plan?;
        plan.seen += 1;
        let next = plan.next.pop_front();
        let nth = plan.every.as_ref();
        let nth = nth.filter(|(n, _)| plan.seen.is_multiple_of(*n));
        next.or_else(|| nth.map(|(_, fault)| fault.clone()))
            .or_else(|| plan.always.clone())
    }

    /// Answers a request, unless a fault does. An error closes the connection.
    pub(crate) async fn pass<F: Future<Output = Response>>(
        &self,
        request: Request,
        answer: impl FnOnce(Request) -> F,
    ) -> io::Result<Response> {
        let Some(fault) = self.take(request.uri().path()) else {
            return Ok(answer(request).await);
        };
        let gone = || Err(io::Error::other("dropped on purpose"));
        match &fault {
            Fault::Drop => return gone(),
            Fault::LoseAnswer => {
                drop(answer(request).await);
                return gone();
            }
            Fault::Delay(delay) => {
                tokio::time::sleep(*delay).await;
                return Ok(answer(request).await);
            }
            Fault::Until(said) => {
                said.notified().await;
                return Ok(answer(request).await);
            }
            Fault::Hang => return std::future::pending().await,
            _ => {}
        }
        // A client that is still sending would not see an answer.
        let mut body = request.into_body().into_data_stream();
        while let Some(Ok(_)) = body.next().await {}
        let response = Response::builder();
        let response = match fault {
            Fault::Status(code) => response.status(code).body(Body::empty()),
            Fault::RetryAfter(code, seconds) => response
                .status(code)
                .header(RETRY_AFTER, seconds)
                .body(Body::empty()),
            Fault::Answer(code, text) => response.status(code).body(Body::from(text)),
            Fault::Redirect(to) => response
                .status(307)
                .header(LOCATION, to)
                .body(Body::empty()),
            Fault::Drip => {
                response.body(Body::from_stream(futures::stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
                })))
            }
            Fault::Endless => {
                response.body(Body::from_stream(futures::stream::repeat_with(|| {
                    Ok::<_, io::Error>(Bytes::from_static(&[b'x'; 65536]))
                })))
            }
            Fault::Bomb => response
                .header(CONTENT_ENCODING, "zstd")
                .body(Body::from(bomb())),
            Fault::Drop | Fault::LoseAnswer | Fault::Delay(_) | Fault::Until(_) | Fault::Hang => {
                unreachable!("done above")
            }
        };
        Ok(response.expect("a valid answer"))
    }
}

/// A gigabyte of zeros in a few kilobytes: frames of a megabyte each.
fn bomb() -> Vec<u8> {
    let frame = zstd::encode_all([0; 1 << 20].as_slice(), 1);
    frame.expect("memory").repeat(1024)
}
