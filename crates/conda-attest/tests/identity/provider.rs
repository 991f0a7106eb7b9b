//! An identity provider on loopback, as strict as the specifications allow it to be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::Digest as _;
use url::Url;

use crate::jwt_of;

/// Changes what an answer says.
type Change = Box<dyn Fn(&mut Value) + Send + Sync>;

/// How a provider differs from a good one.
#[derive(Default)]
pub(crate) struct Faults {
    /// Changes what it says of itself.
    pub(crate) discovery: Option<Change>,
    /// Changes the claims of the tokens.
    pub(crate) claims: Option<Change>,
    /// Refuses the person, with this explanation.
    pub(crate) denies: Option<&'static str>,
    /// How many requests for its configuration fail first.
    pub(crate) away: usize,
}

/// A running provider.
pub(crate) struct Provider {
    pub(crate) issuer: Url,
    service: Arc<Service>,
}

struct Service {
    issuer: String,
    faults: Faults,
    logins: Mutex<BTreeMap<String, Login>>,
    seen: Mutex<Seen>,
}

struct Login {
    challenge: String,
    nonce: String,
    redirect_uri: String,
}

/// What happened.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Requests for the configuration.
    pub(crate) discoveries: usize,
    /// What no other may learn: codes, verifiers and tokens.
    pub(crate) secrets: Vec<String>,
    /// Rules that the client broke.
    pub(crate) violations: Vec<String>,
}

impl Provider {
    pub(crate) async fn start(faults: Faults) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}/auth", listener.local_addr().unwrap());
        let service = Arc::new(Service {
            issuer: issuer.clone(),
            faults,
            logins: Mutex::default(),
            seen: Mutex::default(),
        });
        let app = Router::new()
            .route("/auth/.well-known/openid-configuration", get(discovery))
            .route("/auth/auth", get(authorize))
            .route("/auth/token", post(token))
            .with_state(Arc::clone(&service));
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self {
            issuer: issuer.parse().unwrap(),
            service,
        }
    }

    /// What happened so far.
    pub(crate) fn seen(&self) -> Seen {
        self.service.seen.lock().unwrap().clone()
    }
}

impl Service {
    /// Notes a broken rule, and answers as providers do.
    fn refuse(&self, violation: impl Into<String>) -> Response {
        self.seen.lock().unwrap().violations.push(violation.into());
        (
            StatusCode::BAD_REQUEST,
            Json(json!({ "error": "invalid_request" })),
        )
            .into_response()
    }

    fn keep_secret(&self, secret: &str) {
        self.seen.lock().unwrap().secrets.push(secret.to_owned());
    }
}

async fn discovery(State(service): State<Arc<Service>>) -> Response {
    let discoveries = {
        let mut seen = service.seen.lock().unwrap();
        seen.discoveries += 1;
        seen.discoveries
    };
    if discoveries <= service.faults.away {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let issuer = &service.issuer;
    let mut answer = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
    });
    if let Some(change) = &service.faults.discovery {
        change(&mut answer);
    }
    Json(answer).into_response()
}

/// Where the person logs in (OpenID Connect Core 3.1.2, RFC 7636, RFC 8252).
async fn authorize(
    State(service): State<Arc<Service>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let names: Vec<_> = query.iter().map(|(name, _)| name.as_str()).collect();
    let query: BTreeMap<_, _> = query.iter().cloned().collect();
    if names.len() != query.len() {
        return service.refuse(format!("a parameter twice: {names:?}"));
    }
    let value = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    for (name, expected) in [
        ("response_type", "code"),
        ("client_id", "sigstore"),
        ("scope", "openid email"),
        ("code_challenge_method", "S256"),
    ] {
        if value(name) != expected {
            return service.refuse(format!("{name} is `{}`", value(name)));
        }
    }
    // 128 bits at least, in base64url.
    for name in ["state", "nonce", "code_challenge"] {
        if value(name).len() < 22 {
            return service.refuse(format!("{name} is `{}`", value(name)));
        }
    }
    let redirect_uri = value("redirect_uri");
    let out_of_band = redirect_uri == "urn:ietf:wg:oauth:2.0:oob";
    let on_loopback = Url::parse(redirect_uri).is_ok_and(|url| {
        url.scheme() == "http" && url.host_str() == Some("127.0.0.1") && url.port().is_some()
    });
    if !out_of_band && !on_loopback {
        return service.refuse(format!("redirect_uri is `{redirect_uri}`"));
    }

    let code = format!("code-{}", rand::random::<u128>());
    service.keep_secret(&code);
    let login = Login {
        challenge: value("code_challenge").to_owned(),
        nonce: value("nonce").to_owned(),
        redirect_uri: redirect_uri.to_owned(),
    };
    service.logins.lock().unwrap().insert(code.clone(), login);
    if out_of_band {
        return code.into_response();
    }
    let mut back = Url::parse(redirect_uri).unwrap();
    match service.faults.denies {
        Some(why) => back
            .query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair("error_description", why),
        None => back.query_pairs_mut().append_pair("code", &code),
    };
    back.query_pairs_mut().append_pair("state", value("state"));
    Redirect::to(back.as_str()).into_response()
}

/// Where the code is exchanged (OpenID Connect Core 3.1.3, RFC 7636 4.5).
async fn token(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    service.keep_secret(value("code_verifier"));
    if headers.contains_key("authorization") {
        return service.refuse("a public client has no credentials");
    }
    for (name, expected) in [
        ("grant_type", "authorization_code"),
        ("client_id", "sigstore"),
    ] {
        if value(name) != expected {
            return service.refuse(format!("{name} is `{}`", value(name)));
        }
    }
    let Some(login) = service.logins.lock().unwrap().remove(value("code")) else {
        return service.refuse("a code that was not given out, or was used before");
    };
    let challenge = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(value("code_verifier")));
    if challenge != login.challenge || value("code_verifier").len() < 43 {
        return service.refuse("the verifier is not that of the challenge");
    }
    if value("redirect_uri") != login.redirect_uri {
        return service.refuse("another redirect_uri");
    }
    let mut claims = json!({
        "iss": service.issuer,
        "sub": "CgV0ZXN0ZXI",
        "aud": "sigstore",
        "exp": jiff::Timestamp::now().as_second() + 60,
        "nonce": login.nonce,
        "email": "tester@example.org",
        "email_verified": true,
    });
    if let Some(change) = &service.faults.claims {
        change(&mut claims);
    }
    let token = jwt_of(&claims);
    service.keep_secret(&token);
    Json(json!({ "access_token": "a", "token_type": "bearer", "id_token": token })).into_response()
}
