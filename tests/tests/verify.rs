//! `verify`: channels on servers, good and hostile, and who is believed.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};

use end_to_end::{Answer, Output, Server, Workspace};
use fs_err as fs;
use serde_json::{Value, json};

const IDENTITY: &str = "https://sandbox.conda-release.invalid/rehearsal";
const ISSUER: &str = "https://sandbox.conda-release.invalid";
/// The options under which a rehearsal's attestations verify.
const TRUSTED: [&str; 6] = [
    "--trust",
    "sandbox",
    "--identity",
    IDENTITY,
    "--issuer",
    ISSUER,
];
/// What a rehearsal attests where nothing is configured.
const ATTESTED: &str = "https://rehearsal.invalid/channel";

/// A release of two packages, whose channel is on a server.
struct Published {
    workspace: Workspace,
    server: Server,
}

impl Published {
    fn new() -> Self {
        let workspace = Workspace::with_two_packages();
        workspace.run(["release"]).ends(0);
        let server = Server::of(&workspace.rehearsal("channel"));
        fs::create_dir(workspace.beside("tmp")).unwrap();
        Self { workspace, server }
    }

    /// Verifies the channel on the server, as a mirror of the attested one.
    fn verify(&self, options: &[&str]) -> Output {
        let channel = self.server.channel();
        let args = ["verify", &channel, "--mirror-of", ATTESTED];
        let mut command = self
            .workspace
            .command([&args[..], &TRUSTED, options].concat());
        command.env("TMPDIR", self.workspace.beside("tmp"));
        self.workspace.run_command(command)
    }

    /// What is reported of each package, sorted by where it is.
    fn report(&self, status: i32) -> Vec<Value> {
        let report = self
            .verify(&["--output-format", "json"])
            .ends(status)
            .json();
        report["packages"].as_array().unwrap().clone()
    }

    /// The file name of the first package.
    fn first(&self) -> String {
        self.workspace
            .packages_in(self.workspace.rehearsal("channel"))
            .remove(0)
    }

    /// The name of the hashed sidecar of the first package.
    fn sidecar(&self) -> String {
        let record = &self.workspace.repodata("noarch")["packages.conda"][self.first()];
        let sha256 = record["attestations_sha256"].as_str().unwrap();
        format!("noarch/{}.sigs.{sha256}", self.first())
    }

    /// Has the server say something else in its repodata.
    fn repodata(&self, change: impl FnOnce(&mut Value)) {
        let mut repodata = self.workspace.repodata("noarch");
        change(&mut repodata);
        let bytes = repodata.to_string().into_bytes();
        self.server
            .answers("noarch/repodata.json", [Answer::Bytes(bytes)])
            .answers("noarch/repodata.json.zst", [Answer::Status(404)]);
    }

    /// A copy of the first package with nothing beside it.
    fn copy(&self) -> PathBuf {
        let file = self.first();
        let copy = self.workspace.path(&file);
        fs::copy(
            self.workspace.rehearsal("channel/noarch").join(&file),
            &copy,
        )
        .unwrap();
        copy
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_channel_on_a_server_is_verified_package_by_package() {
    let published = Published::new();
    let output = published.verify(&[]).ends(0);
    assert!(output.stdout.starts_with("REHEARSAL: "), "{output}");
    assert!(output.stdout.ends_with("2 of 2 verified\n"), "{output}");
    let url = format!(
        "✓ {}/noarch/{}",
        published.server.channel(),
        published.first()
    );
    assert!(output.stdout.contains(&url), "{output}");
    for entry in published.report(0) {
        assert_eq!(entry["verified"], true);
    }
}

#[test]
fn a_channel_must_be_the_attested_one_or_be_called_a_mirror_of_it() {
    let published = Published::new();
    let channel = published.server.channel();
    let verify = ["verify", &channel];
    let output = published
        .workspace
        .run([&verify[..], &TRUSTED].concat())
        .ends(7);
    assert!(output.stdout.contains(ATTESTED), "{output}");
    let elsewhere = ["--mirror-of", "https://prefix.dev/other"];
    published
        .workspace
        .run([&verify[..], &elsewhere, &TRUSTED].concat())
        .ends(7);

    let config = format!("target-channel = \"{channel}\"");
    published.workspace.config(&config).commit();
    published.workspace.run(["release"]).ends(0);
    published
        .workspace
        .run([&verify[..], &TRUSTED].concat())
        .ends(0);
}

#[test]
fn attestations_that_are_not_at_hand_come_from_the_channel() {
    let published = Published::new();
    let (package, channel) = (published.copy(), published.server.channel());
    let verify = ["verify", text(&package), "--mirror-of", ATTESTED];
    let from_channel = ["--channel", &channel];
    let run = |options: &[&str]| {
        published
            .workspace
            .run([&verify[..], &TRUSTED, options].concat())
    };
    run(&[]).ends(7);
    assert!(published.server.seen().is_empty());
    run(&[&from_channel[..], &["--offline"]].concat()).ends(7);
    assert!(published.server.seen().is_empty());
    let output = run(&from_channel).ends(0);
    assert!(output.stdout.contains("1 of 1 verified"), "{output}");
    // The package itself is at hand.
    let asked = |what: &str| {
        published
            .server
            .seen()
            .iter()
            .any(|it| it.path.ends_with(what))
    };
    assert!(asked(&published.sidecar()) && !asked(".conda"));
}

#[test]
fn what_a_server_has_of_one_package_is_one_failure() {
    let published = Published::new();
    let (package, sidecar) = (format!("noarch/{}", published.first()), published.sidecar());
    let nobody = "http://192.0.2.1/x".to_owned();
    for (path, answer, code) in [
        (
            &sidecar,
            Answer::Bytes(b"[{}]".to_vec()),
            "attestations_unusable",
        ),
        (
            &sidecar,
            Answer::Bytes(vec![b' '; 5 << 20]),
            "attestations_unusable",
        ),
        (&sidecar, Answer::Status(404), "attestations_unusable"),
        (
            &sidecar,
            Answer::Redirect(nobody.clone()),
            "attestations_unusable",
        ),
        (&package, Answer::Bytes(b"other".to_vec()), "not_as_listed"),
        (&package, Answer::Bytes(vec![0; 1 << 20]), "too_large"),
        (&package, Answer::Torn, "channel_unreachable"),
        (&package, Answer::Status(404), "channel_status"),
        (&package, Answer::Redirect(nobody), "forbidden_address"),
    ] {
        published.server.as_it_is().answers(path, [answer.clone()]);
        let entries = published.report(7);
        assert_eq!(entries.len(), 2);
        assert_eq!(
            entries[0]["error"]["code"], code,
            "{answer:?}: {}",
            entries[0]
        );
        assert_eq!(entries[0]["verified"], false);
        assert_eq!(entries[1]["verified"], true, "{answer:?}: {}", entries[1]);
    }
    assert_eq!(
        published.workspace.files(published.workspace.beside("tmp")),
        [""; 0]
    );
}

#[test]
fn a_server_may_be_slow_and_fail_in_passing() {
    let published = Published::new();
    let package = format!("noarch/{}", published.first());
    published
        .server
        .answers(&published.sidecar(), [Answer::Status(500), Answer::File])
        .answers(&package, [Answer::Torn, Answer::Slowly]);
    published.verify(&[]).ends(0);
}

#[test]
fn repodata_does_not_lead_anywhere() {
    let published = Published::new();
    published.repodata(|repodata| {
        let records = repodata["packages.conda"].as_object_mut().unwrap();
        records.insert("../../../../tmp/x-1-0.conda".to_owned(), json!({}));
        records.insert("\u{1b}[2J-1-0.conda".to_owned(), json!({}));
    });
    let output = published.verify(&[]).ends(7);
    assert!(output.stdout.contains("2 of 4 verified"), "{output}");
    assert!(!output.to_string().contains('\u{1b}'), "{output}");
    let is_within = |path: &str| path.starts_with("/channel/") && !path.contains("..");
    for seen in published.server.seen() {
        assert!(is_within(&seen.path), "{}", seen.path);
    }
    published.repodata(|repodata| {
        repodata["info"]["base_url"] = json!("http://192.0.2.1/");
    });
    published.verify(&[]).ends(3).says("is plain http");
    let first = published.first();
    published.repodata(|repodata| {
        repodata["packages.conda"][&first]["attestations_sha256"] = json!("../../x");
    });
    let entries = published.report(7);
    assert_eq!(entries[0]["error"]["code"], "attestations_hash_malformed");
}

#[test]
fn none_advertised_is_no_attestation() {
    let published = Published::new();
    let first = published.first();
    published.repodata(|repodata| {
        let record = repodata["packages.conda"][&first].as_object_mut().unwrap();
        record.remove("attestations_sha256").unwrap();
    });
    let entries = published.report(7);
    assert_eq!(entries[0]["error"]["code"], "no_attestation");
    // What proves nothing is not fetched.
    let package = format!("/channel/noarch/{first}");
    assert!(published.server.seen().iter().all(|it| it.path != package));
}

#[test]
fn a_channel_that_cannot_be_read_ends_it() {
    let published = Published::new();
    let repodata = "noarch/repodata.json";
    published
        .server
        .answers("noarch/repodata.json.zst", [Answer::Status(404)]);
    for (answer, said) in [
        (Answer::Status(404), "noarch/repodata.json is missing"),
        (Answer::Status(403), "RATTLER_AUTH_FILE"),
        (Answer::Bytes(b"<html>".to_vec()), "is not valid repodata"),
    ] {
        published.server.answers(repodata, [answer]);
        published.verify(&[]).ends(3).says(said);
    }
    for (channel, said) in [
        (
            "http://conda.example.com/x",
            "only a channel on this machine may be plain http",
        ),
        ("https://user:s3cret@prefix.dev/x", "credentials"),
        ("https://prefix.dev/t/s3cret/x", "token"),
        ("s3://bucket/x", "http"),
    ] {
        let output = published
            .workspace
            .run([&["verify", channel], &TRUSTED[..]].concat());
        let output = output.ends(3).says(said);
        assert!(!output.to_string().contains("s3cret"), "{output}");
    }
}

#[test]
fn options_that_a_target_would_ignore_are_a_wrong_command_line() {
    let published = Published::new();
    let (package, channel) = (published.copy(), published.server.channel());
    let folder = published.workspace.rehearsal("channel");
    for (args, said) in [
        (
            &[channel.as_str(), "--offline"][..],
            "--offline asks nobody",
        ),
        (&[&channel, "--channel", ATTESTED], "--mirror-of"),
        (
            &[&channel, "--bundle", "x.json"],
            "--bundle goes with packages",
        ),
        (
            &[text(&package), "--subdir", "noarch"],
            "--subdir goes with channels",
        ),
        (
            &[text(&folder), "--channel", "https://prefix.dev/t/x/y"],
            "token",
        ),
    ] {
        published.workspace.write("x.json", "{}");
        published
            .workspace
            .run([&["verify"], args, &TRUSTED].concat())
            .ends(2)
            .says(said);
    }
    assert!(published.server.seen().is_empty());
}

#[test]
fn one_subdir_is_enough_to_ask_for() {
    let published = Published::new();
    published.verify(&["--subdir", "noarch"]).ends(0);
    let others = |path: &str| !path.starts_with("/channel/noarch/");
    assert!(!published.server.seen().iter().any(|it| others(&it.path)));
    published
        .verify(&["--subdir", "linux-64"])
        .ends(3)
        .says("linux-64/repodata.json");
}

#[test]
fn each_of_several_attestations_is_judged_and_any_good_one_is_enough() {
    let published = Published::new();
    let workspace = &published.workspace;
    let package = published.copy();
    let made = workspace.packages_in(workspace.rehearsal("packages"));
    let bundles = made.iter().map(|file| {
        let bundle = format!("packages/noarch/{file}.sigstore.json");
        fs::read_to_string(workspace.rehearsal(bundle)).unwrap()
    });
    let bundles: Vec<String> = bundles.collect();
    let verify = |beside: &str| {
        workspace.write(format!("{}.sigs", published.first()), beside);
        workspace.run([&["verify", text(&package)], &TRUSTED[..]].concat())
    };
    let output = verify(&format!("[{},{}]", bundles[1], bundles[0])).ends(0);
    for shown in [
        // Who signed it is not known of one that proves nothing about these bytes.
        "    ✗ publish attestation\n",
        "        statement: ",
        "    ✓ publish attestation, signed by https://",
    ] {
        assert!(output.stdout.contains(shown), "{output}");
    }
    let twice = format!("[{},{}]", bundles[1], bundles[1]);
    let output = verify(&twice).ends(7);
    assert_eq!(output.stdout.matches("✗").count(), 3, "{output}");
    verify("[]").ends(7);
}

#[test]
fn a_packages_url_stands_for_that_package() {
    let published = Published::new();
    let verify = |file: &str| {
        let url = format!("{}/noarch/{file}", published.server.channel());
        let args = ["verify", &url, "--mirror-of", ATTESTED];
        published.workspace.run([&args[..], &TRUSTED].concat())
    };
    let output = verify(&published.first()).ends(0);
    assert!(output.stdout.contains("1 of 1 verified"), "{output}");
    verify("other-1-0.conda")
        .ends(3)
        .says("is not in the repodata of");
}

#[test]
fn credentials_are_those_of_rattler_and_are_not_shown() {
    let published = Published::new();
    let file = published.workspace.beside("auth.json");
    let auth = json!({"127.0.0.1": {"BearerToken": "tk-s3cret"}});
    fs::write(&file, auth.to_string()).unwrap();
    let channel = published.server.channel();
    let args = ["verify", &channel, "--mirror-of", ATTESTED, "-vv"];
    let mut command = published.workspace.command([&args[..], &TRUSTED].concat());
    command.env("RATTLER_AUTH_FILE", &file);
    let output = published.workspace.run_command(command).ends(0);
    assert!(!output.to_string().contains("tk-s3cret"), "{output}");
    let seen = published.server.seen();
    assert!(!seen.is_empty());
    for request in seen {
        assert_eq!(request.authorization.as_deref(), Some("Bearer tk-s3cret"));
    }
}

mod policy {
    use super::*;

    /// Verifies a folder under a configuration that is named.
    fn verify(workspace: &Workspace, toml: &str, options: &[&str]) -> Output {
        let file = workspace.beside("policy.toml");
        fs::write(&file, toml).unwrap();
        let args = [
            "verify",
            "target/conda-release/rehearsal/channel",
            "--trust",
            "sandbox",
        ];
        let config = ["--config", text(&file)];
        workspace.run([&args[..], &config, options].concat())
    }

    fn released() -> Workspace {
        let workspace = Workspace::with_one_package();
        workspace.run(["release"]).ends(0);
        workspace
    }

    #[test]
    fn any_acceptable_identity_of_a_configuration_suffices() {
        let workspace = released();
        let own = format!("[[verify]]\nidentity = \"{IDENTITY}\"\nissuer = \"{ISSUER}\"\n");
        let other = "[[verify]]\nrepository = \"acme/pkgs\"\n";
        let output = verify(&workspace, &format!("{other}{own}"), &[]).ends(0);
        let said = "policy: any of the 2 [[verify]] entries of `";
        assert!(output.stdout.contains(said), "{output}");
        verify(&workspace, other, &[]).ends(7);
        // Within an entry, everything must hold.
        verify(
            &workspace,
            &format!("{own}environment = \"release\"\n"),
            &[],
        )
        .ends(7);
    }

    #[test]
    fn a_star_in_a_configured_identity_crosses_neither_slash_nor_at() {
        let workspace = released();
        for (identity, status) in [
            ("https://sandbox.conda-release.invalid/*", 0),
            ("https://sandbox.*.invalid/rehearsal", 0),
            ("https://*", 7),
            ("*/rehearsal", 7),
        ] {
            let entry = format!("[[verify]]\nidentity = \"{identity}\"\nissuer = \"{ISSUER}\"\n");
            verify(&workspace, &entry, &[]).ends(status);
        }
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let workspace = released();
        let other = "[[verify]]\nrepository = \"acme/pkgs\"\n";
        let output = verify(&workspace, other, &TRUSTED[2..]).ends(0);
        let said = "policy: as given on the command line";
        assert!(output.stdout.contains(said), "{output}");
    }

    #[test]
    fn what_a_checkout_configures_is_not_believed() {
        let workspace = released();
        let own = format!("[[verify]]\nidentity = \"{IDENTITY}\"\nissuer = \"{ISSUER}\"\n");
        workspace.config(&own);
        let args = [
            "verify",
            "target/conda-release/rehearsal/channel",
            "--trust",
            "sandbox",
        ];
        workspace
            .run(args)
            .ends(3)
            .says("no identity policy was given");
        let told = ["--config", "conda-release.toml"];
        workspace.run([&args[..], &told].concat()).ends(0);
    }

    #[test]
    fn an_entry_that_accepts_anybody_is_refused_by_its_number() {
        let workspace = released();
        for entry in [
            "[[verify]]\n",
            "[[verify]]\nref = \"refs/heads/main\"\n",
            "[[verify]]\nidentity = \"https://github.com/acme/pkgs\"\n",
            "[[verify]]\nsigner-workflow = \"acme/x/.github/workflows/a.yml@refs/heads/main\"\n",
            "[[verify]]\nrepository = \"acme/pkgs\"\nref = \"main\"\n",
        ] {
            let toml = format!("[[verify]]\nrepository = \"acme/pkgs\"\n{entry}");
            verify(&workspace, &toml, &[])
                .ends(3)
                .says("entry 2 of [[verify]] in");
        }
    }
}
