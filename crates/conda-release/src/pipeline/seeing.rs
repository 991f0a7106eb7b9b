//! Looking at what was published as its users will: until every package is there and verifies.

use std::{collections::BTreeMap, time::Duration};

use conda_attest::{Package as Subject, Policy, Predicate, Trust, Verifier};
use conda_publish::{ChannelReader, Patience, RemoteChannel, Sidecar};
use futures::StreamExt as _;
use release_manifest::{Package, PackageKey};
use tokio::time::Instant;

use super::count;
use crate::{
    error::Error,
    printer::Printer,
    progress::Activity,
    release::Release,
    target::{ReadAt, Target},
};

/// How long a channel may take until clients see what was published.
const VISIBLE_WITHIN: Duration = Duration::from_secs(300);

/// Between two looks at a channel, first and at most.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How many packages are downloaded at the same time.
const DOWNLOADS: usize = 8;

/// Waits until clients find each of these packages in the channel, with the bytes that were published and, where the
/// channel `keeps_attestations`, the attestation that was made. Gives those that they do not find in time.
///
/// # Errors
/// Clients find something else than what was published.
pub(crate) async fn see(
    release: &Release,
    target: &Target,
    trust: &Trust,
    keeps_attestations: bool,
    packages: &[PackageKey],
    printer: &Printer,
) -> Result<Vec<PackageKey>, Error> {
    let clients = Clients {
        release,
        target,
        verifier: Verifier::new(trust)?.with_source(release.plan().source.clone()),
        keeps_attestations,
    };
    let activity = Activity::start(printer, "Seeing", packages.len());
    let mut unseen: BTreeMap<PackageKey, String> = packages
        .iter()
        .map(|package| (package.clone(), "not looked for yet".to_owned()))
        .collect();
    let deadline = Instant::now() + VISIBLE_WITHIN;
    let mut pause = LOOK.0;
    loop {
        let before = unseen.len();
        clients.look(&mut unseen).await?;
        (unseen.len()..before).for_each(|_| activity.step());
        if unseen.is_empty() || Instant::now() + pause > deadline {
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK.1);
    }
    drop(activity);
    let seen = packages.len() - unseen.len();
    let how = match keeps_attestations {
        true => "with an attestation that verifies",
        false => "with the bytes that were published",
    };
    if seen > 0 {
        let seen = count(seen, "package");
        printer.status("Seen", &format!("{seen} at {}, {how}", target.attested()));
    }
    for (package, reason) in &unseen {
        printer.failure("Unseen", &format!("{package}: {reason}"));
    }
    Ok(unseen.into_keys().collect())
}

struct Clients<'a> {
    release: &'a Release,
    target: &'a Target,
    verifier: Verifier,
    keeps_attestations: bool,
}

/// Why a package is not there as it was published.
enum Missing {
    /// It may appear later.
    Yet(String),
    /// Something else is there.
    Wrong(Error),
}

impl Clients<'_> {
    /// Takes away what is there, and says of the others why they are not.
    async fn look(&self, unseen: &mut BTreeMap<PackageKey, String>) -> Result<(), Error> {
        let wanted: Vec<PackageKey> = unseen.keys().cloned().collect();
        let mut looks = Vec::new();
        match self.target.read_at()? {
            ReadAt::Folder(path) => {
                let reader = ChannelReader::open(&path)?;
                for key in wanted {
                    let result = self.in_folder(&reader, &key);
                    looks.push((key, result));
                }
            }
            ReadAt::Url(url) => {
                let subdirs = wanted.iter().map(|key| key.subdir).collect();
                let opened = RemoteChannel::open(url, Some(&subdirs), Patience::default()).await;
                let remote = match opened {
                    Ok(remote) => remote,
                    Err(error) => {
                        let reason = crate::error::with_causes(&error);
                        unseen.values_mut().for_each(|it| it.clone_from(&reason));
                        return Ok(());
                    }
                };
                let remote = &remote;
                looks = futures::stream::iter(wanted)
                    .map(async |key| {
                        let result = self.on_server(remote, &key).await;
                        (key, result)
                    })
                    .buffer_unordered(DOWNLOADS)
                    .collect()
                    .await;
            }
        }
        for (key, result) in looks {
            match result {
                Ok(()) => drop(unseen.remove(&key)),
                Err(Missing::Yet(reason)) => drop(unseen.insert(key, reason)),
                Err(Missing::Wrong(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn in_folder(&self, reader: &ChannelReader, key: &PackageKey) -> Result<(), Missing> {
        let package = self.package(key)?;
        let listed = reader.packages().filter_map(Result::ok);
        if !listed.into_iter().any(|listed| listed.package == *key) {
            return Err(Missing::Yet("the repodata does not list it".to_owned()));
        }
        let sidecar = reader.sidecar(key).map_err(wrong)?;
        self.verify(package, reader.path(key).as_path(), sidecar)
    }

    async fn on_server(&self, remote: &RemoteChannel, key: &PackageKey) -> Result<(), Missing> {
        let package = self.package(key)?;
        let yet = |error: conda_publish::Error| Missing::Yet(crate::error::with_causes(&error));
        let listed = remote
            .packages()
            .filter_map(Result::ok)
            .find(|listed| listed.package == *key)
            .ok_or_else(|| Missing::Yet("the repodata does not list it".to_owned()))?;
        let download = remote.download(&listed).await.map_err(yet)?;
        if Some(download.sha256()) != package.sha256 {
            let found = download.sha256();
            return Err(Missing::Yet(format!("the channel serves sha256 {found}")));
        }
        let sidecar = match self.keeps_attestations {
            true => remote.sidecar(key).await.map_err(yet)?,
            false => None,
        };
        tokio::task::block_in_place(|| self.verify(package, download.path(), sidecar))
    }

    fn package(&self, key: &PackageKey) -> Result<&Package, Missing> {
        let package = self.release.manifest().package(key);
        package.ok_or_else(|| Missing::Yet("it is not part of the release".to_owned()))
    }

    /// Whether a client that has these bytes and attestations accepts them as what was published.
    fn verify(
        &self,
        package: &Package,
        bytes: &std::path::Path,
        sidecar: Option<Sidecar>,
    ) -> Result<(), Missing> {
        let subject = Subject {
            path: bytes.to_owned(),
            file: package.file.clone(),
            subdir: Some(package.subdir),
            sha256: package.sha256,
        };
        let Some(made) = package
            .attestation
            .as_ref()
            .filter(|_| self.keeps_attestations)
        else {
            return Ok(());
        };
        let Some(sidecar) = sidecar else {
            return Err(Missing::Yet("no attestation is served for it".to_owned()));
        };
        let bundles: Vec<&[u8]> = sidecar.bundles().map(str::as_bytes).collect();
        let channel = Some(self.target.attested().as_str());
        let verdicts = self
            .verifier
            .verify_all(subject, &bundles, &Policy::Anyone, channel);
        let is_ours = verdicts.iter().any(|verdict| {
            let proved = verdict.signed.as_ref();
            verdict.verifies_package()
                && verdict.predicate == Predicate::Publish
                && proved.is_some_and(|proved| {
                    proved.identity == made.identity
                        && proved.issuer == made.issuer
                        && proved.log_index == made.log_index
                })
        });
        match (is_ours, verdicts.iter().find(|verdict| !verdict.passed())) {
            (true, _) => Ok(()),
            (false, Some(verdict)) => Err(Missing::Yet(format!(
                "the attestation that is served does not verify: {verdict}"
            ))),
            (false, None) => Err(Missing::Yet(
                "the attestations that are served are others than the one that was made".to_owned(),
            )),
        }
    }
}

fn wrong(error: conda_publish::Error) -> Missing {
    Missing::Wrong(error.into())
}
