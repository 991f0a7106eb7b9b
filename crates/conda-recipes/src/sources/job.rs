//! Sources of the jobs of a build.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::Path,
};

use cep27::Sha256;
use fs_err as fs;
use rattler_build_core::metadata::Output;
use rattler_build_networking::BaseClient;
use rattler_build_recipe::stage1::Source;
use release_manifest::PackageKey;
use url::Url;

use super::{
    client, descriptor, full_commit,
    git::{self, Repository},
    sources, sources_mut,
    store::SourceStore,
};
use crate::{Failure, failure};

/// The sources that jobs share: those with a content address, which are kept between runs.
#[derive(Clone, Debug)]
pub(crate) struct JobSources {
    store: SourceStore,
}

impl JobSources {
    /// The sources of jobs in `OUTPUT/<mode>`.
    pub(crate) fn new(output: &Path) -> Self {
        Self {
            store: SourceStore::new(output),
        }
    }

    /// A client through which archives of these outputs that have a SHA-256 are downloaded once. Without such archives it is
    /// `client` itself.
    pub(crate) fn client<'a>(
        &self,
        client: BaseClient,
        outputs: impl Iterator<Item = &'a Output>,
    ) -> BaseClient {
        let mut archives: HashMap<Url, BTreeSet<Sha256>> = HashMap::new();
        for source in outputs.flat_map(|output| sources(&output.recipe)) {
            if let Source::Url(source) = source
                && let Some(sha256) = source.sha256
            {
                let remote = source.url.iter().filter(|url| url.scheme() != "file");
                for url in remote {
                    let known = archives.entry(url.clone()).or_default();
                    known.insert(Sha256::from_bytes(sha256.into()));
                }
            }
        }
        // Of two hashes for one address, at most one is right: rattler-build says which.
        let archives: HashMap<Url, Sha256> = archives
            .into_iter()
            .filter(|(_, known)| known.len() == 1)
            .filter_map(|(url, known)| Some((url, known.into_iter().next()?)))
            .collect();
        match archives.is_empty() {
            true => client,
            false => client::with_store(&client, self.store.clone(), archives),
        }
    }

    /// Removes the attestations of sources that were verified: rattler-build would log that it does not verify them.
    pub(crate) fn without_attestations(output: &mut Output) {
        for source in sources_mut(&mut output.recipe) {
            if let Source::Url(source) = source {
                source.attestation = None;
            }
        }
    }

    /// Returns whether the recipe requires an attestation of a source.
    pub(crate) fn requires_attestation(output: &Output) -> bool {
        sources(&output.recipe)
            .any(|source| matches!(source, Source::Url(source) if source.attestation.is_some()))
    }

    /// Prepares the source cache of a job, `src_cache` in its output folder: Git's object databases are those of the store.
    /// rattler-build checks out the commit that each source of `output` has, and locks a database while it does.
    ///
    /// # Errors
    /// The folders or links cannot be made.
    pub(crate) fn prepare(&self, output: &Output, src_cache: &Path) -> io::Result<()> {
        let has_git = sources(&output.recipe).any(|source| matches!(source, Source::Git(_)));
        if !has_git {
            return Ok(());
        }
        let cache = src_cache.join("git");
        fs::create_dir_all(&cache)?;
        for part in ["db", "locks"] {
            let (shared, link) = (self.store.git().join(part), cache.join(part));
            fs::create_dir_all(&shared)?;
            if fs::symlink_metadata(&link).is_err() {
                link_folder(&shared, &link)?;
            }
        }
        Ok(())
    }

    /// Returns what `failure` stands for where a repository is not at the expected commit any more: rattler-build's error then
    /// names both commits.
    pub(crate) async fn moved(
        &self,
        package: &PackageKey,
        output: &Output,
        failure: &Failure,
    ) -> Option<Failure> {
        let folder = &output.build_configuration.directories.recipe_dir;
        for source in sources(&output.recipe) {
            let Source::Git(git_source) = source else {
                continue;
            };
            let Some(expected) = &git_source.expected_commit else {
                continue;
            };
            // Every failure comes here, and few have to do with a repository: it is asked only where its error may be meant.
            if full_commit(git_source).is_some() || !names(failure, expected) {
                continue;
            }
            let repository = Repository::new(&git_source.url, folder);
            let found = git::commit(&repository, &git_source.rev.to_string()).await;
            if let Ok(found) = found
                && found != *expected
                && names(failure, &found)
            {
                let uri = descriptor::describe(source, folder, folder)
                    .map(|description| description.uri)
                    .unwrap_or_default();
                let message = format!(
                    "the source `{uri}` of `{}` moved: expected commit {expected}, found commit {found}",
                    package.file
                );
                let help = "run the same command again to plan with the new commit; where the recipe has `expected_commit`, change it there";
                return Some(Failure {
                    help: Some(help.to_owned()),
                    ..failure::plain("source_moved", message)
                });
            }
        }
        None
    }
}

/// Returns whether a failure or one of its causes names a commit.
fn names(failure: &Failure, commit: &str) -> bool {
    let mut texts = std::iter::once(&failure.message).chain(&failure.causes);
    texts.any(|text| text.contains(commit))
}

#[cfg(unix)]
fn link_folder(folder: &Path, link: &Path) -> io::Result<()> {
    match std::os::unix::fs::symlink(folder, link) {
        // Another job was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Links take a privilege here: every job fetches its repositories itself.
#[cfg(not(unix))]
fn link_folder(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}
