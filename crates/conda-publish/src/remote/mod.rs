//! Reading a channel over http(s), as conda clients do.

mod address;
mod client;
mod download;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cep27::{Sha256, Subdir};
use futures::{StreamExt as _, TryStreamExt as _};
use release_manifest::{Digest, MANIFEST_NAME, PackageKey, RELEASE_BUNDLE_NAME};
use url::Url;

pub use address::ChannelUrl;
pub(crate) use address::{check_step, is_loopback, join};
pub use client::Patience;
pub use download::Download;

use self::client::{Client, Found};
use self::download::{Hashing, Spool};
use crate::blocking::blocking;
use crate::release::{LIMIT, RELEASES};
use crate::repodata::{Listed, REPODATA, REPODATA_LIMIT, Record, Repodata};
use crate::settings::Settings;
use crate::sidecar::{self, SIDECAR_LIMIT, Sidecar};
use crate::{Error, KeptRelease, Present};

/// A package's size, in bytes, where the repodata doesn't tell one: what no package has reached.
const PACKAGE_LIMIT: u64 = 16 * 1024 * 1024 * 1024;

/// How many subdirs are asked for at the same time.
const CONCURRENT_SUBDIRS: usize = 8;

/// The same in fewer bytes.
const COMPRESSED: &str = "repodata.json.zst";

/// Reads a channel over http(s) as conda clients do: through its repodata.
///
/// It sees the repodata as it was when it was opened. Credentials, mirrors and proxies are those of rattler's own
/// files; credentials go to the host they are for and never across a redirect to another. Every answer is limited in
/// size and time, and asked for again where that may help.
pub struct RemoteChannel {
    url: ChannelUrl,
    client: Client,
    subdirs: BTreeMap<Subdir, RemoteSubdir>,
    /// Whether attestations that are not advertised are looked for under prefix.dev's older convention.
    v0_sidecars: bool,
}

struct RemoteSubdir {
    repodata: Repodata,
    packages: Url,
}

impl RemoteChannel {
    /// Reads the repodata of a channel: of these subdirs, or of all that there are.
    ///
    /// # Errors
    /// The channel cannot be reached or has no repodata: without `subdirs`, none for `noarch`, which CEP-26 asks of
    /// each; or rattler's own files cannot be read.
    pub async fn open(
        url: ChannelUrl,
        subdirs: Option<&BTreeSet<Subdir>>,
        patience: Patience,
    ) -> Result<Self, Error> {
        let settings = blocking(Settings::read).await?;
        Self::open_with(url, subdirs, patience, settings).await
    }

    async fn open_with(
        url: ChannelUrl,
        subdirs: Option<&BTreeSet<Subdir>>,
        patience: Patience,
        settings: Settings,
    ) -> Result<Self, Error> {
        let missing = |url: &ChannelUrl, subdir: Subdir| Error::RepodataMissing {
            at: url.join([subdir.as_str(), REPODATA]).to_string(),
            beside: None,
        };
        let Some(wanted) = subdirs else {
            let found = Self::published_with(url.clone(), patience, settings).await?;
            return found.ok_or_else(|| missing(&url, Subdir::NOARCH));
        };
        let channel = Self::found(url, wanted, patience, settings).await?;
        match wanted.iter().copied().find(|it| !channel.has(*it)) {
            None => Ok(channel),
            Some(subdir) => Err(missing(&channel.url, subdir)),
        }
    }

    /// Reads the repodata of all subdirs of a channel; `None` where no subdir has any: nothing was published yet, or there
    /// is no channel at this URL.
    ///
    /// # Errors
    /// The channel cannot be reached, some subdir has repodata and `noarch` has none (CEP-26), or repodata is unreadable
    /// or invalid: never taken for an empty channel.
    pub async fn published(url: ChannelUrl, patience: Patience) -> Result<Option<Self>, Error> {
        let settings = blocking(Settings::read).await?;
        Self::published_with(url, patience, settings).await
    }

    pub(crate) async fn published_with(
        url: ChannelUrl,
        patience: Patience,
        settings: Settings,
    ) -> Result<Option<Self>, Error> {
        let all = Subdir::ALL.iter().copied().collect();
        let channel = Self::found(url, &all, patience, settings).await?;
        let at = |subdir: Subdir| channel.url.join([subdir.as_str(), REPODATA]).to_string();
        match channel.subdirs.keys().next() {
            None => Ok(None),
            Some(_) if channel.has(Subdir::NOARCH) => Ok(Some(channel)),
            Some(found) => Err(Error::RepodataMissing {
                at: at(Subdir::NOARCH),
                beside: Some(at(*found)),
            }),
        }
    }

    /// Reads the repodata of those of these subdirs that have one; that there is a channel is for the caller to know.
    pub(crate) async fn found(
        url: ChannelUrl,
        subdirs: &BTreeSet<Subdir>,
        patience: Patience,
        settings: Settings,
    ) -> Result<Self, Error> {
        let client = Client::new(&url, patience, settings)?;
        let found: Vec<Option<(Subdir, RemoteSubdir)>> =
            futures::stream::iter(subdirs.iter().copied())
                .map(|subdir| RemoteSubdir::read(&client, &url, subdir))
                .buffered(CONCURRENT_SUBDIRS)
                .try_collect()
                .await?;
        Ok(Self {
            v0_sidecars: url.is_prefix(),
            url,
            client,
            subdirs: found.into_iter().flatten().collect(),
        })
    }

    /// Whether the repodata of this subdir was read.
    pub(crate) fn has(&self, subdir: Subdir) -> bool {
        self.subdirs.contains_key(&subdir)
    }

    /// What the repodata has under a name.
    pub(crate) fn present(&self, package: &PackageKey) -> Result<Option<Present>, Error> {
        let Ok((_, record)) = self.record(package) else {
            return Ok(None);
        };
        let sha256 = record.sha256.as_deref().map(str::parse).transpose();
        let sha256 = sha256.map_err(|error: cep27::NameError| Error::Repodata {
            at: self.url.join([package.subdir.as_str(), REPODATA]).into(),
            reason: format!("the sha256 of {package}: {error}"),
        })?;
        Ok(Some(Present {
            sha256,
            // Not every server advertises those that it has.
            attested: record.is_attested().then_some(true),
            claimed: record.timestamp,
        }))
    }

    /// The hash of the bytes under a package's name, whether it is listed or not; `None` where there are none.
    pub(crate) async fn hash(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let url = match self.subdirs.get(&package.subdir) {
            Some(subdir) => join(&subdir.packages, [package.file.as_str()]),
            None => (self.url).join([package.subdir.as_str(), package.file.as_str()]),
        };
        let mut hashing = Hashing::default();
        let found = self.client.get(&url, PACKAGE_LIMIT, &mut hashing).await?;
        Ok(match found {
            Found::Taken => Some(hashing.finish()),
            Found::Nothing => None,
        })
    }

    /// The URL of the channel.
    #[must_use]
    pub fn url(&self) -> &ChannelUrl {
        &self.url
    }

    /// Every package that the repodata lists, sorted; a record that names none is an error of its own.
    pub fn packages(&self) -> impl Iterator<Item = Result<Listed, Error>> {
        self.subdirs.iter().flat_map(|(&subdir, remote)| {
            let at = self.url.join([subdir.as_str(), REPODATA]);
            remote.repodata.packages(subdir, at.to_string())
        })
    }

    /// The URL of a package.
    ///
    /// # Errors
    /// The repodata doesn't list it.
    pub fn package_url(&self, package: &PackageKey) -> Result<String, Error> {
        let (subdir, _) = self.record(package)?;
        Ok(address::join(&subdir.packages, [package.file.as_str()]).to_string())
    }

    /// Downloads a package, hashed on its way.
    ///
    /// # Errors
    /// It cannot be had, or is not what the repodata says.
    pub async fn download(&self, listed: &Listed) -> Result<Download, Error> {
        let package = &listed.package;
        let (subdir, _) = self.record(package)?;
        let url = address::join(&subdir.packages, [package.file.as_str()]);
        let mut spool = Spool::new()?;
        let limit = listed.size.unwrap_or(PACKAGE_LIMIT).min(PACKAGE_LIMIT);
        match self.client.get(&url, limit, &mut spool).await? {
            Found::Taken => {}
            Found::Nothing => {
                return Err(Error::Status {
                    url: url.into(),
                    status: 404,
                });
            }
        }
        let download = spool.finish();
        match listed.sha256 {
            Some(expected) if expected != download.sha256() => Err(Error::NotAsListed {
                package: Box::new(package.clone()),
                expected,
                found: download.sha256(),
            }),
            _ => Ok(download),
        }
    }

    /// The hash under which the repodata advertises the attestations of a package; `None` where it advertises none.
    /// Asks nobody.
    ///
    /// # Errors
    /// The repodata doesn't list the package, or has no hash there.
    pub fn advertised(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let (_, record) = self.record(package)?;
        record.advertised(package)
    }

    /// The attestations of a package; `None` where it has none.
    ///
    /// CEP-50: found through repodata only and read under the hashed name, whose bytes never change; the size is
    /// capped while reading, the hash checked before parsing, and the content type means nothing. Attestations that
    /// are advertised but unusable are an error, never "none".
    ///
    /// Where the repodata of a channel on prefix.dev advertises none, they are looked for at `<artifact>.v0.sigs`,
    /// its older convention. Nothing pins those bytes but the signatures in them.
    pub async fn sidecar(&self, package: &PackageKey) -> Result<Option<Sidecar>, Error> {
        let (subdir, record) = self.record(package)?;
        let advertised = record.advertised(package)?;
        let name = match advertised {
            Some(sha256) => sidecar::hashed_name(package, sha256),
            None if self.v0_sidecars => format!("{}.v0.sigs", package.file),
            None => return Ok(None),
        };
        let unusable = |reason: String| Error::Advertised {
            package: Box::new(package.clone()),
            reason,
        };
        let url = address::join(&subdir.packages, [name.as_str()]);
        let found = self.fetch(&url, SIDECAR_LIMIT).await;
        let found = found.map_err(|error| unusable(error.to_string()))?;
        let parsed = match (found, advertised) {
            (None, Some(_)) => return Err(unusable(format!("{url} is not there"))),
            (None, None) => return Ok(None),
            (Some(bytes), Some(sha256)) => Sidecar::parse_hashed(&bytes, sha256),
            (Some(bytes), None) => Sidecar::parse(&bytes),
        };
        parsed
            .map(Some)
            .map_err(|reason| unusable(format!("{url}: {reason}")))
    }

    /// The manifest of the release of this plan, if the channel keeps it, with its attestation.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub async fn release(&self, plan: Digest) -> Result<KeptRelease, Error> {
        let plan = plan.sha256().to_string();
        let url = |name| self.url.join([RELEASES, &plan, name]);
        let (manifest, attestation) = (url(MANIFEST_NAME), url(RELEASE_BUNDLE_NAME));
        let not_there = || Error::Status {
            url: manifest.to_string(),
            status: 404,
        };
        let fetched = self.fetch(&manifest, LIMIT).await?;
        Ok(KeptRelease {
            manifest: fetched.ok_or_else(not_there)?,
            attestation: self.fetch(&attestation, SIDECAR_LIMIT).await?,
            url: manifest.into(),
        })
    }

    /// The bytes at a URL, if there are any.
    async fn fetch(&self, url: &Url, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        match self.client.get(url, limit, &mut bytes).await? {
            Found::Taken => Ok(Some(bytes)),
            Found::Nothing => Ok(None),
        }
    }

    fn record(&self, package: &PackageKey) -> Result<(&RemoteSubdir, &Record), Error> {
        let subdir = self.subdirs.get(&package.subdir);
        let record = subdir.and_then(|subdir| subdir.repodata.record(package));
        subdir.zip(record).ok_or_else(|| Error::NotListed {
            package: Box::new(package.clone()),
            channel: self.url.to_string(),
        })
    }
}

impl RemoteSubdir {
    /// Reads the repodata of a subdir, compressed if the server has it so; `None` where there is none.
    async fn read(
        client: &Client,
        channel: &ChannelUrl,
        subdir: Subdir,
    ) -> Result<Option<(Subdir, Self)>, Error> {
        for name in [COMPRESSED, REPODATA] {
            let url = channel.join([subdir.as_str(), name]);
            let mut spool = Spool::new()?;
            match client.get(&url, REPODATA_LIMIT, &mut spool).await {
                Ok(Found::Taken) => {}
                Ok(Found::Nothing) => continue,
                // Some stores deny missing objects. A denied `repodata.json` is an error all the same: it may exist.
                Err(Error::Status { status: 403, .. }) if name == COMPRESSED => continue,
                Err(error) => return Err(error),
            }
            let file = spool.into_file()?;
            let parsed = blocking(move || {
                Ok(match name {
                    COMPRESSED => zstd::Decoder::new(file)
                        .map_err(|error| error.to_string())
                        .and_then(Repodata::parse),
                    _ => Repodata::parse(file),
                })
            });
            let invalid = |reason: String| Error::Repodata {
                at: url.to_string(),
                reason,
            };
            let repodata = parsed.await?.map_err(invalid)?;
            let packages = match repodata.base_url() {
                None => channel.join([subdir.as_str()]),
                Some(base_url) => channel.folder_at(&url, base_url).map_err(invalid)?,
            };
            return Ok(Some((subdir, Self { repodata, packages })));
        }
        Ok(None)
    }
}

impl fmt::Debug for RemoteChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteChannel")
            .field("url", &self.url)
            .field("subdirs", &self.subdirs.keys())
            .finish_non_exhaustive()
    }
}
