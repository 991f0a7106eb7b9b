//! A sandbox, real packages, and somebody who listens.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use conda_attest::{
    ActionsEndpoint, Error, Event, PackageFile, Reporter, SignOptions, Signed, ToSign, Trust, sign,
};
use rattler_conda_types::compression_level::CompressionLevel;
use rattler_package_streaming::write::{write_conda_package, write_tar_bz2_package};
use sha2::Digest as _;
use sigstore_sandbox::{Fault, FaultKind, Options, Sandbox, Service};
use tempfile::TempDir;

pub(crate) const CHANNEL: &str = "https://prefix.dev/my-channel";

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) sandbox: Sandbox,
    pub(crate) trust: Trust,
    pub(crate) identity: ActionsEndpoint,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with_faults(faults: &[(Service, u64, FaultKind)]) -> Self {
        Self::with(Options {
            faults: listed(faults),
            ..Options::default()
        })
        .await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let dir = TempDir::new().unwrap();
        let sandbox = Sandbox::start(&dir.path().join("sandbox"), options)
            .await
            .unwrap();
        let trust = Trust::from_file(&sandbox.trust_config(), None)
            .unwrap()
            .with_audience(sigstore_sandbox::AUDIENCE);
        let identity = identity(&sandbox, sigstore_sandbox::AUDIENCE);
        Self {
            dir,
            sandbox,
            trust,
            identity,
        }
    }

    /// The sandbox's trust with one of its services at another address.
    pub(crate) fn with_service(&self, kind: &str, url: &str) -> Trust {
        self.with_signing_config(|config| config[kind][0]["url"] = url.into())
    }

    /// The sandbox's trust with an altered signing configuration.
    pub(crate) fn with_signing_config(&self, alter: impl FnOnce(&mut serde_json::Value)) -> Trust {
        let config = std::fs::read(self.sandbox.signing_config()).unwrap();
        let mut config = serde_json::from_slice(&config).unwrap();
        alter(&mut config);
        let path = self.dir.path().join("signing_config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        Trust::from_file(&self.sandbox.trusted_root(), Some(&path))
            .unwrap()
            .with_audience(sigstore_sandbox::AUDIENCE)
    }

    /// Packages `greet-0` to `greet-N`, each with one file.
    pub(crate) fn packages(&self, count: usize) -> Vec<PackageFile> {
        (0..count)
            .map(|number| package(self.dir.path(), &format!("greet{number}")))
            .collect()
    }

    pub(crate) async fn sign(&self, packages: Vec<PackageFile>) -> Results {
        self.sign_with(packages, &options(), &()).await
    }

    pub(crate) async fn sign_with(
        &self,
        packages: Vec<impl Into<ToSign>>,
        options: &SignOptions,
        reporter: &dyn Reporter,
    ) -> Results {
        sign(&self.trust, &self.identity, packages, options, reporter)
            .await
            .unwrap()
    }
}

pub(crate) type Results = Vec<(PackageFile, Result<Signed, Error>)>;

/// What became of each package: `signed`, or the code of its error.
pub(crate) fn codes(results: &Results) -> Vec<&'static str> {
    results
        .iter()
        .map(|(_, result)| result.as_ref().map_or_else(Error::code, |_| "signed"))
        .collect()
}

/// Failures of single requests.
pub(crate) fn listed(faults: &[(Service, u64, FaultKind)]) -> Vec<Fault> {
    faults
        .iter()
        .map(|&(service, request, kind)| Fault {
            service,
            request,
            kind,
        })
        .collect()
}

pub(crate) fn identity(sandbox: &Sandbox, audience: &str) -> ActionsEndpoint {
    let endpoint = sandbox.token_endpoint();
    ActionsEndpoint::new(&endpoint.url, endpoint.bearer, audience).unwrap()
}

pub(crate) fn options() -> SignOptions {
    SignOptions::new(CHANNEL.parse().unwrap())
}

pub(crate) fn package(folder: &Path, name: &str) -> PackageFile {
    let index = serde_json::json!({
        "name": name, "version": "1.0.0", "build": "h1_0", "build_number": 0,
        "subdir": "noarch", "depends": [],
    });
    package_with_index(
        folder,
        &format!("{name}-1.0.0-h1_0.conda"),
        &index.to_string(),
    )
}

/// A package file whose `index.json` may say anything.
pub(crate) fn package_with_index(folder: &Path, file: &str, index: &str) -> PackageFile {
    let root = TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("info")).unwrap();
    std::fs::write(root.path().join("info/index.json"), index).unwrap();
    std::fs::write(root.path().join("hello.txt"), file).unwrap();
    let members = ["info/index.json", "hello.txt"].map(|member| root.path().join(member));
    let path = folder.join(file);
    let out = File::create(&path).unwrap();
    let level = CompressionLevel::Numeric(1);
    match file.strip_suffix(".conda") {
        Some(stem) => {
            write_conda_package(out, root.path(), &members, level, None, stem, None, None).unwrap();
        }
        None => write_tar_bz2_package(out, root.path(), &members, level, None, None).unwrap(),
    }
    PackageFile {
        file: file.parse().unwrap(),
        subdir: "noarch".parse().unwrap(),
        sha256: sha256(&path),
        path,
    }
}

pub(crate) fn sha256(path: &Path) -> cep27::Sha256 {
    cep27::Sha256::from_bytes(sha2::Sha256::digest(std::fs::read(path).unwrap()).into())
}

/// Serves until the runtime of the test ends.
pub(crate) async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Every bundle in a folder.
pub(crate) fn bundles(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.to_string_lossy().ends_with(".sigstore.json"))
        .collect()
}

/// The memory of this process in bytes.
#[cfg(target_os = "linux")]
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kilobytes << 10
}

/// Keeps every event.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<Event>>);

impl Reporter for Log {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Log {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|event| wanted(event))
            .count()
    }
}
