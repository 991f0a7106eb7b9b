//! `verify CHANNEL-URL`: what an audit finds in a whole channel, also in one that means harm.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{cell::RefCell, path::Path};

use conda_attest::{ActionsEndpoint, PackageFile, SignOptions, Trust, sign};
use end_to_end::{Answer, Output, Server, Workspace};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sigstore_sandbox::{AUDIENCE, Claims, Options, Sandbox};

/// What a rehearsal attests where nothing is configured.
const ATTESTED: &str = "https://rehearsal.invalid/channel";
/// The options under which a rehearsal's attestations verify.
const TRUSTED: [&str; 8] = [
    "--mirror-of",
    ATTESTED,
    "--trust",
    "sandbox",
    "--identity",
    "https://sandbox.conda-release.invalid/rehearsal",
    "--issuer",
    "https://sandbox.conda-release.invalid",
];

/// A rehearsal's channel on a server that may say something else in its repodata.
struct Channel {
    workspace: Workspace,
    server: Server,
    repodata: RefCell<Value>,
}

impl Channel {
    /// A channel of packages with these names.
    fn of(names: &[&str]) -> Self {
        let workspace = Workspace::new();
        for name in names {
            workspace.package(name);
        }
        workspace.commit();
        workspace.run(["release"]).ends(0);
        Self {
            server: Server::of(&workspace.rehearsal("channel")),
            repodata: RefCell::new(workspace.repodata("noarch")),
            workspace,
        }
    }

    /// The file of a package.
    fn file(&self, name: &str) -> String {
        let files = self
            .workspace
            .packages_in(self.workspace.rehearsal("channel"));
        let mut files = files.into_iter();
        files
            .find(|file| file.starts_with(&format!("{name}-1.0.0-")))
            .unwrap()
    }

    /// The path of a package below the channel.
    fn path(&self, name: &str) -> String {
        format!("noarch/{}", self.file(name))
    }

    /// Has the server say something else of a package in its repodata.
    fn record(&self, name: &str, change: impl FnOnce(&mut Value)) -> &Self {
        self.say(|repodata| change(&mut repodata["packages.conda"][self.file(name)]))
    }

    /// Has the server say something else in its repodata.
    fn say(&self, change: impl FnOnce(&mut Value)) -> &Self {
        let mut repodata = self.repodata.borrow_mut();
        change(&mut repodata);
        let bytes = repodata.to_string().into_bytes();
        self.server
            .answers("noarch/repodata.json", [Answer::Bytes(bytes)])
            .answers("noarch/repodata.json.zst", [Answer::Status(404)]);
        self
    }

    /// Has the server advertise no attestation of a package.
    fn strip(&self, name: &str) -> &Self {
        self.record(name, |record| {
            let record = record.as_object_mut().unwrap();
            record.remove("attestations_sha256").unwrap();
        })
    }

    /// Has the server say of when a package is, as in `repodata.json`: in milliseconds.
    fn date(&self, name: &str, milliseconds: u64) -> &Self {
        self.record(name, |record| record["timestamp"] = json!(milliseconds))
    }

    /// Has the server serve another sidecar of a package, and advertise it.
    fn attest(&self, name: &str, bundle: &Value) -> &Self {
        let sidecar = format!("[{bundle}]");
        let sha256 = format!("{:x}", Sha256::digest(&sidecar));
        let path = format!("{}.sigs.{sha256}", self.path(name));
        self.server
            .answers(&path, [Answer::Bytes(sidecar.into_bytes())]);
        self.record(name, |record| record["attestations_sha256"] = json!(sha256))
    }

    /// The path of the hashed sidecar of a package below the channel.
    fn sidecar(&self, name: &str) -> String {
        let repodata = self.repodata.borrow();
        let sha256 = &repodata["packages.conda"][self.file(name)]["attestations_sha256"];
        format!("{}.sigs.{}", self.path(name), sha256.as_str().unwrap())
    }

    /// The rehearsal's bundle of a package.
    fn bundle(&self, name: &str) -> Value {
        let bundle = format!("packages/{}.sigstore.json", self.path(name));
        serde_json::from_slice(&fs::read(self.workspace.rehearsal(bundle)).unwrap()).unwrap()
    }

    /// A bundle of a package that the rehearsal's Sigstore has signed for another workflow or channel.
    fn signed(&self, name: &str, claims: Claims, channel: &str) -> Value {
        let folder = self.workspace.beside("signed");
        fs::create_dir_all(&folder).unwrap();
        let package = folder.join(self.file(name));
        let published = format!("channel/{}", self.path(name));
        fs::copy(self.workspace.rehearsal(published), &package).unwrap();
        let options = Options {
            claims,
            ..Options::default()
        };
        let sandbox = self.workspace.rehearsal("sandbox");
        tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(sign_with(&sandbox, options, &package, channel));
        let bundle = format!("{}.sigstore.json", package.display());
        serde_json::from_slice(&fs::read(bundle).unwrap()).unwrap()
    }

    /// Audits the channel on the server, as a mirror of the attested one.
    fn audit(&self, options: &[&str]) -> Output {
        let channel = self.server.channel();
        let args = ["verify", &channel];
        self.workspace.run([&args[..], &TRUSTED, options].concat())
    }

    fn report(&self, options: &[&str], status: i32) -> Value {
        let json = ["--output-format", "json"];
        self.audit(&[options, &json].concat()).ends(status).json()
    }

    /// What is found of each package, in the order of their names.
    fn findings(&self, options: &[&str], status: i32) -> Vec<String> {
        let report = self.report(options, status);
        let packages = report["packages"].as_array().unwrap();
        let finding = |entry: &Value| entry["finding"].as_str().unwrap().to_owned();
        packages.iter().map(finding).collect()
    }

    /// What was asked for that is no repodata.
    fn asked(&self) -> Vec<String> {
        let paths = self.server.seen().into_iter().map(|seen| seen.path);
        let mut paths: Vec<_> = paths
            .filter(|path| !path.contains("/repodata.json"))
            .map(|path| path.trim_start_matches("/channel/").to_owned())
            .collect();
        paths.sort();
        paths
    }

    /// A file that the workspace doesn't have yet.
    fn beside(&self, name: &str) -> String {
        self.workspace.beside(name).to_str().unwrap().to_owned()
    }
}

async fn sign_with(folder: &Path, options: Options, package: &Path, channel: &str) {
    let sandbox = Sandbox::start(folder, options).await.unwrap();
    let trust = Trust::from_file(&sandbox.trust_config(), None)
        .unwrap()
        .with_audience(AUDIENCE);
    let endpoint = sandbox.token_endpoint();
    let identity = ActionsEndpoint::new(&endpoint.url, endpoint.bearer, AUDIENCE).unwrap();
    let package = vec![PackageFile::read(package).unwrap()];
    let options = SignOptions::new(channel.parse().unwrap());
    let results = sign(&trust, &identity, package, &options, &()).await;
    for (_, result) in results.unwrap() {
        result.unwrap();
    }
    sandbox.stop().await;
}

/// Milliseconds since 1970, as repodata has them: long before any attestation, and long after.
const LONG_AGO: u64 = 1_400_000_000_000;
const FAR_OFF: u64 = 4_000_000_000_000;
/// A day before every attestation of these tests, and one after.
const BEFORE: &str = "2026-01-01";
const AFTER: &str = "2999-01-01";

#[test]
fn every_package_of_a_channel_gets_its_finding() {
    let channel = Channel::of(&["a", "b", "c", "d", "e", "f", "g"]);
    let mut forged = channel.bundle("c");
    let signatures = "/dsseEnvelope/signatures/0/sig";
    *forged.pointer_mut(signatures).unwrap() =
        channel.bundle("a").pointer(signatures).unwrap().clone();
    let stranger = channel.signed("d", Claims::github_actions(), ATTESTED);
    let elsewhere = channel.signed("e", Claims::default(), "https://prefix.dev/elsewhere");
    channel
        .strip("b")
        .attest("c", &forged)
        .attest("d", &stranger)
        .attest("e", &elsewhere)
        .attest("f", &channel.bundle("a"));
    let package = channel.path("g");
    channel.server.answers(&package, [Answer::Status(404)]);
    let expected = [
        "verified",
        "no_attestation",
        "invalid_attestation",
        "other_identity",
        "other_channel",
        "other_package",
        "unavailable",
    ];
    let report = channel.report(&[], 7);
    let entries = report["packages"].as_array().unwrap();
    assert_eq!(entries.len(), expected.len());
    for (entry, finding) in entries.iter().zip(expected) {
        assert_eq!(entry["finding"], finding, "{entry}");
        assert_eq!(entry["verified"], finding == "verified");
        assert_eq!(report["summary"]["findings"][finding], 1);
    }
    assert_eq!(report["schema_version"], 1);
    assert_eq!(report["summary"]["packages"], 7);
    assert_eq!(report["summary"]["verified"], 1);

    let output = channel.audit(&[]).ends(7).says("Judged 7 packages in ");
    assert!(
        output.stdout.ends_with(
            "1 of 7 verified: 1 other_channel, 1 other_identity, 1 other_package, \
             1 invalid_attestation, 1 no_attestation, 1 unavailable\n"
        ),
        "{output}"
    );
    // In the table, with who signed it where that is proved.
    for (name, finding) in ["a", "b", "c", "d", "e", "f", "g"].iter().zip(expected) {
        let row = format!("{}  {finding}", channel.file(name));
        assert!(output.stdout.contains(&row), "{row}: {output}");
    }
    let signer = "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main";
    assert!(output.stdout.contains(signer), "{output}");
}

#[test]
fn a_package_without_an_attestation_fails_unless_it_may_be_missing() {
    let channel = Channel::of(&["a", "b"]);
    channel.strip("b");
    channel.audit(&[]).ends(7);
    let output = channel.audit(&["--allow-missing"]).ends(0);
    let summary = "1 of 2 verified: 1 no_attestation; 1 excused\n";
    assert!(output.stdout.ends_with(summary), "{output}");
    let report = channel.report(&["--allow-missing"], 0);
    assert_eq!(report["packages"][1]["verified"], false);
    assert_eq!(report["packages"][1]["excused"], true);
    // One that is there must be good all the same.
    channel.attest("a", &channel.bundle("b"));
    assert_eq!(
        channel.findings(&["--allow-missing"], 7),
        ["other_package", "no_attestation"]
    );
    let package = channel
        .workspace
        .rehearsal(format!("packages/{}", channel.path("a")));
    let verify = ["verify", package.to_str().unwrap(), "--allow-missing"];
    channel
        .workspace
        .run([&verify[..], &TRUSTED].concat())
        .ends(2)
        .says("--allow-missing goes with channels");
}

#[test]
fn attestations_count_from_a_day_on_by_the_time_of_the_log() {
    let channel = Channel::of(&["a"]);
    channel.audit(&["--attested-since", BEFORE]).ends(0);
    // Whatever the record says of the package's age.
    channel.date("a", FAR_OFF);
    assert_eq!(
        channel.findings(&["--attested-since", AFTER], 7),
        ["signed_before"]
    );
    channel.date("a", LONG_AGO);
    channel.audit(&["--attested-since", BEFORE]).ends(0);
    channel.audit(&["--attested-since", "soon"]).ends(2);
}

#[test]
fn a_channel_cannot_backdate_a_package_without_an_attestation() {
    let channel = Channel::of(&["a", "b"]);
    channel.strip("b").date("b", LONG_AGO);
    let since = ["--attested-since", BEFORE];
    // Only the channel says that it is old.
    let found = channel.findings(&since, 7);
    assert_eq!(found, ["verified", "unproven_age"]);
    channel.audit(&since).ends(7);

    // Who audits the channel knows that it is: from an earlier report.
    let baseline = channel.beside("baseline.json");
    fs::write(&baseline, channel.report(&[], 7).to_string()).unwrap();
    let known = [&since[..], &["--baseline", &baseline]].concat();
    let found = channel.findings(&known, 0);
    assert_eq!(found, ["verified", "historic"]);

    // A package that was attested then cannot become one that never was.
    channel.strip("a").date("a", LONG_AGO);
    let found = channel.findings(&known, 7);
    assert_eq!(found, ["unproven_age", "historic"]);
    // Nor can other bytes take the place of an old package.
    channel.record("b", |record| record["sha256"] = json!("0".repeat(64)));
    let found = channel.findings(&known, 7);
    assert_eq!(found, ["unproven_age", "unproven_age"]);
    // What a record says against its package is believed.
    let channel = Channel {
        repodata: RefCell::new(channel.workspace.repodata("noarch")),
        ..channel
    };
    channel.strip("b").date("b", FAR_OFF);
    let found = channel.findings(&known, 7);
    assert_eq!(found, ["verified", "no_attestation"]);
}

#[test]
fn a_baseline_is_a_report_of_the_same_channel() {
    let channel = Channel::of(&["a"]);
    let baseline = channel.beside("baseline.json");
    let audit = || channel.audit(&["--attested-since", BEFORE, "--baseline", &baseline]);
    let mut report = channel.report(&[], 0);
    fs::write(&baseline, report.to_string()).unwrap();
    audit().ends(0);
    report["targets"] = json!(["https://prefix.dev/other"]);
    fs::write(&baseline, report.to_string()).unwrap();
    audit()
        .ends(2)
        .says("it is about https://prefix.dev/other, not");
    fs::write(&baseline, "{}").unwrap();
    audit().ends(2).says("--baseline takes what");
}

#[test]
fn what_was_verified_is_not_fetched_again() {
    let channel = Channel::of(&["a", "b"]);
    let state = channel.beside("audit.state");
    let resumed = ["--state", &state];
    // The second package fails for now.
    let package = channel.path("b");
    channel.server.answers(&package, [Answer::Status(404)]);
    let found = channel.findings(&resumed, 7);
    assert_eq!(found, ["verified", "unavailable"]);
    channel.server.as_it_is().forget();
    channel.audit(&resumed).ends(0);
    assert_eq!(channel.asked(), [channel.path("b"), channel.sidecar("b")]);
    channel.server.forget();
    let output = channel.audit(&resumed).ends(0);
    let summary = "2 of 2 verified; 2 by an earlier audit\n";
    assert!(output.stdout.ends_with(summary), "{output}");
    assert!(output.stdout.contains(TRUSTED[5]), "{output}");
    assert_eq!(channel.asked(), [""; 0]);
    // It was signed when it was signed.
    let since = [&resumed[..], &["--attested-since", AFTER]].concat();
    let found = channel.findings(&since, 7);
    assert_eq!(found, ["signed_before", "signed_before"]);
}

#[test]
fn what_was_verified_counts_for_the_same_bytes_and_the_same_rules_only() {
    let channel = Channel::of(&["a"]);
    let state = channel.beside("audit.state");
    let resumed = ["--state", &state];
    let both = [channel.path("a"), channel.sidecar("a")];
    let asked_by = |command: &[&str]| {
        channel.audit(&resumed).ends(0);
        channel.server.forget();
        let url = channel.server.channel();
        let args = [&["verify", &url, "--state", &state], command].concat();
        let output = channel.workspace.run(args);
        let anew = output.mentions("anew: ");
        assert_eq!(anew, !channel.asked().is_empty(), "{output}");
        channel.asked()
    };
    assert_eq!(asked_by(&TRUSTED), [""; 0]);
    // Another policy, another attested channel.
    let anyone = [&TRUSTED[..4], &["--allow-any-identity"]].concat();
    assert_eq!(asked_by(&anyone), both);
    assert_eq!(asked_by(&TRUSTED[2..]), both);
    // Another sidecar: one that doesn't verify.
    let mut forged = channel.bundle("a");
    forged["dsseEnvelope"]["signatures"][0]["sig"] = json!("AAAA");
    channel.attest("a", &forged);
    assert_eq!(channel.findings(&resumed, 7), ["invalid_attestation"]);
    // Another package.
    let channel = Channel::of(&["a"]);
    channel.audit(&["--state", &channel.beside("s")]).ends(0);
    channel.record("a", |record| record["sha256"] = json!("0".repeat(64)));
    let found = channel.findings(&["--state", &channel.beside("s")], 7);
    assert_eq!(found, ["unavailable"]);
}

#[test]
fn an_attestation_that_is_gone_is_not_one_that_may_be_missing() {
    let channel = Channel::of(&["a"]);
    let resumed = ["--state", &channel.beside("audit.state"), "--allow-missing"];
    channel.audit(&resumed).ends(0);
    channel.strip("a");
    assert_eq!(channel.findings(&resumed, 7), ["attestation_removed"]);
}

#[test]
fn an_audit_that_is_killed_goes_on() {
    let channel = Channel::of(&["a", "b"]);
    let (state, url) = (channel.beside("audit.state"), channel.server.channel());
    let package = channel.path("b");
    channel.server.answers(&package, [Answer::Hang]);
    let args = ["verify", &url, "--state", &state, "--jobs", "1"];
    let running = channel.workspace.start([&args[..], &TRUSTED].concat());
    channel.server.wait_for(&package);
    running.kill();
    // As if it had been killed while it wrote.
    let mut torn = fs::read(&state).unwrap();
    torn.extend_from_slice(b"{\"package\": \"noarch/b");
    fs::write(&state, torn).unwrap();
    channel.server.as_it_is().forget();
    channel.audit(&["--state", &state]).ends(0);
    assert_eq!(channel.asked(), [channel.path("b"), channel.sidecar("b")]);
    channel.server.forget();
    channel.audit(&["--state", &state]).ends(0);
    assert_eq!(channel.asked(), [""; 0]);
}

#[test]
fn a_file_that_is_no_state_is_left_alone() {
    let channel = Channel::of(&["a"]);
    let file = channel.beside("notes.txt");
    fs::write(&file, "mine\n").unwrap();
    channel
        .audit(&["--state", &file])
        .ends(2)
        .says("--state takes a file of its own");
    assert_eq!(fs::read(&file).unwrap(), b"mine\n");
    let folder = channel.workspace.rehearsal("channel");
    let package = format!("{}/{}", channel.server.channel(), channel.path("a"));
    for target in [folder.to_str().unwrap(), &package] {
        let verify = ["verify", target, "--state", &file];
        channel
            .workspace
            .run([&verify[..], &TRUSTED].concat())
            .ends(2)
            .says("--state goes with one channel's URL");
    }
}

mod hostile {
    use super::*;

    /// Audits a channel that is elsewhere, as far as anybody can tell: its mirror on this machine was named by the
    /// user, and what it leads to was not.
    fn audit_from_afar(channel: &Channel) -> Output {
        let home = channel.workspace.beside("rattler");
        fs::create_dir_all(&home).unwrap();
        let mirror = channel.server.channel();
        let mirrors = format!("[mirrors]\n\"https://conda.example/acme\" = [\"{mirror}\"]\n");
        fs::write(home.join("config.toml"), mirrors).unwrap();
        let args = ["verify", "https://conda.example/acme"];
        let args = [&args[..], &TRUSTED, &["--output-format", "json"]].concat();
        let mut command = channel.workspace.command(args);
        command.env("RATTLER_HOME", home);
        channel.workspace.run_command(command)
    }

    #[test]
    fn a_base_url_leads_neither_to_files_nor_to_this_machine() {
        let channel = Channel::of(&["a"]);
        let other = Server::of(&channel.workspace.rehearsal("channel"));
        audit_from_afar(&channel).ends(0);
        for (base_url, said) in [
            ("file:///etc/", "is not https"),
            ("ftp://conda.example/", "is not https"),
            ("http://conda.example/", "is plain http"),
            (
                "https://user:s3cret@conda.example/",
                "has credentials in it",
            ),
            (&other.channel(), "leads to this machine"),
            ("https://localhost/", "leads to this machine"),
            ("https://[::1]/", "leads to this machine"),
        ] {
            channel.say(|repodata| repodata["info"]["base_url"] = json!(base_url));
            channel.server.forget();
            let output = audit_from_afar(&channel).ends(3);
            let error = output.json()["error"].clone();
            assert_eq!(error["code"], "repodata_invalid", "{output}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(said), "{base_url}: {message}");
            assert_eq!(channel.asked(), [""; 0]);
        }
        assert!(other.seen().is_empty());
    }

    #[test]
    fn a_redirect_leads_neither_to_files_nor_to_this_machine() {
        let channel = Channel::of(&["a"]);
        let other = Server::of(&channel.workspace.rehearsal("channel"));
        let elsewhere = |path: &str| format!("{}/{path}", other.channel());
        let (package, sidecar) = (channel.path("a"), channel.sidecar("a"));
        for (path, to, finding, said) in [
            (
                &package,
                elsewhere(&package),
                "unavailable",
                "leads to this machine",
            ),
            (
                &package,
                "file:///etc/passwd".to_owned(),
                "unavailable",
                "HTTP status 302",
            ),
            (
                &sidecar,
                elsewhere(&sidecar),
                "invalid_attestation",
                "leads to this machine",
            ),
            (
                &sidecar,
                "file:///etc/passwd".to_owned(),
                "invalid_attestation",
                "HTTP status 302",
            ),
        ] {
            let answers = [Answer::Redirect(to.clone())];
            channel.server.as_it_is().answers(path, answers);
            let report = audit_from_afar(&channel).ends(7).json();
            let entry = &report["packages"][0];
            assert_eq!(entry["finding"], finding, "{entry}");
            let message = entry["error"]["message"].as_str().unwrap();
            assert!(message.contains(said), "{to}: {message}");
        }
        assert!(other.seen().is_empty());
    }

    #[test]
    fn a_sidecar_of_a_gigabyte_is_not_read_to_its_end() {
        let channel = Channel::of(&["a"]);
        let sidecar = channel.sidecar("a");
        channel.server.answers(&sidecar, [Answer::Spaces(1 << 30)]);
        let report = channel.report(&[], 7);
        let error = &report["packages"][0]["error"];
        assert_eq!(error["code"], "attestations_unusable", "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("larger than 4194304 bytes"), "{message}");
        // The limit, and what was in buffers on the way.
        let taken = channel.server.spaces();
        assert!(taken < 64 << 20, "{taken}");
        assert_eq!(channel.asked(), [sidecar]);
    }

    #[test]
    fn a_removed_hash_is_no_attestation_and_the_mutable_sidecar_none_either() {
        let channel = Channel::of(&["a"]);
        channel.strip("a");
        assert_eq!(channel.findings(&[], 7), ["no_attestation"]);
        assert_eq!(channel.asked(), [""; 0]);
    }

    #[test]
    fn another_packages_bundle_is_named_as_that() {
        let channel = Channel::of(&["a", "b"]);
        channel.attest("a", &channel.bundle("b"));
        let report = channel.report(&[], 7);
        let entry = &report["packages"][0];
        assert_eq!(entry["finding"], "other_package", "{entry}");
        let violations = entry["attestations"][0]["violations"].to_string();
        assert!(violations.contains("name_mismatch"), "{violations}");
    }
}
