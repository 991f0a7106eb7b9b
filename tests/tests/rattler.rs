//! What a release publishes, judged by `rattler_sigstore`: the library by which pixi and rattler
//! find and verify attestations (CEP-50 and CEP-27).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use end_to_end::Workspace;
use fs_err as fs;
use rattler_conda_types::{Channel, RepoData, RepoDataRecord};
use rattler_sigstore::{
    Issuer, Publisher, SigstoreError, TrustedRoot, VerificationConfig, VerificationOutcome,
    VerificationPolicy, sidecar_url_for_record, verify_record_with_trusted_root,
};
use reqwest::Client;
use reqwest_middleware::ClientBuilder;
use serde_json::Value;

/// Two packages, released with provenance: each sidecar has a bundle that is not for these clients.
struct Release {
    workspace: Workspace,
    records: Vec<RepoDataRecord>,
    root: TrustedRoot,
}

impl Release {
    fn new() -> Self {
        let workspace = Workspace::with_two_packages();
        workspace.config("sign.provenance = true\n").commit();
        workspace.run(["release"]).ends(0);
        let folder = workspace.rehearsal("channel");
        let channel = Channel::try_from_directory(&folder).unwrap();
        let mut records = RepoData::from_path(folder.join("noarch/repodata.json"))
            .unwrap()
            .into_repo_data_records(&channel);
        for record in &mut records {
            // The folder is a mirror of the channel that was attested.
            record.channel = Some(workspace.manifest().target_channel.to_string());
        }
        Self {
            records,
            root: TrustedRoot::from_file(workspace.rehearsal("sandbox/trusted_root.json")).unwrap(),
            workspace,
        }
    }

    /// Whoever signed, by the manifest.
    fn signer(&self) -> Publisher {
        let manifest = self.workspace.manifest();
        let attestation = manifest.packages()[0].attestation.as_ref().unwrap();
        Publisher::new()
            .with_identity(attestation.identity.as_str())
            .with_issuer(Issuer::from(attestation.issuer.as_str()))
    }

    /// Asks the library as a client does that installs nothing without an attestation.
    async fn verify(
        &self,
        record: &RepoDataRecord,
        publisher: Publisher,
    ) -> Result<VerificationOutcome, SigstoreError> {
        let policy = VerificationPolicy::Require(VerificationConfig::new(publisher));
        let client = ClientBuilder::new(Client::new()).build();
        verify_record_with_trusted_root(&policy, record, &client, &self.root).await
    }
}

#[tokio::test]
async fn every_package_of_a_release_is_accepted() {
    let release = Release::new();
    assert_eq!(release.records.len(), 2);
    for record in &release.records {
        let sidecar = sidecar_url_for_record(record).unwrap().unwrap();
        let sidecar = fs::read(sidecar.to_file_path().unwrap()).unwrap();
        let bundles: Vec<Value> = serde_json::from_slice(&sidecar).unwrap();
        assert_eq!(bundles.len(), 2, "the attestation and the provenance");
        let outcome = release.verify(record, release.signer()).await.unwrap();
        assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
        let attestation = outcome.attestation.unwrap();
        let target = release.workspace.manifest().target_channel;
        assert_eq!(attestation.target_channel.as_deref(), Some(target.as_str()));
        let checks = attestation.checks;
        assert!(checks.certificate_chain, "{checks:?}");
        assert!(checks.signed_certificate_timestamp, "{checks:?}");
        assert!(checks.transparency_log, "{checks:?}");
        assert!(checks.inclusion_proof, "{checks:?}");
    }
}

#[tokio::test]
async fn nothing_else_is_accepted_for_it() {
    let release = Release::new();
    let [record, other] = release.records.as_slice() else {
        panic!("two packages were released");
    };
    let refused = |record: RepoDataRecord, publisher| {
        let release = &release;
        async move { release.verify(&record, publisher).await.unwrap_err() }
    };

    let stranger = Publisher::new().with_identity("https://github.com/stranger/*");
    let error = refused(record.clone(), stranger).await;
    assert!(matches!(error, SigstoreError::VerificationFailed { .. }));

    let mut elsewhere = record.clone();
    elsewhere.channel = Some("https://prefix.dev/elsewhere".to_owned());
    let error = refused(elsewhere, release.signer()).await;
    assert!(matches!(error, SigstoreError::VerificationFailed { .. }));

    let mut rebuilt = record.clone();
    rebuilt.package_record.sha256 = other.package_record.sha256;
    let error = refused(rebuilt, release.signer()).await;
    assert!(matches!(error, SigstoreError::VerificationFailed { .. }));

    let sidecar = sidecar_url_for_record(record).unwrap().unwrap();
    let sidecar = sidecar.to_file_path().unwrap();
    let altered = fs::read_to_string(&sidecar).unwrap().replacen('[', "[ ", 1);
    fs::write(&sidecar, altered).unwrap();
    let error = refused(record.clone(), release.signer()).await;
    assert!(
        matches!(error, SigstoreError::SidecarHashMismatch { .. }),
        "{error}"
    );
}
