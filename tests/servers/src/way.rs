//! A way to a server on which something happens to what is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Hold;
use crate::listen::bind;

/// A port of loopback that leads to a server. Dropping it ends it.
#[derive(Debug)]
pub struct Way {
    listener: Option<TcpListener>,
    origin: String,
    task: Option<JoinHandle<()>>,
}

/// What waits on the way.
#[derive(Debug)]
struct Stop {
    /// So many bytes may be sent before, by all connections together.
    after: u64,
    sent: AtomicU64,
    hold: Arc<Hold>,
}

impl Way {
    /// A port that leads nowhere yet.
    pub async fn new() -> Self {
        let (listener, origin) = bind().await;
        Self {
            listener: Some(listener),
            origin,
            task: None,
        }
    }

    /// The origin of URLs here.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Leads to the server at this origin. Once so many bytes were sent there, what is sent further waits at the hold.
    ///
    /// # Panics
    /// It leads somewhere already.
    pub fn lead_to(&mut self, server: &str, after: u64, hold: Arc<Hold>) {
        let server = server.strip_prefix("http://").unwrap_or(server).to_owned();
        let listener = self.listener.take().expect("it leads nowhere yet");
        let stop = Arc::new(Stop {
            after,
            sent: AtomicU64::new(0),
            hold,
        });
        self.task = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), Arc::clone(&stop)));
            }
        }));
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn pass(client: TcpStream, server: String, stop: Arc<Stop>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            if stop.sent.fetch_add(read as u64, Ordering::Relaxed) >= stop.after {
                stop.hold.pass().await;
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    let back = async move {
        let _ended = tokio::io::copy(&mut from_server, &mut to_client).await;
    };
    tokio::join!(there, back);
}
