//! A channel's folder on a server, as it is or as a test has it.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, StatusCode, header},
};
use tokio::runtime::Runtime;

/// What a server answers instead of a file.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What is in the folder.
    File,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A status without a body.
    Status(u16),
    /// A redirect.
    Redirect(String),
    /// The file's first bytes, then the connection is gone.
    Torn,
    /// The file in small pieces, with a little time between them.
    Slowly,
    /// So many spaces, made while they are sent.
    Spaces(u64),
    /// Nothing, for ever.
    Hang,
}

/// A request that a server got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path, as it came.
    pub path: String,
    /// The credentials, if any came.
    pub authorization: Option<String>,
}

/// A static server on loopback, over plain http.
pub struct Server {
    origin: String,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

struct Shared {
    folder: PathBuf,
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    seen: Mutex<Vec<Seen>>,
    asked: Condvar,
    spaces: AtomicU64,
}

impl Server {
    /// Serves what is in a folder, whenever it gets there, below `/channel`.
    pub fn of(folder: &Path) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("bound"));
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            answers: Mutex::default(),
            seen: Mutex::default(),
            asked: Condvar::default(),
            spaces: AtomicU64::default(),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            origin,
            shared,
            _runtime: runtime,
        }
    }

    /// The URL of the channel.
    pub fn channel(&self) -> String {
        format!("{}/channel", self.origin)
    }

    /// Answers requests for a path below the channel with these, one after the other; the last one is repeated.
    pub fn answers(&self, path: &str, answers: impl IntoIterator<Item = Answer>) -> &Self {
        let answers = answers.into_iter().collect();
        let mut all = self.shared.answers.lock().unwrap();
        all.insert(format!("/channel/{path}"), answers);
        self
    }

    /// Answers everything from the folder again.
    pub fn as_it_is(&self) -> &Self {
        self.shared.answers.lock().unwrap().clear();
        self
    }

    /// The requests that came.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Forgets the requests that came.
    pub fn forget(&self) -> &Self {
        self.shared.seen.lock().unwrap().clear();
        self
    }

    /// Waits until something below the channel is asked for.
    #[track_caller]
    pub fn wait_for(&self, path: &str) {
        let path = format!("/channel/{path}");
        let seen = self.shared.seen.lock().unwrap();
        let asked = |seen: &mut Vec<Seen>| !seen.iter().any(|it| it.path == path);
        let limit = Duration::from_secs(120);
        let waited = self.shared.asked.wait_timeout_while(seen, limit, asked);
        assert!(!waited.unwrap().1.timed_out(), "nobody asked for {path}");
    }

    /// How many bytes of [`Answer::Spaces`] were taken.
    pub fn spaces(&self) -> u64 {
        self.shared.spaces.load(Ordering::Relaxed)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let authorization = request.headers().get(header::AUTHORIZATION);
    shared.seen.lock().unwrap().push(Seen {
        path: path.clone(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
    });
    shared.asked.notify_all();
    let answer = match shared.answers.lock().unwrap().get_mut(&path) {
        None => Answer::File,
        Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
        Some(answers) => answers[0].clone(),
    };
    let status = |code: u16| Response::builder().status(StatusCode::from_u16(code).unwrap());
    let file = path
        .strip_prefix("/channel/")
        .filter(|path| !path.contains(".."))
        .and_then(|path| std::fs::read(shared.folder.join(path)).ok());
    match (answer, file) {
        (Answer::Bytes(bytes), _) => status(200).body(Body::from(bytes)),
        (Answer::Status(code), _) => status(code).body(Body::empty()),
        (Answer::Redirect(to), _) => status(302).header(header::LOCATION, to).body(Body::empty()),
        (Answer::Hang, _) => std::future::pending().await,
        (Answer::Spaces(count), _) => {
            let spaces = futures::stream::unfold(count, move |left| {
                let piece = left.min(1 << 16);
                shared.spaces.fetch_add(piece, Ordering::Relaxed);
                let bytes = Bytes::from(vec![b' '; piece as usize]);
                std::future::ready(
                    (piece > 0).then_some((Ok::<_, std::io::Error>(bytes), left - piece)),
                )
            });
            status(200).body(Body::from_stream(spaces))
        }
        (_, None) => status(404).body(Body::empty()),
        (Answer::File, Some(bytes)) => status(200).body(Body::from(bytes)),
        (Answer::Torn, Some(bytes)) => {
            let gone = std::io::Error::other("the connection is gone");
            let half = Bytes::copy_from_slice(&bytes[..bytes.len() / 2]);
            let chunks = futures::stream::iter([Ok(half), Err(gone)]);
            status(200).body(Body::from_stream(chunks))
        }
        (Answer::Slowly, Some(bytes)) => {
            let pieces: VecDeque<Bytes> = bytes
                .chunks(bytes.len() / 10 + 1)
                .map(Bytes::copy_from_slice)
                .collect();
            let slowly = futures::stream::unfold(pieces, |mut pieces| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Ok::<_, std::io::Error>(pieces.pop_front()?), pieces))
            });
            status(200).body(Body::from_stream(slowly))
        }
    }
    .unwrap()
}
