//! What the command line names to be verified.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use cep27::{FileName, Sha256, Subdir, TargetChannel};
use conda_attest::{Package, PackageFile};
use conda_publish::{ChannelReader, ChannelUrl, Listed, Patience, RELEASES, RemoteChannel};
use release_manifest::{Digest, MANIFEST_NAME, Manifest, PackageKey, Timestamp};

use super::{
    Wanted,
    attestations::{Given, all_beside},
    release::Documents,
    report::Failure,
};
use crate::{error::Error, printer::Printer};

/// Everything that is to be verified, in the order in which it was named.
pub(super) struct Targets {
    pub(super) subjects: Vec<Subject>,
    /// The manifests of releases, which are judged by themselves too.
    pub(super) releases: Vec<Documents>,
}

/// A package, and what is to prove it.
pub(super) struct Subject {
    pub(super) package: Place,
    pub(super) attestations: Source,
    /// The channel that must have been attested.
    pub(super) expected: Option<Arc<str>>,
}

/// What is known of a package before anything is fetched.
pub(super) struct Facts {
    /// Its file name; none of a record of a channel that names no package.
    pub(super) file: Option<FileName>,
    pub(super) subdir: Option<Subdir>,
    /// Its path or URL.
    pub(super) path: String,
    /// The hash that is recorded for it.
    pub(super) sha256: Option<Sha256>,
    /// Of when its channel says it is.
    pub(super) claimed: Option<Timestamp>,
}

/// Where a package is.
pub(super) enum Place {
    /// In a file.
    File(Package),
    /// In a channel on a server.
    Remote(Arc<RemoteChannel>, Listed),
    /// Nowhere: a record of a channel that names none.
    Nowhere(String, Failure),
}

/// Where its attestations are.
pub(super) enum Source {
    /// Among those of `--bundle`.
    Given,
    /// In these files.
    Files(Vec<PathBuf>),
    /// In a channel's folder.
    Folder(Arc<ChannelReader>, Listed),
    /// In a channel on a server.
    Remote(Arc<RemoteChannel>, PackageKey),
    /// Nowhere, and why.
    Nowhere(Failure),
}

/// Whether a target is the URL of a channel, or of a package or release in one.
pub(super) fn is_url(target: &str) -> bool {
    target.contains("://")
}

/// Whether a target is the URL of a whole channel.
pub(super) fn is_channel_url(target: &str) -> bool {
    is_url(target) && package_in(target).is_none() && release_in(target).is_none()
}

/// Whether a target is a package's file.
pub(super) fn is_package(target: &str) -> bool {
    !is_url(target) && !is_manifest(target) && !Path::new(target).is_dir()
}

/// Whether a target is a channel.
pub(super) fn is_channel(target: &str) -> bool {
    is_url(target) && release_in(target).is_none() || Path::new(target).is_dir()
}

/// Whether a target is a release's manifest in a file.
fn is_manifest(target: &str) -> bool {
    let extension = Path::new(target).extension();
    !is_url(target) && !is_channel(target) && extension.is_some_and(|extension| extension == "json")
}

impl Targets {
    /// Finds out what there is to verify.
    ///
    /// # Errors
    /// A target that cannot be read, or none with a package in it.
    pub(super) async fn read(
        targets: &[String],
        wanted: &Wanted,
        given: &Given,
        printer: &Printer,
    ) -> Result<Self, Error> {
        let (mut subjects, mut releases) = (Vec::new(), Vec::new());
        for target in targets {
            subjects.extend(match target {
                url if is_url(url) => match release_in(url) {
                    None => of_remote(url, wanted, printer).await?,
                    Some((channel, plan)) => {
                        let channel = channel.parse()?;
                        let (release, packages) = of_kept(channel, plan, wanted, printer).await?;
                        releases.push(release);
                        packages
                    }
                },
                folder if Path::new(folder).is_dir() => of_folder(Path::new(folder), wanted)?,
                file if is_manifest(file) => {
                    let path = Path::new(file);
                    let (release, manifest) = Documents::read(path)?;
                    releases.push(release);
                    of_manifest(path, &manifest, wanted)?
                }
                file => vec![of_file(Path::new(file), wanted, given)?],
            });
        }
        if let Some(channel) = &wanted.channel
            && !wanted.offline
        {
            look_up(&mut subjects, channel, printer).await?;
        }
        match subjects.is_empty() {
            true => Err(Error::Usage(format!(
                "nothing to verify in {}",
                targets.join(", ")
            ))),
            false => Ok(Self { subjects, releases }),
        }
    }
}

/// A package's file, with the attestations that are given or beside it.
fn of_file(path: &Path, wanted: &Wanted, given: &Given) -> Result<Subject, Error> {
    let package = Package::at(path)?;
    std::fs::metadata(path).map_err(Error::output("read", path))?;
    let beside = all_beside(path);
    let attestations = match (given.is_empty(), beside.is_empty()) {
        (false, _) => Source::Given,
        (true, false) => Source::Files(beside),
        (true, true) => Source::Nowhere(Failure::none(format!(
            "no attestation: `{}` does not exist; --bundle names another file, --channel the channel it came from",
            super::beside(path).display()
        ))),
    };
    Ok(Subject {
        package: Place::File(package),
        attestations,
        expected: wanted.expected(),
    })
}

/// The packages of a channel in a folder, as clients find them: through repodata and the hashed sidecar (CEP-50).
fn of_folder(folder: &Path, wanted: &Wanted) -> Result<Vec<Subject>, Error> {
    let reader = Arc::new(ChannelReader::open(folder)?);
    let subject = |listed: Result<Listed, conda_publish::Error>| {
        let (package, attestations) = match listed {
            Ok(listed) => (
                Place::File(Package {
                    path: reader.path(&listed.package),
                    file: listed.package.file.clone(),
                    subdir: Some(listed.package.subdir),
                    sha256: listed.sha256,
                }),
                Source::Folder(reader.clone(), listed),
            ),
            Err(error) => nowhere(folder.display().to_string(), &error),
        };
        Subject {
            package,
            attestations,
            expected: wanted.expected(),
        }
    };
    let packages = reader.packages().filter(|it| wanted.is_wanted(it));
    Ok(packages.map(subject).collect())
}

/// The packages of a channel on a server, or the one whose URL it is.
async fn of_remote(url: &str, wanted: &Wanted, printer: &Printer) -> Result<Vec<Subject>, Error> {
    let (url, only) = match package_in(url) {
        Some((channel, package)) => (channel, Some(package)),
        None => (url, None),
    };
    let url: ChannelUrl = url.parse()?;
    let expected = wanted.expected().unwrap_or_else(|| url.as_str().into());
    let subdirs = match &only {
        Some(package) => BTreeSet::from([package.subdir]),
        None => wanted.subdirs.clone(),
    };
    let subdirs = (!subdirs.is_empty()).then_some(&subdirs);
    let channel = Arc::new(open(url, subdirs, printer).await?);
    let subject = |listed| in_channel(&channel, listed, &expected);
    let Some(only) = only else {
        return Ok(channel.packages().map(subject).collect());
    };
    let mut packages = channel.packages().filter_map(Result::ok);
    match packages.find(|listed| listed.package == only) {
        Some(listed) => Ok(vec![subject(Ok(listed))]),
        None => Err(conda_publish::Error::NotListed {
            package: Box::new(only),
            channel: channel.url().to_string(),
        }
        .into()),
    }
}

/// A package as a channel on a server lists it, or why it doesn't.
fn in_channel(
    channel: &Arc<RemoteChannel>,
    listed: Result<Listed, conda_publish::Error>,
    expected: &Arc<str>,
) -> Subject {
    let (package, attestations) = match listed {
        Ok(listed) => {
            let package = listed.package.clone();
            (
                Place::Remote(channel.clone(), listed),
                Source::Remote(channel.clone(), package),
            )
        }
        Err(error) => nowhere(channel.url().to_string(), &error),
    };
    Subject {
        package,
        attestations,
        expected: Some(expected.clone()),
    }
}

/// A package's URL as its channel's and its name there.
fn package_in(url: &str) -> Option<(&str, PackageKey)> {
    let (folder, file) = url.rsplit_once('/')?;
    let (channel, subdir) = folder.rsplit_once('/')?;
    let (subdir, file) = (subdir.parse().ok()?, file.parse().ok()?);
    Some((channel, PackageKey { subdir, file }))
}

/// The URL of a release's manifest as its channel's and its plan.
fn release_in(url: &str) -> Option<(&str, Digest)> {
    let folder = url.strip_suffix(MANIFEST_NAME)?.strip_suffix('/')?;
    let (releases, plan) = folder.rsplit_once('/')?;
    let channel = releases.strip_suffix(RELEASES)?.strip_suffix('/')?;
    Some((channel, format!("sha256:{plan}").parse().ok()?))
}

/// A release that a channel on a server keeps, and the packages that it attested, as that channel has them.
async fn of_kept(
    url: ChannelUrl,
    plan: Digest,
    wanted: &Wanted,
    printer: &Printer,
) -> Result<(Documents, Vec<Subject>), Error> {
    let expected = wanted.expected().unwrap_or_else(|| url.as_str().into());
    let channel = Arc::new(open(url, None, printer).await?);
    let (release, manifest) = Documents::kept(channel.release(plan).await?)?;
    let mut listed = by_key(channel.packages());
    let subject = |package: &release_manifest::Package| {
        let key = package.key();
        let listed = match listed.remove(&key) {
            // With the hash that was attested, which may not be the one that is listed by now.
            Some(listed) => Ok(Listed {
                sha256: package.sha256,
                ..listed
            }),
            None => Err(conda_publish::Error::NotListed {
                channel: channel.url().to_string(),
                package: Box::new(key),
            }),
        };
        in_channel(&channel, listed, &expected)
    };
    let subjects = attested(&manifest).map(subject).collect();
    Ok((release, subjects))
}

/// The packages of a release that it attested.
fn attested(manifest: &Manifest) -> impl Iterator<Item = &release_manifest::Package> {
    let packages = manifest.packages().iter();
    packages.filter(|package| package.attestation.is_some())
}

/// What a channel lists, by the packages that it lists.
fn by_key(
    packages: impl Iterator<Item = Result<Listed, conda_publish::Error>>,
) -> BTreeMap<PackageKey, Listed> {
    packages
        .filter_map(Result::ok)
        .map(|listed| (listed.package.clone(), listed))
        .collect()
}

fn nowhere(place: String, error: &conda_publish::Error) -> (Place, Source) {
    let failure = Failure::of(error);
    (
        Place::Nowhere(place, failure.clone()),
        Source::Nowhere(failure),
    )
}

async fn open(
    url: ChannelUrl,
    subdirs: Option<&BTreeSet<Subdir>>,
    printer: &Printer,
) -> Result<RemoteChannel, Error> {
    printer.status("Reading", &format!("the repodata of {url}"));
    Ok(RemoteChannel::open(url, subdirs, Patience::default()).await?)
}

/// Looks for attestations that are not at hand in the channel that the packages came from.
async fn look_up(
    subjects: &mut [Subject],
    channel: &TargetChannel,
    printer: &Printer,
) -> Result<(), Error> {
    let mut missing = Vec::new();
    for subject in subjects {
        if let (Place::File(package), Source::Nowhere(_)) =
            (&subject.package, &subject.attestations)
        {
            // Where in the channel it is, only the package itself says.
            let key = PackageFile::read(&package.path)?.key();
            missing.push((subject, key));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let subdirs = missing.iter().map(|(_, key)| key.subdir).collect();
    let url = channel.as_str().parse()?;
    let channel = Arc::new(open(url, Some(&subdirs), printer).await?);
    for (subject, key) in missing {
        subject.attestations = Source::Remote(channel.clone(), key);
    }
    Ok(())
}

/// The packages of a release: in the channel that keeps its manifest, or beside it with the bundles that it names.
///
/// What the release left out is no part of it.
fn of_manifest(path: &Path, manifest: &Manifest, wanted: &Wanted) -> Result<Vec<Subject>, Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let kept_in = folder
        .parent()
        .filter(|releases| releases.file_name().is_some_and(|name| name == RELEASES))
        .and_then(Path::parent);
    let folder = match kept_in {
        Some(channel) if !channel.join("packages").is_dir() => {
            return of_published(manifest, channel, wanted);
        }
        Some(output) => output,
        None => folder,
    };
    let subject = |package: &release_manifest::Package| {
        let attestation = package.attestation.as_ref();
        let provenance = attestation.and_then(|attestation| attestation.provenance.as_ref());
        let files = attestation
            .map(|attestation| &attestation.bundle)
            .into_iter()
            .chain(provenance.map(|provenance| &provenance.bundle))
            .map(|bundle| bundle.under(folder));
        Subject {
            package: Place::File(Package {
                path: package.key().under(&folder.join("packages")),
                file: package.file.clone(),
                subdir: Some(package.subdir),
                sha256: package.sha256,
            }),
            attestations: Source::Files(files.collect()),
            expected: wanted.expected(),
        }
    };
    let packages = manifest.packages().iter();
    let released = packages.filter(|package| package.skipped.is_none());
    Ok(released.map(subject).collect())
}

/// The packages that a release attested, as the channel has them that keeps its manifest.
fn of_published(
    manifest: &Manifest,
    channel: &Path,
    wanted: &Wanted,
) -> Result<Vec<Subject>, Error> {
    let reader = Arc::new(ChannelReader::open(channel)?);
    let mut listed = by_key(reader.packages());
    let subject = |package: &release_manifest::Package| {
        let key = package.key();
        Subject {
            package: Place::File(Package {
                path: reader.path(&key),
                file: package.file.clone(),
                subdir: Some(package.subdir),
                sha256: package.sha256,
            }),
            attestations: match listed.remove(&key) {
                Some(listed) => Source::Folder(reader.clone(), listed),
                None => Source::Nowhere(Failure::none(
                    "no attestation: the channel does not list it".to_owned(),
                )),
            },
            expected: wanted.expected(),
        }
    };
    Ok(attested(manifest).map(subject).collect())
}

impl Wanted {
    fn expected(&self) -> Option<Arc<str>> {
        self.expected
            .as_ref()
            .map(|channel| channel.as_str().into())
    }

    fn is_wanted(&self, listed: &Result<Listed, conda_publish::Error>) -> bool {
        match listed {
            Ok(listed) => self.subdirs.is_empty() || self.subdirs.contains(&listed.package.subdir),
            Err(_) => true,
        }
    }
}

impl Subject {
    /// What is known of it before anything is fetched.
    pub(super) fn facts(&self) -> Facts {
        let (file, subdir, sha256) = match &self.package {
            Place::File(package) => (Some(&package.file), package.subdir, package.sha256),
            Place::Remote(
                _,
                Listed {
                    package, sha256, ..
                },
            ) => (Some(&package.file), Some(package.subdir), *sha256),
            Place::Nowhere(..) => (None, None, None),
        };
        let claimed = match (&self.package, &self.attestations) {
            (Place::Remote(_, listed), _) | (_, Source::Folder(_, listed)) => listed.claimed,
            _ => None,
        };
        Facts {
            file: file.cloned(),
            subdir,
            path: self.package.path(),
            sha256,
            claimed,
        }
    }
}

impl Place {
    /// Where it is, for the report.
    fn path(&self) -> String {
        match self {
            Self::File(package) => package.path.display().to_string(),
            Self::Remote(channel, listed) => {
                let url = channel.package_url(&listed.package);
                url.unwrap_or_else(|_| format!("{}/{}", channel.url(), listed.package))
            }
            Self::Nowhere(place, _) => place.clone(),
        }
    }
}
