//! What a recipe has fetched, for the provenance of its package.

use std::collections::{BTreeMap, BTreeSet};

use rattler_build_recipe::{
    Stage1Recipe,
    stage1::{
        Source,
        source::{GitRev, GitSource, GitUrl, UrlSource},
    },
};
use release_manifest::SourceDigest;
use url::Url;

/// The remote sources of an output and of the staging outputs that it inherits from; sorted.
///
/// Local ones are part of the repository, whose commit says what they are.
pub(crate) fn of(recipe: &Stage1Recipe) -> Vec<SourceDigest> {
    let staging = recipe.staging_caches.iter();
    let sources = recipe
        .source
        .iter()
        .chain(staging.flat_map(|staging| &staging.source));
    let found: BTreeSet<SourceDigest> = sources
        .filter_map(|source| match source {
            Source::Url(source) => archive(source),
            Source::Git(source) => repository(source),
            Source::Path(_) => None,
        })
        .collect();
    found.into_iter().collect()
}

/// An archive, under the first of its addresses: the others are mirrors of the same bytes.
fn archive(source: &UrlSource) -> Option<SourceDigest> {
    let url = source.url.first().filter(|url| url.scheme() != "file")?;
    let sha256 = source.sha256.map(|hash| ("sha256", hex(&hash)));
    let md5 = source.md5.map(|hash| ("md5", hex(&hash)));
    Some(SourceDigest {
        uri: without_credentials(url.clone()).to_string(),
        digest: named(sha256.into_iter().chain(md5)),
    })
}

/// A remote repository at a revision, in SPDX's form.
fn repository(source: &GitSource) -> Option<SourceDigest> {
    let remote = match &source.url {
        GitUrl::Url(url) if url.scheme() == "file" => return None,
        GitUrl::Url(url) => without_credentials(url.clone()).to_string(),
        GitUrl::Ssh(remote) => {
            // user@host:path
            let (host, path) = remote.split_once(':')?;
            format!("ssh://{host}/{}", path.trim_start_matches('/'))
        }
        GitUrl::Path(_) => return None,
    };
    let commit = match &source.rev {
        GitRev::Commit(commit) if is_whole_commit(commit) => Some(commit),
        _ => source.expected_commit.as_ref(),
    };
    let scheme = if remote.starts_with("git") {
        ""
    } else {
        "git+"
    };
    Some(SourceDigest {
        uri: format!("{scheme}{remote}@{}", source.rev),
        digest: named(commit.map(|commit| ("gitCommit", commit.clone()))),
    })
}

fn named(digests: impl IntoIterator<Item = (&'static str, String)>) -> BTreeMap<String, String> {
    let digests = digests.into_iter();
    digests.map(|(name, hex)| (name.to_owned(), hex)).collect()
}

/// SHA-1 or SHA-256, written out: nothing shorter names one commit for good.
fn is_whole_commit(revision: &str) -> bool {
    matches!(revision.len(), 40 | 64) && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The URL as it may be published. Every URL that can have credentials can be without.
fn without_credentials(mut url: Url) -> Url {
    let _removed = url.set_username("").and_then(|()| url.set_password(None));
    url
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
