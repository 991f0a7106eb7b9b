//! Looking at what was published as its users will: until every package is there and verifies.

use std::{collections::BTreeMap, path::Path, time::Duration};

use cep27::Sha256;
use conda_attest::{Package as Subject, Policy, Predicate, Trust, Verifier};
use conda_publish::{ChannelReader, Listed, Patience, RemoteChannel, Sidecar};
use futures::StreamExt as _;
use release_manifest::{Package, PackageKey, Source};
use tokio::time::Instant;

use crate::{
    error::Error,
    printer::{Printer, count},
    progress::Activity,
    target::{ReadAt, Target},
};

/// How long a channel may take until clients see what was published.
const VISIBLE_WITHIN: Duration = Duration::from_secs(300);

/// Between two looks at a channel, first and at most.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// How many packages are downloaded at the same time.
const DOWNLOADS: usize = 8;

/// What clients are to find under a package's name.
pub(crate) struct Wanted {
    /// The hash of its bytes.
    pub(crate) sha256: Option<Sha256>,
    /// Who signed the attestation that the channel serves for it, where it serves one.
    pub(crate) made: Option<Made>,
}

/// What tells the attestation that was made from others of the same package.
pub(crate) struct Made {
    /// Who signed: the subject alternative name of the certificate.
    pub(crate) identity: String,
    /// Who vouches for the identity.
    pub(crate) issuer: String,
    /// The index of its entry in the transparency log.
    pub(crate) log_index: Option<u64>,
}

impl Wanted {
    /// What was recorded of a package, with its attestation where the channel keeps it.
    pub(crate) fn of(package: &Package, is_kept: bool) -> Self {
        let attestation = package.attestation.as_ref().filter(|_| is_kept);
        Self {
            sha256: package.sha256,
            made: attestation.map(|attestation| Made {
                identity: attestation.identity.clone(),
                issuer: attestation.issuer.clone(),
                log_index: attestation.log_index,
            }),
        }
    }
}

/// Waits until clients find each of these packages in the channel, with the bytes that were published and the
/// attestation that was made. Gives those that they found in time.
///
/// # Errors
/// Clients find something else than what was published.
pub(crate) async fn see(
    wanted: BTreeMap<PackageKey, Wanted>,
    target: &Target,
    trust: &Trust,
    source: &Source,
    printer: &Printer,
) -> Result<Vec<PackageKey>, Error> {
    let clients = Clients {
        wanted: &wanted,
        target,
        verifier: Verifier::new(trust)?.with_source(source.clone()),
    };
    let activity = Activity::start(printer, "Seeing", wanted.len());
    let mut unseen: BTreeMap<PackageKey, String> = wanted
        .keys()
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
    let seen = wanted.len() - unseen.len();
    let how = match wanted.values().all(|wanted| wanted.made.is_some()) {
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
    let seen = wanted.into_keys();
    Ok(seen
        .filter(|package| !unseen.contains_key(package))
        .collect())
}

struct Clients<'a> {
    wanted: &'a BTreeMap<PackageKey, Wanted>,
    target: &'a Target,
    verifier: Verifier,
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
                let listed = listed(reader.packages());
                for key in wanted {
                    let result = self.in_folder(&reader, &listed, &key);
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
                let (remote, listed) = (&remote, &listed(remote.packages()));
                looks = futures::stream::iter(wanted)
                    .map(async |key| {
                        let result = self.on_server(remote, listed, &key).await;
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

    fn in_folder(
        &self,
        reader: &ChannelReader,
        listed: &BTreeMap<PackageKey, Listed>,
        key: &PackageKey,
    ) -> Result<(), Missing> {
        if !listed.contains_key(key) {
            return Err(not_listed());
        }
        let sidecar = reader.sidecar(key).map_err(wrong)?;
        self.verify(key, &reader.path(key), sidecar)
    }

    async fn on_server(
        &self,
        remote: &RemoteChannel,
        listed: &BTreeMap<PackageKey, Listed>,
        key: &PackageKey,
    ) -> Result<(), Missing> {
        let yet = |error: conda_publish::Error| Missing::Yet(crate::error::with_causes(&error));
        let listed = listed.get(key).ok_or_else(not_listed)?;
        let wanted = self.wanted(key)?;
        let download = remote.download(listed).await.map_err(yet)?;
        if Some(download.sha256()) != wanted.sha256 {
            let found = download.sha256();
            return Err(Missing::Yet(format!("the channel serves sha256 {found}")));
        }
        let sidecar = match wanted.made {
            Some(_) => remote.sidecar(key).await.map_err(yet)?,
            None => None,
        };
        tokio::task::block_in_place(|| self.verify(key, download.path(), sidecar))
    }

    fn wanted(&self, key: &PackageKey) -> Result<&Wanted, Missing> {
        let wanted = self.wanted.get(key);
        wanted.ok_or_else(|| Missing::Yet("it is not part of the release".to_owned()))
    }

    /// Whether a client that has these bytes and attestations accepts them as what was published.
    fn verify(
        &self,
        key: &PackageKey,
        bytes: &Path,
        sidecar: Option<Sidecar>,
    ) -> Result<(), Missing> {
        let wanted = self.wanted(key)?;
        let Some(made) = &wanted.made else {
            return Ok(());
        };
        let Some(sidecar) = sidecar else {
            return Err(Missing::Yet("no attestation is served for it".to_owned()));
        };
        let subject = Subject {
            path: bytes.to_owned(),
            file: key.file.clone(),
            subdir: Some(key.subdir),
            sha256: wanted.sha256,
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

/// What a channel lists, by its name.
fn listed(
    packages: impl Iterator<Item = Result<Listed, conda_publish::Error>>,
) -> BTreeMap<PackageKey, Listed> {
    let listed = packages.filter_map(Result::ok);
    listed
        .map(|listed| (listed.package.clone(), listed))
        .collect()
}

fn not_listed() -> Missing {
    Missing::Yet("the repodata does not list it".to_owned())
}

fn wrong(error: conda_publish::Error) -> Missing {
    Missing::Wrong(error.into())
}
