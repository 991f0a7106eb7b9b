//! A real Quetz, in a folder of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

/// The key of the user who owns the channel.
pub const OWNER_KEY: &str = "the-key-of-alice";

/// The key of a user who may do nothing there.
pub const STRANGER_KEY: &str = "the-key-of-bob";

/// The channel that there is.
pub const CHANNEL: &str = "acme";

/// How long it may take to start, with five other things on the machine.
const START: Duration = Duration::from_secs(120);

/// What its deployment needs; the dummy users are those of `--dev`.
const CONFIGURATION: &str = r#"
[github]
client_id = "none"
client_secret = "none"
[sqlalchemy]
database_url = "sqlite:///./quetz.sqlite"
[session]
secret = "0000000000000000000000000000000000000000000000000000000000000000"
https_only = false
[general]
package_unpack_threads = 1
[users]
admins = ["dummy:alice"]
"#;

/// Gives users of the database keys.
const KEYS: &str = r#"
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
for user, key in zip(sys.argv[2::2], sys.argv[3::2]):
    (id,) = db.execute("select id from users where username = ?", (user,)).fetchone()
    row = (key, "for tests", id, id)
    db.execute("insert into api_keys (key, description, deleted, user_id, owner_id) values (?, ?, 0, ?, ?)", row)
db.commit()
"#;

/// A running server with one public channel; it ends with this.
#[derive(Debug)]
pub struct Quetz {
    process: Child,
    origin: String,
    folder: TempDir,
}

impl Quetz {
    /// Starts it on a port of loopback.
    ///
    /// `None`, and a message on stderr, where it is not installed; a panic, where that happens in CI.
    #[allow(clippy::print_stderr, reason = "a test that is left out says so")]
    pub async fn start() -> Option<Self> {
        let bin = installed();
        let Some(bin) = bin else {
            assert!(
                std::env::var_os("CI").is_none(),
                "Quetz is not installed below CI_TOOLS or target/ci-tools"
            );
            eprintln!("left out: Quetz is not installed; see tests/servers/quetz-requirements.in");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let configuration = folder.path().join("conf.toml");
        fs_err::write(&configuration, CONFIGURATION).expect("it is written");
        let deployment = folder.path().join("deployment");
        let create = Command::new(bin.join("quetz"))
            .arg("create")
            .arg(&deployment)
            .arg("--copy-conf")
            .arg(&configuration)
            .arg("--dev")
            // It logs into the folder that it is started in.
            .current_dir(folder.path())
            .output()
            .expect("it runs");
        assert!(create.status.success(), "{create:?}");
        let keys = Command::new(bin.join("python"))
            .args(["-c", KEYS])
            .arg(deployment.join("quetz.sqlite"))
            .args(["alice", OWNER_KEY, "bob", STRANGER_KEY])
            .output()
            .expect("it runs");
        assert!(keys.status.success(), "{keys:?}");
        let port = free_port();
        let log = fs_err::File::create(folder.path().join("log")).expect("a log");
        let mut start = Command::new(bin.join("quetz"));
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut start, 0);
        let process = start
            .arg("start")
            .arg(&deployment)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.into_file())
            .spawn()
            .expect("it runs");
        let quetz = Self {
            process,
            origin: format!("http://127.0.0.1:{port}"),
            folder,
        };
        quetz.wait().await;
        quetz.make_channel().await;
        Some(quetz)
    }

    /// The origin of its URLs.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL of a channel.
    pub fn url(&self, channel: &str) -> String {
        format!("{}/{channel}", self.origin)
    }

    /// Where clients read the channel that there is.
    pub fn channel(&self) -> String {
        format!("{}/get/{CHANNEL}", self.origin)
    }

    async fn wait(&self) {
        let ready = format!("{}/health/ready", self.origin);
        let answered = async {
            while reqwest::get(&ready).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let log = self.folder.path().join("log");
        if tokio::time::timeout(START, answered).await.is_err() {
            panic!("Quetz does not start: {:?}", fs_err::read_to_string(log));
        }
    }

    async fn make_channel(&self) {
        let channel = json!({ "name": CHANNEL, "private": false }).to_string();
        let made = reqwest::Client::new()
            .post(format!("{}/api/channels", self.origin))
            .header("X-API-Key", OWNER_KEY)
            .header("Content-Type", "application/json")
            .body(channel)
            .send()
            .await
            .expect("it answers");
        assert_eq!(made.status(), 201);
    }
}

impl Drop for Quetz {
    fn drop(&mut self) {
        // With the processes that it has work for it.
        #[cfg(unix)]
        let _killed = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.process),
            rustix::process::Signal::KILL,
        );
        let _killed = self.process.kill();
        let _ended = self.process.wait();
    }
}

fn installed() -> Option<PathBuf> {
    let tools = std::env::var_os("CI_TOOLS").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ci-tools");
    let bin = tools.unwrap_or(workspace).join("quetz/bin");
    bin.join("quetz").is_file().then_some(bin)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it is bound").port()
}
