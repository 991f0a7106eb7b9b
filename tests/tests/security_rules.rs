//! The security rules, each by its name: what an attacker would try first, against the program that
//! users run. The crates below have the long tables; this says that the rules reach the surface.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use conda_attest::{ActionsEndpoint, PackageFile, SignOptions, Trust, sign};
use end_to_end::{Answer, Output, REHEARSAL, Server, Workspace};
use fs_err as fs;
use serde_json::{Value, json};
use sigstore_sandbox::{AUDIENCE, Claims, Options, RekorVersions, Sandbox};

const CHANNEL: &str = "https://prefix.dev/acme";
const WORKFLOW: &str = "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main";
const ISSUER: &str = "https://actions.sandbox.conda-release.invalid";

/// A package that a workflow of `acme/pkgs` has signed on `main`, with its bundle beside it.
struct Attested {
    workspace: Workspace,
    package: PathBuf,
}

impl Attested {
    fn new() -> Self {
        Self::by(Options {
            claims: Claims::github_actions(),
            ..Options::default()
        })
    }

    fn by(options: Options) -> Self {
        let workspace = Workspace::with_one_package();
        workspace.run(["build"]).ends(0);
        let packages = format!("{REHEARSAL}/packages");
        let name = workspace.packages_in(&packages).remove(0);
        let package = workspace.path(format!("{packages}/noarch/{name}"));
        let folder = workspace.rehearsal("sandbox");
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(attest(&folder, options, &package));
        Self { workspace, package }
    }

    fn bundle(&self) -> PathBuf {
        let mut path = self.package.clone().into_os_string();
        path.push(".sigstore.json");
        path.into()
    }

    /// Changes the bundle beside the package.
    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut bundle = serde_json::from_slice(&fs::read(self.bundle()).unwrap()).unwrap();
        change(&mut bundle);
        fs::write(self.bundle(), bundle.to_string()).unwrap();
    }

    fn verify(&self, options: &[&str]) -> Output {
        let verify = ["verify", text(&self.package), "--trust", "sandbox"];
        self.workspace.run([&verify[..], options].concat())
    }

    /// Publishing the package with its bundle is refused before anything is there, and says this.
    #[track_caller]
    fn is_not_published(&self, options: &[&str], status: i32, said: &str) {
        let to = self.workspace.path("published");
        let bundle = self.bundle();
        let publish = [
            "publish",
            text(&self.package),
            "--attestation",
            text(&bundle),
            "--to",
            text(&to),
            "--trust",
            "sandbox",
        ];
        let output = self.workspace.run([&publish[..], options].concat());
        let output = output.ends(status);
        assert!(output.mentions(said), "{output}");
        assert!(!to.exists(), "{output}");
    }

    /// The checks that fail for the one bundle there is.
    fn refused(&self, options: &[&str]) -> Vec<String> {
        let json = ["--output-format", "json"];
        let report = self.verify(&[options, &json[..]].concat()).ends(7).json();
        let checks = report["packages"][0]["attestations"][0]["checks"]
            .as_array()
            .unwrap_or_else(|| panic!("{report}"));
        checks
            .iter()
            .filter(|check| check["result"]["outcome"] == "failed")
            .map(|check| check["code"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A change of a bundle.
type Forge = fn(&mut Value);

async fn attest(folder: &Path, options: Options, package: &Path) {
    let sandbox = Sandbox::start(folder, options).await.unwrap();
    let trust = Trust::from_file(&sandbox.trust_config(), None)
        .unwrap()
        .with_audience(AUDIENCE);
    let endpoint = sandbox.token_endpoint();
    let identity = ActionsEndpoint::new(&endpoint.url, endpoint.bearer, AUDIENCE).unwrap();
    let package = vec![PackageFile::read(package).unwrap()];
    let options = SignOptions::new(CHANNEL.parse().unwrap());
    let results = sign(&trust, &identity, package, &options, &()).await;
    for (_, result) in results.unwrap() {
        result.unwrap();
    }
    sandbox.stop().await;
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const BY_REPOSITORY: [&str; 4] = ["--repo", "acme/pkgs", "--issuer", ISSUER];

#[test]
fn identity_policy() {
    let attested = Attested::new();
    // There is no default: not in the checkout, not in the bundle, not in the manifest.
    let entry = format!("[[verify]]\nrepository = \"acme/pkgs\"\nissuer = \"{ISSUER}\"\n");
    attested.workspace.config(&entry);
    attested
        .verify(&[])
        .ends(3)
        .says("no identity policy was given");
    let bundle = attested.bundle();
    let publish = [
        "publish",
        text(&attested.package),
        "--attestation",
        text(&bundle),
        "--to",
        "channel",
    ];
    attested
        .workspace
        .run(publish)
        .ends(3)
        .says("no identity policy was given");
    assert!(!attested.workspace.path("channel").exists());
    // Told, it is taken, and said where it is from.
    let output = attested.verify(&["--config", "conda-release.toml"]).ends(0);
    assert!(output.stdout.contains("conda-release.toml"), "{output}");
    attested.verify(&BY_REPOSITORY).ends(0);
    let output = attested.verify(&["--allow-any-identity"]).ends(0);
    assert!(output.stdout.contains(WORKFLOW), "{output}");
}

#[test]
fn claims_not_prefixes() {
    let attested = Attested::new();
    let issuer = ["--issuer", ISSUER];
    for accepted in [
        &["--owner", "acme"][..],
        &["--repo", "acme/pkgs", "--ref", "refs/heads/main"],
        &["--repo", "https://github.com/acme/pkgs"],
        &["--identity", WORKFLOW],
        &["--identity-regexp", r"https://github\.com/acme/.*"],
    ] {
        attested.verify(&[accepted, &issuer[..]].concat()).ends(0);
    }
    for refused in [
        &["--owner", "acm"][..],
        &["--owner", "acme-evil"],
        &["--owner", "Acme"],
        &["--repo", "acme/pkg"],
        &["--repo", "acme/pkgs2"],
        &["--repo", "acme/pkgs", "--ref", "refs/tags/main"],
        &["--repo", "acme/pkgs", "--environment", "release"],
        &["--identity", "https://github.com/acme/pkgs"],
        &["--identity-regexp", r"https://github\.com/acme/"],
        &["--identity-regexp", "release"],
    ] {
        let options = [refused, &issuer[..]].concat();
        assert_eq!(attested.refused(&options), ["identity"], "{refused:?}");
        let publishing = [&options[..], &["--channel", CHANNEL]].concat();
        attested.is_not_published(&publishing, 7, "nothing was published");
    }
    // Without an issuer GitHub's is meant, and it did not vouch for this.
    assert_eq!(attested.refused(&["--repo", "acme/pkgs"]), ["identity"]);
    // A workflow that others call signs as itself for all of them.
    attested
        .verify(&["--signer-workflow", WORKFLOW, "--issuer", ISSUER])
        .ends(2);
    let shared = "acme/shared/.github/workflows/sign.yml@refs/tags/v1";
    let called = Attested::by(Options {
        claims: Claims {
            signer_workflow: Some(shared.to_owned()),
            ..Claims::github_actions()
        },
        ..Options::default()
    });
    let signer = format!("https://github.com/{shared}");
    let by_signer = ["--identity", &signer, "--issuer", ISSUER];
    assert_eq!(called.refused(&by_signer), ["identity"]);
    let with = |repository| [&by_signer[..], &["--repo", repository]].concat();
    assert_eq!(called.refused(&with("acme/other")), ["identity"]);
    called.verify(&with("acme/pkgs")).ends(0);
}

#[test]
fn log_and_time() {
    const ENTRIES: &str = "/verificationMaterial/tlogEntries";
    for rekor in [RekorVersions::V1, RekorVersions::V2] {
        let signed = || {
            Attested::by(Options {
                rekor,
                claims: Claims::github_actions(),
                ..Options::default()
            })
        };
        signed().verify(&BY_REPOSITORY).ends(0);
        let forgeries: [(&str, Forge); 4] = [
            ("no entry", |bundle| {
                *bundle.pointer_mut(ENTRIES).unwrap() = json!([]);
            }),
            ("no proof", |bundle| {
                bundle.pointer_mut(ENTRIES).unwrap()[0]
                    .as_object_mut()
                    .unwrap()
                    .remove("inclusionProof");
            }),
            ("an unproved second entry", |bundle| {
                let entries = bundle.pointer_mut(ENTRIES).unwrap().as_array_mut().unwrap();
                let mut second = entries[0].clone();
                second.as_object_mut().unwrap().remove("inclusionProof");
                entries.push(second);
            }),
            ("no clock", |bundle| {
                bundle["verificationMaterial"]["timestampVerificationData"] = json!({});
                for entry in bundle.pointer_mut(ENTRIES).unwrap().as_array_mut().unwrap() {
                    entry.as_object_mut().unwrap().remove("inclusionPromise");
                }
            }),
        ];
        for (name, forge) in forgeries {
            let attested = signed();
            attested.change(forge);
            let failed = attested.refused(&BY_REPOSITORY);
            assert!(
                failed
                    .iter()
                    .any(|code| ["log", "time", "bundle"].contains(&code.as_str())),
                "{rekor:?}, {name}: {failed:?}"
            );
            let publishing = [&BY_REPOSITORY[..], &["--channel", CHANNEL]].concat();
            attested.is_not_published(&publishing, 7, "nothing was published");
        }
    }
}

#[test]
fn trust_material() {
    let attested = Attested::new();
    // Nothing can be reached from here: verifying goes on with what is at hand and says so.
    let public = ["verify", text(&attested.package), "--allow-any-identity"];
    attested
        .workspace
        .run(public)
        .ends(7)
        .says("public-good, from the copy of 20")
        .says("in this program: ");
    // Signing does not, whoever signs.
    let sign = ["sign", "-x", text(&attested.package), "--channel", CHANNEL];
    attested
        .workspace
        .run(sign)
        .ends(3)
        .says("tuf-repo-cdn.sigstore.dev");
    // A rehearsal's root passes for nothing else.
    let root = attested.workspace.rehearsal("sandbox/trust_config.json");
    for command in ["sign", "verify"] {
        let mut args = vec![command, text(&attested.package), "--trust", text(&root)];
        match command {
            "sign" => args.extend(["--channel", CHANNEL]),
            _ => args.extend(["--allow-any-identity"]),
        }
        attested
            .workspace
            .run(args)
            .ends(2)
            .says("is the trusted root of a rehearsal");
    }
}

#[test]
fn channel_binding() {
    let attested = Attested::new();
    let with = |channel| [&BY_REPOSITORY[..], &["--channel", channel]].concat();
    attested.verify(&with(CHANNEL)).ends(0);
    assert_eq!(
        attested.refused(&with("https://prefix.dev/acme-evil")),
        ["statement"]
    );
    let elsewhere = with("https://prefix.dev/acme-evil");
    attested.is_not_published(&elsewhere, 7, "nothing was published");
    // What is attested is a URL that clients read, with no secret in it.
    for channel in [
        "https://prefix.dev/t/secret/acme",
        "https://user:secret@prefix.dev/acme",
        "https://prefix.dev/acme?token=secret",
        "https://prefix.dev/acme#secret",
    ] {
        let sign = ["sign", text(&attested.package), "--channel", channel];
        let output = attested.workspace.run(sign).ends(2);
        assert!(!output.stderr.contains("secret\n"), "{output}");
        assert!(output.mentions("target channel"), "{output}");
    }
    // A package under another name is another package.
    let renamed = attested.package.with_file_name("other-1.0.0-h1_0.conda");
    fs::copy(&attested.package, &renamed).unwrap();
    let bundle = attested.bundle();
    let verify = [
        "verify",
        text(&renamed),
        "--trust",
        "sandbox",
        "--bundle",
        text(&bundle),
    ];
    attested
        .workspace
        .run([&verify[..], &BY_REPOSITORY].concat())
        .ends(7);
}

#[test]
fn credentials() {
    let attested = Attested::new();
    // A token for everybody's Sigstore goes to no other, and nothing goes over plain http.
    let root = sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    attested.workspace.write("root.json", root);
    for (url, said) in [
        ("https://fulcio.acme.example", "audience"),
        ("http://fulcio.acme.example", "https"),
    ] {
        let service = json!([{
            "url": url, "majorApiVersion": 1, "validFor": {"start": "2020-01-01T00:00:00Z"}, "operator": "acme",
        }]);
        let services = json!({
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": service, "oidcUrls": service, "rekorTlogUrls": service, "tsaUrls": service,
            "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"},
        });
        attested
            .workspace
            .write("signing.json", &services.to_string());
        let sign = [
            "sign",
            text(&attested.package),
            "--channel",
            CHANNEL,
            "--trust",
            "root.json",
            "--signing-config",
            "signing.json",
        ];
        attested.workspace.run(sign).ends(3).says(said);
    }
    // A channel's credentials stay with its host.
    let server = Server::of(&attested.workspace.rehearsal("packages"));
    let elsewhere = Server::of(&attested.workspace.rehearsal("packages"));
    let there = elsewhere.channel().replace("127.0.0.1", "localhost");
    for file in ["noarch/repodata.json", "noarch/repodata.json.zst"] {
        server.answers(file, [Answer::Redirect(format!("{there}/{file}"))]);
    }
    let file = attested.workspace.beside("auth.json");
    let auth = json!({"127.0.0.1": {"BearerToken": "tk-s3cret"}});
    fs::write(&file, auth.to_string()).unwrap();
    let channel = server.channel();
    let mut command = attested.workspace.command([
        "verify",
        &channel,
        "--trust",
        "sandbox",
        "--allow-any-identity",
    ]);
    command.env("RATTLER_AUTH_FILE", &file);
    let output = attested.workspace.run_command(command);
    assert!(!output.to_string().contains("tk-s3cret"), "{output}");
    let sent = |server: &Server| -> Vec<_> {
        let seen = server.seen();
        seen.into_iter().map(|it| it.authorization).collect()
    };
    assert!(sent(&server).iter().all(Option::is_some), "{output}");
    assert!(!sent(&elsewhere).is_empty(), "{output}");
    assert!(sent(&elsewhere).iter().all(Option::is_none), "{output}");
}

#[test]
fn foreign_data() {
    let attested = Attested::new();
    // Two keys of one name mean two things to two readers.
    let bundle = fs::read_to_string(attested.bundle()).unwrap();
    let twice = bundle.replacen('{', r#"{"mediaType":"x","#, 1);
    fs::write(attested.bundle(), twice).unwrap();
    assert_eq!(attested.refused(&BY_REPOSITORY), ["bundle"]);
    // Neither depth nor size takes the program down.
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for hostile in [nested, " ".repeat(5 << 20), "null".to_owned()] {
        fs::write(attested.bundle(), hostile).unwrap();
        let output = attested.verify(&BY_REPOSITORY).ends(7);
        assert!(output.stdout.contains('✗'), "{output}");
        let publishing = [&BY_REPOSITORY[..], &["--channel", CHANNEL]].concat();
        attested.is_not_published(&publishing, 7, "");
    }
    // Links are not followed.
    fs::remove_file(attested.bundle()).unwrap();
    fs::write(attested.workspace.path("elsewhere.json"), &bundle).unwrap();
    #[cfg(unix)]
    fs::os::unix::fs::symlink(attested.workspace.path("elsewhere.json"), attested.bundle())
        .unwrap();
    #[cfg(unix)]
    attested.verify(&BY_REPOSITORY).ends(7);
}

#[test]
fn foreign_text() {
    const HOSTILE: &str = "\u{1b}[2J\u{202e}x\r\n::error::owned";
    let attested = Attested::new();
    attested.change(|bundle| {
        bundle["mediaType"] = json!(HOSTILE);
    });
    let quiet = |output: Output| {
        for text in [&output.stdout, &output.stderr] {
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\r']), "{text:?}");
            assert!(!text.lines().any(|line| line.starts_with("::")), "{text:?}");
        }
    };
    quiet(attested.verify(&BY_REPOSITORY).ends(7));
    quiet(
        attested
            .workspace
            .run(["inspect", text(&attested.bundle())]),
    );
    quiet(
        attested
            .workspace
            .run(["validate", text(&attested.bundle())]),
    );
}
