//! Rekor v1, as its clients know it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sigstore_crypto::sha256;
use sigstore_rekor::DsseEntry;
use sigstore_sandbox::{Options, RekorVersions, Sandbox, Service};
use sigstore_types::{EntryUuid, KindVersion};

use crate::client::{Session, json, sign_many, statement, verify};

async fn start(folder: &std::path::Path, rekor: RekorVersions, tsa: bool) -> Sandbox {
    let options = Options {
        rekor,
        tsa,
        ..Options::default()
    };
    Sandbox::start(folder, options).await.unwrap()
}

async fn propose(sandbox: &Sandbox, entry: &Value) -> Response {
    Client::new()
        .post(format!("{}/api/v1/log/entries", sandbox.url()))
        .json(entry)
        .send()
        .await
        .unwrap()
}

fn entry(session: &Session, artifact: &[u8]) -> Value {
    let envelope = session
        .envelope(statement("a-0-0.conda", artifact))
        .unwrap();
    serde_json::to_value(DsseEntry::new(&envelope, &session.certificate).unwrap()).unwrap()
}

#[tokio::test]
async fn statements_logged_by_rekor_v1_verify_without_a_timestamp_authority() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, false).await;
    let session = Session::open(&sandbox).await.unwrap();
    for number in 0..5 {
        let artifact = format!("package {number}").into_bytes();
        let bundle = session
            .sign_v1(statement("p-1-0.conda", &artifact))
            .await
            .unwrap();
        verify(&sandbox.trusted_root(), &artifact, &bundle).unwrap();
        verify(&sandbox.trusted_root(), b"another artifact", &bundle).unwrap_err();

        let entry = &bundle.verification_material.tlog_entries[0];
        assert_eq!(entry.kind_version, KindVersion::DsseV001);
        let proof = entry.inclusion_proof.as_ref().unwrap();
        assert_eq!(proof.log_index.get(), number);
        assert_ne!(entry.log_index, proof.log_index);
        let mut promised_another_index = bundle.clone();
        promised_another_index.verification_material.tlog_entries[0].log_index = proof.log_index;
        verify(&sandbox.trusted_root(), &artifact, &promised_another_index).unwrap_err();
    }
    assert_eq!(sandbox.requests(Service::Rekor), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trusted_root_verifies_what_either_version_logged() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::Both, true).await;
    let config = json(sandbox.signing_config());
    let versions = config["rekorTlogUrls"].as_array().unwrap().iter();
    let versions: Vec<_> = versions.map(|log| log["majorApiVersion"].clone()).collect();
    assert_eq!(versions, [2, 1]);

    let (artifact, newer) = sign_many(&sandbox, 1).await.unwrap().remove(0);
    let session = Session::open(&sandbox).await.unwrap();
    let older = session
        .sign_v1(statement("p-0-0.conda", &artifact))
        .await
        .unwrap();
    sandbox.stop().await;

    let sandbox = start(folder.path(), RekorVersions::V2, true).await;
    for bundle in [older, newer] {
        verify(&sandbox.trusted_root(), &artifact, &bundle).unwrap();
    }
    let config = json(sandbox.signing_config());
    assert_eq!(config["rekorTlogUrls"][0]["majorApiVersion"], 2);
    let gone = propose(&sandbox, &entry(&session, b"a")).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_signing_config_without_a_timestamp_authority_names_none() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, false).await;
    let config = json(sandbox.signing_config());
    assert_eq!(config.get("tsaUrls"), None);
    assert_eq!(config["rekorTlogUrls"][0]["majorApiVersion"], 1);
}

#[tokio::test]
async fn an_entry_that_is_there_already_is_found_at_its_location() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, true).await;
    let session = Session::open(&sandbox).await.unwrap();
    propose(&sandbox, &entry(&session, b"other")).await;
    let entry = entry(&session, b"a");
    let first = propose(&sandbox, &entry).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let location = first.headers()["location"].to_str().unwrap().to_owned();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let created: Value = first.json().await.unwrap();
    let uuid = created.as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(uuid.len(), 80);
    assert_eq!(etag, uuid);
    assert_eq!(location, format!("/api/v1/log/entries/{uuid}"));

    let again = propose(&sandbox, &entry).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    assert_eq!(again.headers()["location"], location);
    let problem: Value = again.json().await.unwrap();
    assert_eq!(problem["code"], 409);
    assert_eq!(
        problem["message"],
        format!("an equivalent entry already exists in the transparency log with UUID {uuid}")
    );

    // The log grows; the entry is proved in the tree as it is, and its promise stays the same.
    propose(&sandbox, &self::entry(&session, b"later")).await;
    let leaf = &uuid[16..];
    for name in [uuid.as_str(), leaf] {
        let found = session
            .rekor_v1
            .get_entry_by_uuid(&EntryUuid::new(name.to_owned()))
            .await
            .unwrap();
        let created = &created[&uuid];
        assert_eq!(STANDARD.encode(found.body.as_bytes()), created["body"]);
        assert_eq!(found.log_index.as_i64(), created["logIndex"]);
        let verification = found.verification.unwrap();
        assert_eq!(verification.inclusion_proof.unwrap().tree_size, 3);
        assert_eq!(
            STANDARD.encode(verification.signed_entry_timestamp.unwrap().as_bytes()),
            created["verification"]["signedEntryTimestamp"]
        );
        let by_index = session.rekor_v1.get_entry_by_index(found.log_index).await;
        assert_eq!(by_index.unwrap().uuid.to_string(), uuid);
    }
    assert_eq!(sandbox.requests(Service::Rekor), 4);
    assert_eq!(sandbox.requests(Service::RekorLookup), 4);
}

#[tokio::test]
async fn what_is_not_in_the_log_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, true).await;
    for (path, expected) in [
        (format!("/{}", "0".repeat(64)), StatusCode::NOT_FOUND),
        (format!("/{}", "0".repeat(80)), StatusCode::NOT_FOUND),
        ("/zz".to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        (
            // 80 bytes, of which the sixteenth does not end a character.
            format!("/aaa{}", "%F0%9F%A6%80".repeat(19) + "a"),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("?logIndex=0".to_owned(), StatusCode::NOT_FOUND),
        ("?logIndex=4163431".to_owned(), StatusCode::NOT_FOUND),
    ] {
        let url = format!("{}/api/v1/log/entries{path}", sandbox.url());
        assert_eq!(
            reqwest::get(url).await.unwrap().status(),
            expected,
            "{path}"
        );
    }
}

/// sigstore-python spells out what it leaves to the server.
#[tokio::test]
async fn nulls_are_as_good_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, true).await;
    let session = Session::open(&sandbox).await.unwrap();
    let mut entry = entry(&session, b"a");
    for key in ["envelopeHash", "payloadHash", "signatures"] {
        entry["spec"][key] = json!(null);
    }
    let response = propose(&sandbox, &entry).await;
    assert_eq!(response.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_log_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, false).await;
    let session = Session::open(&sandbox).await.unwrap();
    let entry = entry(&session, b"a");
    let created: Value = propose(&sandbox, &entry).await.json().await.unwrap();
    let yesterdays = session
        .sign_v1(statement("b-1-0.conda", b"b"))
        .await
        .unwrap();
    sandbox.stop().await;

    let sandbox = start(folder.path(), RekorVersions::V1, false).await;
    verify(&sandbox.trusted_root(), b"b", &yesterdays).unwrap();
    let again = propose(&sandbox, &entry).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    let location = again.headers()["location"].to_str().unwrap().to_owned();
    let url = format!("{}{location}", sandbox.url());
    let found: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let (uuid, created) = created.as_object().unwrap().iter().next().unwrap();
    assert_eq!(found[uuid]["integratedTime"], created["integratedTime"]);
    assert_eq!(
        found[uuid]["verification"]["signedEntryTimestamp"],
        created["verification"]["signedEntryTimestamp"]
    );
}

/// The body that the tree is over, as Rekor writes it.
#[tokio::test]
async fn the_canonical_body_has_both_hashes_and_the_signers() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, true).await;
    let session = Session::open(&sandbox).await.unwrap();
    let payload = statement("a-0-0.conda", b"a");
    let envelope = session.envelope(payload.clone()).unwrap();
    // Sent with line breaks, which the canonical form has nothing of.
    let text = serde_json::to_string_pretty(&envelope).unwrap();
    // And in PEM with the other line ends, which Rekor doesn't keep.
    let pem = session.certificate.to_pem();
    assert!(pem.contains("\r\n"));
    let proposed = json!({
        "kind": "dsse", "apiVersion": "0.0.1",
        "spec": { "proposedContent": {
            "envelope": text,
            "verifiers": [STANDARD.encode(format!("\n{pem}\n\n"))],
        } },
    });
    let created: Value = propose(&sandbox, &proposed).await.json().await.unwrap();
    let entry = created.as_object().unwrap().values().next().unwrap();
    let body = STANDARD.decode(entry["body"].as_str().unwrap()).unwrap();
    let hash = |bytes: &[u8]| json!({ "algorithm": "sha256", "value": sha256(bytes).to_hex() });
    let expected = json!({
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": hash(text.as_bytes()),
            "payloadHash": hash(&payload),
            "signatures": [{
                "signature": serde_json::to_value(&envelope).unwrap()["signatures"][0]["sig"],
                "verifier": STANDARD.encode(pem.replace('\r', "")),
            }],
        },
    });
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    assert_eq!(body, serde_json_canonicalizer::to_vec(&expected).unwrap());
}

#[tokio::test]
async fn the_log_refuses_what_rekor_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, true).await;
    let [session, other] = [
        Session::open(&sandbox).await.unwrap(),
        Session::open(&sandbox).await.unwrap(),
    ];
    let good = entry(&session, b"a");
    let changed = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let content = "/spec/proposedContent";
    let envelope = session.envelope(statement("a-0-0.conda", b"a")).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut envelope = serde_json::to_value(&envelope).unwrap();
        change(&mut envelope);
        changed(&format!("{content}/envelope"), json!(envelope.to_string()))
    };
    let others = other.envelope(statement("a-0-0.conda", b"a")).unwrap();
    let others = serde_json::to_value(others).unwrap()["signatures"][0].clone();
    let other_verifier = entry(&other, b"a")["spec"]["proposedContent"]["verifiers"].clone();
    let mut computed = good.clone();
    computed["spec"]["payloadHash"] = json!({ "algorithm": "sha256", "value": "0".repeat(64) });
    for (bad, expected) in [
        (changed("/kind", json!("rpm")), "dsse 0.0.1 only"),
        (changed("/apiVersion", json!("0.0.2")), "dsse 0.0.1 only"),
        (json!({}), "missing field"),
        (json!([]), "invalid"),
        (changed(content, json!(null)), "must be present"),
        (computed, "but not both"),
        (
            with(&|envelope| envelope["signatures"] = json!([])),
            "1 or more signatures",
        ),
        (
            with(&|envelope| envelope["payload"] = json!("e30=")),
            "could not verify envelope",
        ),
        (with(&|envelope| envelope["payload"] = json!("?")), "base64"),
        (
            with(&|envelope| envelope["signatures"] = json!([envelope["signatures"][0], others])),
            "all signatures must have a key that verifies it",
        ),
        (
            with(&|envelope| envelope["signatures"][0]["sig"] = json!("")),
            "could not verify envelope",
        ),
        (
            changed(&format!("{content}/verifiers"), other_verifier),
            "could not verify envelope",
        ),
        (
            changed(&format!("{content}/verifiers"), json!([])),
            "all signatures must have a key that verifies it",
        ),
        (
            changed(&format!("{content}/verifiers"), json!(["AAAA"])),
            "could not parse public key as x509",
        ),
        (
            changed(&format!("{content}/envelope"), json!("not JSON")),
            "expected",
        ),
    ] {
        let response = propose(&sandbox, &bad).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], 400);
        let message = problem["message"].as_str().unwrap();
        assert!(message.starts_with("error processing entry: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let info: Value = reqwest::get(format!("{}/api/v1/log", sandbox.url()))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(info["treeSize"], 0);
    assert_eq!(propose(&sandbox, &good).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn the_log_tells_its_key_and_its_signed_size() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path(), RekorVersions::V1, true).await;
    let session = Session::open(&sandbox).await.unwrap();
    let created: Value = propose(&sandbox, &entry(&session, b"a"))
        .await
        .json()
        .await
        .unwrap();
    let entry = created.as_object().unwrap().values().next().unwrap();
    let get = async |path: &str| {
        let url = format!("{}/api/v1/log{path}", sandbox.url());
        reqwest::get(url).await.unwrap().text().await.unwrap()
    };
    let info: Value = serde_json::from_str(&get("").await).unwrap();
    let proof = &entry["verification"]["inclusionProof"];
    assert_eq!(info["treeSize"], 1);
    assert_eq!(info["rootHash"], proof["rootHash"]);
    assert_eq!(info["signedTreeHead"], proof["checkpoint"]);

    let pem = get("/publicKey").await;
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let root = json(sandbox.trusted_root());
    let log = root["tlogs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|log| log["publicKey"]["rawBytes"] == der)
        .expect("the log's key in the trusted root");
    let id = sha256(&STANDARD.decode(&der).unwrap());
    assert_eq!(log["logId"]["keyId"], STANDARD.encode(id.as_bytes()));
    assert_eq!(entry["logID"], id.to_hex());
}
