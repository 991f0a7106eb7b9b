//! Tokens that are minted from the identity of a CI system.

use std::sync::Arc;

use async_trait::async_trait;
use channel_servers::prefix::{MINT, PrefixOptions};
use channel_servers::{Elsewhere, Fault};
use conda_publish::{Error, OpenOptions, TokenSource};

use crate::support::{Fixture, WRITE_KEY, hasty, is_child, put_all, told};

/// An identity that is always the same.
struct Always(&'static str);

#[async_trait]
impl TokenSource for Always {
    async fn identity_token(
        &self,
        _: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Some(self.0.to_owned()))
    }
}

/// An identity that can't be had.
struct Broken;

#[async_trait]
impl TokenSource for Broken {
    async fn identity_token(
        &self,
        audience: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        // Tokens are for the server itself, not for prefix.dev.
        assert_eq!(audience, "127.0.0.1");
        Err(Error::Stopped.into())
    }
}

/// A job without `id-token: write`.
struct Nobody;

#[async_trait]
impl TokenSource for Nobody {
    async fn identity_token(
        &self,
        _: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(None)
    }
}

fn with(identity: impl TokenSource + 'static) -> OpenOptions {
    OpenOptions {
        patience: hasty(),
        identity: Some(Arc::new(identity)),
        ..OpenOptions::default()
    }
}

#[tokio::test]
async fn a_token_that_ends_under_200_uploads_at_once_is_minted_once_more() {
    let fixture = Fixture::start().await;
    let channel = fixture.open().await;
    channel.preflight().await.unwrap();
    fixture.server.expire_tokens();
    let uploads = fixture.plains(200);
    let results = put_all(&*channel, &uploads, 200).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(fixture.server.uploads().len(), 200);
    assert_eq!(fixture.server.mints(), 2);
    assert_eq!(fixture.server.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_200_uploads_is_minted_once_more() {
    let fixture = Fixture::with(PrefixOptions {
        token_uses: Some(110),
        ..PrefixOptions::default()
    })
    .await;
    let channel = fixture.open().await;
    let uploads = fixture.plains(200);
    let results = put_all(&*channel, &uploads, 16).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(fixture.server.uploads().len(), 200);
    assert_eq!(fixture.server.mints(), 2);
    // What was refused was repeated, and nothing else.
    let attempts = fixture.server.attempts();
    assert!((201..=216).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn a_new_token_that_is_refused_too_is_the_end() {
    let fixture = Fixture::with(PrefixOptions {
        token_uses: Some(0),
        ..PrefixOptions::default()
    })
    .await;
    let channel = fixture.open().await;
    let error = channel.put(&fixture.plain("greet"), &()).await.unwrap_err();
    assert!(error.to_string().contains("expired token"), "{error}");
    assert_eq!(fixture.server.mints(), 2);
    assert_eq!(fixture.server.attempts(), 2);
}

#[tokio::test]
async fn a_failed_mint_never_falls_back_to_a_key() {
    let variables = [("PREFIX_API_KEY", WRITE_KEY)];
    let test = "trusted_publishing::a_failed_mint_never_falls_back_to_a_key";
    if !is_child(test, &variables).await {
        return;
    }
    let fixture = Fixture::start().await;
    let upload = fixture.plain("greet");
    let forbidden = Fault::Answer(403, b"no trusted publisher".to_vec());
    for (options, fault, expected) in [
        (
            fixture.options(),
            Some(forbidden.clone()),
            "no trusted publisher",
        ),
        (fixture.options(), Some(Fault::Status(503)), "5 attempts"),
        (fixture.options(), Some(Fault::Drop), "5 attempts"),
        (
            fixture.options(),
            Some(Fault::Answer(200, b" \n".to_vec())),
            "is no token",
        ),
        (
            fixture.options(),
            Some(Fault::Answer(200, b"<html>".to_vec())),
            "is no token",
        ),
        (
            fixture.options(),
            Some(Fault::Answer(200, b"two words".to_vec())),
            "is no token",
        ),
        (
            fixture.options(),
            Some(Fault::Answer(200, vec![b'x'; 20_000])),
            "is no token",
        ),
        (fixture.options(), Some(Fault::Bomb), "is no token"),
        (fixture.options(), Some(Fault::Endless), "more than"),
        (with(Broken), None, "publishing was stopped"),
        (with(Always("not a token")), None, "HTTP status 401"),
    ] {
        fixture.server.faults().clear();
        if let Some(fault) = fault {
            fixture.server.faults().always(MINT, fault);
        }
        let channel = fixture.open_with(&options).await;
        for error in [
            channel.preflight().await.unwrap_err(),
            channel.put(&upload, &()).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Mint { .. }), "{error}");
            let told = told(&error);
            assert!(told.contains(expected), "{expected}: {told}");
            assert!(told.contains("never replaced by an API key"), "{told}");
        }
    }
    assert_eq!(
        fixture.server.attempts(),
        0,
        "nothing was tried with the key"
    );

    // In the middle of a batch it is no other.
    fixture.server.faults().clear();
    let channel = fixture.open().await;
    channel.preflight().await.unwrap();
    fixture.server.expire_tokens();
    fixture.server.faults().always(MINT, forbidden);
    let results = put_all(&*channel, &fixture.plains(20), 20).await;
    for result in results {
        assert!(matches!(result, Err(Error::Mint { .. })), "{result:?}");
    }
    assert!(fixture.server.uploads().is_empty());

    // Where there is no identity at all, a key is what is left.
    fixture.server.faults().clear();
    let channel = fixture.open_with(&with(Nobody)).await;
    channel.put(&upload, &()).await.unwrap();
    assert!(!fixture.server.uploads()[0].minted);
}

#[tokio::test]
async fn an_identity_of_another_repository_gets_no_token() {
    let fixture = Fixture::start().await;
    let claims = sigstore_sandbox::Claims {
        repository: Some("https://github.com/evil/pkgs".to_owned()),
        ..sigstore_sandbox::Claims::github_actions()
    };
    let lifetime = std::time::Duration::from_secs(60);
    let token = fixture.sandbox.token_with("127.0.0.1", lifetime, claims);
    let options = with(Always(token.unwrap().leak()));
    let channel = fixture.open_with(&options).await;
    let error = channel.preflight().await.unwrap_err();
    assert!(error.to_string().contains("acme/pkgs"), "{error}");
}

#[tokio::test]
async fn an_identity_token_is_in_no_error() {
    const TOKEN: &str = "eyJhbGciOiJub25lIn0.secret.signature";
    let fixture = Fixture::start().await;
    let echo = Fault::Answer(400, format!("bad token {TOKEN}!").into_bytes());
    fixture.server.faults().always(MINT, echo);
    let channel = fixture.open_with(&with(Always(TOKEN))).await;
    let error = channel.preflight().await.unwrap_err();
    assert!(error.to_string().contains("bad token …!"), "{error}");
    assert!(!format!("{error:?}").contains(TOKEN), "{error:?}");
}

#[tokio::test]
async fn an_exchange_is_never_led_elsewhere() {
    let elsewhere = Elsewhere::start().await;
    let fixture = Fixture::start().await;
    let redirect = Fault::Redirect(format!("{}{MINT}", elsewhere.url()));
    fixture.server.faults().always(MINT, redirect);
    let error = fixture.open().await.preflight().await.unwrap_err();
    assert!(matches!(error, Error::Mint { .. }), "{error}");
    assert_eq!(elsewhere.seen(), []);
}
