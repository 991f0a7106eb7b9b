//! Large packages to a server like prefix.dev, to a real Quetz and to a real S3 server: the program never has them in
//! memory, and when it is killed on the way, nobody sees half of one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use channel_servers::{
    Hold, package,
    quetz::{CHANNEL, OWNER_KEY, Quetz},
    versitygw::VersityGw,
    way::Way,
};
use end_to_end::{Attested, COMMIT, PREFIX_KEY, Sigstore, Workspace, prefix_server};
use release_manifest::PackageKey;
use sha2::{Digest as _, Sha256};

const PACKAGE: &str = "linux-64/large-1-0.conda";
/// How large it is where it is sent whole once and half of it once.
const SIZE: u64 = 64 << 20;
/// How large packages become.
const LARGEST: u64 = 2 << 30;
/// What the program may take of memory, in bytes. Unoptimised it is weighed without its own file: what is left must be less
/// than a package, or one that was held as a whole would not show.
const MEMORY: u64 = match cfg!(debug_assertions) {
    true => 64_000_000,
    false => 100_000_000,
};
const BUCKET: &str = "packages";

/// A channel to publish to, and how clients see it.
struct Target {
    /// What `--to` takes.
    to: String,
    /// The type of it, where `to` doesn't say it.
    channel_type: Option<&'static str>,
    /// The channel that is attested.
    attested_for: String,
    args: &'static [&'static str],
    variables: Vec<(&'static str, String)>,
}

impl Target {
    fn prefix(channel: &str) -> Self {
        Self {
            to: channel.to_owned(),
            channel_type: Some("prefix"),
            attested_for: channel.to_owned(),
            args: &[],
            variables: vec![("PREFIX_API_KEY", PREFIX_KEY.to_owned())],
        }
    }

    fn quetz(server: &Quetz, origin: &str) -> Self {
        Self {
            to: format!("{origin}/{CHANNEL}"),
            channel_type: Some("quetz"),
            attested_for: server.channel(),
            args: &["--without-attestation"],
            variables: vec![("QUETZ_API_KEY", OWNER_KEY.to_owned())],
        }
    }

    fn s3(endpoint: &str) -> Self {
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_REGION", VersityGw::REGION),
            ("AWS_ACCESS_KEY_ID", VersityGw::ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", VersityGw::SECRET_KEY),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        Self {
            to: format!("s3://{BUCKET}/channel"),
            channel_type: None,
            attested_for: "https://conda.acme.example/pkgs".to_owned(),
            args: &[],
            variables: variables
                .map(|(name, value)| (name, value.to_owned()))
                .into(),
        }
    }
}

/// A job's package of so many bytes.
struct Large<'a> {
    workspace: &'a Workspace,
    attested: Attested<'a>,
    target: Target,
    sha256: String,
}

impl<'a> Large<'a> {
    fn new(sigstore: &'a Sigstore, workspace: &'a Workspace, target: Target, size: u64) -> Self {
        let channel_type = target
            .channel_type
            .map(|it| format!("publish.channel-type = \"{it}\"\n"));
        let channel = &target.attested_for;
        let config = format!(
            "target-channel = \"{channel}\"\n{}",
            channel_type.unwrap_or_default()
        );
        workspace.config(&config);
        let key: PackageKey = PACKAGE.parse().unwrap();
        let path = workspace.beside(key.file.as_str());
        package::write_sparse(&path, key.subdir, &key.file, size);
        let attested = Attested::by(sigstore, workspace, vec![path.clone()], channel);
        Self {
            workspace,
            attested,
            target,
            sha256: sha256(&path),
        }
    }

    fn publish(&self) -> end_to_end::Running {
        let Target {
            to,
            args,
            variables,
            ..
        } = &self.target;
        let packages = self.attested.packages();
        let mut command = self.attested.publishing(packages, to, args);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        self.workspace.start_command(command)
    }

    /// Publishes it to its end, in little memory.
    fn publish_whole(&self) {
        let (output, memory) = self.publish().wait_and_weigh();
        let output = output.ends(0).says("1 new");
        if cfg!(target_os = "linux") {
            let memory = memory.expect("it was seen");
            assert!(memory < MEMORY, "{memory} bytes: {output}");
        }
    }

    /// Kills the program once half of the package is on its way.
    async fn publish_half(&self, half: &Hold) {
        let running = self.publish();
        half.reached().await;
        tokio::task::block_in_place(|| running.kill());
        half.open();
    }
}

/// The hash of a file, which may be large.
fn sha256(path: &Path) -> String {
    let (mut file, mut hasher) = (File::open(path).unwrap(), Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    while let read @ 1.. = file.read(&mut buffer).unwrap() {
        hasher.update(&buffer[..read]);
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The hash of what a URL leads to, if there is anything.
async fn downloaded(url: String) -> Option<String> {
    let mut answer = reqwest::get(url).await.unwrap();
    if answer.status() == 404 {
        return None;
    }
    assert_eq!(answer.status(), 200);
    let mut hasher = Sha256::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        hasher.update(&chunk);
    }
    Some(
        hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

/// The file that an object of the channel is, if there is one.
fn object(server: &VersityGw, name: &str) -> Option<PathBuf> {
    let file = server.file(BUCKET, &format!("channel/{name}"));
    file.is_file().then_some(file)
}

fn half() -> (Arc<Hold>, u64) {
    (Arc::default(), SIZE / 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_half_way_to_prefix_and_repeated_it_is_published_once_and_whole() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let (mut way, (hold, bytes), workspace) = (Way::new().await, half(), Workspace::plain());
    let server = prefix_server(&sigstore, Some(way.origin().to_owned())).await;
    way.lead_to(server.listens_at(), bytes, Arc::clone(&hold));
    let target = Target::prefix(&server.channel());
    let large = tokio::task::block_in_place(|| Large::new(&sigstore, &workspace, target, SIZE));
    large.publish_half(&hold).await;
    assert_eq!(server.packages(), [""; 0]);
    tokio::task::block_in_place(|| large.publish_whole());
    let uploads = server.uploads();
    let hashes: Vec<_> = uploads.iter().map(|it| it.sha256.to_string()).collect();
    assert_eq!(hashes, [large.sha256]);
    assert_eq!(server.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_half_way_to_quetz_and_repeated_it_is_published_once_and_whole() {
    let (Some(sigstore), Some(server)) = (Sigstore::start(COMMIT), Quetz::start().await) else {
        return;
    };
    let (mut way, (hold, bytes), workspace) = (Way::new().await, half(), Workspace::plain());
    way.lead_to(server.origin(), bytes, Arc::clone(&hold));
    let target = Target::quetz(&server, way.origin());
    let large = tokio::task::block_in_place(|| Large::new(&sigstore, &workspace, target, SIZE));
    let seen = || downloaded(format!("{}/{PACKAGE}", server.channel()));
    large.publish_half(&hold).await;
    assert_eq!(seen().await, None);
    tokio::task::block_in_place(|| large.publish_whole());
    assert_eq!(seen().await, Some(large.sha256));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_half_way_to_s3_and_repeated_it_is_published_once_and_whole() {
    let (Some(sigstore), Some(server)) = (Sigstore::start(COMMIT), VersityGw::start(&[BUCKET]))
    else {
        return;
    };
    let (mut way, (hold, bytes), workspace) = (Way::new().await, half(), Workspace::plain());
    way.lead_to(&server.endpoint(), bytes, Arc::clone(&hold));
    let target = Target::s3(way.origin());
    let large = tokio::task::block_in_place(|| Large::new(&sigstore, &workspace, target, SIZE));
    large.publish_half(&hold).await;
    assert_eq!(object(&server, PACKAGE), None);
    tokio::task::block_in_place(|| large.publish_whole());
    assert_eq!(sha256(&object(&server, PACKAGE).unwrap()), large.sha256);
    let sidecar = object(&server, &format!("{PACKAGE}.sigs")).unwrap();
    let bundles: Vec<serde_json::Value> =
        serde_json::from_slice(&fs_err::read(sidecar).unwrap()).unwrap();
    assert_eq!(bundles.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "sends 2 GiB three times"]
async fn the_largest_packages_are_published_in_little_memory() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let publish = |target| {
        let workspace = Workspace::plain();
        let large = Large::new(&sigstore, &workspace, target, LARGEST);
        large.publish_whole();
        large.sha256
    };
    {
        let server = prefix_server(&sigstore, None).await;
        let sha256 = tokio::task::block_in_place(|| publish(Target::prefix(&server.channel())));
        assert_eq!(server.uploads()[0].sha256.to_string(), sha256);
    }
    if let Some(server) = VersityGw::start(&[BUCKET]) {
        let sha256 = tokio::task::block_in_place(|| publish(Target::s3(&server.endpoint())));
        assert_eq!(self::sha256(&object(&server, PACKAGE).unwrap()), sha256);
    }
    if let Some(server) = Quetz::start().await {
        let target = Target::quetz(&server, server.origin());
        let sha256 = tokio::task::block_in_place(|| publish(target));
        let seen = downloaded(format!("{}/{PACKAGE}", server.channel())).await;
        assert_eq!(seen, Some(sha256));
    }
}
