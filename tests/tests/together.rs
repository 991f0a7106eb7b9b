//! Two publishers at once into one folder.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, path::Path};

use end_to_end::{Attested, COMMIT, Sigstore, Workspace, repodata, write_package};
use release_manifest::Digest;
use serde_json::Value;

const CHANNEL: &str = "https://conda.acme.example/pkgs";
const ROUNDS: usize = 20;

#[test]
fn two_processes_that_publish_to_one_folder_lose_nothing() {
    let Some(sigstore) = Sigstore::start(COMMIT) else {
        return;
    };
    let workspace = Workspace::plain();
    workspace.config(&format!("target-channel = \"{CHANNEL}\""));
    let channel = workspace.beside("channel");
    // Each has a package of its own, and both have the same one with attestations of their own.
    let publishers = ["a", "b"].map(|publisher| {
        let folder = workspace.beside(publisher);
        let packages = (0..ROUNDS).flat_map(|round| {
            let own = format!("noarch/{publisher}{round}-1-0.conda");
            let both = format!("noarch/both{round}-1-0.conda");
            [
                write_package(&folder, &own, publisher),
                write_package(&folder, &both, "both"),
            ]
        });
        Attested::by(&sigstore, &workspace, packages.collect(), CHANNEL)
    });
    let to = channel.display().to_string();
    let mut expected = BTreeMap::new();
    for round in 0..ROUNDS {
        let running = publishers.each_ref().map(|publisher| {
            let packages = &publisher.packages()[2 * round..][..2];
            workspace.start_command(publisher.publishing(packages, &to, &[]))
        });
        for publisher in running {
            publisher.wait().ends(0);
        }
        for (name, attestations) in [("a", 1), ("b", 1), ("both", 2)] {
            expected.insert(format!("{name}{round}-1-0.conda"), attestations);
        }
        assert_eq!(attestations(&channel), expected, "round {round}");
    }
    let policy = ["--repo", "acme/pkgs", "--issuer", sigstore.issuer()];
    let mut verify =
        workspace.command([&["verify", &to, "--channel", CHANNEL][..], &policy].concat());
    verify.env("CONDA_RELEASE_TRUST", sigstore.trust_config());
    let count = expected.len();
    let verified = workspace.run_command(verify).ends(0);
    let expected = format!("{count} of {count} verified");
    assert!(
        verified.mentions(&expected) || verified.stdout.contains(&expected),
        "{verified}"
    );
}

/// The packages that clients find, and how many attestations each has; their bytes and sidecars are what the repodata
/// says.
fn attestations(channel: &Path) -> BTreeMap<String, usize> {
    let repodata = repodata(channel, "noarch");
    let records = repodata["packages.conda"].as_object().unwrap();
    let read = |name: &str| fs_err::read(channel.join("noarch").join(name)).unwrap();
    let found = records.iter().map(|(name, record)| {
        assert_eq!(record["sha256"], sha256(&read(name)), "{name}");
        let advertised = record["attestations_sha256"].as_str().unwrap();
        let sidecar = read(&format!("{name}.sigs.{advertised}"));
        assert_eq!(sha256(&sidecar), advertised, "{name}");
        assert_eq!(read(&format!("{name}.sigs")), sidecar, "{name}");
        let bundles: Vec<Value> = serde_json::from_slice(&sidecar).unwrap();
        (name.clone(), bundles.len())
    });
    found.collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    digest.trim_start_matches("sha256:").to_owned()
}
