//! A package on its way to a server: one file handle, hashed while it is sent (invariant 3).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cep27::Sha256;
use futures::stream::{self, Stream};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::blocking::blocking;
use crate::disk::{self, At as _};
use crate::{Error, Patience, Reporter, Upload};

/// How much is read, hashed and sent at a time, in bytes.
const CHUNK: u64 = 256 * 1024;

/// A package's file, opened without following links.
///
/// Every reading of it is hashed. Its last bytes are given away only when the hash of all of them is the attested
/// one: a request with this body is never complete with other bytes, whatever happens to the file meanwhile.
#[derive(Debug)]
pub(crate) struct Source {
    upload: Arc<Upload>,
    file: std::fs::File,
    size: u64,
}

impl Source {
    pub(crate) async fn open(upload: &Upload) -> Result<Self, Error> {
        let upload = Arc::new(upload.clone());
        blocking(move || {
            let file = disk::open_existing(&upload.source)?;
            let size = file.metadata().at("read", &upload.source)?.len();
            Ok(Self { upload, file, size })
        })
        .await
    }

    /// Its size when it was opened, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes from the beginning, for one attempt to send them.
    ///
    /// Only one such stream at a time: they share the place in the file.
    pub(crate) async fn bytes(
        &self,
        watch: Watch,
    ) -> Result<impl Stream<Item = Result<Bytes, Fault>> + Send + use<>, Error> {
        let path = &self.upload.source;
        let mut file = tokio::fs::File::from_std(self.file.try_clone().at("read", path)?);
        file.rewind().await.at("read", path)?;
        Ok(stream::try_unfold(
            Reading {
                file,
                expected: self.upload.sha256,
                left: self.size,
                hasher: sha2::Sha256::new(),
                held: None,
                watch,
            },
            Reading::next,
        ))
    }

    /// What a fault of the stream means for the package.
    pub(crate) fn error(&self, fault: &Fault) -> Error {
        let path = self.upload.source.clone();
        match fault {
            Fault::Changed { found } => Error::PackageChanged {
                package: Box::new(self.upload.package.clone()),
                path,
                expected: self.upload.sha256,
                found: *found,
            },
            Fault::Read(error) => Error::Io {
                action: "read",
                path,
                source: io::Error::new(error.kind(), Arc::clone(error)),
            },
        }
    }
}

/// Why a package's bytes ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    /// They are not those that were attested.
    #[error("the package changed: it has sha256 {found}")]
    Changed {
        /// The hash of what was read.
        found: Sha256,
    },
    /// They can't be read.
    #[error("the package cannot be read")]
    Read(#[source] Arc<io::Error>),
}

struct Reading {
    file: tokio::fs::File,
    expected: Sha256,
    left: u64,
    hasher: sha2::Sha256,
    /// Read and hashed, and not given away: it may be the last.
    held: Option<Bytes>,
    watch: Watch,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Fault> {
        loop {
            let chunk = self.read().await?;
            if chunk.is_empty() {
                let found = Sha256::from_bytes(self.hasher.clone().finalize().into());
                if found != self.expected {
                    return Err(Fault::Changed { found });
                }
                return Ok(self.held.take().map(|last| {
                    self.watch.passed(last.len());
                    (last, self)
                }));
            }
            self.hasher.update(&chunk);
            if let Some(before) = self.held.replace(chunk) {
                self.watch.passed(before.len());
                return Ok(Some((before, self)));
            }
        }
    }

    /// The next bytes, no more than there were when the file was opened: a request says how long it is, and must not
    /// be complete before the last of them is given away. One byte more is read, so that the hash becomes another.
    async fn read(&mut self) -> Result<Bytes, Fault> {
        let limit = match self.left {
            0 => 1,
            left => left.min(CHUNK),
        };
        let mut chunk = Vec::with_capacity(usize::try_from(limit).unwrap_or_default());
        let mut limited = (&mut self.file).take(limit);
        let read = limited
            .read_to_end(&mut chunk)
            .await
            .map_err(|error| Fault::Read(Arc::new(error)))?;
        if self.left == 0 {
            self.hasher.update(&chunk);
            chunk.clear();
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(Bytes::from(chunk))
    }
}

/// Knows when a request last moved, so that one which doesn't any more is given up.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    began: Instant,
    total: u64,
    /// Milliseconds since `began`.
    moved: Arc<AtomicU64>,
    /// Bytes.
    sent: Arc<AtomicU64>,
    /// Bytes.
    reported: Arc<AtomicU64>,
}

impl Watch {
    /// Watches so many bytes leave.
    pub(crate) fn new(total: u64) -> Self {
        Self {
            began: Instant::now(),
            total,
            moved: Arc::default(),
            sent: Arc::default(),
            reported: Arc::default(),
        }
    }

    /// So many more bytes were taken to be sent.
    pub(crate) fn passed(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Reports the bytes that left since the last time.
    pub(crate) fn report(&self, upload: &Upload, reporter: &dyn Reporter) {
        let sent = self.sent.load(Ordering::Relaxed);
        let new = sent.saturating_sub(self.reported.swap(sent, Ordering::Relaxed));
        if new > 0 {
            reporter.sent(&upload.package, new);
        }
    }

    /// Ends when nothing has moved for longer than there is patience for, and gives that time: the idle one, or
    /// when everything is sent, that for the answer. Reports meanwhile what moves.
    pub(crate) async fn stalled(
        &self,
        patience: &Patience,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Duration {
        const LOOK: Duration = Duration::from_millis(100);
        loop {
            tokio::time::sleep(LOOK.min(patience.idle)).await;
            self.report(upload, reporter);
            let limit = match self.sent.load(Ordering::Relaxed) < self.total {
                true => patience.idle,
                false => patience.answer,
            };
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            if self.began.elapsed().saturating_sub(moved) >= limit {
                return limit;
            }
        }
    }
}
