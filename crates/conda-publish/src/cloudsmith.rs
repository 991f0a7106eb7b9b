//! Conda repositories on Cloudsmith.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cep27::Sha256;
use http::header::ACCEPT;
use http::{HeaderValue, Method};
use rattler_networking::Authentication;
use release_manifest::{PackageKey, PublishResult};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use crate::credentials::{stored_token, variable};
use crate::form::{SignedForm, md5};
use crate::remote::join;
use crate::retry::Retries;
use crate::server::{Answer, Server};
use crate::settings::Settings;
use crate::source::Source;
use crate::there::{There, is_same, refuse_attestations};
use crate::{
    Channel, ChannelLocation, Error, Keeps, OpenOptions, Patience, Placed, Present, Reporter,
    Upload, archive,
};

/// Where the API key is looked for before rattler's stores.
const KEY: &str = "CLOUDSMITH_API_KEY";

/// Where another API than the public one is named.
const SERVER: &str = "CLOUDSMITH_API_URL";

/// Where another host than the public one is named, at which clients read.
const CHANNEL_HOST: &str = "CLOUDSMITH_CHANNEL_HOST";

const API: &str = "https://api.cloudsmith.io/v1";

/// The size, in bytes, up to which a storage takes a file as one form.
///
/// Larger ones would go in parts to a host that wants the API key, which is for the API's host only.
const FORM_LIMIT: u64 = 5 * 1024 * 1024 * 1024;

/// The longest between two questions whether a package is processed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A conda repository on Cloudsmith, which indexes it by itself. It keeps packages and nothing else.
pub(crate) struct Cloudsmith {
    name: String,
    api: Url,
    owner: String,
    repository: String,
    server: Server,
    settings: Settings,
    patience: Patience,
    there: There,
    force: bool,
}

/// Where the server wants the bytes of a file.
#[derive(Deserialize)]
struct Slot {
    identifier: String,
    upload_url: String,
    #[serde(default)]
    upload_fields: Map<String, Value>,
}

#[derive(Deserialize)]
struct Created {
    slug_perm: String,
}

/// How far the server is with a package.
#[derive(Deserialize)]
struct Progress {
    #[serde(default)]
    is_sync_completed: bool,
    #[serde(default)]
    is_sync_failed: bool,
    status_reason: Option<String>,
}

impl Cloudsmith {
    pub(crate) async fn open(
        location: &ChannelLocation,
        owner: &str,
        repository: &str,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let mut settings = Settings::read_with(options.auth_file.clone()).await?;
        let api = match (&options.api_url, variable(SERVER)) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => parsed(url.expose())?,
            (None, None) => parsed(API)?,
        };
        if let Some(key) = variable(KEY) {
            settings.prefer(&api, &Authentication::CondaToken(key.expose().to_owned()))?;
        }
        let read_at = match (&options.read_at, variable(CHANNEL_HOST), api.host_str()) {
            (Some(read_at), ..) => read_at.clone(),
            (None, Some(host), _) => {
                let host = host.expose().trim_end_matches('/');
                format!("https://{host}/{owner}/{repository}").parse()?
            }
            (None, None, Some("api.cloudsmith.io")) => {
                format!("https://conda.cloudsmith.io/{owner}/{repository}").parse()?
            }
            (None, None, _) => {
                return Err(Error::Unsupported {
                    channel: location.to_string(),
                    reason: "is on a server of its own: the URL at which clients read it must be given as well",
                });
            }
        };
        let patience = options.patience.clone();
        Ok(Self {
            name: location.to_string(),
            owner: owner.to_owned(),
            repository: repository.to_owned(),
            server: Server::new(&api, patience.clone(), &settings)?,
            there: There::new(read_at, patience.clone(), settings.clone()),
            api,
            settings,
            patience,
            force: options.force,
        })
    }

    async fn key(&self) -> Result<HeaderValue, Error> {
        let server = self.server.name();
        let token = stored_token(
            &self.settings,
            &self.api,
            server,
            ("conda or bearer token", KEY),
            |it| match it {
                Authentication::CondaToken(token) | Authentication::BearerToken(token) => {
                    Some(token)
                }
                _ => None,
            },
        );
        token.await?.header(server, "")
    }

    /// Asks for `what`, whatever the answer. The API's paths end with a slash.
    async fn ask(&self, what: &str, path: &[&str], body: Option<&Value>) -> Result<Answer, Error> {
        let key = self.key().await?;
        let url = join(&self.api, path.iter().copied().chain([""]));
        let method = match body {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let request = async || {
            let request = self.server.http().request(method.clone(), url.clone());
            let request = request
                .header(ACCEPT, "application/json")
                .header("X-Api-Key", key.clone());
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        self.server.ask(what, request).await
    }

    async fn exists(&self) -> Result<(), Error> {
        let what = format!("the repository {}/{}", self.owner, self.repository);
        let path = ["repos", &self.owner, &self.repository];
        let answer = self.ask(&what, &path, None).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.refused(&what, &answer)),
        }
    }

    /// Makes a package of an uploaded file, and waits until it is processed: then clients see it, or the server says
    /// why not.
    async fn create(&self, what: &str, identifier: &str) -> Result<Result<(), Answer>, Error> {
        let (owner, repository) = (self.owner.as_str(), self.repository.as_str());
        let create = ["packages", owner, repository, "upload", "conda"];
        let body = json!({ "package_file": identifier, "republish": self.force });
        let answer = self.ask(what, &create, Some(&body)).await?;
        if !answer.status.is_success() {
            return Ok(Err(answer));
        }
        let Created { slug_perm } = self.server.json(what, &answer)?;
        let path = ["packages", owner, repository, &slug_perm, "status"];
        let began = Instant::now();
        let mut wait = self.patience.first_delay;
        let mut attempts = 0;
        loop {
            let answer = self.ask(what, &path, None).await?;
            attempts += 1;
            if answer.status != StatusCode::OK {
                return Err(self.refused(what, &answer));
            }
            let progress: Progress = self.server.json(what, &answer)?;
            if progress.is_sync_failed {
                let reason = progress.status_reason.unwrap_or_default();
                return Ok(Err(Answer {
                    body: reason.into_bytes(),
                    ..answer
                }));
            }
            if progress.is_sync_completed {
                return Ok(Ok(()));
            }
            if began.elapsed() >= self.patience.answer {
                return Err(Error::NotSent {
                    server: self.server.name().to_owned(),
                    what: what.to_owned(),
                    attempts,
                    reason: format!(
                        "it has the package, and has not processed it after {} s",
                        self.patience.answer.as_secs()
                    ),
                });
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What is published under a package's name after it was refused: with a package that was taken before, and its
    /// answer lost, this may take a moment.
    async fn after_refusal(&self, package: &PackageKey) -> Result<Option<Sha256>, Error> {
        let mut retries = Retries::new(&self.patience);
        loop {
            let there = self.there.hashed(package).await?;
            match retries.delay(Duration::ZERO) {
                Some(delay) if there.is_none() => tokio::time::sleep(delay).await,
                _ => return Ok(there),
            }
        }
    }

    fn refused(&self, what: &str, answer: &Answer) -> Error {
        let help = match answer.status.as_u16() {
            401 => "check the API key: Cloudsmith doesn't know it, or it has ended",
            403 => "give the key's user or service the privilege to write to this repository",
            404 => "create the repository first, or correct its name",
            200 | 409 => {
                "Cloudsmith took the bytes and made no package of them: see what it says, and remove the failed one on its website"
            }
            402 | 413 | 507 => {
                "the owner's storage is used up: delete what is old, or ask for more"
            }
            400 | 422 => "Cloudsmith finds something in the package wrong: see what it says",
            _ => "run the same command again, and see what the server says",
        };
        self.server.refused(what, answer, help)
    }
}

#[async_trait]
impl Channel for Cloudsmith {
    fn attestations(&self) -> Keeps {
        Keeps::Nothing
    }

    fn url(&self, package: &PackageKey) -> String {
        self.there.url(package)
    }

    async fn preflight(&self) -> Result<(), Error> {
        let what = "the API key";
        let answer = self.ask(what, &["user", "self"], None).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(what, &answer));
        }
        self.there.preflight(self.exists()).await
    }

    async fn lookup(
        &self,
        packages: &BTreeSet<PackageKey>,
    ) -> Result<BTreeMap<PackageKey, Present>, Error> {
        self.there.lookup(packages, self.exists()).await
    }

    /// Asks for a place in the storage, uploads the bytes there, and has a package made of them.
    ///
    /// A repository may be set to replace packages by itself; so what is there is looked at first.
    async fn put(&self, upload: &Upload, reporter: &dyn Reporter) -> Result<Placed, Error> {
        refuse_attestations(upload, &self.name)?;
        archive::check_upload(upload).await?;
        let package = &upload.package;
        let what = package.to_string();
        let there = self.there.hashed(package).await?;
        if there == Some(upload.sha256) || (!self.force && is_same(upload, there)?) {
            return Ok(self.there.placed(package, PublishResult::Identical));
        }
        let source = Source::open(upload).await?;
        if source.size() > FORM_LIMIT {
            return Err(Error::Unsupported {
                channel: self.name.clone(),
                reason: "takes no package of more than 5 GiB in one upload",
            });
        }
        let md5: String = (md5(&source).await?.iter())
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let body = json!({
            "filename": package.file.as_str(), "md5_checksum": md5, "method": "post",
        });
        let files = ["files", &self.owner, &self.repository];
        let answer = self.ask(&what, &files, Some(&body)).await?;
        if !answer.status.is_success() {
            return Err(self.refused(&what, &answer));
        }
        let slot: Slot = self.server.json(&what, &answer)?;
        SignedForm::new(
            &self.server,
            &self.api,
            &what,
            &slot.upload_url,
            &slot.upload_fields,
            &self.patience,
            &self.settings,
        )?
        .send(upload, &source, reporter)
        .await?;
        let result = match self.create(&what, &slot.identifier).await? {
            Ok(()) => PublishResult::Uploaded,
            Err(answer) => match is_same(upload, self.after_refusal(package).await?)? {
                true => PublishResult::Identical,
                false => return Err(self.refused(&what, &answer)),
            },
        };
        Ok(self.there.placed(package, result))
    }

    /// The server indexes by itself.
    async fn finish(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn parsed(url: &str) -> Result<Url, Error> {
    Url::parse(url).map_err(|error| Error::ChannelUrl {
        reason: format!("{SERVER} is no URL: {error}"),
    })
}
