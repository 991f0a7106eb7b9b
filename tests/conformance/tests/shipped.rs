//! The client over real bundles of real instances, and over changes of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use sigstore_trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT};
use tempfile::TempDir;

const GITHUB: &str = "https://token.actions.githubusercontent.com";
const GITHUB_LOGIN: &str = "https://github.com/login/oauth";

/// A question to the client. Dropped, its files are gone.
struct Question {
    folder: TempDir,
    bundle: Value,
    subject: String,
    signer: Vec<String>,
    root: &'static str,
}

impl Question {
    fn new(bundle: &str, subject: &str, signer: [&str; 2], root: &'static str) -> Self {
        let [identity, issuer] = signer;
        let options = [
            "--certificate-identity",
            identity,
            "--certificate-oidc-issuer",
            issuer,
        ];
        let bundle: Value = serde_json::from_slice(&std::fs::read(bundle).unwrap()).unwrap();
        Self {
            folder: TempDir::new().unwrap(),
            // A sidecar has it in an array.
            bundle: bundle.get(0).unwrap_or(&bundle).clone(),
            subject: subject.to_owned(),
            signer: options.map(str::to_owned).to_vec(),
            root,
        }
    }

    /// With a changed bundle.
    fn but(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.bundle);
        self
    }

    /// With something else than the signer in the certificate.
    fn signed_by(mut self, options: &[&str]) -> Self {
        self.signer = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    fn ask(&self) -> Answer {
        self.ask_with(&self.bundle.to_string())
    }

    /// Asks about a bundle as it is written here.
    fn ask_with(&self, bundle: &str) -> Answer {
        let file = |name: &str, content: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let output = Command::new(env!("CARGO_BIN_EXE_conformance-client"))
            .arg("verify-bundle")
            .args([Path::new("--bundle"), &file("bundle", bundle)])
            .args(&self.signer)
            .args([Path::new("--trusted-root"), &file("root", self.root)])
            .arg(&self.subject)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Answer(output)
    }
}

/// What the client says.
struct Answer(Output);

impl Answer {
    fn said(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    #[track_caller]
    fn accepts(&self) -> &Self {
        assert_eq!(self.0.status.code(), Some(0), "{}", self.said());
        self
    }

    #[track_caller]
    fn refuses(&self, reason: &str) {
        assert_eq!(self.0.status.code(), Some(1), "{}", self.said());
        assert!(self.said().contains(reason), "{reason}: {}", self.said());
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// A fixture that the tests of `conda-attest` have, too.
fn package(name: &str) -> String {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/conda-attest/tests/fixtures");
    folder.join(name).to_str().unwrap().to_owned()
}

fn path(name: &str) -> String {
    fixture(name).to_str().unwrap().to_owned()
}

const PACKAGE: &str = "signed-package-2.1.0-hb0f4dca_0.conda";

/// A statement, in Rekor v1.
fn statement_v1() -> Question {
    Question::new(
        &package("conda-attestation.sigstore.json"),
        &package(PACKAGE),
        [
            "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main",
            GITHUB,
        ],
        SIGSTORE_PRODUCTION_TRUSTED_ROOT,
    )
}

/// A statement, in Rekor v2.
fn statement_v2() -> Question {
    Question::new(
        &package("conda-attestation-rekor2.sigstore.json"),
        &package(PACKAGE),
        ["jku@goto.fi", GITHUB_LOGIN],
        SIGSTORE_STAGING_TRUSTED_ROOT,
    )
}

/// A file, in Rekor v1.
fn file_v1() -> Question {
    Question::new(
        &path("cosign-v3-blob.sigstore.json"),
        &path("cosign-v3-blob.txt"),
        ["w.vollprecht@gmail.com", GITHUB_LOGIN],
        SIGSTORE_PRODUCTION_TRUSTED_ROOT,
    )
}

/// A file, in Rekor v2.
fn file_v2() -> Question {
    Question::new(
        &path("staging-rekor-v2.txt.sigstore.json"),
        &path("staging-rekor-v2.txt"),
        ["jku@goto.fi", GITHUB_LOGIN],
        SIGSTORE_STAGING_TRUSTED_ROOT,
    )
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

/// The Base64 text with its first byte changed.
fn flipped(value: &Value) -> Value {
    let text = value.as_str().unwrap();
    let first = if text.starts_with('A') { "B" } else { "A" };
    json!(format!("{first}{}", &text[1..]))
}

#[test]
fn real_bundles_are_accepted() {
    for question in [statement_v1(), statement_v2(), file_v1(), file_v2()] {
        question.ask().accepts();
    }
    let beacon = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
    Question::new(
        &path("a.dsse.staging-rekor-v2.txt.sigstore.json"),
        "sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf",
        [beacon, GITHUB],
        SIGSTORE_STAGING_TRUSTED_ROOT,
    )
    .ask()
    .accepts();
    Question::new(
        &path("actionlint-1.7.12-h60d57d3_0.conda.sigs"),
        "sha256:e3e0f35dec5b09b18baac8729d14115903b5adfd25065f8bbb90a2b3be5401e4",
        [
            "https://github.com/hunger/octoconda/.github/workflows/octoconda.yaml@refs/heads/main",
            GITHUB,
        ],
        SIGSTORE_PRODUCTION_TRUSTED_ROOT,
    )
    .ask()
    .accepts();
}

#[test]
fn a_digest_stands_for_a_file() {
    let digest = "54303491a8418fbed24344b513546182c29b43bf282ceb433af65e2299f9271f";
    let ask = |subject: String| {
        Question {
            subject,
            ..statement_v1()
        }
        .ask()
    };
    ask(format!("sha256:{digest}")).accepts();
    ask(format!("sha256:{}", digest.to_uppercase())).accepts();
    ask(format!("sha256:{}", digest.replacen('5', "6", 1))).refuses("does not match");
    // Neither is one, so it is a file; and there is none.
    ask(format!("sha256:{}", &digest[2..])).refuses("No such file");
    ask(digest.to_owned()).refuses("No such file");
}

#[test]
fn a_key_stands_for_a_certificate() {
    let key = path("managed-key.pub");
    let question = || {
        Question::new(
            &path("managed-key.sigstore.json"),
            &path("managed-key.txt"),
            ["", ""],
            SIGSTORE_PRODUCTION_TRUSTED_ROOT,
        )
        .signed_by(&["--key", &key])
    };
    question().ask().accepts();
    let subject = path("staging-rekor-v2.txt");
    Question {
        subject,
        ..question()
    }
    .ask()
    .refuses("mismatch");
    let nobody = [
        "--certificate-identity",
        "x",
        "--certificate-oidc-issuer",
        "y",
    ];
    question().signed_by(&nobody).ask().refuses("certificate");
    statement_v1()
        .signed_by(&["--key", &key])
        .ask()
        .refuses("key");
}

#[test]
fn another_file_identity_or_root_is_refused() {
    for question in [statement_v1, statement_v2, file_v1, file_v2] {
        let subject = path("managed-key.txt");
        Question {
            subject,
            ..question()
        }
        .ask()
        .refuses("mismatch");
        let mut other = question();
        other.signer[1].push('x');
        other.ask().refuses("identity");
        let mut other = question();
        other.signer[3].push('x');
        other.ask().refuses("issuer");
        let root = match question().root {
            SIGSTORE_STAGING_TRUSTED_ROOT => SIGSTORE_PRODUCTION_TRUSTED_ROOT,
            _ => SIGSTORE_STAGING_TRUSTED_ROOT,
        };
        Question { root, ..question() }.ask().refuses("");
    }
}

/// A bundle of the first version, which may have no more than the log's promise.
fn promised(bundle: &mut Value) {
    bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    let certificate = material.remove("certificate").unwrap();
    material.insert(
        "x509CertificateChain".to_owned(),
        json!({ "certificates": [certificate] }),
    );
    entry(bundle)
        .as_object_mut()
        .unwrap()
        .remove("inclusionProof");
}

#[test]
fn old_bundles_with_a_promise_alone_are_accepted_and_it_is_said() {
    for question in [statement_v1, file_v1] {
        let answer = question().but(promised).ask();
        answer.accepts();
        assert!(
            answer.said().contains("conda-release says"),
            "{}",
            answer.said()
        );
    }
    statement_v1()
        .but(promised)
        .but(|bundle| {
            let promise = &mut entry(bundle)["inclusionPromise"]["signedEntryTimestamp"];
            *promise = flipped(promise);
        })
        .ask()
        .refuses("");
}

#[test]
fn what_the_log_says_must_hold() {
    type Change = fn(&mut Value);
    let everywhere: [(&str, Change); 5] = [
        ("signature", |bundle| {
            let pointer = match bundle.get("dsseEnvelope") {
                Some(_) => "/dsseEnvelope/signatures/0/sig",
                None => "/messageSignature/signature",
            };
            let signature = bundle.pointer_mut(pointer).unwrap();
            *signature = flipped(signature);
        }),
        ("body", |bundle| {
            let body = &mut entry(bundle)["canonicalizedBody"];
            *body = flipped(body);
        }),
        ("root hash", |bundle| {
            let root = &mut entry(bundle)["inclusionProof"]["rootHash"];
            *root = flipped(root);
        }),
        ("checkpoint", |bundle| {
            let checkpoint = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
            *checkpoint = json!(checkpoint.as_str().unwrap().replacen('\n', "x\n", 1));
        }),
        ("log", |bundle| {
            let id = &mut entry(bundle)["logId"]["keyId"];
            *id = flipped(id);
        }),
    ];
    for (number, question) in [statement_v1, statement_v2, file_v1, file_v2]
        .iter()
        .enumerate()
    {
        for (what, change) in everywhere {
            let answer = question().but(change).ask();
            assert_eq!(
                answer.0.status.code(),
                Some(1),
                "{what} of {number}: {}",
                answer.said()
            );
        }
    }
    for question in [statement_v1, file_v1] {
        let promise = |bundle: &mut Value| {
            let promise = &mut entry(bundle)["inclusionPromise"]["signedEntryTimestamp"];
            *promise = flipped(promise);
        };
        question().but(promise).ask().refuses("promise");
        let time = |bundle: &mut Value| {
            let time = &mut entry(bundle)["integratedTime"];
            *time = json!((time.as_str().unwrap().parse::<u64>().unwrap() + 1).to_string());
        };
        question().but(time).ask().refuses("");
    }
    for question in [statement_v2, file_v2] {
        let time = |bundle: &mut Value| {
            let stamps = &mut bundle["verificationMaterial"]["timestampVerificationData"];
            *stamps = json!({ "rfc3161Timestamps": [] });
        };
        question().but(time).ask().refuses("timestamp");
    }
}

#[test]
fn broken_bundles_are_refused() {
    for (bundle, reason) in [
        ("cve-2022-36056.sigstore.json", ""),
        ("dsse-2sigs.sigstore.json", "one signature"),
        ("github-private-attestation.sigstore.json", ""),
        ("invalid-version.sigstore.json", ""),
        ("no-checkpoint.sigstore.json", "checkpoint"),
        ("no-log-entry.sigstore.json", ""),
        ("no-signed-time.sigstore.json", ""),
    ] {
        let signer = ["william@yossarian.net", GITHUB_LOGIN];
        let question = Question::new(
            &path(bundle),
            &path("managed-key.txt"),
            signer,
            SIGSTORE_PRODUCTION_TRUSTED_ROOT,
        );
        question.ask().refuses(reason);
    }
    let text = statement_v1().bundle.to_string();
    for (broken, reason) in [
        (String::new(), "EOF"),
        ("[]".to_owned(), ""),
        (text[..text.len() / 2].to_owned(), "EOF"),
        (format!("{text} {{}}"), "trailing"),
        (text.replacen('{', r#"{"mediaType":"x","#, 1), "media type"),
    ] {
        statement_v1().ask_with(&broken).refuses(reason);
    }
}

/// What sigstore-verify accepts.
#[test]
fn what_conda_release_refuses_is_refused() {
    statement_v2()
        .but(|bundle| entry(bundle)["inclusionProof"]["logIndex"] = json!("1"))
        .ask()
        .refuses("index");
    statement_v1()
        .but(|bundle| {
            let entries = &mut bundle["verificationMaterial"]["tlogEntries"];
            let mut unproved = entries[0].clone();
            unproved.as_object_mut().unwrap().remove("inclusionProof");
            entries.as_array_mut().unwrap().push(unproved);
        })
        .ask()
        .refuses("proof");
    let twice = statement_v1()
        .bundle
        .to_string()
        .replacen('{', r#"{"x":1,"x":2,"#, 1);
    statement_v1().ask_with(&twice).refuses("each key once");
}
