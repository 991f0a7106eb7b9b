//! What goes wrong at each kind of server: it is told, nothing is published, and no credential goes elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use channel_servers::{Elsewhere, Fault, Faulty, SelfSigned};
use conda_publish::{Error, OpenOptions, Patience};
use futures::future::join_all;

use crate::kinds::{Kind, SECRET};
use crate::{expect_error, package, patience};

/// Less than servers take, for those that never do.
fn impatience() -> Patience {
    Patience {
        idle: Duration::from_secs(1),
        answer: Duration::from_secs(1),
        grace: Duration::from_secs(1),
        ..patience()
    }
}

/// Asserts that asking, comparing and publishing are each refused with one of these codes, and that what is said has
/// one of these words, names the server, has help and no secret.
async fn refused(kind: Kind, origin: &str, patience: Patience, (codes, says): (&[&str], &[&str])) {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions {
        patience: Patience {
            retries: 1,
            ..patience
        },
        ..kind.options(folder.path())
    };
    let channel = kind.open(origin, options).await;
    let upload = package::upload(folder.path(), "linux-64/foo-1-0.conda", b"one");
    let packages = BTreeSet::from([upload.package.clone()]);
    let told = |step: &str, error: Error| {
        let message = error.to_string();
        let case = format!("{kind:?}, {step}: {}: {message}", error.code());
        assert!(codes.contains(&error.code()), "{case}");
        assert!(says.iter().any(|says| message.contains(says)), "{case}");
        let (_, server) = origin.split_once("://").unwrap();
        assert!(message.contains(server), "{case}");
        assert!(error.help().is_some(), "{case}");
        assert!(!format!("{message} {error:?}").contains(SECRET), "{case}");
    };
    told("asked", channel.preflight().await.unwrap_err());
    told("compared", channel.lookup(&packages).await.unwrap_err());
    match channel.put(&upload, &()).await.unwrap_err() {
        // Whatever answers in place of the package is taken for one that is there, and nothing is sent.
        Error::Conflict { .. } if codes.contains(&"repodata_invalid") => {}
        error => told("published", error),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_answers_is_told() {
    let html = b"<html><body>Please sign in</body></html>".to_vec();
    let refusal = ["refused", "channel_status"];
    let garbage = ["answer_invalid", "repodata_invalid"];
    let long = ["answer_invalid", "too_large", "repodata_invalid"];
    let gone = ["not_sent", "channel_unreachable"];
    let cases: [(Fault, &[&str], &[&str]); 11] = [
        // Wrong or ended credentials, no permission, no such channel, no room, no sense.
        (Fault::Status(401), &refusal, &["401"]),
        (Fault::Status(403), &refusal, &["403"]),
        (Fault::Status(404), &refusal, &["404"]),
        (Fault::Status(413), &refusal, &["413"]),
        (Fault::Status(507), &refusal, &["507"]),
        (Fault::Answer(200, html), &garbage, &[""]),
        (Fault::Answer(200, vec![0xff; 100]), &garbage, &[""]),
        (Fault::Drop, &gone, &["attempts"]),
        (Fault::Hang, &gone, &["attempts"]),
        (Fault::Drip, &gone, &["attempts"]),
        (Fault::Bomb, &long, &[""]),
    ];
    let all = cases.into_iter().map(|(fault, codes, says)| async move {
        let patience = match fault {
            Fault::Hang | Fault::Drip => impatience(),
            _ => patience(),
        };
        let server = Faulty::start(fault).await;
        let kinds = Kind::ALL;
        let kinds =
            kinds.map(|kind| refused(kind, server.origin(), patience.clone(), (codes, says)));
        join_all(kinds).await;
    });
    join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_is_cut_off() {
    let server = Faulty::start(Fault::Endless).await;
    let folder = tempfile::tempdir().unwrap();
    // What is read of channels is cut off later: their indexes and packages are large.
    for kind in [Kind::Prefix, Kind::Quetz, Kind::Anaconda] {
        let channel = kind
            .open(server.origin(), kind.options(folder.path()))
            .await;
        let upload = package::upload(folder.path(), "linux-64/foo-1-0.conda", b"one");
        let refused = channel.put(&upload, &()).await;
        expect_error(refused, "answer_invalid", "more than 1048576 bytes", SECRET);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_goes_where_a_server_leads_to() {
    let elsewhere = Elsewhere::start().await;
    let to = elsewhere.url().replace("127.0.0.1", "localhost");
    let server = Faulty::start(Fault::Redirect(format!("{to}/elsewhere?token={SECRET}"))).await;
    for kind in Kind::ALL {
        let expected: (&[&str], &[&str]) = (
            &["redirected", "repodata_invalid"],
            &["localhost", "is not valid repodata"],
        );
        refused(kind, server.origin(), patience(), expected).await;
    }
    for seen in elsewhere.seen() {
        assert_eq!(seen.authorization, None, "{seen:?}");
        assert_eq!(seen.body, "", "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_told() {
    let plain = Faulty::start(Fault::Status(404)).await;
    let plain = plain.origin().replace("http://", "https://");
    for kind in Kind::ALL {
        let gone = &["not_sent", "channel_unreachable"];
        refused(kind, &plain, patience(), (gone, &["corrupt message"])).await;
    }
    let Some(self_signed) = SelfSigned::start() else {
        return;
    };
    for kind in Kind::ALL {
        let gone = &["not_sent", "channel_unreachable"];
        refused(
            kind,
            &self_signed.origin(),
            patience(),
            (gone, &["certificate"]),
        )
        .await;
    }
}
