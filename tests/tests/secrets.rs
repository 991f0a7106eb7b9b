//! Tokens are never written: everything is run with marked ones, and all that was written is
//! searched for them.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    env,
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use end_to_end::{Output, REHEARSAL, Workspace};
use fs_err as fs;
use regex::bytes::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What every secret has in it. All of its letters are of base64's alphabet for URLs.
const MARK: &str = "hush-hush-hush";

/// A good token, as far as its bearer can know. Nobody signed it, and its signature is marked.
fn token(claims: Value) -> String {
    let mut all = json!({
        "iss": "https://issuer.example",
        "sub": "somebody",
        "aud": "sigstore",
        "exp": 9_999_999_999_u64,
        "jti": MARK,
    });
    all.as_object_mut()
        .unwrap()
        .extend(claims.as_object().unwrap().clone());
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{MARK}00",
        part(r#"{"alg":"RS256"}"#),
        part(&all.to_string())
    )
}

/// A workspace with a package, a folder of secrets outside it, and programs that tell what they see.
struct Marked {
    workspace: Workspace,
    package: String,
    /// Nothing in here is searched.
    secrets: TempDir,
}

impl Marked {
    fn new() -> Self {
        let workspace = Workspace::new();
        workspace.script(
            "curious",
            &["mkdir -p $PREFIX/share && env > $PREFIX/share/seen.txt"],
            "tests:\n  - script: [env]\n",
        );
        workspace.commit();
        workspace.run(["release", "--quiet"]).ends(0);
        let packages = format!("{REHEARSAL}/packages");
        let name = workspace.packages_in(&packages).remove(0);
        let package = workspace.path(format!("{packages}/noarch/{name}"));
        fs::create_dir(workspace.beside("dist")).unwrap();
        fs::copy(package, workspace.beside("dist").join(&name)).unwrap();
        let package = workspace.beside("dist").join(name).display().to_string();
        fs::create_dir(workspace.beside("tmp")).unwrap();
        let root = sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
        workspace.write("root.json", root);
        let secrets = TempDir::with_prefix("secrets-").unwrap();
        fs::create_dir(secrets.path().join("bin")).unwrap();
        let marked = Self {
            workspace,
            package,
            secrets,
        };
        // Whoever has a checkout configured to run something runs it with git's environment.
        marked.program(
            "git",
            &format!("env >> '{}'\nexec {} \"$@\"", marked.seen(), which("git")),
        );
        marked
    }

    /// Where programs write down what they see.
    fn seen(&self) -> String {
        self.workspace.beside("seen-by-git").display().to_string()
    }

    /// Puts a program on the PATH.
    fn program(&self, name: &str, script: &str) {
        let path = self.secrets.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A file outside what is searched.
    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.secrets.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// The program with secrets in its environment, a folder of its own for temporary files, and
    /// every reason to talk.
    fn command(&self, args: &[&str], variables: &[(&str, &str)]) -> Command {
        let path = env::var("PATH").unwrap();
        let mut command = self.workspace.command(args);
        command
            .env(
                "PATH",
                format!("{}/bin:{path}", self.secrets.path().display()),
            )
            .env("TMPDIR", self.workspace.beside("tmp"))
            .envs([("RUST_BACKTRACE", "full"), ("RUST_LOG", "trace")])
            .envs(
                ["GITHUB_TOKEN", "PREFIX_API_KEY", "AWS_SECRET_ACCESS_KEY"]
                    .map(|name| (name, MARK)),
            )
            .envs(variables.iter().copied());
        command
    }

    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let output = self.workspace.run_command(self.command(args, variables));
        self.assert_hushed(&output);
        output
    }

    /// Signs the package for real, under an instance whose services are at `url`.
    fn sign_args<'a>(&'a self, url: &str, more: &[&'a str]) -> Vec<&'a str> {
        let service = |version: u8| {
            json!([{
                "url": url,
                "majorApiVersion": version,
                "validFor": { "start": "2020-01-01T00:00:00Z" },
                "operator": "somebody",
            }])
        };
        let services = json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service(1), "oidcUrls": service(1),
            "rekorTlogUrls": service(2), "tsaUrls": service(1),
            "rekorTlogConfig": { "selector": "ANY" },
            "tsaConfig": { "selector": "ANY" },
        });
        self.workspace.write("signing.json", &services.to_string());
        let mut args = vec![
            "sign",
            &self.package,
            "--channel",
            "https://prefix.dev/acme",
        ];
        args.extend(["--trust", "root.json", "--signing-config", "signing.json"]);
        args.extend(more);
        args
    }

    /// Neither a mark nor a whole token is in what was printed, nor in any file.
    #[track_caller]
    fn assert_hushed(&self, output: &Output) {
        let told = [output.stdout.as_bytes(), output.stderr.as_bytes()];
        assert!(!told.into_iter().any(tells), "{output}");
        self.assert_files_hushed();
    }

    #[track_caller]
    fn assert_files_hushed(&self) {
        let mut open = vec![self.workspace.root().parent().unwrap().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                } else if path.is_file() {
                    assert!(!tells(&fs::read(&path).unwrap()), "{}", path.display());
                }
            }
        }
    }
}

/// Whether bytes have a marked secret, or the beginning of any token: two parts that are JSON.
fn tells(bytes: &[u8]) -> bool {
    let token = Regex::new(&format!(r"{MARK}|eyJ[A-Za-z0-9_-]+\.eyJ"));
    token.unwrap().is_match(bytes)
}

fn which(program: &str) -> String {
    let path = env::var_os("PATH").unwrap();
    let mut folders = env::split_paths(&path);
    let found = folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()));
    found.expect("it is on the PATH").display().to_string()
}

/// A server that answers every request the same way, but for `{secret}` in the answer, which is
/// replaced by what was said in confidence: the body, or else the credentials of the head.
struct Parrot {
    url: String,
}

impl Parrot {
    fn new(status: &'static str, headers: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away has heard enough.
                let _gone = answer(stream.unwrap(), status, headers, body);
            }
        });
        Self { url }
    }
}

fn answer(stream: TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let (mut length, mut secret) = (0, Vec::new());
    for line in reader.by_ref().lines() {
        let line = line?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                secret = value.into();
            }
            Some(_) => {}
            None if line.is_empty() => break,
            // The line that says what is asked for.
            None => {}
        }
    }
    if length > 0 {
        secret = vec![0; length];
        reader.read_exact(&mut secret)?;
    }
    let secret = String::from_utf8(secret).unwrap();
    let headers = headers.replace("{secret}", &secret);
    let body = match body.starts_with("{\"") {
        // Within a JSON string.
        true => body.replace("{secret}", &secret.replace('"', "'")),
        false => body.replace("{secret}", &secret),
    };
    write!(
        &stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// What a certificate authority may answer that has got the token.
fn bad_authorities() -> Vec<Parrot> {
    let message = r#"{"code": 3, "message": "refused: {secret}", "details": ["{secret}"]}"#;
    let certificate =
        r#"{"signedCertificateEmbeddedSct": {"chain": {"certificates": ["{secret}"]}}}"#;
    vec![
        Parrot::new(
            "400 Bad Request",
            "Content-Type: application/json\r\n",
            message,
        ),
        Parrot::new(
            "401 Unauthorized",
            "WWW-Authenticate: {secret}\r\n",
            "{secret}",
        ),
        Parrot::new(
            "403 Forbidden",
            "Content-Type: text/html\r\n",
            "<p>{secret}",
        ),
        Parrot::new(
            "302 Found",
            "Location: http://127.0.0.1:9/?{secret}\r\n",
            "{secret}",
        ),
        Parrot::new("200 OK", "", "{secret}"),
        Parrot::new("200 OK", "Content-Type: application/json\r\n", certificate),
    ]
}

#[test]
fn an_authority_that_repeats_the_token_is_not_repeated() {
    let marked = Marked::new();
    let token = token(json!({}));
    let file = marked.secret("token", &token);
    for authority in bad_authorities() {
        for more in [&["-vv"][..], &["--output-format", "json", "-v"]] {
            let args = marked.sign_args(&authority.url, more);
            marked.run(&args, &[("SIGSTORE_ID_TOKEN", &token)]).ends(6);
        }
        let args = marked.sign_args(&authority.url, &["--identity-token", &file]);
        marked.run(&args, &[]).ends(6);
    }
    let args = marked.sign_args(&bad_authorities()[0].url, &["--identity-token", "-", "-vv"]);
    let mut command = marked.command(&args, &[]);
    command.stdin(Stdio::from(File::open(&file).unwrap()));
    let output = Output::from(command.output().unwrap()).ends(6);
    marked.assert_hushed(&output);
}

#[test]
fn a_token_that_cannot_be_used_is_not_shown() {
    let marked = Marked::new();
    let good = token(json!({}));
    for bad in [
        token(json!({ "exp": 1_000_000_000 })),
        token(json!({ "nbf": 9_999_999_998_u64 })),
        token(json!({ "aud": "another" })),
        token(json!({ "sub": 1 })),
        token(json!({ "iss": "https://sandbox.invalid" })),
        format!("{good}.{good}"),
        format!("Bearer {good}"),
        good.replace('.', " "),
        good[..good.len() / 2].to_owned() + MARK,
        format!("{MARK}\u{1b}[31m"),
        MARK.repeat(10_000),
    ] {
        // No operating system takes more in a variable.
        let variable = &bad[..bad.len().min(100_000)];
        let args = marked.sign_args("http://127.0.0.1:9", &["-vv"]);
        let output = marked.run(&args, &[("SIGSTORE_ID_TOKEN", variable)]);
        assert_ne!(output.status, Some(0), "{output}");
        let file = marked.secret("bad", &bad);
        let more = ["--output-format", "json", "--identity-token", &file];
        let args = marked.sign_args("http://127.0.0.1:9", &more);
        let output = marked.run(&args, &[]);
        assert_ne!(output.status, Some(0), "{output}");
    }
}

/// As sigstore-python and older cosign have it.
#[test]
fn a_token_in_place_of_its_file_is_not_shown() {
    let marked = Marked::new();
    let token = token(json!({}));
    let args = marked.sign_args("http://127.0.0.1:9", &["--identity-token", &token, "-vv"]);
    marked
        .run(&args, &[])
        .ends(3)
        .says("expected the name of a file that has the token");
}

/// Wherever a URL is taken, somebody gives one with a password in it.
#[test]
fn a_secret_in_a_url_is_not_shown() {
    let marked = Marked::new();
    let package = marked.package.as_str();
    for url in [
        format!("https://user:{MARK}@127.0.0.1:9/acme"),
        format!("https://127.0.0.1:9/t/{MARK}/acme"),
        format!("https://127.0.0.1:9/acme?token={MARK}"),
    ] {
        for args in [
            &["sign", package, "--channel", &url][..],
            &["sign", package, "-x", "--trust", &url],
            &["verify", package, "--trust", &url],
            &[
                "verify",
                package,
                "--allow-any-identity",
                "--mirror-of",
                &url,
            ],
            &["verify", &url, "--allow-any-identity", "--trust", "sandbox"],
            &["inspect", &url],
            &["validate", &url],
            &["plan", "--to", &url],
        ] {
            // The error is told twice then: to the person and to the script.
            let args = [args, &["--output-format", "json", "-vv"]].concat();
            let output = marked.run(&args, &[]);
            assert_ne!(output.status, Some(0), "{args:?} {output}");
        }
    }
}

#[test]
fn an_identity_provider_that_repeats_its_secret_is_not_repeated() {
    let marked = Marked::new();
    let bearer = format!("bearer-{MARK}");
    for provider in [
        Parrot::new("401 Unauthorized", "", "{secret}"),
        Parrot::new("200 OK", "", "{secret}"),
        Parrot::new("200 OK", "", r#"{"value": "{secret}"}"#),
        Parrot::new(
            "307 Temporary",
            "Location: http://127.0.0.1:9/?{secret}\r\n",
            "",
        ),
    ] {
        let url = format!("{}/token?secret={MARK}", provider.url);
        let args = marked.sign_args("http://127.0.0.1:9", &["-vv"]);
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &bearer),
        ];
        let output = marked.run(&args, &github);
        assert_ne!(output.status, Some(0), "{output}");
    }
    for url in [
        format!("http://{MARK}@example.com/token?secret={MARK}"),
        format!("no url, but a {MARK}"),
    ] {
        let args = marked.sign_args("http://127.0.0.1:9", &["-vv"]);
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &bearer),
        ];
        let output = marked.run(&args, &github);
        assert_ne!(output.status, Some(0), "{output}");
    }
    let token = token(json!({}));
    for (program, variable) in [("buildkite-agent", "BUILDKITE"), ("circleci", "CIRCLECI")] {
        for script in [
            format!("echo 'refused {token}' >&2; exit 1"),
            format!("echo 'no token {token}'"),
        ] {
            marked.program(program, &script);
            let args = marked.sign_args("http://127.0.0.1:9", &["-vv"]);
            let output = marked.run(&args, &[(variable, "true")]);
            assert_ne!(output.status, Some(0), "{output}");
        }
    }
}

#[test]
fn a_panic_shows_no_token() {
    let marked = Marked::new();
    let token = token(json!({}));
    let authority = &bad_authorities()[0];
    for more in [&["-vv"][..], &["--output-format", "json"]] {
        let args = marked.sign_args(&authority.url, more);
        let mut command = marked.command(&args, &[("SIGSTORE_ID_TOKEN", &token)]);
        // Nothing can be printed there.
        command.stdout(File::create("/dev/full").unwrap());
        let output = Output::from(command.stderr(Stdio::piped()).output().unwrap());
        assert_ne!(output.status, Some(0), "{output}");
        marked.assert_hushed(&output);
    }
}

#[test]
fn a_rehearsal_and_what_reads_it_write_no_token() {
    let marked = Marked::new();
    let token = token(json!({}));
    let bearer = format!("bearer-{MARK}");
    let url = format!("http://127.0.0.1:9/token?secret={MARK}");
    let secrets = [
        ("SIGSTORE_ID_TOKEN", token.as_str()),
        ("GITHUB_ACTIONS", "true"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", &bearer),
    ];
    let bundle = PathBuf::from(format!("{}.sigstore.json", marked.package));
    let manifest = format!("{REHEARSAL}/release-manifest.json");
    fs::remove_dir_all(marked.workspace.path(REHEARSAL)).unwrap();
    for format in ["human", "json"] {
        let run = |args: &[&str]| {
            let args = [args, &["-vv", "--output-format", format]].concat();
            marked.run(&args, &secrets)
        };
        run(&["release"]).ends(0);
        run(&["sign", &marked.package]).ends(0);
        let anybody = ["--trust", "sandbox", "--allow-any-identity"];
        run(&[&["verify", &manifest], &anybody[..]].concat()).ends(0);
        run(&[&["verify", &marked.package], &anybody[..]].concat()).ends(0);
        run(&["verify", &marked.package, "--offline"]).ends(3);
        run(&["inspect", &bundle.display().to_string()]).ends(0);
        run(&["doctor", "--offline"]);
        fs::remove_file(&bundle).unwrap();
    }
    assert!(Path::new(&marked.seen()).exists(), "git was run");
}
