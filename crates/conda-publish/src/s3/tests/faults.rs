//! Bad credentials and bad networks.

use channel_servers::toxiproxy::{Towards, Toxiproxy};
use channel_servers::{Elsewhere, Fault, Faulty, SelfSigned};

use super::*;
use crate::fixture::upload;
use crate::{Error, Upload};

#[tokio::test]
async fn wrong_credentials_and_wrong_buckets_are_said_to_be_that() {
    let Some((server, _)) = start() else { return };
    let wrong = S3Channel::with(
        access(&server.endpoint(), "wrong"),
        BUCKET,
        PATH,
        patience(),
    );
    let error = wrong.unwrap().preflight().await.unwrap_err();
    match &error {
        Error::Refused {
            status: 403,
            reason,
            help,
            ..
        } => {
            assert!(reason.starts_with("SignatureDoesNotMatch"), "{reason}");
            assert!(help.contains("secret is wrong"), "{help}");
        }
        error => panic!("{error}"),
    }
    let said = format!("{error:?} {error}");
    assert!(!said.contains(VersityGw::SECRET_KEY), "{said}");

    let right = access(&server.endpoint(), VersityGw::SECRET_KEY);
    let missing = S3Channel::with(right, "nobodys", PATH, patience()).unwrap();
    let package = key("noarch/a-1-0.conda");
    for error in [
        missing.preflight().await.unwrap_err(),
        // Never taken for an empty channel.
        missing.lookup(&[package].into()).await.unwrap_err(),
    ] {
        match error {
            Error::Refused {
                status: 404, help, ..
            } => {
                assert!(help.contains("create the bucket"), "{help}");
            }
            error => panic!("{error}"),
        }
    }

    let none = Access {
        credentials: None,
        ..access(&server.endpoint(), "")
    };
    let none = S3Channel::with(none, BUCKET, PATH, patience()).unwrap();
    let error = none.preflight().await.unwrap_err();
    assert!(matches!(error, Error::NoCredentials { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_asked_only_so_often() {
    let channel = channel_at("http://127.0.0.1:9", PATH);
    let error = channel.preflight().await.unwrap_err();
    match error {
        Error::NotSent { attempts, .. } => assert_eq!(attempts, patience().retries + 1),
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn connections_that_break_are_made_again_and_nothing_is_lost() {
    let Some((server, sources)) = start() else {
        return;
    };
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let proxy = toxiproxy.to(&server.address()).await;
    let endpoint = format!("http://{}", proxy.address);
    let mut uploads: Vec<Upload> = (0..8)
        .map(|n| upload(sources.path(), &format!("noarch/p{n}-1-0.conda"), "x"))
        .collect();
    uploads.push(large(sources.path(), "linux-64/large-1-0.conda", 20 << 20));
    let mut channel = channel_at(&endpoint, PATH);
    channel.bucket.patience.retries = 20;
    proxy.latency(Towards::Client, 5).await;
    // Answers that are lost after what was asked for was done, and requests that end early.
    proxy.limit_data(Towards::Client, 0.2, 100).await;
    proxy.limit_data(Towards::Server, 0.2, 100_000).await;
    for upload in &uploads {
        channel.put(upload, &()).await.unwrap();
    }
    channel.finish().await.unwrap();
    let direct = channel_at(&server.endpoint(), PATH);
    check_complete(&direct, &uploads).await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_package_shows_nothing() {
    let Some((server, sources)) = start() else {
        return;
    };
    let Some(toxiproxy) = Toxiproxy::start() else {
        return;
    };
    let proxy = toxiproxy.to(&server.address()).await;
    let channel = channel_at(&format!("http://{}", proxy.address), PATH);
    channel.preflight().await.unwrap();
    channel.begin().await.unwrap();
    let package = large(sources.path(), "linux-64/large-1-0.conda", 20 << 20);
    proxy.limit_data(Towards::Server, 1.0, 3 << 20).await;
    let error = channel.put(&package, &()).await.unwrap_err();
    assert!(matches!(error, Error::NotSent { .. }), "{error}");
    let direct = channel_at(&server.endpoint(), PATH);
    assert_eq!(read(&direct, "linux-64/large-1-0.conda").await, None);

    proxy.remove("limit_data", Towards::Server).await;
    publish(
        &channel_at(&format!("http://{}", proxy.address), PATH),
        &[&package],
    )
    .await;
    check_complete(&direct, std::slice::from_ref(&package)).await;
    assert_eq!(unfinished(&direct).await, 0);
}

/// Asserts that asking, comparing and publishing are each refused with this code, and that what is said has this word,
/// names the server, has help and no secret.
async fn refused(endpoint: &str, code: &str, says: &str) {
    let sources = tempfile::tempdir().unwrap();
    let patience = Patience {
        idle: Duration::from_secs(1),
        answer: Duration::from_secs(1),
        retries: 1,
        ..patience()
    };
    let access = access(endpoint, VersityGw::SECRET_KEY);
    let channel = S3Channel::with(access, BUCKET, PATH, patience).unwrap();
    let package = upload(sources.path(), "noarch/a-1-0.conda", "x");
    let told = |step: &str, error: Error| {
        let message = error.to_string();
        let case = format!("{step}: {}: {message}", error.code());
        assert_eq!(error.code(), code, "{case}");
        assert!(message.contains(says), "{says}: {case}");
        let (_, server) = endpoint.split_once("://").unwrap();
        assert!(message.contains(server), "{case}");
        assert!(error.help().is_some(), "{case}");
        let all = format!("{message} {error:?}");
        assert!(!all.contains(VersityGw::SECRET_KEY), "{case}");
    };
    told("asked", channel.preflight().await.unwrap_err());
    let packages = [package.package.clone()].into();
    told("compared", channel.lookup(&packages).await.unwrap_err());
    told("published", channel.put(&package, &()).await.unwrap_err());
}

#[tokio::test]
async fn whatever_a_server_answers_is_told() {
    let s3 = |status, code: &str| {
        let text = format!("<Error><Code>{code}</Code><Message>said</Message></Error>");
        Fault::Answer(status, text.into_bytes())
    };
    let html = b"<html><body>Please sign in</body></html>".to_vec();
    for (fault, code, says) in [
        (s3(403, "ExpiredToken"), "refused", "ExpiredToken: said"),
        (s3(403, "AccessDenied"), "refused", "AccessDenied: said"),
        (s3(404, "NoSuchBucket"), "refused", "NoSuchBucket: said"),
        (s3(507, "XMinioStorageFull"), "refused", "XMinioStorageFull"),
        (Fault::Status(503), "not_sent", "503"),
        (Fault::Drop, "not_sent", "(2 attempts)"),
        (Fault::Hang, "not_sent", "(2 attempts)"),
        (Fault::Answer(200, html), "answer_invalid", ""),
        (Fault::Answer(200, vec![0xff; 100]), "answer_invalid", ""),
        (Fault::Drip, "not_sent", "(2 attempts)"),
        (Fault::Endless, "not_sent", "length limit exceeded"),
        (Fault::Bomb, "answer_invalid", ""),
    ] {
        let server = Faulty::start(fault).await;
        refused(server.origin(), code, says).await;
    }
}

#[tokio::test]
async fn nothing_goes_where_a_server_leads_to() {
    let elsewhere = Elsewhere::start().await;
    let server = Faulty::start(Fault::Redirect(format!("{}/?x=1", elsewhere.url()))).await;
    refused(server.origin(), "redirected", "nothing is sent there").await;
    assert_eq!(elsewhere.seen(), []);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told() {
    let Some(server) = SelfSigned::start() else {
        return;
    };
    refused(&server.origin(), "not_sent", "certificate").await;
}
