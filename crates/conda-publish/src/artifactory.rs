//! Conda repositories on an Artifactory server.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::remote::join;
use crate::server::{Answer, Server};
use crate::settings::Settings;
use crate::source::Source;
use crate::there::{There, is_same, refuse_attestations};
use crate::{
    Channel, ChannelLocation, Error, Keeps, OpenOptions, Placed, Present, Reporter, Upload, archive,
};

/// Where credentials are looked for before rattler's stores: the token first, else both of the others.
const TOKEN: &str = "ARTIFACTORY_TOKEN";
const USERNAME: &str = "ARTIFACTORY_USERNAME";
const PASSWORD: &str = "ARTIFACTORY_PASSWORD";

/// The header in which Artifactory takes and tells the hash of a file.
const CHECKSUM: &str = "X-Checksum-Sha256";

/// A conda repository on an Artifactory server, which indexes it by itself.
///
/// Sidecars could be stored there, but its repodata never advertises one, and CEP-50 lets clients look nowhere else:
/// so it keeps no attestations. It would replace a file without asking; what is there is looked at before each upload.
pub(crate) struct Artifactory {
    name: String,
    url: Url,
    repository: String,
    server: Server,
    settings: Settings,
    there: There,
    force: bool,
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
        let mut settings = Settings::read_with(options.auth_file.clone()).await?;
        if let Some(authentication) = from_environment() {
            settings.prefer(url, &authentication)?;
        }
        let read_at = match &options.read_at {
            Some(read_at) => read_at.clone(),
            None => join(url, [repository]).as_str().parse()?,
        };
        Ok(Self {
            name: location.to_string(),
            url: url.clone(),
            repository: repository.to_owned(),
            server: Server::new(url, options.patience.clone(), &settings)?,
            there: There::new(read_at, options.patience.clone(), settings.clone()),
            settings,
            force: options.force,
        })
    }

    async fn authorization(&self) -> Result<HeaderValue, Error> {
        let server = self.server.name();
        let missing = |reason: String| Error::NoCredentials {
            server: server.to_owned(),
            reason,
        };
        match stored(&self.settings, &self.url).await? {
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

    /// That there is such a repository, and that the credentials may look at it.
    async fn exists(&self) -> Result<(), Error> {
        let what = format!("the repository {}", self.repository);
        let authorization = self.authorization().await?;
        let url = join(&self.url, ["api", "storage", &self.repository]);
        let request = async || {
            let request = self.server.http().get(url.clone());
            Ok(request.header(AUTHORIZATION, &authorization))
        };
        let answer = self.server.ask(&what, request).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.refused(&what, &answer)),
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
        let request = async || {
            let request = self.server.http().head(url.clone());
            Ok(request.header(AUTHORIZATION, authorization))
        };
        let answer = self.server.ask(&what, request).await?;
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
            None => self.there.hashed(package).await,
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
        self.server.refused(what, answer, help)
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
impl Channel for Artifactory {
    fn attestations(&self) -> Keeps {
        Keeps::Nothing
    }

    fn url(&self, package: &PackageKey) -> String {
        self.there.url(package)
    }

    async fn preflight(&self) -> Result<(), Error> {
        self.there.preflight(self.exists()).await
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        self.there.lookup(packages, self.exists()).await
    }

    /// `PUT /{repository}/{subdir}/{file}`: the bytes are the body, and the server compares their hash.
    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
        refuse_attestations(upload, &self.name)?;
        archive::check_upload(upload).await?;
        let package = &upload.package;
        let authorization = self.authorization().await?;
        let path = [
            &self.repository,
            package.subdir.as_str(),
            package.file.as_str(),
        ];
        let url = join(&self.url, path);
        let there = self.stored(package, &url, &authorization).await?;
        if there == Some(upload.sha256) || (!self.force && is_same(upload, there)?) {
            return Ok(self.there.placed(package, PublishResult::Identical));
        }
        let source = Source::open(upload).await?;
        let again = AtomicBool::new(false);
        let request = async |watch| {
            if again.swap(true, Ordering::Relaxed) && !self.force {
                // Time has passed, in which another publisher may have taken the name.
                is_same(upload, self.stored(package, &url, &authorization).await?)?;
            }
            let bytes = source.bytes(watch).await?;
            let request = self.server.http().put(url.clone());
            Ok(request
                .header(AUTHORIZATION, &authorization)
                .header(CHECKSUM, upload.sha256.to_string())
                .header(CONTENT_LENGTH, source.size())
                .body(Body::wrap_stream(bytes)))
        };
        let answer = self.server.send(upload, &source, reporter, request).await?;
        let what = package.to_string();
        if !matches!(answer.status, StatusCode::OK | StatusCode::CREATED) {
            return Err(self.refused(&what, &answer));
        }
        let stored: Stored = self.server.json(&what, &answer)?;
        match stored.checksums.and_then(|checksums| checksums.sha256) {
            Some(sha256) if sha256 != upload.sha256.to_string() => {
                let found = cep27::printable(&sha256);
                Err(self.server.unexpected(
                    &what,
                    format!("it stored sha256 {found}, expected {}", upload.sha256),
                ))
            }
            _ => Ok(self.there.placed(package, PublishResult::Uploaded)),
        }
    }

    /// The server indexes by itself.
    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}
