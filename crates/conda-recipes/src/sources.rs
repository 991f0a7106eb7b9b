//! The sources of outputs: resolved while planning, and the same when they are built.
//!
//! A recipe pins a source by a full commit or a SHA-256, or it leaves it open: a branch, a tag, `HEAD`, a local file, an archive
//! without a hash. Planning resolves what is open to a commit or a SHA-256 and writes it into the rendered recipe, so that the
//! fingerprint covers it, rattler-build checks it, and the provenance states it. When the plan is made again to build it, the
//! commits and hashes come from the plan instead of being looked up.
//!
//! A plan whose recipes pin all of their sources makes no request and starts no process.

mod client;
mod descriptor;
mod error;
mod git;
mod job;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use cep27::Sha256;
use futures::{StreamExt as _, stream};
use rattler_build_networking::BaseClient;
use rattler_build_recipe::{
    Stage1Recipe,
    stage1::{
        Source,
        source::{GitRev, GitSource, GitUrl},
    },
};
use release_manifest::{PackageKey, SourceDigest};
use url::Url;

pub use self::error::SourceError;
pub(crate) use self::job::JobSources;

use self::{git::Repository, store::SourceStore};
use crate::{Error, PlanRequest, network, render::RenderedOutput, unplanned::Broken};

/// The number of sources that are looked up at the same time.
const LOOKUPS: usize = 8;

/// Resolves every source that its recipe leaves open, and gives each output its list of sources. The recipes of sources that
/// cannot be resolved are added to `broken`, and their outputs are removed.
///
/// # Errors
/// A local file is not the one that the plan was made from.
pub(crate) async fn resolve(
    request: &PlanRequest,
    outputs: &mut Vec<(PackageKey, RenderedOutput)>,
    broken: &mut Broken,
) -> Result<(), Error> {
    let mut open: BTreeMap<OpenSource, Option<Pin>> = BTreeMap::new();
    for (key, output) in outputs.iter() {
        let folder = recipe_folder(output);
        for source in sources(&output.output.recipe) {
            if let Some(found) = OpenSource::find(source, folder) {
                let planned = request.pinned.get(key).and_then(|planned| {
                    let uri = descriptor::describe(source, &request.root, folder)?.uri;
                    Pin::planned(planned, &uri)
                });
                let known = open.entry(found).or_default();
                *known = known.take().or(planned);
            }
        }
    }
    let found = look_up(request, &open).await?;
    let mut failed = BTreeSet::new();
    for (_, output) in outputs.iter_mut() {
        match pin(request, output, &open, &found) {
            Ok(sources) => output.sources = sources,
            Err(error) if error.is_of_recipe() => {
                let recipe = output.recipe.under(&request.root);
                broken.add(request, &recipe, error);
                failed.insert(output.recipe.clone());
            }
            Err(error) => return Err(error),
        }
    }
    outputs.retain(|(_, output)| !failed.contains(&output.recipe));
    Ok(())
}

/// A source that its recipe does not pin.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum OpenSource {
    /// A branch, a tag, a short commit or `HEAD`.
    Reference {
        repository: Repository,
        reference: String,
    },
    /// A local file.
    File(PathBuf),
    /// An archive under any of these addresses.
    Archive(Vec<Url>),
}

/// The content address of a source.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Pin {
    Commit(String),
    Sha256(Sha256),
}

impl OpenSource {
    /// The source, where its recipe leaves it open. Folders are no such source: their files are inputs.
    fn find(source: &Source, folder: &Path) -> Option<Self> {
        match source {
            Source::Git(source) => {
                let is_pinned = source.expected_commit.is_some() || full_commit(source).is_some();
                (!is_pinned).then(|| Self::Reference {
                    repository: Repository::new(&source.url, folder),
                    reference: source.rev.to_string(),
                })
            }
            Source::Url(source) if source.sha256.is_some() => None,
            Source::Url(source) => {
                let local = source.url.first().and_then(local_file);
                Some(match local.filter(|path| path.is_file()) {
                    Some(path) => Self::File(path),
                    None => Self::Archive(source.url.clone()),
                })
            }
            Source::Path(source) if source.sha256.is_some() => None,
            // A missing file is the build's to report.
            Source::Path(source) => folder
                .join(&source.path)
                .canonicalize()
                .ok()
                .filter(|path| path.is_file())
                .map(Self::File),
        }
    }
}

impl Pin {
    /// The pin that a plan has for the source with this URI.
    fn planned(sources: &[SourceDigest], uri: &str) -> Option<Self> {
        let digest = &sources.iter().find(|source| source.uri == uri)?.digest;
        let commit = digest.get(descriptor::GIT_COMMIT).cloned();
        let sha256 = || digest.get(descriptor::SHA256)?.parse().ok();
        commit
            .map(Self::Commit)
            .or_else(|| sha256().map(Self::Sha256))
    }
}

impl std::fmt::Display for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Commit(commit) => write!(f, "commit {commit}"),
            Self::Sha256(sha256) => write!(f, "SHA-256 {sha256}"),
        }
    }
}

type Found = BTreeMap<OpenSource, Result<Pin, SourceError>>;

/// The pin of each source. Only local files are looked up although the plan has their hash.
async fn look_up(
    request: &PlanRequest,
    open: &BTreeMap<OpenSource, Option<Pin>>,
) -> Result<Found, Error> {
    let is_remote = |(source, planned): (&OpenSource, &Option<Pin>)| {
        planned.is_none() && matches!(source, OpenSource::Archive(_))
    };
    let client = match open.iter().any(is_remote) {
        true => network::client()?,
        // Never used; made without reading any configuration.
        false => BaseClient::new(),
    };
    let store = SourceStore::new(&request.output);
    let lookups = open.iter().map(|(source, planned)| {
        let (client, store) = (&client, &store);
        async move {
            let found = match (source, planned) {
                (OpenSource::File(path), _) => store::hash_file(path).await.map(Pin::Sha256),
                (_, Some(planned)) => Ok(planned.clone()),
                (
                    OpenSource::Reference {
                        repository,
                        reference,
                    },
                    None,
                ) => git::commit(repository, reference).await.map(Pin::Commit),
                (OpenSource::Archive(urls), None) => {
                    store.fetch_any(urls, client).await.map(Pin::Sha256)
                }
            };
            (source.clone(), found)
        }
    });
    Ok(stream::iter(lookups)
        .buffer_unordered(LOOKUPS)
        .collect()
        .await)
}

/// Writes the pins into the recipe of an output. Returns its sources, sorted.
fn pin(
    request: &PlanRequest,
    output: &mut RenderedOutput,
    open: &BTreeMap<OpenSource, Option<Pin>>,
    found: &Found,
) -> Result<Vec<SourceDigest>, Error> {
    let recipe_file = output.recipe.to_string();
    let folder = recipe_folder(output).to_owned();
    let mut described = BTreeSet::new();
    for source in sources_mut(&mut output.output.recipe) {
        let description = descriptor::describe(source, &request.root, &folder);
        let uri = description.map(|description| description.uri);
        pin_commit(source).map_err(|reason| Error::UnresolvedSource {
            recipe: recipe_file.clone(),
            uri: uri.clone().unwrap_or_default(),
            source: reason,
        })?;
        if let Some(open_source) = OpenSource::find(source, &folder)
            && let Some(result) = found.get(&open_source)
        {
            let uri = uri.clone().unwrap_or_default();
            let pin = result.as_ref().map_err(|reason| Error::UnresolvedSource {
                recipe: recipe_file.clone(),
                uri: uri.clone(),
                source: reason.clone(),
            })?;
            if let Some(Some(planned)) = open.get(&open_source)
                && planned != pin
            {
                return Err(Error::SourceChanged {
                    recipe: recipe_file,
                    uri,
                    expected: planned.to_string(),
                    found: pin.to_string(),
                });
            }
            write(source, pin);
        }
        // Described again, now that it is pinned; named as the recipe names it.
        let pinned = descriptor::describe(source, &request.root, &folder);
        described.extend(
            pinned
                .zip(uri)
                .map(|(pinned, uri)| SourceDigest { uri, ..pinned }),
        );
    }
    Ok(described.into_iter().collect())
}

/// Has rattler-build compare the commit that it checks out with the one that the recipe names.
///
/// # Errors
/// `expected_commit` is not a full commit, which no commit can equal.
fn pin_commit(source: &mut Source) -> Result<(), SourceError> {
    let Source::Git(source) = source else {
        return Ok(());
    };
    match &source.expected_commit {
        Some(commit) if !git::is_full_commit(commit) => Err(SourceError::ShortCommit {
            commit: commit.clone(),
        }),
        Some(_) => Ok(()),
        None => {
            source.expected_commit = full_commit(source);
            Ok(())
        }
    }
}

/// The commit that `rev` names, if it is a full one.
fn full_commit(source: &GitSource) -> Option<String> {
    match &source.rev {
        GitRev::Commit(commit) if git::is_full_commit(commit) => Some(commit.to_ascii_lowercase()),
        _ => None,
    }
}

/// Writes a pin into a source, in a way that rattler-build checks.
fn write(source: &mut Source, pin: &Pin) {
    match (source, pin) {
        (Source::Git(source), Pin::Commit(commit)) => {
            source.expected_commit = Some(commit.clone());
            // A local repository still has the commit after its branch has moved. A remote one may not: there the reference is
            // fetched, and rattler-build compares its commit with the expected one.
            if is_local(source) {
                source.rev = GitRev::Commit(commit.clone());
            }
        }
        (Source::Url(source), Pin::Sha256(sha256)) => {
            source.sha256 = Some((*sha256.as_bytes()).into());
        }
        (Source::Path(source), Pin::Sha256(sha256)) => {
            source.sha256 = Some((*sha256.as_bytes()).into());
        }
        // A lookup of a repository gives a commit, and any other a hash.
        _ => {}
    }
}

/// The sources of an output and of the staging outputs that it inherits from.
fn sources(recipe: &Stage1Recipe) -> impl Iterator<Item = &Source> {
    let staging = recipe.staging_caches.iter();
    recipe
        .source
        .iter()
        .chain(staging.flat_map(|staging| &staging.source))
}

fn sources_mut(recipe: &mut Stage1Recipe) -> impl Iterator<Item = &mut Source> {
    let staging = recipe.staging_caches.iter_mut();
    recipe
        .source
        .iter_mut()
        .chain(staging.flat_map(|staging| &mut staging.source))
}

fn is_local(source: &GitSource) -> bool {
    match &source.url {
        GitUrl::Path(_) => true,
        GitUrl::Url(url) => url.scheme() == "file",
        GitUrl::Ssh(_) => false,
    }
}

fn local_file(url: &Url) -> Option<PathBuf> {
    (url.scheme() == "file").then(|| url.to_file_path().ok())?
}

fn recipe_folder(output: &RenderedOutput) -> &Path {
    &output.output.build_configuration.directories.recipe_dir
}
