//! Signing and verifying with the crates that conda-release itself uses.

use std::time::Duration;

use sigstore_crypto::parse_certificate_info;
use sigstore_sandbox::{AUDIENCE, Claims, IDENTITY, ISSUER, Options, Sandbox, Service};

use crate::client::{Session, sign_many, token, verify};

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

#[tokio::test]
async fn a_certificate_for_a_workflow_is_that_of_a_github_actions_job() {
    let folder = tempfile::tempdir().unwrap();
    let claims = Claims {
        signer_workflow: Some("shared/tools/.github/workflows/sign.yml@refs/tags/v1".to_owned()),
        signer_commit: Some("f".repeat(40)),
        environment: Some("release".to_owned()),
        ..Claims::github_actions()
    };
    let options = Options {
        claims,
        ..Options::default()
    };
    let sandbox = Sandbox::start(folder.path(), options).await.unwrap();
    let identity = "https://github.com/shared/tools/.github/workflows/sign.yml@refs/tags/v1";
    let issuer = "https://actions.sandbox.conda-release.invalid";
    assert_eq!(sandbox.identity(), identity);
    assert_eq!(sandbox.issuer(), issuer);

    let session = Session::open(&sandbox).await.unwrap();
    let info = parse_certificate_info(&session.certificate).unwrap();
    assert_eq!(info.issuer.as_deref(), Some(issuer));
    assert_eq!(info.identity.unwrap().to_string(), identity);
    let found = info.ci_claims;
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let caller = "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main";
    for (claim, expected) in [
        (found.build_signer_uri, identity),
        (found.build_signer_digest, &*"f".repeat(40)),
        (found.runner_environment, "github-hosted"),
        (found.source_repository_uri, "https://github.com/acme/pkgs"),
        (found.source_repository_digest, commit),
        (found.source_repository_ref, "refs/heads/main"),
        (found.source_repository_identifier, "1001"),
        (found.source_repository_owner_uri, "https://github.com/acme"),
        (found.source_repository_owner_identifier, "2002"),
        (found.build_config_uri, caller),
        (found.build_config_digest, commit),
        (found.build_trigger, "push"),
        (
            found.run_invocation_uri,
            "https://github.com/acme/pkgs/actions/runs/3003/attempts/1",
        ),
        (found.source_repository_visibility_at_signing, "public"),
        (found.deployment_environment, "release"),
    ] {
        assert_eq!(claim.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn tokens_of_one_sandbox_may_have_different_claims_lifetimes_and_audiences() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap();
    let minute = Duration::from_secs(60);
    let github = sandbox
        .token_with(AUDIENCE, minute, Claims::github_actions())
        .unwrap();
    let session = Session::open_with(&sandbox, &github).await.unwrap();
    let info = parse_certificate_info(&session.certificate).unwrap();
    assert_eq!(
        info.identity.unwrap().to_string(),
        "https://github.com/acme/pkgs/.github/workflows/release.yml@refs/heads/main"
    );

    let own = sandbox.token(AUDIENCE).unwrap();
    let session = Session::open_with(&sandbox, &own).await.unwrap();
    let info = parse_certificate_info(&session.certificate).unwrap();
    assert_eq!(info.identity.unwrap().to_string(), IDENTITY);

    let default = Claims::default;
    for bad in [
        sandbox.token("sigstore").unwrap(),
        sandbox.token_with("sigstore", minute, default()).unwrap(),
        sandbox
            .token_with(AUDIENCE, Duration::ZERO, default())
            .unwrap(),
    ] {
        assert!(Session::open_with(&sandbox, &bad).await.is_err());
    }
    assert_ne!(token(&sandbox, AUDIENCE).await.unwrap(), own);
}
