//! What real clients do with the sandbox: they sign, and they verify.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use sigstore_sandbox::{Options, Sandbox};
use support::{sign_many, verify};

#[tokio::test(flavor = "multi_thread")]
async fn statements_signed_under_one_certificate_verify() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    for (artifact, bundle) in sign_many(&sandbox, 20).await.unwrap() {
        verify(&sandbox.trusted_root(), &artifact, &bundle).unwrap();
        verify(&sandbox.trusted_root(), b"another artifact", &bundle).unwrap_err();
    }
    sandbox.stop().await;
}
