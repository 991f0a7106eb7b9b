//! The real Sigstore on loopback: Fulcio, Rekor v2 and the timestamp authority, and tokens as GitHub Actions has them.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use channel_servers::program;
use tempfile::TempDir;

/// The commit that tokens speak of where a test doesn't say another.
pub const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Who signs there.
pub const IDENTITY: &str =
    "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main";

/// The timestamp authority binds a port that is always the same: one at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A running Sigstore. It ends when this is dropped, and with the process.
pub struct Sigstore {
    child: Child,
    exports: BTreeMap<String, String>,
    python: PathBuf,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Sigstore {
    /// Starts it for jobs of this commit; `None` where it is not installed, which CI does not allow.
    pub fn start(commit: &str) -> Option<Self> {
        Self::start_called(commit, "")
    }

    /// The same for jobs of a reusable workflow that another repository called: `owner/name/path@ref`.
    pub fn start_called(commit: &str, signer: &str) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let [fulcio, python, _, _] = [
            "fulcio",
            "python/bin/python",
            "rekor-server",
            "timestamp-server",
        ]
        .map(program::find);
        let (python, tools) = (python?, fulcio?.parent()?.to_owned());
        let folder = TempDir::with_prefix("sigstore-").unwrap();
        let mut child = Command::new(&python)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/foreign/real_sigstore.py"
            ))
            .arg(folder.path().join("state"))
            .arg("--bin")
            .arg(&tools)
            .args(["--commit", commit, "--signer", signer])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut exports = BTreeMap::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let words = line.strip_prefix("export ").unwrap_or(&line).split(' ');
            let pairs = words.filter_map(|word| word.split_once('='));
            exports.extend(
                pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())),
            );
            if exports.contains_key("SIGSTORE_TRUST_CONFIG") {
                break;
            }
        }
        assert!(
            exports.contains_key("SIGSTORE_TRUST_CONFIG"),
            "Sigstore does not start"
        );
        Some(Self {
            child,
            exports,
            python,
            _folder: folder,
            _turn: turn,
        })
    }

    /// The environment of a job of GitHub Actions that may have identity tokens.
    pub fn job(&self) -> impl Iterator<Item = (&str, &str)> {
        let variables = self.exports.iter();
        variables
            .filter(|(name, _)| !name.starts_with("SIGSTORE_"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What `--trust` takes.
    pub fn trust_config(&self) -> &str {
        &self.exports["SIGSTORE_TRUST_CONFIG"]
    }

    /// Where its trusted root is.
    pub fn trusted_root(&self) -> PathBuf {
        Path::new(self.trust_config()).with_file_name("trusted_root.json")
    }

    /// Other people's Python programs, as `.ci/run` installs them beside it.
    pub fn python(&self) -> &Path {
        &self.python
    }

    /// Who vouches for the identity.
    pub fn issuer(&self) -> &str {
        &self.exports["SIGSTORE_ISSUER"]
    }
}

impl Drop for Sigstore {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // However it ended, the port is free again.
        let _status = self.child.wait();
    }
}
