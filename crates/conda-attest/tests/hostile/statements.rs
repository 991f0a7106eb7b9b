//! Statements that a valid identity has signed and logged, and that say what they must not.

use conda_attest::{PROVENANCE_TYPE, PackageFile, Predicate, Verdict};
use serde_json::{Value, json};
use sigstore_sandbox::RekorVersions;

use crate::support::CHANNEL;
use crate::table::{Court, failure};

fn publish(package: &PackageFile) -> Value {
    json!({
        "_type": cep27::STATEMENT_TYPE,
        "subject": [{
            "name": package.file.as_str(),
            "digest": { "sha256": package.sha256.to_string() },
        }],
        "predicateType": cep27::PREDICATE_TYPE,
        "predicate": { "targetChannel": CHANNEL },
    })
}

type Change = fn(&mut Value);

/// What is changed, and the violation of CEP-27 that it is.
#[rustfmt::skip]
const PUBLISH: &[(&str, Change, &str)] = &[
    ("the type of older clients", |s| s["_type"] = "https://in-toto.io/Statement/v0.1".into(), "statement_v0_1"),
    ("no type", |s| s["_type"] = Value::Null, "statement_type"),
    ("another predicate", |s| s["predicateType"] = "https://in-toto.io/attestation/release/v0.1".into(), "predicate_type"),
    ("an older predicate of provenance", |s| s["predicateType"] = "https://slsa.dev/provenance/v0.2".into(), "predicate_type"),
    ("another predicate by a slash", |s| s["predicateType"] = format!("{}/", cep27::PREDICATE_TYPE).into(), "predicate_type"),
    ("no subject", |s| s["subject"] = json!([]), "subject_none"),
    ("another subject beside", |s| { let same = s["subject"][0].clone(); s["subject"] = json!([same, same]); }, "subject_many"),
    ("another package", |s| s["subject"][0]["name"] = "greet0-1.0.0-h1_0.conda".into(), "name_mismatch"),
    ("a package in upper case", |s| s["subject"][0]["name"] = "GREET2-1.0.0-h1_0.conda".into(), "name_form"),
    ("the path of the package", |s| s["subject"][0]["name"] = "noarch/greet2-1.0.0-h1_0.conda".into(), "name_form"),
    ("another hash", |s| s["subject"][0]["digest"]["sha256"] = "0".repeat(64).into(), "digest_mismatch"),
    ("a weaker hash beside", |s| s["subject"][0]["digest"]["md5"] = "0".repeat(32).into(), "digest_extra"),
    ("another channel", |s| s["predicate"]["targetChannel"] = "https://prefix.dev/your-channel".into(), "channel_mismatch"),
    ("a channel that begins like it", |s| s["predicate"]["targetChannel"] = format!("{CHANNEL}-2").into(), "channel_mismatch"),
    ("no channel", |s| s["predicate"] = json!({}), "channel_missing"),
    ("no predicate", |s| s["predicate"] = Value::Null, "channel_absent"),
];

#[tokio::test(flavor = "multi_thread")]
async fn signed_statements_that_break_a_rule_are_refused_by_that_rule() {
    let court = Court::new().await;
    let package = court.package();
    let mut wrong = Vec::new();
    for log in [RekorVersions::V1, RekorVersions::V2] {
        let forger = court.forger(log).await;
        let verdict = court.judge(package, &forger.sign(&publish(package)).await);
        assert!(verdict.verifies_package(), "{verdict}");
        for (name, change, expected) in PUBLISH {
            let mut statement = publish(package);
            change(&mut statement);
            let verdict = court.judge(package, &forger.sign(&statement).await);
            let codes: Vec<&str> = verdict.violations.iter().map(|found| found.code).collect();
            if !codes.contains(expected) || verdict.verifies_package() {
                wrong.push(format!(
                    "{name}: expected {expected}, found {codes:?}: {verdict}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_must_be_a_statement() {
    let court = Court::new().await;
    let forger = court.forger(RekorVersions::V2).await;
    let package = court.package();
    let good = publish(package).to_string();
    for payload in [
        b"".as_slice(),
        b"null",
        b"not JSON",
        good.replacen('{', "{\"predicateType\":null,", 1).as_bytes(),
        format!("{good}{good}").as_bytes(),
        &good.as_bytes()[1..],
    ] {
        let bundle = forger.sign_bytes(cep27::DSSE_PAYLOAD_TYPE, payload).await;
        let verdict = court.judge(package, &bundle);
        assert!(
            !verdict.verifies_package(),
            "{}",
            String::from_utf8_lossy(payload)
        );
        assert_eq!(verdict.predicate, Predicate::Other);
    }
    let bundle = forger.sign_bytes("text/plain", good.as_bytes()).await;
    let verdict = court.judge(package, &bundle);
    assert_eq!(failure(&verdict), Some(("bundle", "malformed")));
}

/// A log takes an envelope however it is written, and its hash with it. One that no client writes
/// may have held more than the bundle tells.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_envelope_of_the_bundle() {
    let court = Court::new().await;
    let forger = court.forger(RekorVersions::V1).await;
    let statement = publish(court.package()).to_string();
    let judge = async |change: fn(&str) -> String| {
        let rewrite = |mut entry: Value| {
            let envelope = entry.pointer_mut("/spec/proposedContent/envelope").unwrap();
            *envelope = change(envelope.as_str().unwrap()).into();
            entry
        };
        let payload_type = cep27::DSSE_PAYLOAD_TYPE;
        let bundle = forger.sign_and_log(payload_type, statement.as_bytes(), rewrite);
        failure(&court.judge(court.package(), &bundle.await))
    };
    assert_eq!(judge(str::to_owned).await, None);
    let spaced = judge(|envelope| envelope.replace("\":", "\": ").replace(",\"", ", \""));
    assert_eq!(spaced.await, None, "as Python writes it");
    let more = judge(|envelope| envelope.replacen('{', "{\"more\":true,", 1));
    assert_eq!(more.await, Some(("log", "envelope_hash")));
}

/// As the sandbox's certificates have it, which name neither repository nor run.
fn provenance(court: &Court) -> Value {
    let mut statement = publish(court.package());
    statement["predicateType"] = PROVENANCE_TYPE.into();
    statement["predicate"] = json!({
        "buildDefinition": {
            "buildType": conda_attest::BUILD_TYPE,
            "externalParameters": { "recipe": "recipes/greet/recipe.yaml" },
        },
        "runDetails": { "builder": { "id": court.fixture.sandbox.identity() } },
    });
    statement
}

#[rustfmt::skip]
const PROVENANCE: &[(&str, Change, &str)] = &[
    ("an older statement", |s| s["_type"] = "https://in-toto.io/Statement/v0.1".into(), "provenance_malformed"),
    ("no subject", |s| s["subject"] = json!([]), "provenance_subject"),
    ("another package", |s| s["subject"][0]["name"] = "greet0-1.0.0-h1_0.conda".into(), "provenance_subject"),
    ("another hash", |s| s["subject"][0]["digest"]["sha256"] = "0".repeat(64).into(), "provenance_subject"),
    ("name and hash in different subjects", |s| { let mut other = s["subject"][0].clone(); s["subject"][0]["name"] = "x".into(); other["digest"]["sha256"] = "0".repeat(64).into(); s["subject"].as_array_mut().unwrap().push(other); }, "provenance_subject"),
    ("no build type", |s| s["predicate"]["buildDefinition"]["buildType"] = "".into(), "provenance_malformed"),
    ("no parameters", |s| s["predicate"]["buildDefinition"]["externalParameters"] = Value::Null, "provenance_malformed"),
    ("no builder", |s| s["predicate"]["runDetails"] = json!({}), "provenance_malformed"),
    ("no predicate", |s| s["predicate"] = Value::Null, "provenance_malformed"),
    ("somebody else's builder", |s| s["predicate"]["runDetails"]["builder"]["id"] = "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main".into(), "provenance_builder"),
    ("the builder by its prefix", |s| { let id = s["predicate"]["runDetails"]["builder"]["id"].as_str().unwrap().to_owned(); s["predicate"]["runDetails"]["builder"]["id"] = format!("{id}/").into(); }, "provenance_builder"),
    ("a run that nobody vouches for", |s| s["predicate"]["runDetails"]["metadata"] = json!({"invocationId": "https://github.com/acme/pkgs/actions/runs/1/attempts/1"}), "provenance_run"),
];

#[tokio::test(flavor = "multi_thread")]
async fn provenance_is_of_this_package_and_of_the_run_that_signed() {
    let court = Court::new().await;
    let forger = court.forger(RekorVersions::V2).await;
    let judge = |verdict: &Verdict| failure(verdict);
    let verdict = court.judge(court.package(), &forger.sign(&provenance(&court)).await);
    assert!(verdict.passed(), "{verdict}");
    assert_eq!(verdict.predicate, Predicate::Provenance);
    assert!(
        !verdict.verifies_package(),
        "it says nothing about who publishes the package"
    );
    for (name, change, expected) in PROVENANCE {
        let mut statement = provenance(&court);
        change(&mut statement);
        let verdict = court.judge(court.package(), &forger.sign(&statement).await);
        let found = judge(&verdict);
        assert!(
            matches!(found, Some(("statement", reason)) if reason == *expected),
            "{name}: expected {expected}, found {found:?}: {verdict}"
        );
    }
}
