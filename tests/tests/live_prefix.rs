//! Releases for real to a server like prefix.dev, by trusted publishing: the program as a job of GitHub Actions runs
//! it, with the real Fulcio, Rekor and timestamp authority on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, process::Command};

use channel_servers::prefix::{Access, PrefixOptions, PrefixServer, Publisher};
use end_to_end::{COMMIT, IDENTITY, Output, Sigstore, Workspace};

/// A server whose channel trusts the job, and whatever else these options say.
async fn server(sigstore: &Sigstore, options: PrefixOptions) -> PrefixServer {
    PrefixServer::start(PrefixOptions {
        trusted_root: Some(sigstore.trusted_root()),
        requires_attestation: true,
        publisher: options.publisher.or(Some(Publisher {
            discovery: sigstore.issuer().to_owned(),
            issuer: sigstore.issuer().to_owned(),
            repository: "acme/pkgs".to_owned(),
        })),
        ..options
    })
    .await
}

/// The one command, in a job that may have identity tokens.
fn release(
    workspace: &Workspace,
    sigstore: &Sigstore,
    server: &PrefixServer,
    variables: &[(&str, &str)],
) -> Output {
    workspace.config("publish.channel-type = \"prefix\"");
    let channel = server.channel();
    let mut command = workspace.command(["release", "-x", "--to", &channel]);
    command.envs(sigstore.job());
    command.env("CONDA_RELEASE_TRUST", sigstore.trust_config());
    command.envs(variables.iter().copied());
    tokio::task::block_in_place(|| workspace.run_command(command))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_command_ends_with_packages_that_a_client_verifies_and_installs() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let server = server(&sigstore, PrefixOptions::default()).await;
    let workspace = Workspace::plain();
    workspace.package("one").package("two");
    release(&workspace, &sigstore, &server, &[])
        .ends(0)
        .says(IDENTITY)
        .says("Seen 2 packages");
    assert_eq!(server.complaints(), Vec::<String>::new());
    assert_eq!(server.mints(), 1);
    let uploads = server.uploads();
    assert_eq!(uploads.len(), 2);
    assert!(
        uploads
            .iter()
            .all(|it| it.attested && it.minted && !it.force)
    );

    let prefix = workspace.beside("prefix");
    let mut client = Command::new(sigstore.python());
    client
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/foreign/install.py"))
        .args([&server.channel(), "one"])
        .arg(&prefix)
        .arg("--trusted-root")
        .arg(sigstore.trusted_root())
        .args(["--identity", IDENTITY, "--issuer", sigstore.issuer()]);
    let installed = tokio::task::block_in_place(|| client.output()).unwrap();
    assert!(installed.status.success(), "{installed:?}");
    assert!(prefix.join("share/one.txt").is_file());

    // The same again asks nobody for a token, and uploads nothing.
    release(&workspace, &sigstore, &server, &[]).ends(0);
    assert_eq!((server.uploads().len(), server.mints()), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_that_the_channel_does_not_trust_publishes_nothing_with_a_key_either() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let options = PrefixOptions {
        publisher: Some(Publisher {
            discovery: sigstore.issuer().to_owned(),
            issuer: sigstore.issuer().to_owned(),
            repository: "acme/others".to_owned(),
        }),
        api_keys: BTreeMap::from([("key-of-acme".to_owned(), Access::Write)]),
        ..PrefixOptions::default()
    };
    let server = server(&sigstore, options).await;
    let workspace = Workspace::plain();
    workspace.package("one");
    let refused = release(
        &workspace,
        &sigstore,
        &server,
        &[("PREFIX_API_KEY", "key-of-acme")],
    )
    .ends(3)
    .says("cannot mint a publishing token")
    .says("trusted publisher");
    assert!(!refused.mentions("key-of-acme"), "{refused}");
    assert_eq!((server.uploads().len(), server.attempts()), (0, 0));
}
