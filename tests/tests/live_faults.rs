//! What goes wrong at a server, as a user sees it: the message, and how the program ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use channel_servers::{Elsewhere, Fault, SelfSigned, prefix::UPLOAD};
use end_to_end::{
    Attested, COMMIT, Output, PREFIX_KEY, Sigstore, Workspace, prefix_server, write_package,
};

/// Where the channel is read.
const CHANNEL: &str = "/my-channel/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_told_with_its_status_and_the_same_again_publishes() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let server = prefix_server(&sigstore, None).await;
    let elsewhere = Elsewhere::start().await;
    let workspace = Workspace::plain();
    workspace.config("publish.channel-type = \"prefix\"");
    let channel = server.channel();
    let package = write_package(&workspace.beside("dist"), "noarch/one-1-0.conda", "one");
    let attested = tokio::task::block_in_place(|| {
        Attested::by(&sigstore, &workspace, vec![package], &channel)
    });
    let publish = || {
        let variables = [("PREFIX_API_KEY", PREFIX_KEY)];
        let publish = || attested.publish(&channel, &[], &variables);
        without_secret(tokio::task::block_in_place(publish))
    };

    let html = || Fault::Answer(200, b"<html>Sign in</html>".to_vec());
    let redirect = || Fault::Redirect(format!("{}/?token={PREFIX_KEY}", elsewhere.url()));
    // Before anything is sent.
    for (fault, says) in [
        (Fault::Status(401), "give the credentials for that host"),
        (Fault::Status(403), "give the credentials for that host"),
        (Fault::Status(404), "check the channel's name"),
        (Fault::Bomb, "nothing answers in its place"),
        (html(), "nothing answers in its place"),
    ] {
        server.faults().always(CHANNEL, fault);
        publish().ends(3).says(says);
        server.faults().clear();
    }
    assert_eq!(server.attempts(), 0);
    // Of the package.
    for (fault, says) in [
        (
            Fault::Status(401),
            "the API key in `PREFIX_API_KEY` is not valid",
        ),
        (Fault::Status(403), "give the API key write access"),
        (Fault::Status(404), "check the channel's name"),
        (Fault::Status(413), "ask for more storage"),
        (Fault::Status(507), "ask for more storage"),
        (
            Fault::Status(422),
            "found the package or its attestation wrong",
        ),
        (Fault::Status(500), "(5 attempts)"),
        (Fault::Drop, "(5 attempts)"),
        (redirect(), "nothing is sent there"),
        (Fault::Endless, "more than 1048576 bytes"),
        (Fault::Bomb, "a sign-in page may be in between"),
        (html(), "a sign-in page may be in between"),
    ] {
        server.faults().always(UPLOAD, fault);
        publish().ends(8).says("noarch/one-1-0.conda").says(says);
        server.faults().clear();
    }
    assert_eq!(server.packages(), [""; 0]);
    assert_eq!(elsewhere.seen(), []);
    publish().ends(0).says("1 new");
    assert_eq!(server.packages(), ["noarch/one-1-0.conda"]);
    assert_eq!(server.complaints(), [""; 0]);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_told_before_anything_is_sent() {
    let (Some(sigstore), Some(server)) = (Sigstore::start(COMMIT), SelfSigned::start()) else {
        return;
    };
    let workspace = Workspace::plain();
    let channel = "https://conda.acme.example/pkgs";
    workspace.config(&format!(
        "target-channel = \"{channel}\"\npublish.channel-type = \"quetz\""
    ));
    let package = write_package(&workspace.beside("dist"), "noarch/one-1-0.conda", "one");
    let attested = Attested::by(&sigstore, &workspace, vec![package], channel);
    let to = format!("{}/acme", server.origin());
    let variables = [("QUETZ_API_KEY", PREFIX_KEY)];
    let output = attested.publish(&to, &["--without-attestation"], &variables);
    without_secret(output).ends(3).says("certificate");
}

#[track_caller]
fn without_secret(output: Output) -> Output {
    assert!(!output.mentions(PREFIX_KEY), "{output}");
    assert!(!output.stdout.contains(PREFIX_KEY), "{output}");
    output
}
