//! Programs of others that tests run beside ours.
#![expect(
    clippy::expect_used,
    reason = "a server that does not start ends the test"
)]

use std::env;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Finds a program: in `CI_TOOLS`, in the workspace's `target/ci-tools`, on the `PATH`.
///
/// `None` where it isn't installed, which is said on stderr: the test is then over.
///
/// # Panics
/// It isn't installed, and this is CI.
#[must_use]
#[expect(clippy::print_stderr, reason = "a test that does nothing says so")]
pub fn find(name: &str) -> Option<PathBuf> {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/ci-tools");
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::var_os("CI_TOOLS")
        .map(PathBuf::from)
        .into_iter()
        .chain([PathBuf::from(workspace)])
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file());
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "{name} is not installed");
        eprintln!("{name} is not installed: nothing is tested (.ci/run installs it)");
    }
    found
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Starts a program that is told which address of this machine to listen on, and waits until it does.
    ///
    /// # Panics
    /// It doesn't start.
    pub fn start(command: impl Fn(SocketAddr) -> Command) -> Self {
        // The port is free now; should another take it first, the program ends and is started again.
        for _ in 0..5 {
            let address = free();
            let mut command = command(address);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let mut running = Self {
                child: command.spawn().expect("the program starts"),
                address,
            };
            if running.listens() {
                return running;
            }
        }
        panic!("the program doesn't listen");
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn listens(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            if TcpStream::connect(self.address).is_ok() {
                return matches!(self.child.try_wait(), Ok(None));
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address of this machine that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port is free")
}
