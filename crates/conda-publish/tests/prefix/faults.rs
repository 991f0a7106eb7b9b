//! What networks and servers do to uploads.

use std::sync::Mutex;
use std::time::Duration;

use channel_servers::prefix::UPLOAD;
use channel_servers::{Elsewhere, Fault};
use conda_publish::{Error, OpenOptions, Reporter};
use release_manifest::PackageKey;

use crate::support::{Fixture, impatient, put_all};

/// Keeps why uploads began again, and after how long.
#[derive(Default)]
struct Repeated(Mutex<Vec<(String, Duration)>>);

impl Reporter for Repeated {
    fn sent(&self, _: &PackageKey, _: u64) {}
    fn repeating(&self, _: &PackageKey, reason: &str, delay: Duration) {
        self.0.lock().unwrap().push((reason.to_owned(), delay));
    }
}

#[tokio::test]
async fn five_in_a_hundred_requests_may_fail() {
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Drop,
        Fault::LoseAnswer,
    ] {
        let fixture = Fixture::start().await;
        fixture.server.faults().every(UPLOAD, 20, fault);
        let channel = fixture.open().await;
        let uploads = fixture.plains(60);
        let results = put_all(&*channel, &uploads, 8).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(fixture.server.uploads().len(), 60, "each once");
        assert_eq!(fixture.server.complaints(), [""; 0]);
    }
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_waited_for() {
    let fixture = Fixture::start().await;
    fixture
        .server
        .faults()
        .next(UPLOAD, [Fault::RetryAfter(429, 1)]);
    let channel = fixture.open().await;
    let repeated = Repeated::default();
    channel
        .put(&fixture.plain("greet"), &repeated)
        .await
        .unwrap();
    let repeated = repeated.0.into_inner().unwrap();
    let [(reason, delay)] = repeated.as_slice() else {
        panic!("{repeated:?}");
    };
    assert!(reason.contains("429"), "{reason}");
    assert!(*delay >= Duration::from_secs(1), "{delay:?}");
}

#[tokio::test]
async fn a_server_that_fails_for_ever_is_given_up() {
    let fixture = Fixture::start().await;
    fixture.server.faults().always(UPLOAD, Fault::Status(502));
    let channel = fixture.open().await;
    let error = channel.put(&fixture.plain("greet"), &()).await.unwrap_err();
    assert!(
        matches!(error, Error::NotSent { attempts: 5, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_a_token_nor_without() {
    let elsewhere = Elsewhere::start().await;
    let fixture = Fixture::start().await;
    let redirect = Fault::Redirect(format!("{}/upload?token=s3cret", elsewhere.url()));
    fixture.server.faults().always(UPLOAD, redirect);
    let channel = fixture.open().await;
    let error = channel.put(&fixture.plain("greet"), &()).await.unwrap_err();
    assert!(matches!(error, Error::Redirected { .. }), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    assert_eq!(elsewhere.seen(), []);
}

#[tokio::test]
async fn answers_without_end_or_sense_are_no_success() {
    let fixture = Fixture::start().await;
    let channel = fixture
        .open_with(&OpenOptions {
            patience: impatient(),
            ..fixture.options()
        })
        .await;
    channel.preflight().await.unwrap();
    let upload = fixture.plain("greet");
    for (fault, expected) in [
        (Fault::Endless, "more than 1048576 bytes"),
        (Fault::Bomb, "a sign-in page may be in between"),
        (
            Fault::Answer(200, b" <html>Sign in</html>".to_vec()),
            "a sign-in page",
        ),
        (
            Fault::Answer(200, vec![0xff; 100]),
            "a sign-in page may be in between",
        ),
        // Which of two clocks ends the wait is a matter of the moment.
        (Fault::Drip, "(2 attempts)"),
        (Fault::Hang, "nothing came or went for 0 s (2 attempts)"),
    ] {
        fixture.server.faults().always(UPLOAD, fault.clone());
        let error = channel.put(&upload, &()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{fault:?}: {error}");
    }
    assert!(fixture.server.packages().is_empty());
    // Nothing is lost by it: the same again, when the server is well.
    fixture.server.faults().clear();
    channel.put(&upload, &()).await.unwrap();
}
