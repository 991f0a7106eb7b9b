//! The program as a user runs it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const VALID: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"libgreet-1.0.0-h123_0.conda","digest":{"sha256":"01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"}}],"predicateType":"https://schemas.conda.org/attestations-publish-1.schema.json","predicate":{"targetChannel":"https://prefix.dev/my-channel"}}"#;
/// The valid statement in an envelope in a bundle.
const BUNDLE: &str = r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{},"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJuYW1lIjoibGliZ3JlZXQtMS4wLjAtaDEyM18wLmNvbmRhIiwiZGlnZXN0Ijp7InNoYTI1NiI6IjAxYmE0NzE5YzgwYjZmZTkxMWIwOTFhN2MwNTEyNGI2NGVlZWNlOTY0ZTA5YzA1OGVmOGY5ODA1ZGFjYTU0NmIifX1dLCJwcmVkaWNhdGVUeXBlIjoiaHR0cHM6Ly9zY2hlbWFzLmNvbmRhLm9yZy9hdHRlc3RhdGlvbnMtcHVibGlzaC0xLnNjaGVtYS5qc29uIiwicHJlZGljYXRlIjp7InRhcmdldENoYW5uZWwiOiJodHRwczovL3ByZWZpeC5kZXYvbXktY2hhbm5lbCJ9fQ==","signatures":[{"sig":"AA=="}]}}"#;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cep27-validate"))
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Runs the program with a text on its standard input.
fn pipe(arguments: &[&str], input: &str) -> Output {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// A file of this name and content, in a folder of the test's own.
fn file(test: &str, name: &str, content: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.into_os_string().into_string().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn valid_files_are_named_with_what_they_attest() {
    let sidecar = format!("[{BUNDLE},{BUNDLE}]");
    let package = "  libgreet-1.0.0-h123_0.conda for https://prefix.dev/my-channel\n";
    for (input, expected) in [
        (VALID, format!("-: in-toto statement, valid\n{package}")),
        (BUNDLE, format!("-: Sigstore bundle, valid\n{package}")),
        (
            &sidecar,
            format!("-: CEP-50 sidecar, valid\n{package}{package}"),
        ),
        (
            r#"{"targetChannel":"https://a.b"}"#,
            "-: publish predicate, valid\n".to_owned(),
        ),
    ] {
        let output = pipe(&["-"], input);
        assert_eq!(text(&output.stdout), expected);
        assert_eq!(text(&output.stderr), "");
        assert_eq!(status(&output), 0);
    }
}

#[test]
fn every_violation_of_every_file_is_printed() {
    let good = file("every", "good.json", VALID);
    let bad = file(
        "every",
        "bad.json",
        &VALID
            .replace("Statement/v1", "Statement/v0.1")
            .replace("my-channel", "my-channel/"),
    );
    let output = run(&[&good, &bad]);
    assert_eq!(status(&output), 5);
    let stdout = text(&output.stdout);
    assert!(
        stdout.starts_with(&format!("{good}: in-toto statement, valid\n")),
        "{stdout}"
    );
    let (_, report) = stdout.split_once(&format!("{bad}: ")).unwrap();
    assert_eq!(
        report,
        "in-toto statement, 2 violations\n  \
         CEP-27 rule 1 at /_type: expected `https://in-toto.io/Statement/v1`, found the older \
         `https://in-toto.io/Statement/v0.1`\n    \
         note: older cosign releases write in-toto Statement v0.1, which CEP-27 does not allow: \
         attest the package again with a client that writes v1\n  \
         CEP-27 rule 7 at /predicate/targetChannel: expected no trailing slash, found \
         `https://prefix.dev/my-channel/`\n"
    );
}

#[test]
fn json_is_one_document_with_rule_and_pointer() {
    let bad = BUNDLE.replace("vnd.in-toto+json", "text");
    let bad = file("json", "bad.json", &bad);
    let missing = format!("{bad}.missing");
    let output = run(&["--json", &bad, &missing]);
    assert_eq!(status(&output), 3);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema_version"], 1);
    let [first, second] = report["files"].as_array().unwrap().as_slice() else {
        panic!()
    };
    assert_eq!(
        (&first["kind"], &first["valid"]),
        (&"bundle".into(), &false.into())
    );
    let violation = &first["violations"][0];
    assert_eq!(violation["rule"], 0);
    assert_eq!(violation["code"], "payload_type");
    assert_eq!(violation["pointer"], "/dsseEnvelope/payloadType");
    assert_eq!(
        first["statements"][0]["file"],
        "libgreet-1.0.0-h123_0.conda"
    );
    assert_eq!(second["file"], *missing);
    assert!(!second["error"].as_str().unwrap().is_empty());
}

#[test]
fn an_unreadable_file_is_an_error_and_the_others_are_still_checked() {
    let good = file("unreadable", "good.json", VALID);
    let folder = env!("CARGO_TARGET_TMPDIR");
    let output = run(&["/no/such/file", folder, &good]);
    assert_eq!(status(&output), 3);
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("error: /no/such/file could not be read: "),
        "{stderr}"
    );
    assert!(
        stderr.contains(&format!("error: {folder} could not be read: ")),
        "{stderr}"
    );
    assert!(text(&output.stdout).contains("valid"));
}

#[test]
fn foreign_text_cannot_drive_the_terminal() {
    let hostile = r#"{"_type":"\u001b[2J\u202e\u009b","\u001b]0;x\u0007":1,"\u001b]0;x\u0007":2}"#;
    for arguments in [&["-"][..], &["--json", "-"]] {
        let output = pipe(arguments, hostile);
        assert_eq!(status(&output), 5);
        assert!(
            text(&output.stdout)
                .chars()
                .all(|c| c == '\n' || !c.is_control() && c != '\u{202e}')
        );
    }
    let path = file("foreign", "a\u{1b}[31m\u{202e}.json", "{}");
    let output = run(&[&path]);
    assert!(!text(&output.stdout).contains(['\u{1b}', '\u{202e}']));
}

#[test]
fn too_much_input_is_refused_without_reading_it_all() {
    let output = pipe(&["-"], &" ".repeat((16 << 20) + 1));
    assert_eq!(status(&output), 5);
    let stdout = text(&output.stdout);
    assert!(
        stdout.contains("expected at most 16777216 bytes"),
        "{stdout}"
    );
}

#[test]
fn wrong_usage_says_how_it_is_done() {
    for (arguments, message) in [
        (&[][..], "error: expected at least one file, found none"),
        (&["--jsno", "x"], "error: unexpected option `--jsno`"),
        (&["--"], "error: expected at least one file, found none"),
    ] {
        let output = run(arguments);
        assert_eq!(status(&output), 2, "{arguments:?}");
        assert!(
            text(&output.stderr).starts_with(message),
            "{}",
            text(&output.stderr)
        );
        assert!(text(&output.stderr).contains("--help"));
        assert_eq!(text(&output.stdout), "");
    }
    // After `--`, everything is a file.
    assert_eq!(status(&run(&["--", "--json"])), 3);
}

#[test]
fn help_and_version_are_printed() {
    let help = run(&["--help"]);
    assert_eq!(status(&help), 0);
    assert!(text(&help.stdout).contains("Usage: cep27-validate [--json] FILE..."));
    assert!(text(&help.stdout).lines().all(|line| line.len() <= 100));
    let version = run(&["--version"]);
    assert_eq!(
        text(&version.stdout),
        format!("cep27-validate {}\n", env!("CARGO_PKG_VERSION"))
    );
}
