//! `sign` of files for real, as far as it goes without an instance of Sigstore: what it needs, and
//! that nothing is asked for before what comes first is there. `.ci/run` goes the rest of the way,
//! with the real servers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use end_to_end::{Output, REHEARSAL, Workspace};
use serde_json::{Value, json};

const CHANNEL: [&str; 2] = ["--channel", "https://prefix.dev/acme"];
const TRUST: [&str; 4] = ["--trust", "root.json", "--signing-config", "signing.json"];

/// A workspace with a package, and an instance of Sigstore in files: the root is that of the public
/// instance, and its services are where nobody listens.
struct Signing {
    workspace: Workspace,
    package: String,
}

impl Signing {
    fn new() -> Self {
        let workspace = Workspace::with_one_package();
        workspace.run(["build"]).ends(0);
        let packages = format!("{REHEARSAL}/packages");
        let name = workspace.packages_in(&packages).remove(0);
        let package = format!("{packages}/noarch/{name}");
        let root = sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
        workspace.write("root.json", root);
        let service = json!([{
            "url": "http://127.0.0.1:9",
            "majorApiVersion": 1,
            "validFor": {"start": "2020-01-01T00:00:00Z"},
            "operator": "nobody",
        }]);
        let services = json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service, "oidcUrls": service, "rekorTlogUrls": service, "tsaUrls": service,
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaConfig": {"selector": "ANY"},
        });
        workspace.write("signing.json", &services.to_string());
        Self { workspace, package }
    }

    /// Signs the package under the instance in files.
    fn sign(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        let args = [&["sign", &self.package], &TRUST[..], &CHANNEL[..], args].concat();
        let mut command = self.workspace.command(args);
        command.envs(variables.iter().copied());
        self.workspace.run_command(command)
    }

    fn has_bundle(&self) -> bool {
        let bundle = format!("{}.sigstore.json", self.package);
        self.workspace.path(bundle).exists()
    }
}

/// A token that nobody signed, with these claims over good ones.
fn token(claims: Value) -> String {
    let mut all = json!({
        "iss": "https://issuer.example",
        "sub": "somebody",
        "aud": "sigstore",
        "exp": 9_999_999_999_u64,
    });
    let claims = claims.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(claims);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(r#"{"alg":"RS256"}"#);
    format!("{header}.{}.{}", part(&all.to_string()), part("signature"))
}

#[test]
fn the_channel_must_be_said_when_it_is_for_real() {
    let Signing { workspace, package } = Signing::new();
    let sign = [&["sign", &package], &TRUST[..]].concat();
    workspace
        .run(&sign)
        .ends(3)
        .says("no channel to attest packages for")
        .says("--channel");
    workspace
        .run(
            [
                &sign[..],
                &["--channel", "https://rehearsal.invalid/channel"],
            ]
            .concat(),
        )
        .ends(2)
        .says("is a rehearsal's channel");
    // With a channel, the next thing that is missing is somebody to sign.
    workspace.config("channel = \"https://prefix.dev/acme\"");
    workspace
        .run(&sign)
        .ends(3)
        .says("no identity to sign with");
    workspace.config("channel = \"s3://acme\"\ntarget-channel = \"https://conda.acme.example\"");
    workspace
        .run(&sign)
        .ends(3)
        .says("no identity to sign with");
    workspace.config("channel = \"s3://acme\"");
    workspace.run(&sign).ends(3).says("no channel to attest");
}

#[test]
fn without_an_identity_each_provider_says_what_is_missing() {
    let signing = Signing::new();
    signing
        .sign(&[], &[])
        .ends(3)
        .says("no identity to sign with")
        .says("SIGSTORE_ID_TOKEN is not set")
        .says("GitHub Actions:")
        .says("GitLab CI:")
        .says("Buildkite:")
        .says("CircleCI:")
        .says("login in the browser:");
    signing
        .sign(&[], &[("GITHUB_ACTIONS", "true")])
        .ends(3)
        .says("permissions: id-token: write")
        .says("pull request from a fork cannot have it");
    let output = signing.sign(&["--output-format", "json"], &[]).ends(3);
    assert_eq!(output.json()["error"]["code"], "no_identity", "{output}");
    assert!(!signing.has_bundle());
}

#[test]
fn a_token_that_cannot_be_used_is_refused_before_anybody_sees_it() {
    let signing = Signing::new();
    for (claims, code) in [
        (json!({"exp": 1_000_000_000}), "token_expired"),
        (json!({"aud": "other"}), "token_audience"),
        (json!({"aud": ["sigstore", "other"]}), "token_audience"),
        (
            json!({"iss": sigstore_sandbox::ISSUER}),
            "rehearsed_identity",
        ),
    ] {
        let token = token(claims);
        let variable = [("SIGSTORE_ID_TOKEN", token.as_str())];
        let output = signing
            .sign(&["--output-format", "json"], &variable)
            .ends(3);
        assert_eq!(output.json()["error"]["code"], code, "{output}");
        signing.workspace.write("token", &token);
        let output = signing
            .sign(&["--identity-token", "token", "-v"], &[])
            .ends(3);
        for part in token.split('.').skip(1) {
            assert!(!output.to_string().contains(part), "{output}");
        }
    }
    let audience = [("CONDA_RELEASE_AUDIENCE", "acme")];
    signing.workspace.write("token", &token(json!({})));
    signing
        .sign(&["--identity-token", "token"], &audience)
        .ends(3)
        .says("expected `acme`");
    assert!(!signing.has_bundle());
}

#[test]
fn a_service_that_is_not_there_is_a_failed_signature() {
    let signing = Signing::new();
    let token = token(json!({}));
    let Signing { workspace, package } = &signing;
    // Tokens come by standard input too.
    let sign = [&["sign", package], &TRUST[..], &CHANNEL[..]].concat();
    let sign = [
        &sign[..],
        &["--identity-token", "-", "--output-format", "json"],
    ]
    .concat();
    let output = workspace.run_with_input(sign, token.as_bytes()).ends(6);
    assert_eq!(output.json()["error"]["exit_status"], 6, "{output}");
    // Who would have signed was said before.
    assert!(output.mentions("somebody from standard input"), "{output}");
    assert!(
        output.mentions("issued by https://issuer.example"),
        "{output}"
    );
    assert!(!signing.has_bundle());
}

#[test]
fn the_public_instance_out_of_reach_is_said_so_and_nothing_is_signed() {
    let signing = Signing::new();
    let Signing { workspace, package } = &signing;
    let sign = [&["sign", "-x", package], &CHANNEL[..]].concat();
    let mut command = workspace.command(sign);
    command.env("SIGSTORE_ID_TOKEN", token(json!({})));
    workspace
        .run_command(command)
        .ends(3)
        .says("tuf-repo-cdn.sigstore.dev");
    assert!(!signing.has_bundle());
}

#[test]
fn what_cannot_sign_for_real_is_refused_by_name() {
    let Signing { workspace, package } = Signing::new();
    let sign = [&["sign", &package], &CHANNEL[..]].concat();
    for (args, message) in [
        (&["-x", "--trust", "sandbox"][..], "signs rehearsals alone"),
        (&["--trust", "github"], "verifies only"),
        (&["--trust", "root.json"], "has no signing configuration"),
        (
            &["--identity-token", "x"],
            "a rehearsal has an identity of its own",
        ),
    ] {
        let output = workspace.run([&sign[..], args].concat());
        assert!(matches!(output.status, Some(2 | 3)), "{output}");
        assert!(output.mentions(message), "{output}");
    }
    // A rehearsal's root is one by whatever name.
    workspace.run(["release"]).ends(0);
    let config = format!("{REHEARSAL}/sandbox/trust_config.json");
    workspace
        .run([&sign[..], &["-x", "--trust", &config]].concat())
        .ends(2)
        .says("is the trusted root of a rehearsal");
    workspace.config(&format!("sign.trust = \"{config}\""));
    workspace
        .run([&sign[..], &["-x"]].concat())
        .ends(2)
        .says("is the trusted root of a rehearsal");
}

#[test]
fn files_are_signed_for_real_wherever_they_lie() {
    let signing = Signing::new();
    let outside = signing.workspace.beside("outside");
    fs_err::create_dir(&outside).unwrap();
    let package = signing.workspace.path(&signing.package);
    let package = package.to_str().unwrap();
    let root = signing.workspace.path("root.json");
    let services = signing.workspace.path("signing.json");
    let mut command = signing.workspace.command(
        [
            &["sign", package, "--trust", root.to_str().unwrap()][..],
            &["--signing-config", services.to_str().unwrap()],
            &CHANNEL[..],
        ]
        .concat(),
    );
    command.current_dir(&outside);
    // No workspace is missed, but somebody to sign.
    signing
        .workspace
        .run_command(command)
        .ends(3)
        .says("no identity to sign with");
    signing
        .sign(&[&signing.package], &[])
        .ends(2)
        .says("is named twice");
}
