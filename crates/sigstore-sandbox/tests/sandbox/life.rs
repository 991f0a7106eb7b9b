//! The sandbox's folder across starts.

use sigstore_sandbox::{Error, MARK, Options, Sandbox};

use crate::client::{json, sign_many, verify};

async fn start(folder: &std::path::Path) -> Sandbox {
    Sandbox::start(folder, Options::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_bundle_verifies_and_the_log_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path()).await;
    let root = fs_err::read(sandbox.trusted_root()).unwrap();
    let yesterdays = sign_many(&sandbox, 3).await.unwrap();
    sandbox.stop().await;

    // Without a server, too.
    for (artifact, bundle) in &yesterdays {
        verify(&folder.path().join("trusted_root.json"), artifact, bundle).unwrap();
    }

    let sandbox = start(folder.path()).await;
    assert_eq!(fs_err::read(sandbox.trusted_root()).unwrap(), root);
    let (artifact, bundle) = sign_many(&sandbox, 1).await.unwrap().remove(0);
    let entry = &bundle.verification_material.tlog_entries[0];
    assert_eq!(entry.log_index.get(), 3);
    for (artifact, bundle) in yesterdays.iter().chain([&(artifact, bundle)]) {
        verify(&sandbox.trusted_root(), artifact, bundle).unwrap();
    }
    sandbox.stop().await;
}

#[tokio::test]
async fn the_files_lead_to_the_running_server_and_bear_the_mark() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path()).await.stop().await;
    let sandbox = start(folder.path()).await;
    let (root, config) = (json(sandbox.trusted_root()), json(sandbox.signing_config()));
    let both = json(sandbox.trust_config());
    assert_eq!(both["trustedRoot"], root);
    assert_eq!(both["signingConfig"], config);
    assert_eq!(config["caUrls"][0]["url"], sandbox.url());
    assert_eq!(config["rekorTlogUrls"][0]["url"], sandbox.url());
    assert!(!root.to_string().contains("127.0.0.1"));
    for authorities in ["certificateAuthorities", "timestampAuthorities"] {
        assert_eq!(root[authorities][0]["subject"]["organization"], MARK);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn private_keys_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("sandbox");
    let sandbox = start(&folder).await;
    let mode = |path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(folder.clone()), 0o700);
    assert_eq!(mode(folder.join("keys.json")), 0o600);
    let secret = sandbox.token_endpoint().bearer;
    assert!(!format!("{sandbox:?} {:?}", sandbox.token_endpoint()).contains(&secret));
}

#[tokio::test]
async fn a_folder_has_one_sandbox_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path()).await;
    let error = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InUse(_)), "{error}");
    sandbox.stop().await;
    start(folder.path()).await.stop().await;
}

#[tokio::test]
async fn what_a_killed_process_left_unfinished_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let litter = folder.path().join(".unfinished-x1");
    fs_err::write(&litter, "half").unwrap();
    start(folder.path()).await.stop().await;
    assert!(!litter.exists());
}

#[tokio::test]
async fn damaged_keys_are_an_error_that_names_the_file_and_no_key() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path()).await.stop().await;
    let keys = folder.path().join("keys.json");
    let text = fs_err::read_to_string(&keys).unwrap();
    fs_err::write(&keys, text.replace("BEGIN PRIVATE KEY", "BEGIN PUBLIC KEY")).unwrap();
    let error = Sandbox::start(folder.path(), Options::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Keys { .. }), "{error}");
    assert!(error.to_string().contains("keys.json"), "{error}");
    for line in text.lines().filter(|line| line.contains("PRIVATE")) {
        let secret = &line[line.len() - 100..line.len() - 60];
        assert!(!error.to_string().contains(secret), "{error}");
    }
}

/// Keys that an older version did not know are added to those that are there.
#[tokio::test]
async fn a_folder_from_before_rekor_v1_keeps_its_keys_and_gets_another() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = start(folder.path()).await;
    let before = sign_many(&sandbox, 1).await.unwrap().remove(0);
    sandbox.stop().await;
    let path = folder.path().join("keys.json");
    let mut keys = json(&path);
    keys.as_object_mut().unwrap().remove("rekor_v1").unwrap();
    fs_err::write(&path, keys.to_string()).unwrap();

    let sandbox = start(folder.path()).await;
    verify(&sandbox.trusted_root(), &before.0, &before.1).unwrap();
    let root = fs_err::read(sandbox.trusted_root()).unwrap();
    sandbox.stop().await;
    let sandbox = start(folder.path()).await;
    assert_eq!(fs_err::read(sandbox.trusted_root()).unwrap(), root);
}
