//! The assets of a release on GitHub: <https://docs.github.com/en/rest/releases/assets>.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use release_manifest::PublishResult;
use serde::Deserialize;
use url::Url;

use super::Github;
use crate::blocking::blocking;
use crate::remote::join;
use crate::server::Server;
use crate::{Error, Patience, ReleasePlaced, ReleaseUpload, disk};

/// Where assets are uploaded to whose release is asked for at `api.github.com`.
const UPLOADS: &str = "uploads.github.com";

/// A release of a repository on GitHub, among whose assets the manifest of a release is put.
pub struct GithubRelease {
    github: Github,
    tag: String,
}

/// What GitHub says of a release.
#[derive(Deserialize)]
struct Release {
    html_url: String,
    /// A template (RFC 6570) that ends in its parameters.
    upload_url: String,
    assets: Vec<Asset>,
}

#[derive(Deserialize)]
struct Asset {
    name: String,
    /// `sha256:…`; absent from assets that were uploaded before GitHub kept it.
    digest: Option<String>,
}

impl GithubRelease {
    /// Prepares for the release of this tag. Nobody is asked yet.
    ///
    /// # Errors
    /// `GITHUB_API_URL` is no URL, or one that credentials must not be sent to.
    pub async fn open(
        owner: &str,
        repository: &str,
        tag: &str,
        patience: &Patience,
    ) -> Result<Self, Error> {
        Ok(Self {
            github: Github::open(owner, repository, patience).await?,
            tag: tag.to_owned(),
        })
    }

    /// Makes sure that there is such a release, and that assets can be uploaded to where GitHub says. Nothing is changed.
    ///
    /// # Errors
    /// There is none, or there is no token that may see it.
    pub async fn preflight(&self) -> Result<(), Error> {
        let release = self.find().await?;
        self.uploads(&release).map(drop)
    }

    /// Adds the manifest with its attestation to the assets. Those that are there under their names stay.
    ///
    /// # Errors
    /// GitHub refuses, or the files are not those that were verified.
    pub async fn put(&self, release: &ReleaseUpload) -> Result<ReleasePlaced, Error> {
        let documents = {
            let release = release.clone();
            blocking(move || release.read()).await?
        };
        let mut found = self.find().await?;
        let uploads = self.uploads(&found)?;
        let mut placed = ReleasePlaced::at(found.html_url.clone());
        for (name, bytes) in documents {
            let document = self.place(&uploads, &mut found, name, &bytes).await?;
            if placed.add(document).is_break() {
                break;
            }
        }
        Ok(placed)
    }

    /// Adds an asset to the release, of which this was found, if its name is free.
    async fn place(
        &self,
        uploads: &(Server, Url),
        found: &mut Release,
        name: &str,
        bytes: &[u8],
    ) -> Result<PublishResult, Error> {
        if found.asset(name).is_none() {
            if self.upload(uploads, name, bytes).await? {
                return Ok(PublishResult::Uploaded);
            }
            // Somebody has just done it: we, whose answer was lost, or another job.
            *found = self.find().await?;
        }
        let digest = format!("sha256:{}", disk::hash_of(bytes));
        let there = found.asset(name).and_then(|asset| asset.digest.as_ref());
        match there == Some(&digest) {
            true => Ok(PublishResult::Identical),
            false => Ok(PublishResult::Exists),
        }
    }

    async fn find(&self) -> Result<Release, Error> {
        let what = self.what();
        let server = self.github.server();
        let url = join(self.github.url(), ["releases", "tags", &self.tag]);
        let answer = self
            .github
            .ask(&what, || server.http().get(url.clone()))
            .await?;
        match answer.status {
            StatusCode::OK => server.json(&what, &answer),
            status => Err(server.refused(&what, &answer, help(status))),
        }
    }

    /// `true` where the asset is new; `false` where its name is taken.
    async fn upload(
        &self,
        (server, url): &(Server, Url),
        name: &str,
        bytes: &[u8],
    ) -> Result<bool, Error> {
        let what = format!("{name} to {}", self.what());
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("name", name);
        let post = || {
            let request = server.http().post(url.clone());
            request
                .header(CONTENT_TYPE, "application/json")
                .body(bytes.to_vec())
        };
        let answer = self.github.ask_at(server, &what, post).await?;
        match answer.status {
            StatusCode::CREATED => Ok(true),
            StatusCode::UNPROCESSABLE_ENTITY if is_taken(&answer.body) => Ok(false),
            status => Err(server.refused(&what, &answer, help(status))),
        }
    }

    /// The server that assets are uploaded to, and where: the one that is asked, or GitHub's own for uploads. No other
    /// gets the token, whatever the release says.
    fn uploads(&self, release: &Release) -> Result<(Server, Url), Error> {
        let what = self.what();
        let asked = self.github.url();
        let url = release.upload_url.split('{').next().unwrap_or_default();
        let is_ours = |url: &Url| {
            url.origin() == asked.origin()
                || asked.host_str() == Some("api.github.com")
                    && (url.scheme(), url.host_str()) == ("https", Some(UPLOADS))
        };
        let url = Url::parse(url).ok().filter(is_ours).ok_or_else(|| {
            let found = cep27::printable(&release.upload_url);
            let server = self.github.server();
            server.unexpected(&what, format!("assets are not uploaded to `{found}`"))
        })?;
        Ok((self.github.server_at(&url)?, url))
    }

    fn what(&self) -> String {
        format!("the release {} of {}", self.tag, self.github.repository())
    }
}

impl Release {
    fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }
}

/// Whether a refusal is for the name, which another asset has.
fn is_taken(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        code: String,
    }
    serde_json::from_slice::<Refusal>(body)
        .is_ok_and(|refusal| refusal.errors.iter().any(|it| it.code == "already_exists"))
}

/// What a person can do about a refusal.
fn help(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => {
            "the token in `GITHUB_TOKEN` or `GH_TOKEN` is not valid or has ended: give the job's own, `${{ github.token }}`, or make a new one"
        }
        403 => "give the job `permissions: contents: write`",
        404 => {
            "make a release of that tag first (a draft has none), and check that the token may see it"
        }
        _ => "look at the repository's releases and at githubstatus.com",
    }
}
