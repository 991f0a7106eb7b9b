//! A server, a sandbox that signs for it, and packages.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use channel_servers::prefix::{Access, PrefixOptions, PrefixServer, Publisher};
use conda_attest::{ActionsEndpoint, PackageFile, SignOptions, Trust, sign};
use conda_publish::{
    Bundle, Channel, ChannelLocation, ChannelType, Error, OpenOptions, Patience, Placed,
    TokenSource, Upload, open,
};
use futures::StreamExt as _;
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::write_conda_package;
use sha2::Digest as _;
use sigstore_sandbox::{Claims, Options, Sandbox};
use tempfile::TempDir;

/// A key that may publish.
pub(crate) const WRITE_KEY: &str = "pfx_write_0123456789";

/// A key that may only read.
pub(crate) const READ_KEY: &str = "pfx_read_0123456789";

pub(crate) struct Fixture {
    pub(crate) folder: TempDir,
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) server: PrefixServer,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(PrefixOptions::default()).await
    }

    /// A server with these options that trusts the sandbox and the repository `acme/pkgs`.
    pub(crate) async fn with(options: PrefixOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::github_actions();
        let options_of_sandbox = Options {
            claims,
            ..Options::default()
        };
        let keys = folder.path().join("sandbox");
        let sandbox = Sandbox::start(&keys, options_of_sandbox).await.unwrap();
        let publisher = Publisher {
            discovery: sandbox.url().to_owned(),
            issuer: sandbox.issuer().to_owned(),
            repository: "acme/pkgs".to_owned(),
        };
        let server = PrefixServer::start(PrefixOptions {
            trusted_root: Some(sandbox.trusted_root()),
            publisher: Some(publisher),
            api_keys: [
                (WRITE_KEY.to_owned(), Access::Write),
                (READ_KEY.to_owned(), Access::Read),
            ]
            .into(),
            ..options
        });
        Self {
            server: server.await,
            sandbox: Arc::new(sandbox),
            folder,
        }
    }

    /// The identity of the CI system, as the sandbox has it.
    pub(crate) fn identity(&self) -> Arc<dyn TokenSource> {
        Arc::new(Ci(Arc::clone(&self.sandbox)))
    }

    /// As a CI job publishes.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            patience: hasty(),
            identity: Some(self.identity()),
            ..OpenOptions::default()
        }
    }

    pub(crate) async fn open(&self) -> Box<dyn Channel> {
        self.open_with(&self.options()).await
    }

    pub(crate) async fn open_with(&self, options: &OpenOptions) -> Box<dyn Channel> {
        open(&location(&self.server.channel()), options)
            .await
            .unwrap()
    }

    /// A package that nobody attested.
    pub(crate) fn plain(&self, name: &str) -> Upload {
        upload(package(self.folder.path(), name, "content"), Vec::new())
    }

    pub(crate) fn plains(&self, count: usize) -> Vec<Upload> {
        (0..count)
            .map(|number| self.plain(&format!("greet{number}")))
            .collect()
    }

    /// A package that is attested for a channel.
    pub(crate) async fn attested_for(&self, name: &str, channel: &str) -> Upload {
        let package = package(self.folder.path(), name, "content");
        let trust = Trust::from_file(&self.sandbox.trust_config(), None)
            .unwrap()
            .with_audience(sigstore_sandbox::AUDIENCE);
        let endpoint = self.sandbox.token_endpoint();
        let identity =
            ActionsEndpoint::new(&endpoint.url, endpoint.bearer, sigstore_sandbox::AUDIENCE)
                .unwrap();
        let options = SignOptions::new(channel.parse().unwrap());
        let signed = sign(&trust, &identity, vec![package], &options, &());
        let (package, signed) = signed.await.unwrap().pop().unwrap();
        let signed = signed.unwrap();
        let bundle = Bundle {
            path: signed.bundle,
            sha256: signed.bundle_sha256,
        };
        upload(package, vec![bundle])
    }

    pub(crate) async fn attested(&self, name: &str) -> Upload {
        self.attested_for(name, &self.server.channel()).await
    }
}

/// The sandbox's identity tokens.
struct Ci(Arc<Sandbox>);

#[async_trait]
impl TokenSource for Ci {
    async fn identity_token(
        &self,
        audience: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Some(self.0.token(audience).unwrap()))
    }
}

pub(crate) fn location(channel: &str) -> ChannelLocation {
    ChannelLocation::of_type(channel, ChannelType::Prefix).unwrap()
}

/// The patience of a test.
pub(crate) fn hasty() -> Patience {
    Patience {
        first_delay: Duration::from_millis(1),
        ..Patience::default()
    }
}

/// The patience of a test with servers that don't answer.
pub(crate) fn impatient() -> Patience {
    Patience {
        idle: Duration::from_millis(200),
        answer: Duration::from_millis(200),
        retries: 1,
        ..hasty()
    }
}

pub(crate) fn upload(package: PackageFile, bundles: Vec<Bundle>) -> Upload {
    Upload {
        package: package.key(),
        source: package.path,
        sha256: package.sha256,
        bundles,
    }
}

/// Writes a package with one file.
pub(crate) fn package(folder: &Path, name: &str, content: &str) -> PackageFile {
    package_of(folder, name, |path| std::fs::write(path, content).unwrap())
}

pub(crate) fn package_of(folder: &Path, name: &str, write: impl FnOnce(&Path)) -> PackageFile {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let root = TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("info")).unwrap();
    let index = serde_json::json!({
        "name": name, "version": "1.0.0", "build": "h1_0", "build_number": 0,
        "subdir": "noarch", "depends": [], "noarch": "generic",
    });
    std::fs::write(root.path().join("info/index.json"), index.to_string()).unwrap();
    write(&root.path().join("content"));
    let members = ["info/index.json", "content"].map(|member| root.path().join(member));
    // Two of the same name are in folders of their own.
    let folder = folder.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::create_dir(&folder).unwrap();
    let stem = format!("{name}-1.0.0-h1_0");
    let path = folder.join(format!("{stem}.conda"));
    let out = std::fs::File::create(&path).unwrap();
    let level = CompressionLevel::Numeric(1);
    write_conda_package(
        out,
        root.path(),
        &members,
        level,
        Some(1),
        &stem,
        None,
        None,
    )
    .unwrap();
    PackageFile::read(path).unwrap()
}

/// Uploads all, so many at a time, and gives what became of each, in order.
pub(crate) async fn put_all(
    channel: &dyn Channel,
    uploads: &[Upload],
    at_a_time: usize,
) -> Vec<Result<Placed, Error>> {
    futures::stream::iter(uploads)
        .map(|upload| channel.put(upload, &()))
        .buffered(at_a_time)
        .collect()
        .await
}

pub(crate) fn hash(path: &Path) -> cep27::Sha256 {
    let mut hasher = sha2::Sha256::new();
    std::io::copy(&mut std::fs::File::open(path).unwrap(), &mut hasher).unwrap();
    cep27::Sha256::from_bytes(hasher.finalize().into())
}

/// What a person reads.
pub(crate) fn told(error: &Error) -> String {
    format!("{error}\nhelp: {}", error.help().unwrap_or_default())
}

const CHILD: &str = "CONDA_PUBLISH_TEST_CHILD";

/// Whether this is the process of one test.
pub(crate) fn in_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Runs this very test again in a process of its own with these variables, and says so there by `true`.
///
/// Variables of a process belong to all of its tests.
pub(crate) async fn is_child(test: &str, variables: &[(&str, &str)]) -> bool {
    if in_child() {
        return true;
    }
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    for secret in [
        "PREFIX_API_KEY",
        "GITHUB_TOKEN",
        "GH_TOKEN",
        "GITHUB_API_URL",
    ] {
        command.env_remove(secret);
    }
    let credentials = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(credentials.path(), "{}").unwrap();
    let output = command
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("RATTLER_AUTH_FILE", credentials.path())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}
