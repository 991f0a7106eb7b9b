//! Versity's S3 gateway: a real S3 server over a folder.
#![expect(
    clippy::expect_used,
    reason = "a server that does not start ends the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::program::{self, Running};

/// The gateway, with a folder of its own, until it is dropped.
#[derive(Debug)]
pub struct VersityGw {
    running: Running,
    folder: TempDir,
}

impl VersityGw {
    /// Whom it takes everything from.
    pub const ACCESS_KEY: &str = "conda-release-tests";
    /// The secret to [`ACCESS_KEY`](Self::ACCESS_KEY).
    pub const SECRET_KEY: &str = "a secret of tests, of nobody else";
    /// The region it is in.
    pub const REGION: &str = "us-east-1";

    /// Starts one with these buckets; `None` where it isn't installed.
    ///
    /// # Panics
    /// It doesn't start.
    #[must_use]
    pub fn start(buckets: &[&str]) -> Option<Self> {
        let program = program::find("versitygw")?;
        let folder = tempfile::tempdir().expect("a folder");
        let (objects, more) = (folder.path().join("objects"), folder.path().join("more"));
        for bucket in buckets {
            fs::create_dir_all(objects.join(bucket)).expect("a bucket");
        }
        fs::create_dir_all(&more).expect("a folder");
        let running = Running::start(|address| {
            let mut command = Command::new(&program);
            command
                .args(["--quiet", "--keep-alive", "--region", Self::REGION])
                .arg("--port")
                .arg(address.to_string())
                .args(["posix", "--sidecar"])
                // Not every file system has extended attributes, where it would keep ETags.
                .arg(&more)
                .arg(&objects)
                .env("ROOT_ACCESS_KEY_ID", Self::ACCESS_KEY)
                .env("ROOT_SECRET_ACCESS_KEY", Self::SECRET_KEY);
            command
        });
        Some(Self { running, folder })
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.running.address())
    }

    /// Its address, for a proxy before it.
    #[must_use]
    pub fn address(&self) -> String {
        self.running.address().to_string()
    }

    /// The file that an object is.
    #[must_use]
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.objects().join(bucket).join(key)
    }

    fn objects(&self) -> PathBuf {
        Path::new(self.folder.path()).join("objects")
    }
}
