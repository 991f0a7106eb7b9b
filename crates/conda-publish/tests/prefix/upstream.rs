//! Upstream's own client: what it does with the test server is what it does with prefix.dev.

use std::path::PathBuf;

use channel_servers::prefix::PrefixOptions;
use conda_publish::Upload;
use rattler_networking::AuthenticationStorage;
use rattler_upload::upload::opt::{AttestationSource, ForceOverwrite, PrefixData, SkipExisting};
use rattler_upload::upload::{PrefixUploadError, upload_package_to_prefix};

use crate::support::{Fixture, READ_KEY, WRITE_KEY};

struct Upstream<'a> {
    url: &'a str,
    channel: &'a str,
    key: &'a str,
    skip_existing: bool,
    force: bool,
}

impl Upstream<'_> {
    async fn upload(&self, upload: &Upload) -> Result<(), PrefixUploadError> {
        let attestation = match upload.bundles.as_slice() {
            [] => AttestationSource::NoAttestation,
            [bundle, ..] => AttestationSource::Attestation(bundle.path.clone()),
        };
        let data = PrefixData::new(
            self.url.parse().unwrap(),
            self.channel.to_owned(),
            Some(self.key.to_owned()),
            attestation,
            SkipExisting(self.skip_existing),
            ForceOverwrite(self.force),
            false,
        );
        let files: Vec<PathBuf> = vec![upload.source.clone()];
        upload_package_to_prefix(&AuthenticationStorage::empty(), &files, data).await
    }
}

#[tokio::test]
async fn the_server_behaves_as_upstreams_client_expects() {
    let fixture = Fixture::with(PrefixOptions {
        requires_attestation: true,
        ..PrefixOptions::default()
    })
    .await;
    let good = Upstream {
        url: fixture.server.url(),
        channel: "my-channel",
        key: WRITE_KEY,
        skip_existing: false,
        force: false,
    };
    let attested = fixture.attested("greet").await;
    good.upload(&attested).await.unwrap();
    assert!(fixture.server.uploads()[0].attested);

    let again = good.upload(&attested).await.unwrap_err();
    assert!(
        matches!(again, PrefixUploadError::Conflict { .. }),
        "{again}"
    );
    let skipping = Upstream {
        skip_existing: true,
        ..good
    };
    skipping.upload(&attested).await.unwrap();
    let forcing = Upstream {
        force: true,
        ..good
    };
    forcing.upload(&attested).await.unwrap();
    assert_eq!(fixture.server.uploads().len(), 2);

    let unknown = Upstream {
        key: "pfx_other",
        ..good
    };
    let error = unknown.upload(&attested).await.unwrap_err();
    assert!(
        matches!(error, PrefixUploadError::AuthenticationFailed { .. }),
        "{error}"
    );
    let reader = Upstream {
        key: READ_KEY,
        ..good
    };
    let error = reader.upload(&attested).await.unwrap_err();
    assert!(
        matches!(error, PrefixUploadError::Forbidden { .. }),
        "{error}"
    );
    let elsewhere = Upstream {
        channel: "other",
        ..good
    };
    let error = elsewhere.upload(&attested).await.unwrap_err();
    assert!(
        matches!(error, PrefixUploadError::ClientError { status: 404, .. }),
        "{error}"
    );
    for wrong in [
        fixture.plain("unattested"),
        fixture
            .attested_for("elsewhere", "https://prefix.dev/other")
            .await,
    ] {
        let error = good.upload(&wrong).await.unwrap_err();
        assert!(
            matches!(error, PrefixUploadError::UnprocessableEntity { .. }),
            "{error}"
        );
    }
    assert_eq!(
        fixture.server.complaints(),
        [""; 0],
        "upstream keeps the protocol"
    );
}
