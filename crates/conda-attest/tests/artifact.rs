//! Statements about artifacts that are no conda packages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use cep27::Sha256;
use conda_attest::{CheckName, Policy, Verifier, sign_statement};
use sha2::Digest as _;
use sigstore_sandbox::{Options, RekorVersions, Service};
use support::Fixture;

fn sha256(content: &str) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(content).into())
}

fn statement(digest: &str) -> String {
    format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"a","digest":{digest}}}],
            "predicateType":"https://example.org/about","predicate":{{}}}}"#
    )
}

async fn sign(fixture: &Fixture, statement: &str) -> Result<Vec<u8>, conda_attest::Error> {
    let patience = Duration::from_secs(60);
    let (trust, identity) = (&fixture.trust, &fixture.identity);
    sign_statement(trust, identity, statement.as_bytes(), patience, &()).await
}

#[tokio::test]
async fn a_statement_about_anything_is_signed_and_judged() {
    for rekor in [RekorVersions::V1, RekorVersions::V2] {
        let fixture = Fixture::with(Options {
            rekor,
            ..Options::default()
        })
        .await;
        let text = statement(&format!(r#"{{"sha256":"{}"}}"#, sha256("a")));
        let bundle = sign(&fixture, &text).await.unwrap();

        let verifier = Verifier::new(&fixture.trust).unwrap();
        let signer = Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer());
        let judge = |content, bundle: &[u8], policy| {
            verifier
                .verify_artifact(sha256(content), bundle, policy)
                .map(|evidence| evidence.identity)
                .map_err(|refused| refused.check())
        };
        let identity = fixture.sandbox.identity().to_owned();
        assert_eq!(judge("a", &bundle, &signer), Ok(identity));
        assert_eq!(judge("b", &bundle, &signer), Err(CheckName::Statement));
        let stranger = Policy::exactly("stranger", fixture.sandbox.issuer());
        assert_eq!(judge("a", &bundle, &stranger), Err(CheckName::Identity));
        assert_eq!(judge("a", b"{}", &signer), Err(CheckName::Bundle));
    }
}

#[tokio::test]
async fn what_cannot_be_judged_is_not_signed() {
    let fixture = Fixture::start().await;
    for text in ["", "{}", &statement("{}"), &statement(r#"{"sha256":"a"}"#)] {
        let error = sign(&fixture, text).await.unwrap_err();
        assert!(error.to_string().contains("statement"), "{error}");
    }
    assert_eq!(fixture.sandbox.requests(Service::Oidc), 0);
}
