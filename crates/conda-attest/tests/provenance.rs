//! SLSA provenance beside publish attestations.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use conda_attest::{
    BUILD_TYPE, BuildDefinition, PROVENANCE_TYPE, PackageFile, Policy, Predicate, SignOptions,
    ToSign, Verifier, inspect,
};
use release_manifest::{Source, SourceDigest};
use serde_json::{Value, json};
use sigstore_sandbox::{Claims, FaultKind, Options, RekorVersions, Service};
use support::{CHANNEL, Fixture, bundles, codes, listed, options, sha256};

const ARCHIVE: &str = "https://example.org/greet-1.0.0.tar.gz";

fn definition(source: Source) -> BuildDefinition {
    BuildDefinition {
        source,
        recipe: "recipes/greet/recipe.yaml".to_owned(),
        variant: BTreeMap::from([("python".to_owned(), "3.13".to_owned())]),
        build_platform: "linux-64".parse().unwrap(),
        timestamp: 1_700_000_000,
        sources: vec![SourceDigest {
            uri: ARCHIVE.to_owned(),
            digest: BTreeMap::from([("sha256".to_owned(), "ab".repeat(32))]),
            annotations: None,
        }],
    }
}

fn with_provenance(packages: Vec<PackageFile>) -> Vec<ToSign> {
    from(packages, &nothing_known())
}

fn from(packages: Vec<PackageFile>, source: &Source) -> Vec<ToSign> {
    packages
        .into_iter()
        .map(|package| ToSign {
            package,
            provenance: Some(definition(source.clone())),
        })
        .collect()
}

/// Signs one package and returns what its provenance says.
async fn provenance(claims: Claims, source: Source) -> Value {
    let fixture = Fixture::with(Options {
        claims,
        ..Options::default()
    })
    .await;
    let options = SignOptions {
        source,
        ..options()
    };
    let packages = from(fixture.packages(1), &options.source);
    let results = fixture.sign_with(packages, &options, &()).await;
    assert_eq!(codes(&results), ["signed"]);
    let bundle = std::fs::read(results[0].0.provenance_path()).unwrap();
    inspect(&bundle).unwrap().statement
}

fn nothing_known() -> Source {
    options().source
}

#[tokio::test]
async fn it_says_what_was_built_and_takes_the_run_from_the_certificate() {
    let claims = Claims::github_actions();
    let commit = claims.commit.clone().unwrap();
    let run = format!(
        "https://github.com/acme/pkgs/actions/runs/{}/attempts/1",
        claims.run_id.clone().unwrap()
    );
    let statement = provenance(claims, nothing_known()).await;
    assert_eq!(statement["predicateType"], PROVENANCE_TYPE);
    assert_eq!(statement["subject"][0]["name"], "greet0-1.0.0-h1_0.conda");
    let predicate = &statement["predicate"];
    assert_eq!(
        predicate["buildDefinition"],
        json!({
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "recipe": "recipes/greet/recipe.yaml",
                "variant": {"python": "3.13"},
                "targetChannel": CHANNEL,
            },
            "internalParameters": {
                "buildPlatform": "linux-64",
                "sourceDateEpoch": 1_700_000_000,
                "tool": concat!("conda-release/", env!("CARGO_PKG_VERSION")),
            },
            "resolvedDependencies": [
                {
                    "uri": "git+https://github.com/acme/pkgs@refs/heads/main",
                    "digest": {"gitCommit": commit},
                },
                {"uri": ARCHIVE, "digest": {"sha256": "ab".repeat(32)}},
            ],
        })
    );
    assert_eq!(
        predicate["runDetails"],
        json!({
            "builder": {
                "id": "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main",
            },
            "metadata": {"invocationId": run},
        })
    );
}

#[tokio::test]
async fn a_certificate_without_a_run_names_its_owner_as_builder() {
    let statement = provenance(Claims::default(), nothing_known()).await;
    let predicate = &statement["predicate"];
    let builder = &predicate["runDetails"]["builder"]["id"];
    assert_eq!(builder, sigstore_sandbox::IDENTITY);
    let dependencies = &predicate["buildDefinition"]["resolvedDependencies"];
    assert_eq!(dependencies.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_commit_of_a_tree_with_changes_is_not_named() {
    let claims = Claims::github_actions();
    let source = |dirty| Source {
        repository: claims.repository.clone(),
        commit: claims.commit.clone(),
        dirty,
    };
    for (dirty, named) in [(false, true), (true, false)] {
        let statement = provenance(claims.clone(), source(dirty)).await;
        let text = statement["predicate"]["buildDefinition"].to_string();
        assert_eq!(text.contains("gitCommit"), named, "{text}");
    }
}

async fn each_package_has_both(rekor: RekorVersions) {
    let fixture = Fixture::with(Options {
        rekor,
        claims: Claims::github_actions(),
        ..Options::default()
    })
    .await;
    let packages = with_provenance(fixture.packages(5));
    let results = fixture.sign_with(packages, &options(), &()).await;
    assert_eq!(codes(&results), ["signed"; 5]);
    assert_eq!(bundles(fixture.dir.path()).len(), 10);
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 1);
    assert_eq!(fixture.sandbox.requests(Service::Rekor), 10);
    let verifier = Verifier::new(&fixture.trust).unwrap();
    for (package, signed) in &results {
        let signed = signed.as_ref().unwrap();
        let provenance = signed.provenance.as_ref().unwrap();
        assert_eq!(provenance.bundle, package.provenance_path());
        assert_eq!(provenance.bundle_sha256, sha256(&provenance.bundle));
        assert_ne!(provenance.log_index, signed.log_index);
        let policy = Policy::exactly(&signed.identity, &signed.issuer);
        let judge = |bundle| {
            let bundle = std::fs::read(bundle).unwrap();
            verifier.verify(package, &bundle, &policy, Some(CHANNEL))
        };
        let (publish, provenance) = (judge(&signed.bundle), judge(&provenance.bundle));
        assert!(publish.verifies_package());
        assert!(provenance.passed(), "{provenance}");
        assert_eq!(provenance.predicate, Predicate::Provenance);
        assert!(!provenance.verifies_package());
    }
}

#[tokio::test]
async fn each_package_has_both_with_rekor_v1() {
    each_package_has_both(RekorVersions::V1).await;
}

#[tokio::test]
async fn each_package_has_both_with_rekor_v2() {
    each_package_has_both(RekorVersions::V2).await;
}

#[tokio::test]
async fn a_package_whose_provenance_fails_has_no_attestation_either() {
    // The second request is that for the provenance of the first package.
    let fixture = Fixture::with(Options {
        faults: listed(&[(Service::Rekor, 2, FaultKind::Status(400))]),
        ..Options::default()
    })
    .await;
    let one_by_one = SignOptions {
        concurrency: NonZeroUsize::MIN,
        ..options()
    };
    let packages = with_provenance(fixture.packages(2));
    let results = fixture.sign_with(packages, &one_by_one, &()).await;
    assert_eq!(codes(&results), ["service", "signed"]);
    assert_eq!(bundles(fixture.dir.path()).len(), 2);
    assert!(!results[0].0.bundle_path().exists());
    assert!(!results[0].0.provenance_path().exists());
}
