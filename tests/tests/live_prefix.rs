//! Releases for real to a server like prefix.dev, by trusted publishing: the program as a job of GitHub Actions runs
//! it, with the real Fulcio, Rekor and timestamp authority on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, process::Command, time::Duration};

use channel_servers::{
    Fault,
    prefix::{Access, PrefixOptions, PrefixServer, Publisher, UPLOAD},
};
use end_to_end::{
    Attested, COMMIT, IDENTITY, Output, PREFIX_KEY, Sigstore, Workspace, prefix_server,
    write_package,
};

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
    let mut command = releasing(workspace, sigstore, server, &[]);
    command.envs(variables.iter().copied());
    tokio::task::block_in_place(|| workspace.run_command(command))
}

fn releasing(
    workspace: &Workspace,
    sigstore: &Sigstore,
    server: &PrefixServer,
    args: &[&str],
) -> Command {
    let channel = server.channel();
    let args = [&["release", "-x", "--to", &channel], args].concat();
    let mut command = workspace.command(args);
    command.envs(sigstore.job());
    command.env("CONDA_RELEASE_TRUST", sigstore.trust_config());
    command
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_somebody_uploaded_without_the_attestation_has_failed_until_it_is_forced() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let server = server(&sigstore, PrefixOptions::default()).await;
    let workspace = Workspace::plain();
    workspace.config("publish.channel-type = \"prefix\"\npublish.visible-within = \"2s\"");
    workspace.package("one");
    let channel = server.channel();
    let build = || workspace.run(["build", "-x", "--to", &channel]).ends(0);
    tokio::task::block_in_place(build);
    let packages = "target/conda-release/live/packages";
    let name = workspace.packages_in(packages).remove(0);
    let built = workspace.path(packages).join("noarch").join(&name);
    server.publish(&built).await;

    let release = |args: &[&str]| {
        let command = releasing(&workspace, &sigstore, &server, args);
        tokio::task::block_in_place(|| workspace.run_command(command))
    };
    let says = format!("{channel} has the bytes of noarch/{name} already, without the attestation");
    // Nothing changes by itself.
    for _ in 0..2 {
        release(&[])
            .ends(8)
            .says(&says)
            .says("build number")
            .says("--force");
        let manifest = workspace.path("target/conda-release/live/release-manifest.json");
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs_err::read(manifest).unwrap()).unwrap();
        let package = &manifest["packages"][0];
        assert_eq!(package["progress"], "attested");
        assert_eq!(package["error"]["phase"], "publish");
        assert_eq!(package["error"]["code"], "unattested");
    }
    assert_eq!(server.attempts(), 0);
    release(&["--force"]).ends(0).says("Seen 1 package");
    let uploads = server.uploads();
    assert!(uploads.len() == 1 && uploads[0].attested && uploads[0].force);
    assert_eq!(server.complaints(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_somebody_uploaded_without_the_attestation_is_told_of_in_the_report() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let server = prefix_server(&sigstore, None).await;
    let workspace = Workspace::plain();
    workspace.config("publish.channel-type = \"prefix\"\npublish.visible-within = \"1s\"");
    let package = write_package(&workspace.beside("dist"), "noarch/one-1-0.conda", "one");
    server.publish(&package).await;
    let channel = server.channel();
    let output = tokio::task::block_in_place(|| {
        let attested = Attested::by(&sigstore, &workspace, vec![package.clone()], &channel);
        let json = ["publish", "-x", "--output-format", "json", "--to", &channel];
        let policy = ["--repo", "acme/pkgs", "--issuer", sigstore.issuer()];
        let mut command = workspace.command([&json[..], &policy].concat());
        command.args(attested.packages());
        command.env("CONDA_RELEASE_TRUST", sigstore.trust_config());
        command.env("PREFIX_API_KEY", PREFIX_KEY);
        workspace.run_command(command).ends(8)
    });
    let error = output.json()["packages"][0]["error"].clone();
    let error = error.as_str().unwrap();
    assert!(error.contains("without the attestation"), "{error}");
    assert_eq!(server.attempts(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_upload_whose_answer_was_lost_is_waited_for_until_its_attestation_shows() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let server = server(&sigstore, PrefixOptions::default()).await;
    server.hide_attestations(true);
    server.faults().next(UPLOAD, [Fault::LoseAnswer]);
    let workspace = Workspace::plain();
    workspace.config("publish.channel-type = \"prefix\"");
    workspace.package("one");
    let releasing = workspace.start_command(releasing(&workspace, &sigstore, &server, &[]));
    while server.uploads().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Time for a look or two.
    tokio::time::sleep(Duration::from_secs(3)).await;
    server.hide_attestations(false);
    tokio::task::block_in_place(|| releasing.wait())
        .ends(0)
        .says("already there, identical")
        .says("Seen 1 package");
    assert_eq!(server.uploads().len(), 1);
}
