//! Channels on anaconda.org, and on servers that speak its API.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cep27::Sha256;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Method};
use release_manifest::{PackageKey, PublishResult};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::blocking::blocking;
use crate::credentials::{conda_key, conda_token};
use crate::form::{SignedForm, md5};
use crate::package_server::{PackageServer, Site, api, read_nowhere};
use crate::remote::join;
use crate::server::Answer;
use crate::source::Source;
use crate::there::is_same;
use crate::{ChannelLocation, Error, OpenOptions, Reporter, Upload, archive};

/// Where the token is looked for before rattler's stores.
pub(crate) const KEY: &str = "ANACONDA_API_KEY";

/// Where another server than the public one is named.
const SERVER: &str = "ANACONDA_SERVER_URL";

const API: &str = "https://api.anaconda.org";

/// The version of the API that is spoken here, as the server wants to hear it.
const API_VERSION: HeaderValue = HeaderValue::from_static("1.12.2");

/// A label of an owner's packages on anaconda.org, which indexes it by itself. It keeps packages and nothing else.
///
/// A file belongs to its owner; labels only say who sees it. So a name is taken whatever label has it.
pub(crate) struct AnacondaOrg {
    site: Site,
    owner: String,
    label: String,
}

/// Where the server wants the bytes of a staged file.
#[derive(Deserialize)]
struct Staged {
    post_url: String,
    form_data: Map<String, Value>,
    dist_id: String,
}

/// What the server has under a file's name.
#[derive(Deserialize)]
struct Distribution {
    sha256: Option<String>,
    labels: Option<Vec<String>>,
}

/// What the archive says of itself, which the server shows.
struct Described {
    index: Value,
    about: Map<String, Value>,
}

/// Whether the server took a file for staging.
enum Stage {
    Taken(Staged),
    /// There is a file of this name.
    Exists(Answer),
}

impl AnacondaOrg {
    pub(crate) async fn open(
        location: &ChannelLocation,
        owner: &str,
        label: &str,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let api = api(options, SERVER, API)?;
        let read_at = match (&options.read_at, api.host_str(), label) {
            (Some(read_at), ..) => read_at.clone(),
            (None, Some("api.anaconda.org"), "main") => {
                format!("https://conda.anaconda.org/{owner}").parse()?
            }
            (None, Some("api.anaconda.org"), label) => {
                format!("https://conda.anaconda.org/{owner}/label/{label}").parse()?
            }
            (None, ..) => return Err(read_nowhere(location)),
        };
        Ok(Self {
            site: Site::open(location, &api, conda_key(KEY), read_at, options).await?,
            owner: owner.to_owned(),
            label: label.to_owned(),
        })
    }

    async fn token(&self) -> Result<HeaderValue, Error> {
        let token = self.site.token(("conda token", KEY), conda_token);
        token.await?.header(self.site.server.name(), "token")
    }

    /// Asks for `what`, whatever the answer.
    async fn ask(
        &self,
        what: &str,
        method: &Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let token = self.token().await?;
        let url = join(&self.site.url, path.iter().copied());
        let server = &self.site.server;
        let request = async || {
            let request = server.http().request(method.clone(), url.clone());
            let request: RequestBuilder = request
                .header(ACCEPT, "application/json")
                .header(AUTHORIZATION, token.clone())
                .header("x-binstar-api-version", API_VERSION);
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        server.ask(what, request).await
    }

    async fn found(&self, what: &str, path: &[&str]) -> Result<(), Error> {
        let answer = self.ask(what, &Method::GET, path, None).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            _ => Err(self.refused(what, &answer)),
        }
    }

    /// Makes what is not there, and changes what is.
    async fn ensure(
        &self,
        what: &str,
        path: &[&str],
        new: &Value,
        change: &Value,
    ) -> Result<(), Error> {
        let answer = self.ask(what, &Method::GET, path, None).await?;
        let (method, body) = match answer.status {
            StatusCode::OK => (Method::PATCH, change),
            StatusCode::NOT_FOUND => (Method::POST, new),
            _ => return Err(self.refused(what, &answer)),
        };
        let answer = self.ask(what, &method, path, Some(body)).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            // Another file of the same package made it meanwhile, or this was done and its answer lost.
            StatusCode::CONFLICT if method == Method::POST => Ok(()),
            _ => Err(self.refused(what, &answer)),
        }
    }

    /// Makes the package and its release, and announces the file.
    async fn stage(&self, upload: &Upload, described: &Described) -> Result<Stage, Error> {
        let Described { index, about } = described;
        let package = &upload.package;
        let file = &package.file;
        let what = package.to_string();
        let name = normalized(package);
        let mut attributes = about.clone();
        attributes.insert("package_types".to_owned(), json!(["conda"]));
        attributes.insert("name".to_owned(), json!(name));
        let of_package = json!({ "public": true, "publish": false, "public_attrs": attributes });
        self.ensure(
            &what,
            &["package", &self.owner, &name],
            &of_package,
            &of_package,
        )
        .await?;
        let new = {
            let mut new = about.clone();
            new.insert("requirements".to_owned(), json!([]));
            new.insert("announce".to_owned(), json!(false));
            new.insert("description".to_owned(), Value::Null);
            Value::Object(new)
        };
        let change = json!({
            "requirements": [], "announce": false, "description": null, "public_attrs": about,
        });
        self.ensure(
            &what,
            &["release", &self.owner, &name, file.version()],
            &new,
            &change,
        )
        .await?;
        let body = json!({
            "distribution_type": "conda",
            "description": null,
            "attrs": index,
            "channels": [self.label],
            "sha256": upload.sha256.to_string(),
        });
        let path = self.path("stage", package, &name);
        let answer = self.ask(&what, &Method::POST, &path, Some(&body)).await?;
        match answer.status {
            StatusCode::OK => Ok(Stage::Taken(self.site.server.json(&what, &answer)?)),
            StatusCode::CONFLICT => Ok(Stage::Exists(answer)),
            _ => Err(self.refused(&what, &answer)),
        }
    }

    /// The hash of the file that has this name; `None` where there is none that is complete.
    async fn distribution(&self, upload: &Upload) -> Result<Option<Sha256>, Error> {
        let package = &upload.package;
        let what = package.to_string();
        let name = normalized(package);
        let path = self.path("dist", package, &name);
        let answer = self.ask(&what, &Method::GET, &path, None).await?;
        let found: Distribution = match answer.status {
            StatusCode::OK => self.site.server.json(&what, &answer)?,
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refused(&what, &answer)),
        };
        let sha256 = match found.sha256 {
            Some(sha256) => Some(sha256.parse().map_err(|_| {
                let sha256 = cep27::printable(&sha256);
                (self.site.server).unexpected(&what, format!("a sha256 that is none: {sha256}"))
            })?),
            None => self.site.there.hashed(package).await?,
        };
        let labels = found.labels.unwrap_or_else(|| vec![self.label.clone()]);
        match sha256 == Some(upload.sha256) && !labels.contains(&self.label) {
            true => Err(self.site.server.refused(
                &what,
                &Answer {
                    status: StatusCode::CONFLICT,
                    body: format!("it is there, but under {}", labels.join(", ")).into_bytes(),
                    ..answer
                },
                "give the file this label as well, on the website or with `anaconda label --copy`",
            )),
            false => Ok(sha256),
        }
    }

    /// Takes away the file that has the package's name.
    async fn remove(&self, package: &PackageKey) -> Result<(), Error> {
        let what = package.to_string();
        let name = normalized(package);
        let path = self.path("dist", package, &name);
        let answer = self.ask(&what, &Method::DELETE, &path, None).await?;
        match answer.status {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(self.refused(&what, &answer)),
        }
    }

    fn path<'a>(&'a self, action: &'a str, package: &'a PackageKey, name: &'a str) -> [&'a str; 6] {
        let PackageKey { subdir, file } = package;
        let (version, subdir) = (file.version(), subdir.as_str());
        [action, &self.owner, name, version, subdir, file.as_str()]
    }

    fn refused(&self, what: &str, answer: &Answer) -> Error {
        let help = match answer.status.as_u16() {
            401 => "check the token: the server doesn't know it, or it has ended",
            403 => {
                "make a token with the scopes `api:read` and `api:write`, by somebody who may publish for this owner"
            }
            404 => "check the name of the owner; the server has none such",
            409 => {
                "the name is taken, and what has it cannot be read: run the same command again, or look at the file on the website"
            }
            402 | 413 | 507 => {
                "the owner's storage is used up: delete what is old, or ask for more"
            }
            400 | 422 => "the server finds the package's metadata wrong: see what it says",
            _ => "run the same command again, and see what the server says",
        };
        self.site.server.refused(what, answer, help)
    }
}

#[async_trait]
impl PackageServer for AnacondaOrg {
    fn site(&self) -> &Site {
        &self.site
    }

    async fn exists(&self) -> Result<(), Error> {
        let what = format!("the channel {}", self.owner);
        self.found(&what, &["user", &self.owner]).await
    }

    async fn may_publish(&self) -> Result<(), Error> {
        self.found("the token", &["user"]).await?;
        self.exists().await
    }

    /// Announces the package, its release and the file, uploads the bytes to the storage that the server names, and
    /// commits: only then is the file there.
    async fn upload(
        &self,
        upload: &Upload,
        reporter: &dyn Reporter,
    ) -> Result<PublishResult, Error> {
        let package = &upload.package;
        let what = package.to_string();
        let source = Source::open(upload).await?;
        let md5 = STANDARD.encode(md5(&source).await?);
        let size = source.size().to_string();
        let described = describe(upload).await?;
        let mut stage = self.stage(upload, &described).await?;
        if let Stage::Exists(answer) = &stage {
            let there = self.distribution(upload).await?;
            if self.site.has(upload, there)? {
                return Ok(PublishResult::Identical);
            }
            if !self.site.force {
                return Err(self.refused(&what, answer));
            }
            self.remove(package).await?;
            // With its last file the server removes release and package, too.
            stage = self.stage(upload, &described).await?;
        }
        let staged = match stage {
            Stage::Taken(staged) => staged,
            Stage::Exists(answer) => return Err(self.refused(&what, &answer)),
        };
        SignedForm::new(&self.site, &what, &staged.post_url, &staged.form_data)?
            .with("Content-Length", &size)
            .with("Content-MD5", &md5)
            .send(upload, &source, reporter)
            .await?;
        let name = normalized(package);
        let path = self.path("commit", package, &name);
        let body = json!({ "dist_id": staged.dist_id });
        let answer = self.ask(&what, &Method::POST, &path, Some(&body)).await?;
        // A refusal may be the answer to the repetition of what was done, and its answer lost.
        if answer.status.is_success() || is_same(upload, self.distribution(upload).await?)? {
            return Ok(PublishResult::Uploaded);
        }
        Err(self.refused(&what, &answer))
    }
}

/// The name under which the server has a package.
fn normalized(package: &PackageKey) -> String {
    package.file.name().to_lowercase()
}

async fn describe(upload: &Upload) -> Result<Described, Error> {
    let (source, package) = (upload.source.clone(), upload.package.clone());
    blocking(move || {
        let refused = |reason: String| Error::Archive {
            package: Box::new(package.clone()),
            path: source.clone(),
            reason,
        };
        let index = archive::index_json(&source, archive::kind(&package))?.map_err(refused)?;
        let index = serde_json::to_value(index).map_err(|error| refused(error.to_string()))?;
        let about = archive::about_json(&source, &package)?;
        Ok(Described { index, about })
    })
    .await
}
