//! Tokens and the look-up of variables; what runs programs or asks servers is in `tests/identity.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;
use crate::Evidence;

fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"none"}"#),
        part(claims),
        part("signature")
    )
}

fn token(claims: &str) -> IdentityToken {
    IdentityToken::from_jwt(&jwt(claims), Provider::File).unwrap()
}

const GOOD: &str = r#"{"iss":"https://i","sub":"me","exp":9999999999,"aud":"sigstore"}"#;

#[test]
fn debug_and_errors_never_show_the_token() {
    let text = jwt(GOOD);
    let token = IdentityToken::from_jwt(&text, Provider::File).unwrap();
    let shown = format!("{token:?} {:?}", token.check("other").unwrap_err());
    for part in text.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
    let endpoint = ActionsEndpoint::new("http://127.0.0.1/?k=v", "bearer-x", "a").unwrap();
    let shown = format!("{endpoint:?}");
    assert!(
        !shown.contains("bearer-x") && !shown.contains("k=v"),
        "{shown}"
    );
}

#[test]
fn expired_and_foreign_tokens_are_refused_before_anybody_sees_them() {
    let code = |claims: &str| token(claims).check("sigstore").err().map(|e| e.code());
    assert_eq!(code(GOOD), None);
    let old = GOOD.replace("9999999999", "1000000000");
    assert_eq!(code(&old), Some("token_expired"));
    for audience in [r#""other""#, r#"["sigstore","other"]"#, "[]", r#""""#] {
        let foreign = GOOD.replace(r#""sigstore""#, audience);
        assert_eq!(code(&foreign), Some("token_audience"), "{audience}");
    }
    let listed = GOOD.replace(r#""sigstore""#, r#"["sigstore"]"#);
    assert_eq!(code(&listed), None);
}

#[test]
fn a_broker_names_the_provider_behind_it() {
    let token = token(
        r#"{"iss":"https://oauth2.sigstore.dev/auth","sub":"x","email":"a@b.c","exp":9999999999,
            "federated_claims":{"connector_id":"https://accounts.google.com"}}"#,
    );
    assert_eq!(token.issuer(), "https://accounts.google.com");
    assert_eq!(token.subject(), "a@b.c");
}

#[test]
fn a_token_of_the_future_is_refused_but_clocks_may_differ() {
    let code = |begin: i64| {
        let nbf = format!(r#","nbf":{begin}}}"#);
        let claims = GOOD.replace('}', &nbf);
        token(&claims).check("sigstore").err().map(|e| e.code())
    };
    let now = jiff::Timestamp::now().as_second();
    assert_eq!(code(now - 1), None);
    assert_eq!(code(now + 60), None);
    assert_eq!(code(now + 3600), Some("token_not_yet_valid"));
    assert_eq!(code(i64::MAX), Some("token_not_yet_valid"));
    assert_eq!(code(i64::MIN), Some("token_not_yet_valid"));
}

#[test]
fn what_surrounds_a_token_is_no_part_of_it() {
    let bare = jwt(GOOD);
    for wrapped in [
        format!("{bare}\n"),
        format!(" \t{bare}\r\n\n"),
        format!("\u{feff}{bare}\n"),
    ] {
        let token = IdentityToken::from_jwt(&wrapped, Provider::File).unwrap();
        assert_eq!(token.as_sigstore().expose_secret(), bare);
    }
}

#[test]
fn what_is_no_token_is_refused_without_being_repeated() {
    let two = jwt(GOOD).replace('.', " ");
    for (text, expected) in [
        ("", "empty"),
        (" \n", "empty"),
        ("\u{feff}", "empty"),
        ("secret-word", "expected a JWT"),
        ("secret-word.secret-word.secret-word", "expected a JWT"),
        (&two, "expected a JWT"),
        (
            &jwt(r#"{"iss":"https://i","sub":"secret-word"}"#),
            "expected a JWT",
        ),
        (
            &jwt(r#"{"iss":"https://i","sub":"me","exp":"secret-word"}"#),
            "expected a JWT",
        ),
        (&jwt(r#"["secret-word"]"#), "expected a JWT"),
        (&"secret-word".repeat(10_000), "longer than 64 KiB"),
    ] {
        let error = IdentityToken::from_jwt(text, Provider::Stdin).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert_eq!(error.code(), "token");
        assert!(shown.contains(expected), "{shown}");
        assert!(!shown.contains("secret-word"), "{shown}");
    }
}

#[test]
fn the_claims_of_a_token_cannot_move_the_terminal() {
    let claims = GOOD.replace(r#""me""#, r#""\u001b[2Jme""#);
    let old = token(&claims.replace("9999999999", "1")).check("sigstore");
    let foreign = token(&claims.replace(r#""sigstore""#, r#""\u001b[2J""#)).check("sigstore");
    for error in [old, foreign] {
        let message = error.unwrap_err().to_string();
        assert!(!message.contains('\u{1b}'), "{message}");
    }
}

/// What is found where these variables are set, by its code; or the error.
fn detect(audience: &str, variables: &[(&str, &str)]) -> Result<&'static str, Error> {
    let environment = environment(variables);
    let search = Search {
        audience,
        ..nobody(&environment)
    };
    search.detect().map(Provider::code)
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    variables.iter().map(owned).collect()
}

fn nobody(environment: &dyn Environment) -> Search<'_> {
    Search {
        token: None,
        audience: "sigstore",
        environment,
        person: None,
        oidc: None,
    }
}

/// The programs of the CI systems that have one.
fn programs() -> tempfile::TempDir {
    let programs = tempfile::TempDir::new().unwrap();
    for program in ["buildkite-agent", "circleci"] {
        let program = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        std::fs::write(programs.path().join(program), "").unwrap();
    }
    programs
}

fn path(programs: &tempfile::TempDir) -> String {
    let path = std::env::join_paths([programs.path()]).unwrap();
    path.into_string().unwrap()
}

const GITHUB: [(&str, &str); 3] = [
    ("GITHUB_ACTIONS", "true"),
    (
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "https://example.org/token?v=1",
    ),
    ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer"),
];

struct Somebody;

#[async_trait]
impl Person for Somebody {
    fn open(&self, _: &url::Url) -> bool {
        unreachable!("detecting opens no browser")
    }
    fn show(&self, text: &str) {
        unreachable!("detecting shows nothing: {text}")
    }
    async fn ask_code(&self) -> std::io::Result<String> {
        unreachable!("detecting asks nobody")
    }
}

#[test]
fn identities_are_looked_for_in_the_documented_order() {
    let file = TokenInput::File("token".into());
    let issuer = url::Url::parse("https://issuer.example").unwrap();
    // Everything is there; what was found is taken away, again and again.
    let mut variables = environment(&GITHUB);
    let programs = programs();
    variables.insert("PATH".to_owned(), path(&programs));
    for (name, value) in [
        ("SIGSTORE_ID_TOKEN", "token"),
        ("GITLAB_CI", "true"),
        ("ACME_ID_TOKEN", "token"),
        ("BUILDKITE", "true"),
        ("CIRCLECI", "true"),
    ] {
        variables.insert(name.to_owned(), value.to_owned());
    }
    let detect = |token, variables: &BTreeMap<_, _>| {
        let search = Search {
            token,
            audience: "acme",
            environment: variables,
            person: Some(&Somebody),
            oidc: Some(&issuer),
        };
        search.detect().unwrap().code()
    };
    assert_eq!(detect(Some(&TokenInput::Stdin), &variables), "stdin");
    assert_eq!(detect(Some(&file), &variables), "file");
    let mut found = Vec::new();
    for gone in [
        "SIGSTORE_ID_TOKEN",
        "GITHUB_ACTIONS",
        "GITLAB_CI",
        "BUILDKITE",
        "CIRCLECI",
    ] {
        found.push(detect(None, &variables));
        variables.remove(gone);
    }
    found.push(detect(None, &variables));
    assert_eq!(
        found,
        [
            "variable",
            "github_actions",
            "gitlab",
            "buildkite",
            "circleci",
            "interactive"
        ]
    );
}

#[test]
fn a_person_is_asked_only_where_one_is() {
    let issuer = url::Url::parse("https://issuer.example").unwrap();
    let codes = |person, oidc, ci: &[(&str, &str)]| {
        let environment = environment(ci);
        let search = Search {
            person,
            oidc,
            ..nobody(&environment)
        };
        search.detect().map(Provider::code).ok()
    };
    let person: Option<&dyn Person> = Some(&Somebody);
    assert_eq!(codes(person, Some(&issuer), &[]), Some("interactive"));
    assert_eq!(
        codes(person, Some(&issuer), &[("CI", "")]),
        Some("interactive")
    );
    assert_eq!(codes(person, Some(&issuer), &[("CI", "true")]), None);
    assert_eq!(codes(None, Some(&issuer), &[]), None);
    assert_eq!(codes(person, None, &[]), None);
}

#[test]
fn without_an_identity_every_place_is_named_with_what_is_missing() {
    let error = detect("sigstore", &[]).unwrap_err();
    assert_eq!(error.code(), "no_identity");
    let message = error.to_string();
    for line in [
        "token file: none was given with --identity-token",
        "SIGSTORE_ID_TOKEN: SIGSTORE_ID_TOKEN is not set",
        "GitHub Actions: GITHUB_ACTIONS is not `true`",
        "GitLab CI: GITLAB_CI is not `true`",
        "Buildkite: BUILDKITE is not `true`",
        "CircleCI: CIRCLECI is not `true`",
        "login in the browser: standard input and standard error are not both a terminal",
    ] {
        assert!(message.contains(line), "{message}");
    }
    assert!(error.help().unwrap().contains("--identity-token"));
}

#[test]
fn a_github_job_without_the_permission_learns_the_lines_to_add() {
    let programs = programs();
    for without in [
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    ] {
        for value in [None, Some("")] {
            let mut variables = environment(&GITHUB);
            variables.remove(without);
            variables.extend(value.map(|value| (without.to_owned(), value.to_owned())));
            // Another system that would do is not taken: the job says where it runs.
            variables.insert("BUILDKITE".to_owned(), "true".to_owned());
            variables.insert("PATH".to_owned(), path(&programs));
            let error = nobody(&variables).detect().unwrap_err();
            let state = if value.is_some() {
                "is empty"
            } else {
                "is not set"
            };
            let message = error.to_string();
            assert!(
                message.contains(&format!("GitHub Actions: {without} {state}")),
                "{message}"
            );
            let help = error.help().unwrap();
            assert!(
                help.contains("\n    permissions:\n      id-token: write\n"),
                "{help}"
            );
            assert!(help.contains("fork"), "{help}");
        }
    }
}

#[test]
fn a_gitlab_job_without_a_token_learns_the_lines_to_add() {
    let error = detect("acme-sigstore", &[("GITLAB_CI", "true")]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("GitLab CI: ACME_SIGSTORE_ID_TOKEN is not set"),
        "{message}"
    );
    let help = error.help().unwrap();
    let lines = "\n    id_tokens:\n      SIGSTORE_ID_TOKEN:\n        aud: acme-sigstore\n";
    assert!(help.contains(lines), "{help}");
}

#[test]
fn a_ci_system_is_recognized_by_its_exact_word_alone() {
    for value in ["", "TRUE", "1", "yes", "true "] {
        for name in ["GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI"] {
            let mut variables = vec![(name, value), ("SIGSTORE_ID_TOKEN", "")];
            variables.extend(&GITHUB[1..]);
            assert!(detect("sigstore", &variables).is_err(), "{name}={value}");
        }
    }
}

#[tokio::test]
async fn a_token_at_hand_is_checked_when_it_is_found() {
    let code = async |text: &str| {
        let environment = environment(&[("SIGSTORE_ID_TOKEN", text)]);
        let found = find(nobody(&environment)).await;
        found
            .map(|identity| identity.provider())
            .map_err(|error| error.code())
    };
    assert_eq!(code(&jwt(GOOD)).await, Ok(Provider::Variable));
    assert_eq!(code("no token").await, Err("token"));
    let foreign = jwt(&GOOD.replace("sigstore", "other"));
    assert_eq!(code(&foreign).await, Err("token_audience"));
    let old = jwt(&GOOD.replace("9999999999", "1000000000"));
    assert_eq!(code(&old).await, Err("token_expired"));
}

#[tokio::test]
async fn a_token_file_is_read_again_when_another_token_is_needed() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("token");
    let end = jiff::Timestamp::now().as_second() + 1000;
    let until = |end: i64, subject: &str| {
        let claims = GOOD.replace("9999999999", &end.to_string());
        jwt(&claims.replace("me", subject))
    };
    std::fs::write(&path, until(end, "first")).unwrap();
    let input = TokenInput::File(path.clone());
    let environment = environment(&[]);
    let search = Search {
        token: Some(&input),
        ..nobody(&environment)
    };
    let identity = find(search).await.unwrap();
    assert!(!identity.can_renew());
    let subject = async || identity.token().await.unwrap().subject().to_owned();
    assert_eq!(subject().await, "first");
    std::fs::write(&path, until(end + 1, "second")).unwrap();
    assert_eq!(subject().await, "second");
    // A file that is being replaced, or was replaced by something worse, changes nothing.
    for worse in [until(end - 1, "third"), String::new(), "{".to_owned()] {
        std::fs::write(&path, worse).unwrap();
        assert_eq!(subject().await, "first");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(subject().await, "first");
}

#[tokio::test]
async fn a_token_that_ended_and_cannot_be_renewed_says_so() {
    let ended = token(&GOOD.replace("9999999999", "1000000000"));
    let error = input::still_valid(&ended, None).unwrap_err();
    assert_eq!(error.code(), "token_not_renewable");
    assert!(error.is_renewal_failure());
    let wrapped = Error::NoCertificate(std::sync::Arc::new(error));
    assert!(wrapped.is_renewal_failure());
    assert_eq!(
        wrapped.help(),
        Some("what is signed stays signed: the same command with a new token continues".to_owned())
    );
    // An expired token in the beginning is another matter: nothing can continue.
    assert!(!ended.check("sigstore").unwrap_err().is_renewal_failure());
}

#[tokio::test]
async fn an_endpoint_that_anybody_on_the_way_could_read_is_not_asked() {
    let mut variables = environment(&GITHUB);
    variables.insert(
        "ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(),
        "http://example.org/token?key=secret-word".to_owned(),
    );
    let error = find(nobody(&variables)).await.unwrap_err();
    assert_eq!(error.code(), "insecure_url");
    assert!(!error.to_string().contains("secret-word"));
}

/// What finding an identity says where this is the token file; nothing when it is good.
async fn refusal_of_file(path: &Path) -> Option<Error> {
    let input = TokenInput::File(path.to_owned());
    let environment = environment(&[]);
    let search = Search {
        token: Some(&input),
        ..nobody(&environment)
    };
    find(search).await.err()
}

#[tokio::test]
async fn files_that_hold_no_good_token_are_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("token");
    let refusal = async |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = refusal_of_file(&path).await;
        error.map_or_else(String::new, |error| error.to_string())
    };
    assert_eq!(refusal(jwt(GOOD).as_bytes()).await, "");
    let old = jwt(&GOOD.replace("9999999999", "1000000000"));
    let foreign = jwt(&GOOD.replace("sigstore", "other"));
    // What PowerShell's `>` writes.
    let utf16: Vec<u8> = jwt(GOOD)
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let utf16 = [b"\xff\xfe", &utf16[..]].concat();
    let huge = vec![b'a'; 10 << 20];
    let bad: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (old.as_bytes(), "expired"),
        (foreign.as_bytes(), "audience"),
        (&utf16, "ASCII"),
        (&huge, "longer than 64 KiB"),
    ];
    for (bytes, expected) in bad {
        let message = refusal(bytes).await;
        assert!(message.contains(expected), "{message}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(refusal_of_file(&path).await.unwrap().code(), "io");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(refusal_of_file(&path).await.unwrap().code(), "io");
}

#[test]
fn a_token_speaks_for_what_its_own_workflow_or_person_signed_and_for_nothing_else() {
    let proved = |identity: &str, repository: Option<&str>| Evidence {
        trust: "t".to_owned(),
        identity: identity.to_owned(),
        issuer: "https://i".to_owned(),
        repository: repository.map(str::to_owned),
        commit: None,
        git_ref: None,
        workflow: None,
        run: None,
        logged: true,
        log_index: None,
        signed_at: release_manifest::Timestamp::from_unix(0),
        certificate_not_after: release_manifest::Timestamp::from_unix(0),
        target_channel: None,
    };
    let workflow = "acme/ci/.github/workflows/sign.yml@refs/heads/main";
    let job = token(&GOOD.replace(
        '{',
        &format!(r#"{{"job_workflow_ref":"{workflow}","repository":"acme/pkgs","#),
    ));
    let signer = format!("https://github.com/{workflow}");
    let ours = "https://github.com/acme/pkgs";
    assert!(job.speaks_for(&proved(&signer, Some(ours))));
    // The reusable workflow, called by another repository; or one whose name ends like it.
    for repository in [
        None,
        Some("https://github.com/evil/pkgs"),
        Some("https://github.com/xacme/pkgs"),
    ] {
        assert!(
            !job.speaks_for(&proved(&signer, repository)),
            "{repository:?}"
        );
    }
    let tag = signer.replace("heads/main", "tags/main");
    assert!(!job.speaks_for(&proved(&tag, Some(ours))));
    let elsewhere = Evidence {
        issuer: "https://other".to_owned(),
        ..proved(&signer, Some(ours))
    };
    assert!(!job.speaks_for(&elsewhere));

    let person = token(&GOOD.replace('{', r#"{"email":"a@b.c","#));
    assert!(person.speaks_for(&proved("a@b.c", None)));
    assert!(!person.speaks_for(&proved("ba@b.c", None)));
    // What does not tell who its certificate will name speaks for nobody.
    assert!(!token(GOOD).speaks_for(&proved("me", None)));
}
