//! Sources as provenance lists them.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use rattler_build_recipe::stage1::{
    Source,
    source::{AttestationConfig, GitSource, GitUrl, PathSource, UrlSource},
};
use release_manifest::{SourceAnnotations, SourceAttestation, SourceDigest};
use url::Url;

/// The name of a commit among digests.
pub(super) const GIT_COMMIT: &str = "gitCommit";
/// The name of a SHA-256 among digests.
pub(super) const SHA256: &str = "sha256";

/// The source of the recipe in `folder` with the digests that it is pinned by. Folders, which are part of the workspace, and
/// missing files have none.
pub(super) fn describe(source: &Source, root: &Path, folder: &Path) -> Option<SourceDigest> {
    match source {
        Source::Url(source) => archive(source),
        Source::Git(source) => Some(repository(source, root, folder)),
        Source::Path(source) => local(source, root, folder),
    }
}

/// A URL as it may be published. Every URL that can have credentials can be without.
pub(super) fn without_credentials(mut url: Url) -> Url {
    let _removed = url.set_username("").and_then(|()| url.set_password(None));
    url
}

/// An archive, under the first of its addresses: the others are mirrors of the same bytes.
fn archive(source: &UrlSource) -> Option<SourceDigest> {
    let url = source.url.first()?.clone();
    let sha256 = source.sha256.map(|hash| (SHA256, hex(&hash)));
    let md5 = source.md5.map(|hash| ("md5", hex(&hash)));
    Some(SourceDigest {
        annotations: source
            .attestation
            .as_ref()
            .map(|required| SourceAnnotations {
                attestation: attestation(required, &url),
            }),
        uri: without_credentials(url).to_string(),
        digest: named(sha256.into_iter().chain(md5)),
    })
}

/// The attestation that a recipe requires of the archive at `url`.
fn attestation(required: &AttestationConfig, url: &Url) -> SourceAttestation {
    let bundle = required.bundle_url.clone().or_else(|| pypi_provenance(url));
    SourceAttestation {
        bundle: bundle.map(|url| without_credentials(url).to_string()),
        publishers: required
            .publishers
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

/// The URL of the provenance of a file on PyPI (PEP 740), as rattler-build derives it.
fn pypi_provenance(url: &Url) -> Option<Url> {
    if !matches!(url.host_str(), Some("pypi.io" | "files.pythonhosted.org")) {
        return None;
    }
    let file = url.path_segments()?.next_back()?;
    let (project, version) = match file.strip_suffix(".whl") {
        Some(wheel) => {
            let mut parts = wheel.split('-');
            (parts.next()?, parts.next()?)
        }
        None => [".tar.gz", ".tar.bz2", ".zip"]
            .iter()
            .find_map(|suffix| file.strip_suffix(suffix))?
            .rsplit_once('-')?,
    };
    let project = project.to_lowercase().replace(['_', '.'], "-");
    let provenance = format!("https://pypi.org/integrity/{project}/{version}/{file}/provenance");
    provenance.parse().ok()
}

/// A repository at a revision, in SPDX's form.
fn repository(source: &GitSource, root: &Path, folder: &Path) -> SourceDigest {
    let location = match &source.url {
        GitUrl::Url(url) => without_credentials(url.clone()).to_string(),
        GitUrl::Ssh(remote) => match remote.split_once(':') {
            // user@host:path
            Some((host, path)) => format!("ssh://{host}/{}", path.trim_start_matches('/')),
            None => format!("ssh://{remote}"),
        },
        GitUrl::Path(path) => file_uri(path, root, folder),
    };
    let scheme = if location.starts_with("git") {
        ""
    } else {
        "git+"
    };
    SourceDigest {
        uri: format!("{scheme}{location}@{}", source.rev),
        // A full commit in `rev` is expected as well, once the source is pinned.
        digest: named(
            source
                .expected_commit
                .iter()
                .map(|commit| (GIT_COMMIT, commit.clone())),
        ),
        annotations: None,
    }
}

/// A file.
fn local(source: &PathSource, root: &Path, folder: &Path) -> Option<SourceDigest> {
    let sha256 = source.sha256.map(|hash| (SHA256, hex(&hash)));
    let md5 = source.md5.map(|hash| ("md5", hex(&hash)));
    folder.join(&source.path).is_file().then(|| SourceDigest {
        uri: file_uri(&source.path, root, folder),
        digest: named(sha256.into_iter().chain(md5)),
        annotations: None,
    })
}

/// A path of the recipe in `folder` as a URI. One that is relative there is relative to the workspace here, so that plans of
/// different machines agree: `file:dist/x.tar.gz`.
fn file_uri(path: &Path, root: &Path, folder: &Path) -> String {
    if path.is_absolute() {
        return Url::from_file_path(path).map_or_else(
            |()| format!("file:{}", path.display()),
            |url| url.to_string(),
        );
    }
    let folder = folder.strip_prefix(root).unwrap_or(folder);
    let mut parts: Vec<String> = Vec::new();
    for part in folder.components().chain(path.components()) {
        match part {
            Component::ParentDir if parts.last().is_some_and(|last| last != "..") => {
                parts.pop();
            }
            Component::ParentDir => parts.push("..".to_owned()),
            Component::Normal(part) => parts.push(encoded(&part.to_string_lossy())),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    match parts.is_empty() {
        true => "file:.".to_owned(),
        false => format!("file:{}", parts.join("/")),
    }
}

/// A part of a path as it stands in a URI.
fn encoded(part: &str) -> String {
    let mut text = String::new();
    for byte in part.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn named(digests: impl IntoIterator<Item = (&'static str, String)>) -> BTreeMap<String, String> {
    let digests = digests.into_iter();
    digests.map(|(name, hex)| (name.to_owned(), hex)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_workspace() {
        let (root, folder) = (Path::new("/work"), Path::new("/work/recipes/app"));
        let uri = |path: &str| file_uri(Path::new(path), root, folder);
        assert_eq!(uri("../.."), "file:.");
        assert_eq!(uri("../../dist/a b.tar"), "file:dist/a%20b.tar");
        assert_eq!(uri("./x/../y"), "file:recipes/app/y");
        assert_eq!(uri("../../../../other/x"), "file:../../other/x");
    }

    #[cfg(unix)]
    #[test]
    fn absolute_paths_stay_absolute() {
        let (root, folder) = (Path::new("/work"), Path::new("/work/recipes/app"));
        let uri = file_uri(Path::new("/srv/a b"), root, folder);
        assert_eq!(uri, "file:///srv/a%20b");
    }
}
