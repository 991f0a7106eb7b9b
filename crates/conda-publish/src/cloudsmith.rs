//! Conda repositories on Cloudsmith.

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

use crate::credentials::{conda_key, variable};
use crate::form::{SignedForm, md5};
use crate::package_server::{PackageServer, Site, api, read_nowhere};
use crate::remote::join;
use crate::retry::Retries;
use crate::server::Answer;
use crate::source::Source;
use crate::there::is_same;
use crate::{ChannelLocation, Error, OpenOptions, Reporter, Upload};

/// Where the API key is looked for before rattler's stores.
pub(crate) const KEY: &str = "CLOUDSMITH_API_KEY";

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
    site: Site,
    owner: String,
    repository: String,
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
        let api = api(options, SERVER, API)?;
        let read_at = match (&options.read_at, variable(CHANNEL_HOST), api.host_str()) {
            (Some(read_at), ..) => read_at.clone(),
            (None, Some(host), _) => {
                let host = host.expose().trim_end_matches('/');
                format!("https://{host}/{owner}/{repository}").parse()?
            }
            (None, None, Some("api.cloudsmith.io")) => {
                format!("https://conda.cloudsmith.io/{owner}/{repository}").parse()?
            }
            (None, None, _) => return Err(read_nowhere(location)),
        };
        Ok(Self {
            site: Site::open(location, &api, conda_key(KEY), read_at, options).await?,
            owner: owner.to_owned(),
            repository: repository.to_owned(),
        })
    }

    async fn key(&self) -> Result<HeaderValue, Error> {
        let token = self
            .site
            .token(("conda or bearer token", KEY), |it| match it {
                Authentication::CondaToken(token) | Authentication::BearerToken(token) => {
                    Some(token)
                }
                _ => None,
            });
        token.await?.header(self.site.server.name(), "")
    }

    /// Asks for `what`, whatever the answer. The API's paths end with a slash.
    async fn ask(&self, what: &str, path: &[&str], body: Option<&Value>) -> Result<Answer, Error> {
        let key = self.key().await?;
        let server = &self.site.server;
        let url = join(&self.site.url, path.iter().copied().chain([""]));
        let method = match body {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        let request = async || {
            let request = server.http().request(method.clone(), url.clone());
            let request = request
                .header(ACCEPT, "application/json")
                .header("X-Api-Key", key.clone());
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        server.ask(what, request).await
    }

    /// Makes a package of an uploaded file, and waits until it is processed: then clients see it, or the server says
    /// why not.
    async fn create(&self, what: &str, identifier: &str) -> Result<Result<(), Answer>, Error> {
        let (owner, repository) = (self.owner.as_str(), self.repository.as_str());
        let create = ["packages", owner, repository, "upload", "conda"];
        let body = json!({ "package_file": identifier, "republish": self.site.force });
        let answer = self.ask(what, &create, Some(&body)).await?;
        if !answer.status.is_success() {
            return Ok(Err(answer));
        }
        let Created { slug_perm } = self.site.server.json(what, &answer)?;
        let path = ["packages", owner, repository, &slug_perm, "status"];
        let began = Instant::now();
        let mut wait = self.site.patience.first_delay;
        let mut attempts = 0;
        loop {
            let answer = self.ask(what, &path, None).await?;
            attempts += 1;
            if answer.status != StatusCode::OK {
                return Err(self.refused(what, &answer));
            }
            let progress: Progress = self.site.server.json(what, &answer)?;
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
            if began.elapsed() >= self.site.patience.answer {
                return Err(Error::NotSent {
                    server: self.site.server.name().to_owned(),
                    what: what.to_owned(),
                    attempts,
                    reason: format!(
                        "it has the package, and has not processed it after {} s",
                        self.site.patience.answer.as_secs()
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
        let mut retries = Retries::new(&self.site.patience);
        loop {
            let there = self.site.there.hashed(package).await?;
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
        self.site.server.refused(what, answer, help)
    }
}

#[async_trait]
impl PackageServer for Cloudsmith {
    fn site(&self) -> &Site {
        &self.site
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

    async fn may_publish(&self) -> Result<(), Error> {
        let what = "the API key";
        let answer = self.ask(what, &["user", "self"], None).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(what, &answer));
        }
        self.exists().await
    }

    /// Asks for a place in the storage, uploads the bytes there, and has a package made of them.
    ///
    /// A repository may be set to replace packages by itself; so what is there is looked at first.
    async fn upload(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<PublishResult, Error> {
        let package = &upload.package;
        let what = package.to_string();
        let there = self.site.there.hashed(package).await?;
        if self.site.has(upload, there)? {
            return Ok(PublishResult::Identical);
        }
        let source = Source::open(upload).await?;
        if source.size() > FORM_LIMIT {
            return Err(Error::Unsupported {
                channel: self.site.name.clone(),
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
        let slot: Slot = self.site.server.json(&what, &answer)?;
        SignedForm::new(&self.site, &what, &slot.upload_url, &slot.upload_fields)?
            .send(upload, &source, reporter)
            .await?;
        match self.create(&what, &slot.identifier).await? {
            Ok(()) => Ok(PublishResult::Uploaded),
            Err(answer) => match is_same(upload, self.after_refusal(package).await?)? {
                true => Ok(PublishResult::Identical),
                false => Err(self.refused(&what, &answer)),
            },
        }
    }
}
