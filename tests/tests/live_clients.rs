//! What is released to a folder, to a real S3 server and to a real Quetz, as other people's clients see it: py-rattler,
//! which is `rattler_sigstore` where it verifies.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use channel_servers::{
    quetz::{CHANNEL, OWNER_KEY, Quetz},
    versitygw::VersityGw,
};
use end_to_end::{COMMIT, IDENTITY, Server, Sigstore, Workspace};

const BUCKET: &str = "packages";

/// Releases `two`, which runs with `one`, to a channel that clients read at this URL.
fn release(
    sigstore: &Sigstore,
    (to, read_at): (&str, &str),
    config: &str,
    (args, variables): (&[&str], &[(&str, &str)]),
) -> Workspace {
    let workspace = Workspace::plain();
    workspace.config(&format!("target-channel = \"{read_at}\"\n{config}"));
    let runs_with_one = "requirements:\n  run:\n    - one\n";
    let install = "mkdir -p $PREFIX/share && echo two > $PREFIX/share/two.txt";
    workspace
        .package("one")
        .script("two", &[install], runs_with_one);
    let mut command = workspace.command([&["release", "-x", "--to", to][..], args].concat());
    command.envs(sigstore.job());
    command.env("CONDA_RELEASE_TRUST", sigstore.trust_config());
    command.envs(variables.iter().copied());
    workspace
        .run_command(command)
        .ends(0)
        .says("Seen 2 packages");
    workspace
}

/// Installs `two` as py-rattler does: only what the job attested, where the channel keeps attestations.
fn install(sigstore: &Sigstore, workspace: &Workspace, channel: &str, is_attested: bool) {
    let prefix = workspace.beside("prefix");
    let mut client = Command::new(sigstore.python());
    client
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/install.py"))
        .args([channel, "two"])
        .arg(&prefix);
    if is_attested {
        client
            .arg("--trusted-root")
            .arg(sigstore.trusted_root())
            .args(["--identity", IDENTITY, "--issuer", sigstore.issuer()]);
    }
    let installed = client.output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
    let said = String::from_utf8_lossy(&installed.stdout);
    let verified = said.lines().filter(|line| line.starts_with("verified"));
    assert_eq!(verified.count(), if is_attested { 2 } else { 0 }, "{said}");
    for package in ["one", "two"] {
        assert!(prefix.join(format!("share/{package}.txt")).is_file());
    }
}

#[test]
fn a_folder_is_installed_from_and_verified() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("channel");
    let server = Server::of(&folder);
    let (to, channel) = (folder.display().to_string(), server.channel());
    let workspace = release(&sigstore, (&to, &channel), "", (&[], &[]));
    install(&sigstore, &workspace, &channel, true);
}

#[test]
fn a_bucket_is_installed_from_and_verified() {
    let (Some(sigstore), Some(gateway)) = (Sigstore::start(COMMIT), VersityGw::start(&[BUCKET]))
    else {
        return;
    };
    // Objects are files there.
    let server = Server::of(&gateway.file(BUCKET, "pkgs"));
    let (to, channel) = (format!("s3://{BUCKET}/pkgs"), server.channel());
    let endpoint = gateway.endpoint();
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_REGION", VersityGw::REGION),
        ("AWS_ACCESS_KEY_ID", VersityGw::ACCESS_KEY),
        ("AWS_SECRET_ACCESS_KEY", VersityGw::SECRET_KEY),
    ];
    let workspace = release(&sigstore, (&to, &channel), "", (&[], &variables));
    install(&sigstore, &workspace, &channel, true);
}

#[test]
fn quetz_is_installed_from() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(quetz) = runtime.block_on(Quetz::start()) else {
        return;
    };
    let (to, channel) = (quetz.url(CHANNEL), quetz.channel());
    let workspace = release(
        &sigstore,
        (&to, &channel),
        "publish.channel-type = \"quetz\"",
        (&["--without-attestation"], &[("QUETZ_API_KEY", OWNER_KEY)]),
    );
    install(&sigstore, &workspace, &channel, false);
}
