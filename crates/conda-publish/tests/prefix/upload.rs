//! What is uploaded, how clients find it, and what people are told when it is refused.

use std::collections::BTreeSet;

use channel_servers::Fault;
use channel_servers::prefix::{PrefixOptions, UPLOAD};
use conda_publish::{Error, Keeps, OpenOptions, RemoteChannel, open};
use release_manifest::PublishResult;

use crate::support::{Fixture, READ_KEY, WRITE_KEY, hasty, is_child, location, told};

#[tokio::test]
async fn a_package_and_its_attestation_are_one_upload_that_clients_find() {
    let fixture = Fixture::with(PrefixOptions {
        requires_attestation: true,
        ..PrefixOptions::default()
    })
    .await;
    let channel = fixture.open().await;
    assert_eq!(channel.attestations(), Keeps::Native { most: 1 });
    channel.preflight().await.unwrap();
    let upload = fixture.attested("greet").await;
    let names = BTreeSet::from([upload.package.clone()]);
    assert!(channel.lookup(&names).await.unwrap().is_empty());

    let placed = channel.put(&upload, &()).await.unwrap();
    channel.finish().await.unwrap();
    assert_eq!(placed.result, PublishResult::Uploaded);
    let url = format!("{}/{}", fixture.server.channel(), upload.package);
    assert_eq!(placed.url, url);
    let present = channel.lookup(&names).await.unwrap();
    assert_eq!(present[&upload.package].sha256, Some(upload.sha256));

    let url = fixture.server.channel().parse().unwrap();
    let client = RemoteChannel::open(url, None, hasty()).await.unwrap();
    let sidecar = client.sidecar(&upload.package).await.unwrap().unwrap();
    let bundle = std::fs::read_to_string(&upload.bundles[0].path).unwrap();
    assert_eq!(sidecar.bundles().collect::<Vec<_>>(), [bundle.trim()]);
    assert_eq!(fixture.server.mints(), 1);
    assert!(fixture.server.readers().iter().all(Option::is_none));
    assert_eq!(fixture.server.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_channel_may_have_a_namespace() {
    let fixture = Fixture::with(PrefixOptions {
        channel: "acme/nightly".to_owned(),
        ..PrefixOptions::default()
    })
    .await;
    let channel = fixture.open().await;
    channel.preflight().await.unwrap();
    let upload = fixture.attested("greet").await;
    let placed = channel.put(&upload, &()).await.unwrap();
    assert!(
        placed
            .url
            .ends_with("/acme/nightly/noarch/greet-1.0.0-h1_0.conda")
    );
    assert_eq!(fixture.server.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_private_channel_is_read_with_the_publishing_token() {
    let fixture = Fixture::with(PrefixOptions {
        private: true,
        ..PrefixOptions::default()
    })
    .await;
    let channel = fixture.open().await;
    channel.preflight().await.unwrap();
    let upload = fixture.plain("greet");
    channel.put(&upload, &()).await.unwrap();
    let names = BTreeSet::from([upload.package.clone()]);
    fixture.server.expire_tokens();
    let present = channel.lookup(&names).await.unwrap();
    assert_eq!(present[&upload.package].sha256, Some(upload.sha256));
    assert_eq!(fixture.server.mints(), 2, "an ended token is made anew");
}

#[tokio::test]
async fn a_channel_that_is_not_there_is_never_an_empty_one() {
    let fixture = Fixture::start().await;
    let upload = fixture.plain("greet");
    let names = BTreeSet::from([upload.package.clone()]);
    let elsewhere = location(&format!("{}/my-chanel", fixture.server.url()));
    let channel = open(&elsewhere, &fixture.options()).await.unwrap();
    for error in [
        channel.preflight().await.unwrap_err(),
        channel.lookup(&names).await.unwrap_err(),
        channel.put(&upload, &()).await.unwrap_err(),
    ] {
        let told = told(&error);
        assert!(told.contains("HTTP status 404"), "{told}");
        assert!(told.contains("check the channel's name"), "{told}");
    }
    let nobody = location("http://127.0.0.1:9/my-channel");
    let channel = open(&nobody, &fixture.options()).await.unwrap();
    let error = channel.lookup(&names).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let upload = fixture.plain("greet");
    for (status, expected) in [
        (400, "the URL is that of a prefix.dev server"),
        (401, "run the same command again"),
        (403, "trusted publisher of this very channel"),
        (404, "check the channel's name"),
        (413, "used up its storage"),
        (422, "attested for the URL of this very channel"),
        (451, "the channel's settings"),
    ] {
        let fault = Fault::Answer(status, br#"{"detail": "because\u001b[31m"}"#.to_vec());
        fixture.server.faults().next(UPLOAD, vec![fault; 2]);
        let error = channel.put(&upload, &()).await.unwrap_err();
        let told = told(&error);
        for part in [
            "127.0.0.1",
            "noarch/greet-1.0.0-h1_0.conda",
            r"because\u{1b}[31m",
            &format!("HTTP status {status}"),
            expected,
        ] {
            assert!(told.contains(part), "{status}: {part}: {told}");
        }
        assert!(!told.contains("minted-"), "{told}");
        assert_eq!(error.code(), "refused");
        fixture.server.faults().clear();
    }
    assert!(fixture.server.packages().is_empty());
}

#[tokio::test]
async fn what_the_server_finds_wrong_with_an_attestation_is_told() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let upload = fixture
        .attested_for("greet", "https://prefix.dev/other")
        .await;
    let told = told(&channel.put(&upload, &()).await.unwrap_err());
    assert!(told.contains("HTTP status 422"), "{told}");
    assert!(told.contains("https://prefix.dev/other"), "{told}");

    let mut swapped = fixture.attested("one").await;
    swapped.bundles = fixture.attested("two").await.bundles;
    let error = channel.put(&swapped, &()).await.unwrap_err();
    assert!(error.to_string().contains("HTTP status 422"), "{error}");
    assert!(fixture.server.packages().is_empty());
    assert_eq!(fixture.server.complaints(), [""; 0]);
}

#[tokio::test]
async fn more_attestations_than_fit_into_an_upload_are_refused_not_dropped() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    let mut upload = fixture.attested("greet").await;
    upload.bundles.push(upload.bundles[0].clone());
    let error = channel.put(&upload, &()).await.unwrap_err();
    assert_eq!(error.code(), "too_many_attestations");
    assert_eq!(fixture.server.attempts(), 0);
}

#[tokio::test]
async fn a_full_channel_says_so() {
    let fixture = Fixture::with(PrefixOptions {
        quota: Some(10),
        ..PrefixOptions::default()
    })
    .await;
    let channel = fixture.open().await;
    let error = channel.put(&fixture.plain("greet"), &()).await.unwrap_err();
    let told = told(&error);
    assert!(told.contains("HTTP status 413"), "{told}");
    assert!(told.contains("the channel may have 10 bytes"), "{told}");
}

/// Where no CI system is, as on a person's machine.
fn by_hand() -> OpenOptions {
    OpenOptions {
        patience: hasty(),
        ..OpenOptions::default()
    }
}

#[tokio::test]
async fn an_api_key_is_used_where_there_is_no_identity() {
    let variables = [("PREFIX_API_KEY", WRITE_KEY)];
    let test = "upload::an_api_key_is_used_where_there_is_no_identity";
    if is_child(test, &variables).await {
        let fixture = Fixture::start().await;
        let channel = fixture.open_with(&by_hand()).await;
        channel.preflight().await.unwrap();
        let upload = fixture.attested("greet").await;
        channel.put(&upload, &()).await.unwrap();
        assert_eq!(fixture.server.mints(), 0);
        assert!(!fixture.server.uploads()[0].minted);
        // Reading takes none, so none is sent.
        assert!(fixture.server.readers().iter().all(Option::is_none));
    }
}

#[tokio::test]
async fn a_key_that_may_only_read_is_refused_and_not_shown() {
    let test = "upload::a_key_that_may_only_read_is_refused_and_not_shown";
    if is_child(test, &[("PREFIX_API_KEY", READ_KEY)]).await {
        let fixture = Fixture::start().await;
        let channel = fixture.open_with(&by_hand()).await;
        let upload = fixture.plain("greet");
        let refused = told(&channel.put(&upload, &()).await.unwrap_err());
        assert!(refused.contains("HTTP status 403"), "{refused}");
        assert!(
            refused.contains("give the API key write access"),
            "{refused}"
        );

        let said = format!("the key {READ_KEY} has ended");
        let fault = Fault::Answer(401, said.into_bytes());
        fixture.server.faults().next(UPLOAD, [fault]);
        let refused = told(&channel.put(&upload, &()).await.unwrap_err());
        assert!(refused.contains("the key … has ended"), "{refused}");
        assert!(
            refused.contains("`PREFIX_API_KEY` is not valid"),
            "{refused}"
        );
        assert!(!refused.contains(READ_KEY), "{refused}");

        let said = format!("{READ_KEY} is one too many");
        let fault = Fault::Answer(503, said.into_bytes());
        fixture.server.faults().always(UPLOAD, fault);
        let refused = told(&channel.put(&upload, &()).await.unwrap_err());
        assert!(refused.contains("… is one too many"), "{refused}");
    }
}

#[tokio::test]
async fn without_any_credentials_it_is_said_where_they_are_looked_for() {
    let test = "upload::without_any_credentials_it_is_said_where_they_are_looked_for";
    if is_child(test, &[]).await {
        let fixture = Fixture::start().await;
        let channel = fixture.open_with(&by_hand()).await;
        let error = channel.preflight().await.unwrap_err();
        assert_eq!(error.code(), "no_credentials");
        for place in ["trusted publishing", "PREFIX_API_KEY", "pixi auth login"] {
            assert!(error.to_string().contains(place), "{error}");
        }
        // Reading takes none.
        channel.lookup(&BTreeSet::new()).await.unwrap();
    }
}
