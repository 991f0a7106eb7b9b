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
use tokio::sync::{Notify, Semaphore};

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
    /// The request waits here before it is looked at.
    Hold(Arc<Hold>),
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

/// A place where requests wait until they may go on.
#[derive(Debug)]
pub struct Hold {
    reached: Notify,
    closed: Semaphore,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            reached: Notify::new(),
            closed: Semaphore::new(0),
        }
    }
}

impl Hold {
    /// Waits until a request waits here, or did.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets all requests go on, those to come included.
    pub fn open(&self) {
        self.closed.close();
    }

    /// Waits here.
    pub(crate) async fn pass(&self) {
        self.reached.notify_one();
        // That it is closed is what was waited for.
        let _opened = self.closed.acquire().await;
    }
}

/// What is to happen to which requests.
#[derive(Debug, Default)]
pub struct Faults(Mutex<HashMap<String, Plan>>);

/// For the requests whose path begins alike.
#[derive(Debug, Default)]
struct Plan {
    seen: u64,
    next: VecDeque<Fault>,
    every: Vec<(u64, Fault)>,
    always: Option<Fault>,
}

impl Faults {
    /// Does these to the next requests whose path begins so, one each.
    pub fn next(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        self.plan(path, |plan| plan.next.extend(faults));
    }

    /// Does this to every `n`th request whose path begins so; what was said first counts.
    pub fn every(&self, path: &str, n: u64, fault: Fault) {
        self.plan(path, |plan| plan.every.push((n, fault)));
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
        let mut every = plan.every.iter();
        let nth = every.find(|(n, _)| plan.seen.is_multiple_of(*n));
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
            Fault::Hold(hold) => {
                hold.pass().await;
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
            Fault::Drop | Fault::LoseAnswer | Fault::Delay(_) | Fault::Hold(_) | Fault::Hang => {
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
