//! Packages are streamed, and what is streamed is what was attested.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use channel_servers::prefix::UPLOAD;
use channel_servers::{Fault, Hold};
use conda_publish::{Error, Reporter, Upload};
use release_manifest::{PackageKey, PublishResult};

use crate::support::{Fixture, hash, is_child, package_of, upload};

/// More than the buffers of a connection take.
const LARGE: u64 = 64 << 20;

/// Changes the last byte of a file when the first bytes have left, and then lets the server go on.
struct Editor {
    file: PathBuf,
    done: AtomicBool,
    server: Arc<Hold>,
}

impl Reporter for Editor {
    fn sent(&self, _: &PackageKey, _: u64) {
        if !self.done.swap(true, Ordering::Relaxed) {
            let mut file = OpenOptions::new().write(true).open(&self.file).unwrap();
            file.seek(SeekFrom::End(-1)).unwrap();
            file.write_all(b"!").unwrap();
            drop(file);
            self.server.open();
        }
    }

    fn repeating(&self, _: &PackageKey, _: &str, _: Duration) {}
}

#[tokio::test]
async fn a_file_that_is_edited_after_the_first_bytes_were_sent_is_never_uploaded() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let path = fixture.folder.path().join("greet-1.0.0-h1_0.conda");
    let file = File::create(&path).unwrap();
    file.set_len(LARGE).unwrap();
    let large = Upload {
        package: "noarch/greet-1.0.0-h1_0.conda".parse().unwrap(),
        sha256: hash(&path),
        source: path.clone(),
        bundles: Vec::new(),
    };
    let server = Arc::<Hold>::default();
    let wait = Fault::Hold(Arc::clone(&server));
    fixture.server.faults().next(UPLOAD, [wait]);
    let editor = Editor {
        file: path,
        done: AtomicBool::new(false),
        server,
    };
    let error = channel.put(&large, &editor).await.unwrap_err();
    assert!(matches!(error, Error::PackageChanged { .. }), "{error}");
    assert!(editor.done.into_inner(), "it was edited on the way");
    // The server sees the end of the connection when it does.
    while fixture.server.broken_uploads() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(fixture.server.packages().is_empty());
    assert_eq!(fixture.server.attempts(), 1, "nor is it tried again");
}

#[tokio::test]
async fn a_large_package_is_never_in_memory() {
    const SIZE: usize = 256 << 20;
    const LIMIT: u64 = 100 << 20;
    let test = "streaming::a_large_package_is_never_in_memory";
    if !is_child(test, &[]).await {
        return;
    }
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let large = package_of(fixture.folder.path(), "large", |path| {
        // Bytes that nothing compresses.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut chunk = vec![0; 1 << 20];
        let mut file = File::create(path).unwrap();
        for _ in 0..SIZE / chunk.len() {
            for word in chunk.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            file.write_all(&chunk).unwrap();
        }
    });
    assert!(large.path.metadata().unwrap().len() as usize >= SIZE);
    let large = upload(large, Vec::new());
    fixture.server.stop_indexing();
    let counted = Counted::default();
    let placed = channel.put(&large, &counted).await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
    assert_eq!(fixture.server.uploads()[0].sha256, large.sha256);
    let size = large.source.metadata().unwrap().len();
    assert_eq!(counted.0.into_inner(), size, "all of it was reported");

    // So is what is read to find out whose a name is.
    let placed = channel.put(&large, &()).await.unwrap();
    assert_eq!(placed.result, PublishResult::Identical);
    // The server is in this process, too.
    if let Some(peak) = peak() {
        assert!(peak < LIMIT, "{} MB", peak >> 20);
    }
}

#[derive(Default)]
struct Counted(AtomicU64);

impl Reporter for Counted {
    fn sent(&self, _: &PackageKey, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn repeating(&self, _: &PackageKey, _: &str, _: Duration) {}
}

/// The most memory that this process had, in bytes, where that is known.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}
