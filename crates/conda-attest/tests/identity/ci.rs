//! CI systems. An environment belongs to a process, so that each case is a process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use conda_attest::{
    Error, IdentitySource as _, IdentityToken, ProcessEnvironment, Provider, Search, TokenInput,
    find_identity,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{SECRET, jwt_of};

/// Where the process of a case writes what it found.
const REPORT: &str = "IDENTITY_TEST_REPORT";
const AUDIENCE: &str = "IDENTITY_TEST_AUDIENCE";
/// The file that the token is in, or `-`.
const TOKEN: &str = "IDENTITY_TEST_TOKEN";

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    ours: Outcome,
    /// What the crate `ambient-id` finds in the same environment: the subject of the token,
    /// nothing, or an error.
    ambient: Result<Option<String>, String>,
}

type Outcome = Result<Found, Refusal>;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    provider: String,
    subjects: Vec<String>,
    audience: Vec<String>,
    can_renew: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Refusal {
    code: String,
    message: String,
    help: Option<String>,
}

/// An unsigned token that is valid for an hour.
fn jwt(subject: &str, audience: &str) -> String {
    jwt_of(&json!({
        "iss": "https://issuer.example",
        "sub": subject,
        "aud": audience,
        "exp": jiff::Timestamp::now().as_second() + 3600,
    }))
}

/// The process of a case.
#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn case() {
    let Some(report) = std::env::var_os(REPORT) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let found = runtime.block_on(async {
        Report {
            ours: ours().await.map_err(|error| Refusal {
                code: error.code().to_owned(),
                message: error.to_string(),
                help: error.help(),
            }),
            ambient: ambient().await,
        }
    });
    std::fs::write(report, serde_json::to_vec(&found).unwrap()).unwrap();
}

async fn ours() -> Result<Found, Error> {
    let audience = std::env::var(AUDIENCE).unwrap();
    let token = std::env::var(TOKEN).ok().map(|token| match token.as_str() {
        "-" => TokenInput::Stdin,
        path => TokenInput::File(path.into()),
    });
    let identity = find_identity(Search {
        token: token.as_ref(),
        audience: &audience,
        environment: &ProcessEnvironment,
        person: None,
        oidc: None,
    })
    .await?;
    // Twice, as for a renewed certificate.
    let (first, second) = (identity.token().await?, identity.token().await?);
    assert_eq!(first.provider(), identity.provider());
    Ok(Found {
        provider: identity.provider().code().to_owned(),
        subjects: [&first, &second]
            .map(|token| token.subject().to_owned())
            .into(),
        audience: first.facts().audience,
        can_renew: identity.can_renew(),
    })
}

async fn ambient() -> Result<Option<String>, String> {
    let client = reqwest::Client::new();
    let detector = ambient_id::Detector::new_with_client(client);
    let token = detector.detect(&std::env::var(AUDIENCE).unwrap()).await;
    let token = token.map_err(|error| error.to_string())?;
    Ok(token.map(|token| {
        let token = IdentityToken::from_jwt(token.reveal(), Provider::Variable).unwrap();
        token.subject().to_owned()
    }))
}

/// A process to be run in an environment of its own.
struct Case {
    dir: TempDir,
    variables: BTreeMap<String, String>,
    stdin: String,
}

impl Case {
    fn new(audience: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.path().display());
        let report = dir.path().join("report");
        let variables = [
            (AUDIENCE, audience),
            (REPORT, report.to_str().unwrap()),
            ("PATH", &path),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            variables: variables.map(owned).into(),
            dir,
            stdin: String::new(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A program on the PATH.
    fn program(self, name: &str, script: &str) -> Self {
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the process, which must write no secret anywhere.
    fn run(&self) -> Report {
        std::fs::write(self.path("stdin"), &self.stdin).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ci::case", "--ignored", "--nocapture"])
            .env_clear()
            .envs(&self.variables)
            .stdin(File::open(self.path("stdin")).unwrap())
            .output()
            .unwrap();
        let report = std::fs::read(self.path("report")).unwrap();
        for written in [&output.stdout, &output.stderr, &report] {
            let written = String::from_utf8_lossy(written);
            assert!(!written.contains(SECRET), "{written}");
        }
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&report).unwrap()
    }

    fn found(&self) -> Found {
        let report = self.run();
        let found = report.ours.unwrap();
        // Both know the same variables, and so the same token.
        let subject = report.ambient.unwrap();
        assert_eq!(
            subject.as_deref(),
            found.subjects.last().map(String::as_str)
        );
        found
    }

    fn refusal(&self) -> Refusal {
        self.run().ours.unwrap_err()
    }
}

fn found(provider: &str, subject: &str, audience: &str, can_renew: bool) -> Found {
    Found {
        provider: provider.to_owned(),
        subjects: vec![subject.to_owned(); 2],
        audience: vec![audience.to_owned()],
        can_renew,
    }
}

/// GitHub's endpoint; the subject of its tokens is everything that matters of the request.
async fn github() -> String {
    async fn token(
        Query(query): Query<Vec<(String, String)>>,
        headers: HeaderMap,
    ) -> Result<Json<Value>, StatusCode> {
        if headers["authorization"] != format!("Bearer {SECRET}") {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let audience =
            |(name, value): &(String, String)| (name == "audience").then(|| value.clone());
        let audience = query.iter().find_map(audience).unwrap_or_default();
        Ok(Json(
            json!({ "value": jwt(&format!("{query:?}"), &audience) }),
        ))
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/token?api-version=2.0",
        listener.local_addr().unwrap()
    );
    let app = Router::new().route("/token", get(token));
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    url
}

/// Runs cases without keeping the servers of this test from answering.
async fn run<T: Send + 'static>(case: Case, what: fn(&Case) -> T) -> T {
    tokio::task::spawn_blocking(move || what(&case))
        .await
        .unwrap()
}

#[tokio::test]
async fn github_actions_is_asked_for_a_token_with_the_instances_own_audience() {
    let url = github().await;
    for audience in ["sigstore", "https://acme.example/a b&c"] {
        let case = Case::new(audience)
            .set("GITHUB_ACTIONS", "true")
            .set("ACTIONS_ID_TOKEN_REQUEST_URL", &url)
            .set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SECRET);
        let query = [("api-version", "2.0"), ("audience", audience)];
        let expected = found("github_actions", &format!("{query:?}"), audience, true);
        assert_eq!(run(case, Case::found).await, expected);
    }
}

#[tokio::test]
async fn a_github_endpoint_that_refuses_is_an_error_without_its_secrets() {
    let url = github().await;
    let case = Case::new("sigstore")
        .set("GITHUB_ACTIONS", "true")
        .set(
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            &format!("{url}&key={SECRET}"),
        )
        .set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "another")
        // What would also do is not taken instead.
        .set("BUILDKITE", "true")
        .program(
            "buildkite-agent",
            &format!("echo {}", jwt("agent", "sigstore")),
        );
    let refusal = run(case, Case::refusal).await;
    assert_eq!(refusal.code, "service");
    assert!(refusal.message.contains("401"), "{}", refusal.message);
}

#[test]
fn gitlab_has_the_token_in_the_variable_of_the_audience() {
    for (audience, variable) in [
        ("acme", "ACME_ID_TOKEN"),
        (
            "https://acme.example/sign",
            "HTTPS___ACME_EXAMPLE_SIGN_ID_TOKEN",
        ),
        ("acm\u{e9}-1_x", "ACM__1_X_ID_TOKEN"),
    ] {
        let case = Case::new(audience)
            .set("GITLAB_CI", "true")
            .set(variable, &jwt("job", audience));
        assert_eq!(case.found(), found("gitlab", "job", audience, false));
    }
}

/// Says how it was called, in the subject of a token; `--claims` and `--audience` come last.
fn agent(case: &Case, audience: &str) -> String {
    std::fs::write(case.path("token"), jwt("agent", audience)).unwrap();
    format!(
        r#"printf '%s\n' "$@" > '{0}/arguments'; cat '{0}/token'; echo '{SECRET}' >&2"#,
        case.dir.path().display()
    )
}

fn arguments(case: &Case) -> Vec<String> {
    let arguments = std::fs::read_to_string(case.path("arguments")).unwrap();
    arguments.lines().map(str::to_owned).collect()
}

#[test]
fn buildkites_agent_makes_the_token() {
    let audience = "acme; rm -rf $HOME";
    let case = Case::new(audience).set("BUILDKITE", "true");
    let script = agent(&case, audience);
    let case = case.program("buildkite-agent", &script);
    assert_eq!(case.found(), found("buildkite", "agent", audience, true));
    assert_eq!(
        arguments(&case),
        ["oidc", "request-token", "--audience", audience]
    );
}

#[test]
fn circlecis_command_makes_the_token() {
    let audience = r#"a"},"sub":"me"#;
    let case = Case::new(audience).set("CIRCLECI", "true");
    let script = agent(&case, audience);
    let case = case.program("circleci", &script);
    assert_eq!(case.found(), found("circleci", "agent", audience, true));
    let arguments = arguments(&case);
    let (claims, command) = arguments.split_last().unwrap();
    assert_eq!(command, ["run", "oidc", "get", "--root-issuer", "--claims"]);
    let claims: Value = serde_json::from_str(claims).unwrap();
    assert_eq!(claims, json!({ "aud": audience }));
}

#[test]
fn a_ci_system_without_its_program_is_an_error_that_names_it() {
    for (variable, program) in [("BUILDKITE", "buildkite-agent"), ("CIRCLECI", "circleci")] {
        let report = Case::new("sigstore").set(variable, "true").run();
        let refusal = report.ours.unwrap_err();
        assert_eq!(refusal.code, "no_identity");
        let expected = format!("`{program}` is not on the PATH");
        assert!(refusal.message.contains(&expected), "{}", refusal.message);
        assert!(refusal.help.unwrap().starts_with("run this step"));
        report.ambient.unwrap_err();
    }
}

#[test]
fn an_agent_that_fails_is_an_error_with_its_reason_and_without_its_secrets() {
    let script = format!(
        "echo 'fatal: 403 Forbidden for {0}' >&2; echo {0}; exit 7",
        jwt("agent", "sigstore")
    );
    let case = Case::new("sigstore")
        .set("BUILDKITE", "true")
        .program("buildkite-agent", &script);
    let refusal = case.run().ours.unwrap_err();
    assert!(
        refusal.message.contains("exit status: 7"),
        "{}",
        refusal.message
    );
    assert!(
        refusal.message.contains("fatal: 403 Forbidden for"),
        "{}",
        refusal.message
    );
}

#[test]
fn nothing_around_is_no_identity_for_either() {
    let report = Case::new("sigstore").run();
    assert_eq!(report.ours.unwrap_err().code, "no_identity");
    assert_eq!(report.ambient, Ok(None));
}

#[test]
fn a_withheld_token_is_an_error_for_either() {
    for variable in ["GITHUB_ACTIONS", "GITLAB_CI"] {
        let report = Case::new("sigstore").set(variable, "true").run();
        let refusal = report.ours.unwrap_err();
        assert_eq!(refusal.code, "no_identity");
        assert!(refusal.help.unwrap().contains("id"), "{}", refusal.message);
        report.ambient.unwrap_err();
    }
}

#[test]
fn a_token_that_was_named_comes_before_everything_around() {
    let around = |case: Case| {
        case.set("SIGSTORE_ID_TOKEN", &jwt("variable", "sigstore"))
            .set("GITHUB_ACTIONS", "true")
    };
    let mut case = around(Case::new("sigstore")).set(TOKEN, "-");
    case.stdin = format!("{}\n", jwt("stdin", "sigstore"));
    let expected = found("stdin", "stdin", "sigstore", false);
    assert_eq!(case.run().ours.unwrap(), expected);

    let case = around(Case::new("sigstore")).file("token", &jwt("file", "sigstore"));
    let path = case.path("token");
    let case = case.set(TOKEN, path.to_str().unwrap());
    let expected = found("file", "file", "sigstore", false);
    assert_eq!(case.run().ours.unwrap(), expected);

    let expected = found("variable", "variable", "sigstore", false);
    assert_eq!(around(Case::new("sigstore")).run().ours.unwrap(), expected);
}

#[test]
fn standard_input_without_a_token_is_an_error() {
    let mut case = Case::new("sigstore").set(TOKEN, "-");
    for (stdin, expected) in [
        (String::new(), "it is empty"),
        (SECRET.to_owned(), "expected a JWT"),
        (SECRET.repeat(10_000), "longer than 64 KiB"),
    ] {
        case.stdin = stdin;
        let refusal = case.refusal();
        assert_eq!(refusal.code, "token");
        assert!(refusal.message.contains(expected), "{}", refusal.message);
    }
}

/// What a shell makes of `--identity-token <(command)`.
#[test]
fn a_pipe_is_read_once_and_its_token_used_again() {
    let case = Case::new("sigstore");
    let pipe = case.path("pipe");
    make_pipe(&pipe);
    let case = case.set(TOKEN, pipe.to_str().unwrap());
    let writer = std::thread::spawn(move || std::fs::write(pipe, jwt("pipe", "sigstore")).unwrap());
    let expected = found("file", "pipe", "sigstore", false);
    assert_eq!(case.run().ours.unwrap(), expected);
    writer.join().unwrap();
}

fn make_pipe(path: &Path) {
    let status = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}
