//! Signing and verifying with the crates that conda-release itself uses.

use std::time::Duration;

use sigstore_crypto::parse_certificate_info;
use sigstore_sandbox::{Claims, IDENTITY, ISSUER, Options, Sandbox, Service};

use crate::client::{Session, sign_many, verify};

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
    assert_eq!(sandbox.requests(Service::Oidc), 1);
    assert_eq!(sandbox.requests(Service::Fulcio), 1);
    assert_eq!(sandbox.requests(Service::Rekor), 20);
    assert_eq!(sandbox.requests(Service::Tsa), 20);
    sandbox.stop().await;
}

#[tokio::test]
async fn another_sandbox_is_not_trusted() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mine = Sandbox::start(folders[0].path(), Options::default())
        .await
        .unwrap();
    let other = Sandbox::start(folders[1].path(), Options::default())
        .await
        .unwrap();
    let (artifact, bundle) = sign_many(&other, 1).await.unwrap().remove(0);
    verify(&other.trusted_root(), &artifact, &bundle).unwrap();
    verify(&mine.trusted_root(), &artifact, &bundle).unwrap_err();
}

#[tokio::test]
async fn a_certificate_carries_what_is_known_about_the_source() {
    let text = |text: &str| Some(text.to_owned());
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let claims = Claims {
        repository: text("https://github.com/acme/pkgs"),
        commit: text(commit),
        git_ref: text("refs/heads/main"),
        workflow: text(".github/workflows/release.yml"),
        repository_id: text("11"),
        owner_id: text("22"),
        visibility: text("public"),
        ..Claims::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        claims,
        ..Options::default()
    };
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let session = Session::open(&sandbox).await.unwrap();
    let info = parse_certificate_info(&session.certificate).unwrap();

    assert_eq!(info.issuer.as_deref(), Some(ISSUER));
    assert_eq!(info.identity.unwrap().to_string(), IDENTITY);
    let found = info.ci_claims;
    assert_eq!(found.build_signer_uri.as_deref(), Some(IDENTITY));
    assert_eq!(
        found.source_repository_uri.as_deref(),
        Some("https://github.com/acme/pkgs")
    );
    assert_eq!(found.source_repository_digest.as_deref(), Some(commit));
    assert_eq!(
        found.source_repository_ref.as_deref(),
        Some("refs/heads/main")
    );
    assert_eq!(found.source_repository_identifier.as_deref(), Some("11"));
    assert_eq!(
        found.source_repository_owner_uri.as_deref(),
        Some("https://github.com/acme")
    );
    assert_eq!(
        found.source_repository_owner_identifier.as_deref(),
        Some("22")
    );
    assert_eq!(
        found.build_config_uri.as_deref(),
        Some("https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
    );
    assert_eq!(found.runner_environment.as_deref(), Some("self-hosted"));
    assert_eq!(
        found.source_repository_visibility_at_signing.as_deref(),
        Some("public")
    );
}

#[tokio::test]
async fn a_certificate_lives_ten_minutes_and_claims_nothing_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let info = parse_certificate_info(&Session::open(&sandbox).await.unwrap().certificate).unwrap();
    let lifetime = info.not_after.duration_since(info.not_before);
    assert_eq!(lifetime, Duration::from_secs(600).try_into().unwrap());
    assert_eq!(info.ci_claims.source_repository_uri, None);
    assert_eq!(info.ci_claims.source_repository_digest, None);
    assert_eq!(info.ci_claims.build_config_uri, None);
}
