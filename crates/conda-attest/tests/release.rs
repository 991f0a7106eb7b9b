//! The attestation of a whole release.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use conda_attest::{
    Event, Outcome, PackageFile, Policy, Predicate, Session, Signed, Verdict, Verifier,
};
use release_manifest::ReleaseStatement;
use serde_json::{Value, json};
use sigstore_sandbox::{Options, RekorVersions, Service};
use support::{Fixture, Log, options};

/// The manifest of a release with these packages, of which those with an attestation are subjects.
fn manifest(packages: &[(PackageFile, Signed)]) -> Value {
    let package = |(package, signed): &(PackageFile, Signed)| {
        json!({
            "file": package.file, "subdir": package.subdir, "recipe": "recipe.yaml", "variant": {},
            "depends_on": [], "fingerprint": format!("sha256:{}", "1".repeat(64)),
            "progress": "attested", "sha256": package.sha256, "size": 1,
            "times": {
                "built": {"at": "2026-11-23T09:30:00Z", "milliseconds": 1},
                "tested": {"at": "2026-11-23T09:30:00Z", "milliseconds": 1},
                "attested": {"at": "2026-11-23T09:30:00Z", "milliseconds": 1},
            },
            "attestation": {
                "bundle": format!("packages/noarch/{}.sigstore.json", package.file),
                "bundle_sha256": signed.bundle_sha256, "identity": signed.identity,
                "issuer": signed.issuer, "log_index": signed.log_index,
                "signed_at": signed.signed_at,
                "certificate_not_after": signed.certificate_not_after, "retries": 0,
            },
        })
    };
    json!({
        "schema_version": 1, "tool": {"name": "conda-release", "version": "0.1.0"},
        "mode": "rehearsal", "plan_digest": format!("sha256:{}", "2".repeat(64)),
        "trust": {"name": "sandbox", "root_sha256": "3".repeat(64)},
        "source": {"repository": null, "commit": null, "dirty": false},
        "target_channel": support::CHANNEL, "isolation": "worker", "sequence": 9,
        "packages": packages.iter().map(package).collect::<Vec<_>>(),
    })
}

fn about(manifest: &Value) -> ReleaseStatement {
    ReleaseStatement::about(manifest.to_string().as_bytes()).unwrap()
}

/// The checks that failed.
fn failed(verdict: &Verdict) -> Vec<&'static str> {
    let is_failed = |check: &&conda_attest::Check| matches!(check.result, Outcome::Failed { .. });
    let failed = verdict.checks.iter().filter(is_failed);
    failed.map(|check| check.code).collect()
}

/// Two packages signed, then the release that they are; its manifest and its bundle.
async fn signed(fixture: &Fixture, log: &Log) -> (Value, Vec<u8>, Vec<(PackageFile, Signed)>) {
    let options = options();
    let session = Session::open(&fixture.trust, &fixture.identity, &options, log).unwrap();
    let results = session.sign(fixture.packages(2)).await.unwrap();
    let packages: Vec<_> = results
        .into_iter()
        .map(|(package, signed)| (package, signed.unwrap()))
        .collect();
    let manifest = manifest(&packages);
    let file = fixture
        .dir
        .path()
        .join("release-manifest.json.sigstore.json");
    let release = session
        .sign_release(&about(&manifest), &file)
        .await
        .unwrap();
    let bundle = std::fs::read(&release.bundle).unwrap();
    assert_eq!(release.bundle, file);
    assert_eq!(support::sha256(&file), release.bundle_sha256);
    assert_eq!(release.identity, fixture.sandbox.identity());
    assert!(
        packages
            .iter()
            .all(|(_, signed)| signed.log_index != release.log_index)
    );
    (manifest, bundle, packages)
}

#[tokio::test]
async fn a_release_is_signed_under_the_certificate_of_its_packages_and_verifies() {
    for rekor in [RekorVersions::V1, RekorVersions::V2] {
        let fixture = Fixture::with(Options {
            rekor,
            ..Options::default()
        })
        .await;
        let log = Log::default();
        let (manifest, bundle, _) = signed(&fixture, &log).await;
        assert_eq!(
            log.count(|event| matches!(event, Event::Certificate { .. })),
            1
        );
        let signer = Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer());
        let verifier = Verifier::new(&fixture.trust).unwrap();
        let verdict = verifier.verify_release(&about(&manifest), &bundle, &signer);
        assert!(verdict.passed(), "{verdict}");
        assert_eq!(verdict.predicate, Predicate::Release);
        assert_eq!(verdict.signed.unwrap().identity, fixture.sandbox.identity());
    }
}

#[tokio::test]
async fn a_release_is_refused_for_what_is_wrong_and_for_nothing_else() {
    let fixture = Fixture::start().await;
    let (manifest, bundle, packages) = signed(&fixture, &Log::default()).await;
    let verifier = Verifier::new(&fixture.trust).unwrap();
    let signer = Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer());
    let judge = |manifest: &Value, bundle: &[u8], policy| {
        verifier.verify_release(&about(manifest), bundle, policy)
    };
    let refused_by = |manifest: &Value| failed(&judge(manifest, &bundle, &signer));
    let altered = |alter: fn(&mut Value)| {
        let mut manifest = manifest.clone();
        alter(&mut manifest);
        manifest
    };

    // A step further: the packages are the same.
    let further = altered(|it| it["sequence"] = json!(10));
    assert_eq!(refused_by(&further), ["manifest"]);
    for other in [
        altered(|it| it["packages"][0]["sha256"] = json!("4".repeat(64))),
        altered(|it| drop(it["packages"].as_array_mut().unwrap().pop())),
        altered(|it| it["packages"][0]["subdir"] = json!("linux-64")),
        altered(|it| it["target_channel"] = json!("https://prefix.dev/other")),
        altered(|it| it["plan_digest"] = json!(format!("sha256:{}", "4".repeat(64)))),
    ] {
        assert_eq!(refused_by(&other), ["statement"], "{other:#}");
    }

    let stranger = Policy::exactly("stranger", fixture.sandbox.issuer());
    assert_eq!(failed(&judge(&manifest, &bundle, &stranger)), ["identity"]);
    assert_eq!(failed(&judge(&manifest, b"{}", &signer)), ["bundle"]);

    // The same statement with a package more, under the old signature.
    let mut forged: Value = serde_json::from_slice(&bundle).unwrap();
    let mut more: Value = serde_json::from_slice(&about(&manifest).to_json()).unwrap();
    let package = json!({"name": "noarch/evil-1-0.conda", "digest": {"sha256": "5".repeat(64)}});
    more["subject"].as_array_mut().unwrap().push(package);
    forged["dsseEnvelope"]["payload"] = STANDARD.encode(more.to_string()).into();
    let verdict = judge(&manifest, forged.to_string().as_bytes(), &signer);
    assert!(
        verdict.signed.is_none() && failed(&verdict).contains(&"statement"),
        "{verdict}"
    );

    // Neither is taken for the other.
    let (package, attested) = &packages[0];
    let publish = std::fs::read(&attested.bundle).unwrap();
    assert_eq!(failed(&judge(&manifest, &publish, &signer)), ["statement"]);
    let verdict = verifier.verify(package, &bundle, &signer, None);
    assert!(
        !verdict.verifies_package() && !verdict.passed(),
        "{verdict}"
    );
}

#[tokio::test]
async fn nobody_is_asked_for_a_token_before_there_is_something_to_sign() {
    let fixture = Fixture::start().await;
    let options = options();
    let session = Session::open(&fixture.trust, &fixture.identity, &options, &()).unwrap();
    assert!(
        session
            .sign(Vec::<PackageFile>::new())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 0);

    // A run that was killed between packages and release goes on with the release alone.
    let (file, release) = (fixture.dir.path().join("bundle"), about(&manifest(&[])));
    session.sign_release(&release, &file).await.unwrap();
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 1);
}
