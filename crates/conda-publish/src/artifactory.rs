//! Conda repositories on an Artifactory server.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cep27::Sha256;
use http::HeaderValue;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use rattler_networking::Authentication;
use release_manifest::{PackageKey, PublishResult};
use reqwest::{Body, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::credentials::{Secret, stored, variable};
use crate::package_server::{PackageServer, Site};
use crate::remote::join;
use crate::server::Answer;
use crate::source::Source;
use crate::there::is_same;
use crate::{ChannelLocation, Error, OpenOptions, Reporter, Upload};

/// Where credentials are looked for before rattler's stores: the token first, else both of the others.
pub(crate) const TOKEN: &str = "ARTIFACTORY_TOKEN";
const USERNAME: &str = "ARTIFACTORY_USERNAME";
const PASSWORD: &str = "ARTIFACTORY_PASSWORD";

/// The header in which Artifactory takes and tells the hash of a file.
const CHECKSUM: &str = "X-Checksum-Sha256";

/// A conda repository on an Artifactory server, which indexes it by itself.
///
/// Sidecars could be stored there, but its repodata never advertises one, and CEP-50 lets clients look nowhere else:
/// so it keeps no attestations. It would replace a file without asking; what is there is looked at before each upload.
pub(crate) struct Artifactory {
    site: Site,
    repository: String,
}

/// What the server says of a file that it stored.
#[derive(Deserialize)]
struct Stored {
    checksums: Option<Checksums>,
}

#[derive(Deserialize)]
struct Checksums {
    sha256: Option<String>,
}

impl Artifactory {
    pub(crate) async fn open(
        location: &ChannelLocation,
        url: &Url,
        repository: &str,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let read_at = match &options.read_at {
            Some(read_at) => read_at.clone(),
            None => join(url, [repository]).as_str().parse()?,
        };
        Ok(Self {
            site: Site::open(location, url, from_environment(), read_at, options).await?,
            repository: repository.to_owned(),
        })
    }

    async fn authorization(&self) -> Result<HeaderValue, Error> {
        let server = self.site.server.name();
        let missing = |reason: String| Error::NoCredentials {
            server: server.to_owned(),
            reason,
        };
        match stored(&self.site.settings, &self.site.url).await? {
            Some(Authentication::BearerToken(token)) => Secret::new(token).header(server, "Bearer"),
            Some(Authentication::BasicHTTP { username, password }) => {
                let pair = STANDARD.encode(format!("{username}:{password}"));
                Secret::new(pair).header(server, "Basic")
            }
            Some(other) => Err(missing(format!(
                "expected a bearer token, or a user and password, found {} in rattler's stores; {TOKEN} is not set",
                other.method()
            ))),
            None => Err(missing(format!(
                "expected {TOKEN}, or {USERNAME} and {PASSWORD}, or a bearer token or password in rattler's stores"
            ))),
        }
    }

    /// The hash of what is stored under a URL; `None` where nothing is.
    async fn stored(
        &self,
        package: &PackageKey,
        url: &Url,
        authorization: &HeaderValue,
    ) -> Result<Option<Sha256>, Error> {
        let what = package.to_string();
        let server = &self.site.server;
        let request = async || {
            let request = server.http().head(url.clone());
            Ok(request.header(AUTHORIZATION, authorization))
        };
        let answer = server.ask(&what, request).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refused(&what, &answer)),
        }
        let told =
            (answer.headers.get(CHECKSUM)).and_then(|value| value.to_str().ok()?.parse().ok());
        match told {
            Some(sha256) => Ok(Some(sha256)),
            // A file that is older than the server's SHA-256 checksums.
            None => self.site.there.hashed(package).await,
        }
    }

    fn refused(&self, what: &str, answer: &Answer) -> Error {
        let help = match answer.status.as_u16() {
            401 => "check the token or password: Artifactory doesn't know it, or it has ended",
            403 => {
                "give the user the permission to deploy to this repository; to replace with --force takes that to delete as well"
            }
            404 => {
                "create a local conda repository of that name on the server first, or correct it"
            }
            409 => {
                "run the same command again: the bytes arrived with another hash, or the repository takes no uploads"
            }
            413 | 507 => {
                "have the server's limit on sizes or the repository's quota raised, or delete what is old"
            }
            400 | 422 => "check that the repository is a local one of the type conda",
            _ => "see what the server says, and its log",
        };
        self.site.server.refused(what, answer, help)
    }
}

fn from_environment() -> Option<Authentication> {
    if let Some(token) = variable(TOKEN) {
        return Some(Authentication::BearerToken(token.expose().to_owned()));
    }
    Some(Authentication::BasicHTTP {
        username: variable(USERNAME)?.expose().to_owned(),
        password: variable(PASSWORD)?.expose().to_owned(),
    })
}

#[async_trait]
impl PackageServer for Artifactory {
    fn site(&self) -> &Site {
        &self.site
    }

    /// That there is such a repository, and that the credentials may look at it.
    async fn exists(&self) -> Result<(), Error> {
        let server = &self.site.server;
        let what = format!("the repository {}", self.repository);
        let authorization = self.authorization().await?;
        let url = join(&self.site.url, ["api", "storage", &self.repository]);
        let request = async || {
            let request = server.http().get(url.clone());
            Ok(request.header(AUTHORIZATION, &authorization))
        };
        let answer = server.ask(&what, request).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.refused(&what, &answer)),
        }
    }

    /// `PUT /{repository}/{subdir}/{file}`: the bytes are the body, and the server compares their hash.
    async fn upload(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<PublishResult, Error> {
        let Site { server, force, .. } = &self.site;
        let package = &upload.package;
        let authorization = self.authorization().await?;
        let path = [
            &self.repository,
            package.subdir.as_str(),
            package.file.as_str(),
        ];
        let url = join(&self.site.url, path);
        let there = self.stored(package, &url, &authorization).await?;
        if self.site.has(upload, there)? {
            return Ok(PublishResult::Identical);
        }
        let source = Source::open(upload).await?;
        let again = AtomicBool::new(false);
        let request = async |watch| {
            if again.swap(true, Ordering::Relaxed) && !force {
                // Time has passed, in which another publisher may have taken the name.
                is_same(upload, self.stored(package, &url, &authorization).await?)?;
            }
            let bytes = source.bytes(watch).await?;
            let request = server.http().put(url.clone());
            Ok(request
                .header(AUTHORIZATION, &authorization)
                .header(CHECKSUM, upload.sha256.to_string())
                .header(CONTENT_LENGTH, source.size())
                .body(Body::wrap_stream(bytes)))
        };
        let answer = server.send(upload, &source, reporter, request).await?;
        let what = package.to_string();
        if !matches!(answer.status, StatusCode::OK | StatusCode::CREATED) {
            return Err(self.refused(&what, &answer));
        }
        let stored: Stored = server.json(&what, &answer)?;
        match stored.checksums.and_then(|checksums| checksums.sha256) {
            Some(sha256) if sha256 != upload.sha256.to_string() => {
                let found = cep27::printable(&sha256);
                Err(server.unexpected(
                    &what,
                    format!("it stored sha256 {found}, expected {}", upload.sha256),
                ))
            }
            _ => Ok(PublishResult::Uploaded),
        }
    }
}
