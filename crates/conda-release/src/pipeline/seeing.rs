//! Looking at what was published as its users will: until every package is there and verifies.

use std::{collections::BTreeMap, path::Path, time::Duration};

use cep27::Sha256;
use conda_attest::{Package as Subject, Policy, Predicate, Trust, Verifier};
use conda_publish::{Channel, ChannelReader, Keeps, Listed, Patience, RemoteChannel, Sidecar};
use futures::StreamExt as _;
use release_manifest::{Package, PackageKey, PublishResult, Source};
use tokio::time::Instant;

use super::publishing::failed;
use crate::{
    error::Error,
    exit::Status,
    printer::{Printer, count},
    progress::Activity,
    target::{ReadAt, Target},
};

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
    /// The source that its certificate names, where it names one.
    pub(crate) source: Option<Source>,
    /// Whether the channel has all of it that it will ever have.
    pub(crate) is_final: bool,
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
    pub(crate) fn of(package: &Package, channel: &dyn Channel, is_kept: bool) -> Self {
        let attestation = package.attestation.as_ref().filter(|_| is_kept);
        let published = package.published.as_ref();
        Self {
            sha256: package.sha256,
            source: package.source.clone(),
            is_final: published.is_some_and(|it| is_final(channel, it.result)),
            made: attestation.map(|attestation| Made {
                identity: attestation.identity.clone(),
                issuer: attestation.issuer.clone(),
                log_index: attestation.log_index,
            }),
        }
    }
}

/// Whether a channel will never have more of a package that was published with this result: somebody else may have brought
/// it, or we and were interrupted, and it takes an attestation with the package or not at all.
pub(crate) fn is_final(channel: &dyn Channel, result: PublishResult) -> bool {
    matches!(channel.attestations(), Keeps::Native { .. }) && result != PublishResult::Uploaded
}

/// What clients found.
pub(crate) struct Sight {
    /// What they see as it was published.
    pub(crate) seen: Vec<PackageKey>,
    /// What they never will: the channel has its bytes, and not its attestation.
    pub(crate) unattested: BTreeMap<PackageKey, conda_publish::Error>,
    /// Whether they saw everything.
    pub(crate) status: Status,
}

/// Waits until clients find each of these packages in the channel, with the bytes that were published and the
/// attestation that was made, for as long as that may take.
///
/// # Errors
/// Clients find something else than what was published.
pub(crate) async fn see(
    wanted: BTreeMap<PackageKey, Wanted>,
    target: &Target,
    trust: &Trust,
    within: Duration,
    printer: &Printer,
) -> Result<Sight, Error> {
    let clients = Clients {
        wanted: &wanted,
        target,
        verifier: Verifier::new(trust)?,
    };
    let activity = Activity::start(printer, "Seeing", wanted.len());
    let mut unseen: BTreeMap<PackageKey, Unseen> = wanted
        .keys()
        .map(|package| (package.clone(), Unseen::because("not looked for yet")))
        .collect();
    let deadline = Instant::now() + within;
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
    let is_hopeless = |package: &PackageKey, unseen: &Unseen| {
        unseen.lacks_attestation && wanted.get(package).is_some_and(|it| it.is_final)
    };
    let mut unattested = BTreeMap::new();
    for (package, unseen) in &unseen {
        if is_hopeless(package, unseen) {
            let error = conda_publish::Error::Unattested {
                package: Box::new(package.clone()),
                channel: target.name().to_owned(),
            };
            failed(package, &error, printer);
            unattested.insert(package.clone(), error);
        } else {
            printer.failure("Unseen", &format!("{package}: {}", unseen.reason));
        }
    }
    let status = match (unattested.is_empty(), unseen.is_empty()) {
        (false, _) => Status::Publish,
        (true, false) => Status::Incomplete,
        (true, true) => Status::Done,
    };
    let seen = wanted.into_keys();
    Ok(Sight {
        seen: seen
            .filter(|package| !unseen.contains_key(package))
            .collect(),
        unattested,
        status,
    })
}

struct Clients<'a> {
    wanted: &'a BTreeMap<PackageKey, Wanted>,
    target: &'a Target,
    verifier: Verifier,
}

/// Why a package is not there as it was published.
enum Missing {
    /// It may appear later.
    Yet(Unseen),
    /// Something else is there.
    Wrong(Error),
}

/// Why clients do not see a package.
#[derive(Clone)]
struct Unseen {
    reason: String,
    /// Whether its bytes are there, and nothing is missing but the attestation that was made.
    lacks_attestation: bool,
}

impl Unseen {
    fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            lacks_attestation: false,
        }
    }

    fn without_attestation(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            lacks_attestation: true,
        }
    }
}

impl Clients<'_> {
    /// Takes away what is there, and says of the others why they are not.
    async fn look(&self, unseen: &mut BTreeMap<PackageKey, Unseen>) -> Result<(), Error> {
        let wanted: Vec<PackageKey> = unseen.keys().cloned().collect();
        let mut looks = Vec::new();
        match self.target.read_at()? {
            ReadAt::Folder(path) => {
                let reader = ChannelReader::open(&path)?;
                let listed = Listing::of(reader.packages());
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
                        let reason = Unseen::because(crate::error::with_causes(&error));
                        unseen.values_mut().for_each(|it| it.clone_from(&reason));
                        return Ok(());
                    }
                };
                let (remote, listed) = (&remote, &Listing::of(remote.packages()));
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
        listed: &Listing,
        key: &PackageKey,
    ) -> Result<(), Missing> {
        listed.find(key)?;
        let sidecar = reader.sidecar(key).map_err(wrong)?;
        self.verify(key, &reader.path(key), sidecar)
    }

    async fn on_server(
        &self,
        remote: &RemoteChannel,
        listed: &Listing,
        key: &PackageKey,
    ) -> Result<(), Missing> {
        let yet = |error: conda_publish::Error| {
            Missing::Yet(Unseen::because(crate::error::with_causes(&error)))
        };
        let listed = listed.find(key)?;
        let wanted = self.wanted(key)?;
        let download = remote.download(listed).await.map_err(yet)?;
        if Some(download.sha256()) != wanted.sha256 {
            let found = download.sha256();
            let reason = format!("the channel serves sha256 {found}");
            return Err(Missing::Yet(Unseen::because(reason)));
        }
        let sidecar = match wanted.made {
            Some(_) => remote.sidecar(key).await.map_err(yet)?,
            None => None,
        };
        tokio::task::block_in_place(|| self.verify(key, download.path(), sidecar))
    }

    fn wanted(&self, key: &PackageKey) -> Result<&Wanted, Missing> {
        let wanted = self.wanted.get(key);
        wanted.ok_or_else(|| Missing::Yet(Unseen::because("it is not part of the release")))
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
        let without = |reason: String| Err(Missing::Yet(Unseen::without_attestation(reason)));
        let Some(sidecar) = sidecar else {
            return without("no attestation is served for it".to_owned());
        };
        let subject = Subject {
            path: bytes.to_owned(),
            file: key.file.clone(),
            subdir: Some(key.subdir),
            sha256: wanted.sha256,
        };
        let bundles: Vec<&[u8]> = sidecar.bundles().map(str::as_bytes).collect();
        let channel = Some(self.target.attested().as_str());
        let verifier = match &wanted.source {
            Some(source) => self.verifier.clone().with_source(source.clone()),
            None => self.verifier.clone(),
        };
        let verdicts = verifier.verify_all(subject, &bundles, &Policy::Anyone, channel);
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
            (false, Some(verdict)) => without(format!(
                "the attestation that is served does not verify: {verdict}"
            )),
            (false, None) => without(
                "the attestations that are served are others than the one that was made".to_owned(),
            ),
        }
    }
}

/// The packages that a channel lists, by their name.
struct Listing {
    packages: BTreeMap<PackageKey, Listed>,
    /// The first record that cannot be read: it may be of any package that is not listed.
    invalid: Option<String>,
}

impl Listing {
    fn of(packages: impl Iterator<Item = Result<Listed, conda_publish::Error>>) -> Self {
        let mut listing = Self {
            packages: BTreeMap::new(),
            invalid: None,
        };
        for listed in packages {
            match listed {
                Ok(listed) => drop(listing.packages.insert(listed.package.clone(), listed)),
                Err(error) => drop(listing.invalid.get_or_insert_with(|| error.to_string())),
            }
        }
        listing
    }

    fn find(&self, key: &PackageKey) -> Result<&Listed, Missing> {
        self.packages.get(key).ok_or_else(|| {
            Missing::Yet(Unseen::because(match &self.invalid {
                None => "the repodata does not list it".to_owned(),
                Some(invalid) => {
                    format!("the repodata does not list it, and has an invalid record: {invalid}")
                }
            }))
        })
    }
}

fn wrong(error: conda_publish::Error) -> Missing {
    Missing::Wrong(error.into())
}
