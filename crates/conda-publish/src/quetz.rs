//! Channels on a Quetz server.

use async_trait::async_trait;
use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use release_manifest::PublishResult;
use reqwest::{Body, StatusCode};
use url::Url;

use crate::credentials::{conda_key, conda_token};
use crate::package_server::{PackageServer, Site};
use crate::remote::join;
use crate::server::Answer;
use crate::source::Source;
use crate::there::is_same;
use crate::{ChannelLocation, Error, OpenOptions, Reporter, Upload};

/// Where the API key is looked for before rattler's stores.
pub(crate) const KEY: &str = "QUETZ_API_KEY";

/// A channel on a Quetz server, which indexes it by itself within seconds. It keeps packages and nothing else.
pub(crate) struct Quetz {
    site: Site,
    channel: String,
}

impl Quetz {
    pub(crate) async fn open(
        location: &ChannelLocation,
        url: &Url,
        channel: &str,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let read_at = match &options.read_at {
            Some(read_at) => read_at.clone(),
            None => join(url, ["get", channel]).as_str().parse()?,
        };
        Ok(Self {
            site: Site::open(location, url, conda_key(KEY), read_at, options).await?,
            channel: channel.to_owned(),
        })
    }

    async fn key(&self) -> Result<HeaderValue, Error> {
        let token = self.site.token(("conda token", KEY), conda_token);
        token.await?.header(self.site.server.name(), "")
    }

    async fn ask<'a>(
        &self,
        what: &str,
        path: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let server = &self.site.server;
        let url = join(&self.site.url, path);
        let key = self.key().await?;
        let request = async || Ok(server.http().get(url.clone()).header("X-API-Key", &key));
        let answer = server.ask(what, request).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.refused(what, &answer)),
        }
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
        self.site.server.refused(what, answer, help)
    }
}

#[async_trait]
impl PackageServer for Quetz {
    fn site(&self) -> &Site {
        &self.site
    }

    async fn exists(&self) -> Result<(), Error> {
        let what = format!("the channel {}", self.channel);
        self.ask(&what, ["api", "channels", &self.channel]).await
    }

    /// Who may see the members may publish: owners and maintainers.
    async fn may_publish(&self) -> Result<(), Error> {
        let what = format!("to publish to the channel {}", self.channel);
        let members = ["api", "channels", &self.channel, "members"];
        self.ask(&what, members).await
    }

    /// `POST /api/channels/{channel}/upload/{file}`: the bytes are the body, and the server compares their hash. It
    /// reads the subdir from the package.
    async fn upload(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<PublishResult, Error> {
        let Site {
            server,
            there,
            force,
            ..
        } = &self.site;
        let package = &upload.package;
        let key = self.key().await?;
        let source = Source::open(upload).await?;
        let file = package.file.as_str();
        let mut url = join(
            &self.site.url,
            ["api", "channels", &self.channel, "upload", file],
        );
        url.query_pairs_mut()
            .append_pair("force", if *force { "true" } else { "false" })
            .append_pair("sha256", &upload.sha256.to_string());
        let request = async |watch| {
            let bytes = source.bytes(watch).await?;
            let request = server.http().post(url.clone());
            Ok(request
                .header("X-API-Key", &key)
                .header(CONTENT_LENGTH, source.size())
                .body(Body::wrap_stream(bytes)))
        };
        let answer = server.send(upload, &source, reporter, request).await?;
        match answer.status {
            StatusCode::CREATED => Ok(PublishResult::Uploaded),
            StatusCode::CONFLICT if is_same(upload, there.sha256(package).await?)? => {
                Ok(PublishResult::Identical)
            }
            status if status.is_success() => Err(server.unexpected(
                &package.to_string(),
                format!("expected HTTP status 201, found {}", status.as_u16()),
            )),
            _ => Err(self.refused(&package.to_string(), &answer)),
        }
    }
}
