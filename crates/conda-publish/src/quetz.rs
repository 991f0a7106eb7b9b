//! Channels on a Quetz server.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use rattler_networking::Authentication;
use release_manifest::{PackageKey, PublishResult};
use reqwest::{Body, StatusCode};
use url::Url;

use crate::credentials::{stored_token, variable};
use crate::remote::join;
use crate::server::{Answer, Server};
use crate::settings::Settings;
use crate::source::Source;
use crate::there::{There, is_same, refuse_attestations};
use crate::{
    Channel, ChannelLocation, Error, Keeps, OpenOptions, Placed, Present, Reporter, Upload, archive,
};

/// Where the API key is looked for before rattler's stores.
const KEY: &str = "QUETZ_API_KEY";

/// A channel on a Quetz server, which indexes it by itself within seconds. It keeps packages and nothing else.
pub(crate) struct Quetz {
    name: String,
    url: Url,
    channel: String,
    server: Server,
    settings: Settings,
    there: There,
    force: bool,
}

impl Quetz {
    pub(crate) async fn open(
        location: &ChannelLocation,
        url: &Url,
        channel: &str,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let mut settings = Settings::read_with(options.auth_file.clone()).await?;
        if let Some(key) = variable(KEY) {
            settings.prefer(url, &Authentication::CondaToken(key.expose().to_owned()))?;
        }
        let read_at = match &options.read_at {
            Some(read_at) => read_at.clone(),
            None => join(url, ["get", channel]).as_str().parse()?,
        };
        Ok(Self {
            name: location.to_string(),
            url: url.clone(),
            channel: channel.to_owned(),
            server: Server::new(url, options.patience.clone(), &settings)?,
            there: There::new(read_at, options.patience.clone(), settings.clone()),
            settings,
            force: options.force,
        })
    }

    async fn key(&self) -> Result<HeaderValue, Error> {
        let server = self.server.name();
        let token = stored_token(
            &self.settings,
            &self.url,
            server,
            ("conda token", KEY),
            |it| match it {
                Authentication::CondaToken(token) => Some(token),
                _ => None,
            },
        );
        token.await?.header(server, "")
    }

    async fn ask<'a>(
        &self,
        what: &str,
        path: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let url = join(&self.url, path);
        let key = self.key().await?;
        let request = async || {
            Ok(self
                .server
                .http()
                .get(url.clone())
                .header("X-API-Key", &key))
        };
        let answer = self.server.ask(what, request).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.refused(what, &answer)),
        }
    }

    /// That there is such a channel, which an empty answer to reading it doesn't tell.
    async fn exists(&self) -> Result<(), Error> {
        let what = format!("the channel {}", self.channel);
        self.ask(&what, ["api", "channels", &self.channel]).await
    }

    fn refused(&self, what: &str, answer: &Answer) -> Error {
        let help = match answer.status.as_u16() {
            401 => "check the API key: Quetz doesn't know it, or it has ended",
            403 => "give the key's user the role of a maintainer or owner of the channel",
            404 => "create the channel on the server first, or correct its name",
            409 => {
                "the name is taken, and what has it cannot be read: try again, or ask the server's administrator"
            }
            413 | 507 => {
                "have the server's limit on sizes or the channel's quota raised, or delete what is old"
            }
            400 | 406 | 422 => {
                "run the same command again; if it is refused again, the server cannot read this package"
            }
            _ => "see what the server says, and its log",
        };
        self.server.refused(what, answer, help)
    }
}

#[async_trait]
impl Channel for Quetz {
    fn attestations(&self) -> Keeps {
        Keeps::Nothing
    }

    fn url(&self, package: &PackageKey) -> String {
        self.there.url(package)
    }

    async fn preflight(&self) -> Result<(), Error> {
        // Who may see the members may publish: owners and maintainers.
        let what = format!("to publish to the channel {}", self.channel);
        let members = ["api", "channels", &self.channel, "members"];
        self.there.preflight(self.ask(&what, members)).await
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        self.there.lookup(packages, self.exists()).await
    }

    /// `POST /api/channels/{channel}/upload/{file}`: the bytes are the body, and the server compares their hash. It
    /// reads the subdir from the package.
    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
        refuse_attestations(upload, &self.name)?;
        archive::check_upload(upload).await?;
        let package = &upload.package;
        let key = self.key().await?;
        let source = Source::open(upload).await?;
        let file = package.file.as_str();
        let mut url = join(
            &self.url,
            ["api", "channels", &self.channel, "upload", file],
        );
        url.query_pairs_mut()
            .append_pair("force", if self.force { "true" } else { "false" })
            .append_pair("sha256", &upload.sha256.to_string());
        let request = async |watch| {
            let bytes = source.bytes(watch).await?;
            let request = self.server.http().post(url.clone());
            Ok(request
                .header("X-API-Key", &key)
                .header(CONTENT_LENGTH, source.size())
                .body(Body::wrap_stream(bytes)))
        };
        let answer = self.server.send(upload, &source, reporter, request).await?;
        match answer.status {
            StatusCode::CREATED => Ok(self.there.placed(package, PublishResult::Uploaded)),
            StatusCode::CONFLICT if is_same(upload, self.there.sha256(package).await?)? => {
                Ok(self.there.placed(package, PublishResult::Identical))
            }
            status if status.is_success() => Err(self.server.unexpected(
                &package.to_string(),
                format!("expected HTTP status 201, found {}", status.as_u16()),
            )),
            _ => Err(self.refused(&package.to_string(), &answer)),
        }
    }

    /// The server has begun to index when it answers an upload.
    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}
