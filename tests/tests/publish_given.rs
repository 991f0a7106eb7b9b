//! `publish PACKAGE… --attestation FILE…`: attestations that were made elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use conda_attest::{ActionsEndpoint, Trust, sign_statement};
use end_to_end::{Output, Workspace, repodata};
use fs_err as fs;
use serde_json::{Value, json};
use sigstore_sandbox::{AUDIENCE, IDENTITY, ISSUER, Options, Sandbox};

/// The options under which a rehearsal's attestations verify.
const TRUSTED: [&str; 6] = [
    "--trust",
    "sandbox",
    "--identity",
    IDENTITY,
    "--issuer",
    ISSUER,
];
const PUBLISH: &str = "https://schemas.conda.org/attestations-publish-1.schema.json";

/// Packages in a folder without attestations, and a folder to collect these in.
struct Made {
    workspace: Workspace,
    packages: [PathBuf; 2],
    bundles: [PathBuf; 2],
}

impl Made {
    fn new() -> Self {
        Self::with("")
    }

    fn with(config: &str) -> Self {
        let workspace = Workspace::with_two_packages();
        workspace.config(config).commit();
        workspace.run(["release"]).ends(0);
        let made = ["first", "second"].map(|name| workspace.built(name));
        let dist = workspace.beside("dist");
        fs::create_dir_all(dist.join("noarch")).unwrap();
        let packages = made.clone().map(|package| {
            let to = dist.join(package.file_name().unwrap());
            fs::copy(package, &to).unwrap();
            to
        });
        let bundles =
            made.map(|package| PathBuf::from(format!("{}.sigstore.json", text(&package))));
        Self {
            workspace,
            packages,
            bundles,
        }
    }

    /// A file beside the packages.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.workspace.beside("dist").join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn bundle(&self, index: usize) -> String {
        fs::read_to_string(&self.bundles[index]).unwrap()
    }

    /// Publishes both packages with these attestations into a new channel.
    fn publish(&self, name: &str, attestations: &[&Path]) -> Output {
        let packages = [self.packages[0].as_path(), &self.packages[1]];
        self.publish_only(name, &packages, attestations)
    }

    fn publish_only(&self, name: &str, packages: &[&Path], attestations: &[&Path]) -> Output {
        let channel = self.workspace.beside(name);
        let mut args = vec!["publish"];
        args.extend(packages.iter().map(|package| text(package)));
        args.extend(["--to", text(&channel)]);
        if !attestations.is_empty() {
            args.push("--attestation");
            args.extend(attestations.iter().map(|file| text(file)));
        }
        args.extend(TRUSTED);
        self.workspace.run(args)
    }

    fn is_published(&self, name: &str) -> bool {
        self.workspace.beside(name).exists()
    }

    /// The bundles that a channel serves with a package, which verifies.
    fn served(&self, name: &str, package: &Path) -> Vec<Value> {
        let channel = self.workspace.beside(name);
        let file = package.file_name().unwrap().to_str().unwrap();
        let record = &repodata(&channel, "noarch")["packages.conda"][file];
        let hash = record["attestations_sha256"].as_str().unwrap();
        let sidecar = channel.join(format!("noarch/{file}.sigs.{hash}"));
        serde_json::from_slice(&fs::read(sidecar).unwrap()).unwrap()
    }

    /// A bundle about these names and hashes, signed by the rehearsal's Sigstore.
    fn sign(&self, subjects: &[(&str, &str)], predicate_type: &str, predicate: &Value) -> String {
        let subjects = subjects
            .iter()
            .map(|(name, sha256)| json!({"name": name, "digest": {"sha256": sha256}}));
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects.collect::<Vec<_>>(),
            "predicateType": predicate_type,
            "predicate": predicate,
        });
        let folder = self.workspace.rehearsal("sandbox");
        let sign = async {
            let sandbox = Sandbox::start(&folder, Options::default()).await.unwrap();
            let trust = Trust::from_file(&sandbox.trust_config(), None)
                .unwrap()
                .with_audience(AUDIENCE);
            let endpoint = sandbox.token_endpoint();
            let identity = ActionsEndpoint::new(&endpoint.url, endpoint.bearer, AUDIENCE).unwrap();
            let (text, patience) = (statement.to_string(), Duration::from_secs(60));
            let bundle = sign_statement(&trust, &identity, text.as_bytes(), patience, &()).await;
            sandbox.stop().await;
            String::from_utf8(bundle.unwrap()).unwrap()
        };
        tokio::runtime::Runtime::new().unwrap().block_on(sign)
    }

    /// Name and hash of a package.
    fn subject(&self, index: usize) -> (String, String) {
        let file = self.packages[index].file_name().unwrap();
        let manifest = self.workspace.manifest();
        let mut packages = manifest.packages().iter();
        let package = packages
            .find(|package| package.file.as_str() == file.to_str().unwrap())
            .unwrap();
        (
            package.file.to_string(),
            package.sha256.unwrap().to_string(),
        )
    }

    /// The predicate of the rehearsal's attestations.
    fn predicate(&self) -> Value {
        json!({"targetChannel": self.workspace.manifest().target_channel.as_str()})
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn bundles_are_found_in_files_lines_arrays_sidecars_and_globs_in_any_order() {
    let made = Made::new();
    let [first, second] = [0, 1].map(|index| made.bundle(index));
    let dist = made.workspace.beside("dist");
    let two = made.write("noarch/2.json", &second);
    let one = made.write("noarch/1.json", &first);
    let lines = made.write("b.jsonl", &format!("{second}\n{first}\n"));
    let array = made.write("c.array", &format!("[\n{first},\n{second}, {first}]\n"));
    let only = made.write("d.sigs", &format!("[{second}]"));
    let (globbed, everywhere) = (dist.join("noarch/*.json"), dist.join("**/*.json*"));
    let cases: [(&str, &[&Path]); 6] = [
        ("files", &[&two, &one]),
        ("lines", &[&lines]),
        ("array", &[&array]),
        ("array-and-file", &[&only, &one]),
        ("glob", &[&globbed, &only]),
        ("folders", &[&everywhere]),
    ];
    for (name, attestations) in cases {
        made.publish(name, attestations).ends(0);
        for (package, bundle) in made.packages.iter().zip([&first, &second]) {
            let bundle: Value = serde_json::from_str(bundle).unwrap();
            assert_eq!(made.served(name, package), [bundle], "{name}");
        }
    }
    made.publish("nothing", &[&dist.join("*.nothing")])
        .ends(2)
        .says("no file matches")
        .says("*.nothing");
    assert!(!made.is_published("nothing"));
}

#[test]
fn a_bundle_about_several_packages_is_refused_with_the_way_out() {
    let made = Made::new();
    let subjects = [0, 1].map(|index| made.subject(index));
    let subjects = subjects
        .each_ref()
        .map(|(name, sha256)| (name.as_str(), sha256.as_str()));
    let bundle = made.sign(&subjects, PUBLISH, &made.predicate());
    let file = made.write("multi.json", &bundle);
    let output = made
        .publish("channel", &[&file])
        .ends(7)
        .says("is about 2 packages at once, as `actions/attest` makes it of a glob")
        .says("one `subject-path` each")
        .says("attest here with `sign`");
    for (name, _) in subjects {
        assert!(output.mentions(&format!("{name}: `")), "{output}");
    }
    assert!(!made.is_published("channel"));
    // Beside one of its own, a package does without it, and is told so.
    let good = made.write("good.jsonl", &[made.bundle(0), made.bundle(1)].join("\n"));
    made.publish("channel", &[&file, &good])
        .ends(0)
        .says("left out for")
        .says("is about 2 packages at once");
    assert_eq!(made.served("channel", &made.packages[0]).len(), 1);
}

#[test]
fn provenance_is_published_beside_an_attestation_and_never_in_its_place() {
    let made = Made::with("sign.provenance = true");
    let provenance = [0, 1].map(|index| {
        let bundle = text(&made.bundles[index]).to_owned();
        PathBuf::from(bundle.replace(".sigstore.json", ".provenance.sigstore.json"))
    });
    let [first, second] = provenance.each_ref().map(PathBuf::as_path);
    made.publish("channel", &[first, second, &made.bundles[1]])
        .ends(7)
        .says("is SLSA provenance, as `actions/attest-build-provenance` makes it")
        .says(PUBLISH);
    assert!(!made.is_published("channel"));
    let all = [first, second, &made.bundles[0], &made.bundles[1]];
    made.publish("channel", &all).ends(0);
    for index in [0, 1] {
        let expected = [&made.bundles[index], &provenance[index]]
            .map(|file| serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap());
        assert_eq!(made.served("channel", &made.packages[index]), expected);
    }
}

#[test]
fn packages_without_an_attestation_and_attestations_without_a_package_are_named() {
    let made = Made::new();
    let names = [0, 1].map(|index| made.subject(index).0);
    // None is given, and none lies beside.
    let output = made.publish("none", &[]).ends(7);
    for name in &names {
        let expected = format!("{name}: no attestation: there is none beside it");
        assert!(output.mentions(&expected), "{output}");
    }
    made.publish("half", &[&made.bundles[0]])
        .ends(7)
        .says(&format!("{}: no attestation: ", names[1]))
        .says(&format!("is about `{}`", names[0]));
    assert!(!made.is_published("half"));

    let first = [made.packages[0].as_path()];
    let both = [made.bundles[0].as_path(), &made.bundles[1]];
    made.publish_only("one", &first, &both)
        .ends(0)
        .says(&format!("is about `{}`, and of no use here", names[1]));
    assert_eq!(
        made.workspace
            .packages_in(made.workspace.beside("one"))
            .len(),
        1
    );
}

#[test]
fn an_attestation_proves_what_it_names_with_its_digest_and_nothing_like_it() {
    let made = Made::new();
    let (name, sha256) = made.subject(0);
    let other = "ab".repeat(32);
    let first = [made.packages[0].as_path()];
    let elsewhere = json!({"targetChannel": "https://prefix.dev/elsewhere"});
    for (file, subject, predicate, expected) in [
        (
            "bytes",
            (&*name, &*other),
            made.predicate(),
            "is about other bytes of that name",
        ),
        (
            "name",
            ("other-1-0.conda", &*sha256),
            made.predicate(),
            "the same bytes under another name",
        ),
        (
            "channel",
            (&*name, &*sha256),
            elsewhere,
            "https://prefix.dev/elsewhere",
        ),
    ] {
        let bundle = made.write(file, &made.sign(&[subject], PUBLISH, &predicate));
        made.publish_only(file, &first, &[&bundle])
            .ends(7)
            .says(expected);
        assert!(!made.is_published(file));
    }
    // The good one is taken, what is not for this channel is left out and said to be.
    let files = ["bytes", "name", "channel"].map(|file| made.workspace.beside("dist").join(file));
    let mut all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    all.push(&made.bundles[0]);
    made.publish_only("good", &first, &all)
        .ends(0)
        .says(&format!("left out for {name}"));
    let expected: Value = serde_json::from_str(&made.bundle(0)).unwrap();
    assert_eq!(made.served("good", &made.packages[0]), [expected]);
}
