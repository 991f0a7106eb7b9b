//! Channels on prefix.dev and servers like it.

mod refusal;
mod token;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use cep27::Subdir;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use release_manifest::{PackageKey, PublishResult};
use reqwest::multipart::{Form, Part};
use url::Url;

use self::token::{Token, Tokens};
use crate::blocking::blocking;
use crate::remote::{RemoteChannel, join};
use crate::server::{Answer, Server};
use crate::settings::Settings;
use crate::sidecar::BundleText;
use crate::source::{Source, Watch};
use crate::{
    Channel, ChannelUrl, Error, Keeps, OpenOptions, Patience, Placed, Present, Reporter, Upload,
};

/// How many attestations the server takes for a package: they come in the same request.
const MOST_ATTESTATIONS: usize = 1;

const FILE_NAME: HeaderName = HeaderName::from_static("x-file-name");
const FILE_SHA256: HeaderName = HeaderName::from_static("x-file-sha256");

/// A channel on prefix.dev or a server like it, which verifies attestations, serves them and indexes itself.
///
/// A package and its attestation are one request, as in `rattler_upload`: whoever sees the one has the other.
pub(crate) struct PrefixChannel {
    /// Its name on the server, with its namespaces.
    name: String,
    /// Where clients read it.
    url: ChannelUrl,
    upload_url: Url,
    server: Server,
    tokens: Tokens,
    settings: Settings,
    patience: Patience,
}

impl PrefixChannel {
    /// A channel on a server. Nothing is asked for yet.
    pub(crate) async fn open(
        server: &Url,
        name: &str,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let settings = Settings::read_with(options.auth_file.clone()).await?;
        let url = match &options.read_at {
            Some(url) => url.clone(),
            None => join(server, name.split('/')).as_str().parse()?,
        };
        let upload = ["api", "v1", "upload"].into_iter();
        let mut upload_url = join(server, upload.chain(name.split('/')));
        if options.force {
            upload_url.set_query(Some("force=true"));
        }
        let patience = options.patience.clone();
        let client = Server::new(server, patience.clone(), &settings)?;
        Ok(Self {
            name: name.to_owned(),
            url,
            upload_url,
            tokens: Tokens::new(
                client.clone(),
                server,
                options.identity.clone(),
                settings.clone(),
            ),
            server: client,
            settings,
            patience,
        })
    }

    /// Reads the channel as it is now: as everybody may, and where that is refused, as who may publish there.
    async fn read(
        &self,
        subdirs: impl IntoIterator<Item = Subdir>,
    ) -> Result<RemoteChannel, Error> {
        let subdirs: BTreeSet<Subdir> = subdirs.into_iter().chain([Subdir::NOARCH]).collect();
        let open = async |settings: Settings| {
            let (url, patience) = (self.url.clone(), self.patience.clone());
            let channel = RemoteChannel::found(url, &subdirs, patience, settings).await?;
            // CEP-26 asks for it in each channel.
            match channel.has(Subdir::NOARCH) {
                true => Ok(channel),
                false => Err(self.no_such_channel()),
            }
        };
        let refused = match open(self.settings.clone()).await {
            Err(error) if is_for_some_only(&error) => error,
            other => return other,
        };
        let token = match self.tokens.current().await {
            Err(Error::NoCredentials { .. }) => return Err(refused),
            token => token?,
        };
        let with = |token: &Token| self.settings.with_bearer(&self.upload_url, token.secret());
        match open(with(&token)?).await {
            Err(error @ Error::Status { status: 401, .. }) => {
                match self.tokens.renew(&token).await? {
                    Some(renewed) => open(with(&renewed)?).await,
                    None => Err(error),
                }
            }
            other => other,
        }
    }

    fn no_such_channel(&self) -> Error {
        Error::Refused {
            server: self.server.name().to_owned(),
            what: format!("the channel {}", cep27::printable(&self.name)),
            status: StatusCode::NOT_FOUND.as_u16(),
            reason: "there is none of this name, or none that may be seen".to_owned(),
            help: "check the channel's name, and make it on the server's website first; a private one takes credentials",
        }
    }

    /// The one attestation of a package, if there is one.
    async fn attestation(&self, upload: &Upload) -> Result<Option<BundleText>, Error> {
        let package = &upload.package;
        match upload.bundles.as_slice() {
            [] => Ok(None),
            [bundle] => {
                let (bundle, package) = (bundle.clone(), package.clone());
                let read = blocking(move || BundleText::read(&bundle, &package));
                read.await.map(Some)
            }
            more => Err(Error::TooManyAttestations {
                package: Box::new(package.clone()),
                channel: self.url.to_string(),
                found: more.len(),
                most: MOST_ATTESTATIONS,
            }),
        }
    }

    async fn send(
        &self,
        upload: &Upload,
        source: &Source,
        attestation: Option<&BundleText>,
        token: &Token,
        reporter: &dyn Reporter,
    ) -> Result<Answer, Error> {
        let bearer = token.secret().header(self.server.name(), "Bearer")?;
        let request = async |watch: Watch| {
            let form = self.form(upload, source, attestation, watch).await?;
            let request = self.server.http().post(self.upload_url.clone());
            Ok(request
                .header(AUTHORIZATION, bearer.clone())
                .multipart(form))
        };
        self.server.send(upload, source, reporter, request).await
    }

    /// The parts of an upload, in the order and with the headers of `rattler_upload`.
    async fn form(
        &self,
        upload: &Upload,
        source: &Source,
        attestation: Option<&BundleText>,
        watch: Watch,
    ) -> Result<Form, Error> {
        let file = upload.package.file.as_str();
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| Error::Unsupported {
                channel: self.url.to_string(),
                reason: "takes no file name that does not fit into an HTTP header",
            })
        };
        let headers = HeaderMap::from_iter([
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/octet-stream"),
            ),
            (CONTENT_LENGTH, HeaderValue::from(source.size())),
            (FILE_NAME, value(file)?),
            (FILE_SHA256, value(&upload.sha256.to_string())?),
        ]);
        let bytes = reqwest::Body::wrap_stream(source.bytes(watch).await?);
        let package = Part::stream_with_length(bytes, source.size())
            .file_name(file.to_owned())
            .headers(headers);
        let form = Form::new().part("file", package);
        Ok(match attestation {
            Some(attestation) => form.text("attestation", attestation.as_str().to_owned()),
            None => form,
        })
    }

    /// Whether the package that the server has under this name already is this one: then an earlier answer was lost,
    /// or somebody else uploaded the same bytes.
    async fn already_there(
        &self,
        upload: &Upload,
        answer: &Answer,
    ) -> Result<PublishResult, Error> {
        let package = &upload.package;
        let channel = self.read([package.subdir]).await?;
        let listed = channel.present(package)?;
        let there = match listed.and_then(|present| present.sha256) {
            Some(there) => Some(there),
            // Repodata follows after a while.
            None => channel.hash(package).await?,
        };
        match there {
            Some(there) if there == upload.sha256 => Ok(PublishResult::Identical),
            Some(there) => Err(Error::Conflict {
                package: Box::new(package.clone()),
                there,
                here: upload.sha256,
            }),
            None => Err(self.server.refused(
                &package.to_string(),
                answer,
                "the server takes the name as used, but serves no such package: run the same command again later, and look at the channel on its website if that stays so",
            )),
        }
    }
}

#[async_trait]
impl Channel for PrefixChannel {
    fn attestations(&self) -> Keeps {
        Keeps::Native {
            most: MOST_ATTESTATIONS,
        }
    }

    fn url(&self, package: &PackageKey) -> String {
        let PackageKey { subdir, file } = package;
        self.url.join([subdir.as_str(), file.as_str()]).into()
    }

    async fn preflight(&self) -> Result<(), Error> {
        self.tokens.current().await?;
        self.read([]).await.map(drop)
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        let channel = self.read(packages.iter().map(|it| it.subdir)).await?;
        let mut present = BTreeMap::new();
        for package in packages {
            if let Some(found) = channel.present(package)? {
                present.insert(package.clone(), found);
            }
        }
        Ok(present)
    }

    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
        let attestation = self.attestation(upload).await?;
        let attestation = attestation.as_ref();
        let source = Source::open(upload).await?;
        let mut token = self.tokens.current().await?;
        let mut answer = self
            .send(upload, &source, attestation, &token, reporter)
            .await?;
        if answer.status == StatusCode::UNAUTHORIZED
            && let Some(renewed) = self.tokens.renew(&token).await?
        {
            token = renewed;
            let reason = "the publishing token has ended";
            reporter.repeating(&upload.package, reason, Duration::ZERO);
            answer = self
                .send(upload, &source, attestation, &token, reporter)
                .await?;
        }
        let result = match answer.status {
            status if status.is_success() && !answer.is_garbage() => PublishResult::Uploaded,
            status if status.is_success() => {
                return Err(self.server.unexpected(
                    &upload.package.to_string(),
                    "expected a short text, found a web page or none; a proxy or a sign-in page may be in between",
                ));
            }
            StatusCode::CONFLICT => self.already_there(upload, &answer).await?,
            status => {
                let help = refusal::help(status, token.origin());
                let what = upload.package.to_string();
                return Err(self.server.refused(&what, &answer, help));
            }
        };
        Ok(Placed {
            url: self.url(&upload.package),
            sidecar_sha256: None,
            result,
        })
    }

    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Whether a channel answers so to those whom it doesn't know: a private one may be denied, too.
fn is_for_some_only(error: &Error) -> bool {
    matches!(
        error,
        Error::Status {
            status: 401 | 403,
            ..
        } | Error::Refused { status: 404, .. }
    )
}
