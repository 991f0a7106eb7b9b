//! What the services refuse, as the real ones do.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::{Decode, Encode as _, EncodePem as _, asn1::BitString, pem::LineEnding};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sigstore_crypto::KeyPair;
use sigstore_sandbox::{AUDIENCE, IDENTITY, Options, Sandbox};

use x509_cert::{
    name::Name,
    request::{CertReq, CertReqInfo},
    spki::AlgorithmIdentifierOwned,
};

use crate::client::{Session, statement, token};

async fn post(sandbox: &Sandbox, path: &str, body: &Value) -> Response {
    Client::new()
        .post(format!("{}{path}", sandbox.url()))
        .json(body)
        .send()
        .await
        .unwrap()
}

/// Asks for a certificate: the key of the request, and what it signed with which key.
async fn ask(
    sandbox: &Sandbox,
    token: &str,
    key: &KeyPair,
    prover: &KeyPair,
    proof: &str,
) -> (StatusCode, String) {
    let response = post(
        sandbox,
        "/api/v2/signingCert",
        &json!({
            "credentials": { "oidcIdentityToken": token },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "ECDSA", "content": key.public_key_der().unwrap().to_pem() },
                "proofOfPossession": STANDARD.encode(prover.sign(proof.as_bytes()).unwrap().as_bytes()),
            },
        }),
    )
    .await;
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    (
        status,
        body["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn fulcio_refuses_tokens_that_are_not_for_it() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let sandbox = Sandbox::start(folders[0].path(), Options::default())
        .await
        .unwrap();
    let key = KeyPair::generate_ecdsa_p256().unwrap();
    let good = token(&sandbox, AUDIENCE).await.unwrap();
    assert_eq!(
        ask(&sandbox, &good, &key, &key, IDENTITY).await.0,
        StatusCode::OK
    );

    let other = Sandbox::start(folders[1].path(), Options::default())
        .await
        .unwrap();
    let forged = token(&other, AUDIENCE).await.unwrap();
    let for_another = token(&sandbox, "sigstore").await.unwrap();
    for bad in [
        forged,
        for_another,
        format!("{good}A"),
        "no token".to_owned(),
        String::new(),
    ] {
        let (status, message) = ask(&sandbox, &bad, &key, &key, IDENTITY).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(message, "There was an error processing the identity token");
    }

    let options = Options {
        token_lifetime: Duration::ZERO,
        ..Options::default()
    };
    let sandbox = Sandbox::start(folders[2].path(), options).await.unwrap();
    let expired = token(&sandbox, AUDIENCE).await.unwrap();
    assert_eq!(
        ask(&sandbox, &expired, &key, &key, IDENTITY).await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn fulcio_refuses_keys_whose_possession_is_not_proved() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let token = token(&sandbox, AUDIENCE).await.unwrap();
    let [key, other] = [(); 2].map(|()| KeyPair::generate_ecdsa_p256().unwrap());
    for (prover, proof) in [(&other, IDENTITY), (&key, "someone else")] {
        let (status, message) = ask(&sandbox, &token, &key, prover, proof).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(
            message,
            "The signature supplied in the request could not be verified"
        );
    }
}

/// As sigstore-python asks for certificates: with the token in a header.
#[tokio::test]
async fn fulcio_takes_signing_requests_that_are_signed_with_their_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let token = token(&sandbox, AUDIENCE).await.unwrap();
    let [key, other] = [(); 2].map(|()| KeyPair::generate_ecdsa_p256().unwrap());
    for (signer, expected) in [(&key, StatusCode::OK), (&other, StatusCode::BAD_REQUEST)] {
        let request = Client::new()
            .post(format!("{}/api/v2/signingCert", sandbox.url()))
            .bearer_auth(&token)
            .json(&json!({ "certificateSigningRequest": STANDARD.encode(csr(&key, signer)) }));
        assert_eq!(request.send().await.unwrap().status(), expected);
    }
}

/// A PEM certificate signing request for a key, signed by another.
fn csr(key: &KeyPair, signer: &KeyPair) -> String {
    let info = CertReqInfo {
        version: Default::default(),
        subject: Name::default(),
        public_key: Decode::from_der(key.public_key_der().unwrap().as_bytes()).unwrap(),
        attributes: Default::default(),
    };
    let signature = signer.sign(&info.to_der().unwrap()).unwrap();
    let request = CertReq {
        info,
        algorithm: AlgorithmIdentifierOwned {
            oid: ECDSA_WITH_SHA_256,
            parameters: None,
        },
        signature: BitString::from_bytes(signature.as_bytes()).unwrap(),
    };
    request.to_pem(LineEnding::LF).unwrap()
}

#[tokio::test]
async fn tokens_are_for_holders_of_the_bearer_token() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let url = format!("{}&audience={AUDIENCE}", sandbox.token_endpoint().url);
    for request in [
        Client::new().get(&url),
        Client::new().get(&url).bearer_auth("guess"),
    ] {
        assert_eq!(
            request.send().await.unwrap().status(),
            StatusCode::UNAUTHORIZED
        );
    }
}

#[tokio::test]
async fn the_log_takes_an_entry_once_and_names_its_index_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let session = Session::open(&sandbox).await.unwrap();
    let (_, other) = session.entry(&statement("a-0-0.conda", b"a")).unwrap();
    session.rekor.create_entry(other).await.unwrap();
    let (_, entry) = session.entry(&statement("b-0-0.conda", b"b")).unwrap();
    let entry = serde_json::to_value(entry).unwrap();

    let first = post(&sandbox, "/api/v2/log/entries", &entry).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let second = post(&sandbox, "/api/v2/log/entries", &entry).await;
    assert_eq!(second.status(), StatusCode::CONFLICT);
    assert_eq!(second.headers()["x-log-index"], "1");
    let body: Value = second.json().await.unwrap();
    assert_eq!(body["code"], 6);
    assert_eq!(
        body["message"],
        "an equivalent entry already exists in the transparency log with index 1"
    );
    let checkpoint = session.rekor.get_checkpoint().await.unwrap();
    assert_eq!(checkpoint.tree_size(), 2);
}

#[tokio::test]
async fn the_log_refuses_signatures_that_are_not_over_the_digest_by_the_certificates_key() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let [session, other] = [
        Session::open(&sandbox).await.unwrap(),
        Session::open(&sandbox).await.unwrap(),
    ];
    let entry = |session: &Session, artifact: &[u8]| {
        serde_json::to_value(
            session
                .entry(&statement("a-0-0.conda", artifact))
                .unwrap()
                .1,
        )
        .unwrap()
    };
    let good = entry(&session, b"a");
    let path = "hashedRekordRequestV002";

    let mut other_digest = good.clone();
    other_digest[path]["digest"] = entry(&session, b"b")[path]["digest"].clone();
    let mut other_certificate = good.clone();
    other_certificate[path]["signature"]["verifier"] =
        entry(&other, b"a")[path]["signature"]["verifier"].clone();
    let mut no_signature = good.clone();
    no_signature[path]["signature"]["content"] = json!("");
    let mut short_digest = good.clone();
    short_digest[path]["digest"] = json!("AAAA");
    let mut other_algorithm = good.clone();
    other_algorithm[path]["signature"]["verifier"]["keyDetails"] = json!("PKIX_ED25519");
    for bad in [
        other_digest,
        other_certificate,
        no_signature,
        short_digest,
        other_algorithm,
        json!({}),
    ] {
        let response = post(&sandbox, "/api/v2/log/entries", &bad).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(session.rekor.get_checkpoint().await.unwrap().tree_size(), 0);
    assert_eq!(
        post(&sandbox, "/api/v2/log/entries", &good).await.status(),
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn the_ct_log_refuses_what_is_not_a_precertificate_of_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let session = Session::open(&sandbox).await.unwrap();
    let root: Value =
        serde_json::from_slice(&fs_err::read(sandbox.trusted_root()).unwrap()).unwrap();
    let authority = |kind: &str| root[kind][0]["certChain"]["certificates"][0]["rawBytes"].clone();
    let leaf = STANDARD.encode(session.certificate.as_bytes());
    for chain in [
        json!([leaf, authority("certificateAuthorities")]), // has no poison
        json!([leaf, authority("timestampAuthorities")]),
        json!([leaf]),
        json!(["AAAA", "AAAA"]),
    ] {
        let response = post(&sandbox, "/ct/v1/add-pre-chain", &json!({ "chain": chain })).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_malformed_timestamp_request_gets_a_rejection_not_an_http_error() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let response = Client::new()
        .post(format!("{}/api/v1/timestamp", sandbox.url()))
        .header("Content-Type", "application/timestamp-query")
        .body("not a request")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["content-type"],
        "application/timestamp-reply"
    );
    // PKIStatusInfo { status: rejection (2), failInfo: badDataFormat (bit 5) }
    let rejection = [0x30, 0x09, 0x30, 0x07, 0x02, 0x01, 2, 0x03, 0x02, 2, 0x04];
    assert_eq!(response.bytes().await.unwrap()[..], rejection);
}
