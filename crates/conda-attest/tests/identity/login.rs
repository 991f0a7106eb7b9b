//! A person who logs in, through a browser here or elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::StatusCode;
use conda_attest::{
    Error, IdentitySource as _, IdentityToken, Person, Provider as Source, Search, find_identity,
};
use futures::future::BoxFuture;
use serde_json::json;
use tokio::net::TcpStream;
use url::Url;

use crate::provider::{Faults, Provider};
use crate::{SECRET, trace};

/// Somebody with a browser, who does as told.
#[derive(Default)]
struct Tester {
    /// No browser opens here: one on another machine shows the code.
    is_remote: bool,
    /// What else comes to the page that waits for the code, before the browser does.
    stray: Option<Visitor>,
    /// What that was answered.
    answered: Arc<Mutex<Option<StatusCode>>>,
    /// What is typed instead of the code.
    types: Option<&'static str>,
    shown: Mutex<String>,
}

/// Somebody who comes to a page.
type Visitor = fn(Url) -> Stray;
type Stray = BoxFuture<'static, Option<StatusCode>>;

#[async_trait]
impl Person for Tester {
    fn open(&self, url: &Url) -> bool {
        if self.is_remote {
            return false;
        }
        let (page, stray, answered) = (url.clone(), self.stray, Arc::clone(&self.answered));
        tokio::spawn(async move {
            if let Some(stray) = stray {
                let answer = stray(redirect_uri(&page)).await;
                *answered.lock().unwrap() = answer;
            }
            reqwest::get(page).await.unwrap();
        });
        true
    }

    fn show(&self, text: &str) {
        self.shown.lock().unwrap().push_str(text);
    }

    async fn ask_code(&self) -> std::io::Result<String> {
        if let Some(typed) = self.types {
            return Ok(typed.to_owned());
        }
        let shown = self.shown.lock().unwrap().clone();
        let page = shown.split_whitespace().last().unwrap().to_owned();
        let code = reqwest::get(page).await.unwrap().text().await.unwrap();
        Ok(format!("  {code}\n"))
    }
}

fn redirect_uri(page: &Url) -> Url {
    let parameter = page.query_pairs().find(|(name, _)| name == "redirect_uri");
    parameter.unwrap().1.parse().unwrap()
}

/// Logs in, and looks for what nobody may learn in all that is shown and traced meanwhile.
async fn log_in(provider: &Provider, person: &Tester) -> Result<IdentityToken, Error> {
    trace::begin();
    let environment = BTreeMap::new();
    let found = find_identity(Search {
        token: None,
        audience: "sigstore",
        environment: &environment,
        person: Some(person),
        oidc: Some(&provider.issuer),
    });
    let result = match found.await {
        Ok(identity) => {
            assert_eq!(identity.provider(), Source::Interactive);
            assert!(!identity.can_renew());
            identity.token().await
        }
        Err(error) => Err(error),
    };
    let shown = person.shown.lock().unwrap().clone();
    let failed = result.as_ref().err();
    let failed = failed
        .map(|error| format!("{error} {error:?}"))
        .unwrap_or_default();
    let traced = trace::text();
    assert!(traced.contains("reqwest"), "nothing was traced");
    for secret in provider.seen().secrets.iter().chain([&SECRET.to_owned()]) {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!failed.contains(secret), "{failed}");
        assert!(!traced.contains(secret), "{secret} is traced");
    }
    result
}

/// The error of a login at a provider that behaves badly, or is used badly.
async fn refused(faults: Faults, person: Tester) -> Error {
    let provider = Provider::start(faults).await;
    log_in(&provider, &person).await.unwrap_err()
}

#[tokio::test]
async fn a_person_logs_in_with_the_browser() {
    let provider = Provider::start(Faults::default()).await;
    let person = Tester::default();
    let token = log_in(&provider, &person).await.unwrap();
    assert_eq!(provider.seen().violations, [""; 0]);
    let facts = token.facts();
    assert_eq!(facts.provider, Source::Interactive);
    assert_eq!(facts.subject, "tester@example.org");
    assert_eq!(facts.audience, ["sigstore"]);
    assert_eq!(facts.issuer, provider.issuer.as_str());
    assert!(facts.time_left().is_positive());
}

#[tokio::test]
async fn without_a_browser_the_code_is_typed_in() {
    let provider = Provider::start(Faults::default()).await;
    let person = Tester {
        is_remote: true,
        ..Tester::default()
    };
    let token = log_in(&provider, &person).await.unwrap();
    assert_eq!(provider.seen().violations, [""; 0]);
    assert_eq!(token.subject(), "tester@example.org");
}

#[tokio::test]
async fn whoever_else_comes_to_the_page_changes_nothing() {
    let strays: [(Visitor, Option<StatusCode>); 5] = [
        // A browser opens connections ahead, and may leave them unused.
        (open_and_wait, None),
        (
            |page| visit(page.join("/favicon.ico").unwrap()),
            Some(StatusCode::NOT_FOUND),
        ),
        (
            |page| visit_with(page, "code=stolen&state=guessed"),
            Some(StatusCode::BAD_REQUEST),
        ),
        (
            |page| visit_with(page, "error=access_denied"),
            Some(StatusCode::BAD_REQUEST),
        ),
        (visit, Some(StatusCode::BAD_REQUEST)),
    ];
    for (stray, expected) in strays {
        let provider = Provider::start(Faults::default()).await;
        let person = Tester {
            stray: Some(stray),
            ..Tester::default()
        };
        let token = log_in(&provider, &person).await.unwrap();
        assert_eq!(token.subject(), "tester@example.org");
        assert_eq!(provider.seen().violations, [""; 0]);
        assert_eq!(*person.answered.lock().unwrap(), expected);
    }
}

fn visit(page: Url) -> Stray {
    Box::pin(async { Some(reqwest::get(page).await.unwrap().status()) })
}

fn visit_with(mut page: Url, query: &str) -> Stray {
    page.set_query(Some(query));
    visit(page)
}

fn open_and_wait(page: Url) -> Stray {
    Box::pin(async move {
        let address = (page.host_str().unwrap().to_owned(), page.port().unwrap());
        let unused = TcpStream::connect(address).await.unwrap();
        tokio::spawn(async move {
            let _kept_open = unused;
            std::future::pending::<()>().await;
        });
        None
    })
}

#[tokio::test]
async fn a_refusal_is_shown_without_moving_the_terminal() {
    let faults = Faults {
        denies: Some("not you\u{1b}[2J"),
        ..Faults::default()
    };
    let message = refused(faults, Tester::default()).await.to_string();
    assert!(message.contains("not you"), "{message}");
    assert!(!message.contains('\u{1b}'), "{message}");
}

#[tokio::test]
async fn a_code_that_was_not_given_out_is_no_login() {
    for (typed, code) in [("", "identity_provider"), ("wrong", "service")] {
        let person = Tester {
            is_remote: true,
            types: Some(typed),
            ..Tester::default()
        };
        assert_eq!(refused(Faults::default(), person).await.code(), code);
    }
}

#[tokio::test]
async fn a_token_of_another_login_issuer_or_audience_is_refused() {
    for (claim, value, code) in [
        ("nonce", json!("of-another-login"), "identity_provider"),
        ("nonce", json!(null), "identity_provider"),
        ("iss", json!("https://issuer.example"), "identity_provider"),
        ("aud", json!("another-client"), "token_audience"),
        ("exp", json!(1_000_000_000), "token_expired"),
    ] {
        let shown = format!("{claim} {value}");
        let faults = Faults {
            claims: Some(Box::new(move |claims| claims[claim] = value.clone())),
            ..Faults::default()
        };
        let error = refused(faults, Tester::default()).await;
        assert_eq!(error.code(), code, "{shown}: {error}");
    }
}

#[tokio::test]
async fn a_provider_that_is_not_what_it_should_be_is_not_used() {
    for (key, value, code) in [
        (
            "issuer",
            json!("https://issuer.example"),
            "identity_provider",
        ),
        ("issuer", json!(null), "identity_provider"),
        (
            "token_endpoint",
            json!("http://issuer.example/token"),
            "insecure_url",
        ),
        (
            "authorization_endpoint",
            json!("http://issuer.example/auth"),
            "insecure_url",
        ),
        (
            "authorization_endpoint",
            json!("file:///etc/passwd"),
            "insecure_url",
        ),
        ("token_endpoint", json!(["a"]), "identity_provider"),
    ] {
        let shown = format!("{key} {value}");
        let faults = Faults {
            discovery: Some(Box::new(move |answer| answer[key] = value.clone())),
            ..Faults::default()
        };
        let person = Tester::default();
        let provider = Provider::start(faults).await;
        let error = log_in(&provider, &person).await.unwrap_err();
        assert_eq!(error.code(), code, "{shown}: {error}");
        assert_eq!(*person.shown.lock().unwrap(), "", "nobody is sent there");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_for_a_moment_is_asked_again() {
    let provider = Provider::start(Faults {
        away: 2,
        ..Faults::default()
    })
    .await;
    log_in(&provider, &Tester::default()).await.unwrap();
    assert_eq!(provider.seen().discoveries, 3);
}
