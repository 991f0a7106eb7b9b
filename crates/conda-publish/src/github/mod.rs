//! GitHub's interface to a repository: <https://docs.github.com/en/rest>.

mod release;

use http::header::{ACCEPT, AUTHORIZATION};
use reqwest::RequestBuilder;
use url::Url;

pub use self::release::GithubRelease;
use crate::blocking::blocking;
use crate::credentials::{Secret, variable};
use crate::remote::join;
use crate::server::{Answer, Server};
use crate::settings::Settings;
use crate::{Error, Patience};

/// Where the interface is, unless `GITHUB_API_URL` says otherwise, as it does on servers of companies.
const API: &str = "https://api.github.com";

/// The version of the interface that this is written for.
const API_VERSION: &str = "2022-11-28";

/// A repository, as who the token is for.
pub(crate) struct Github {
    server: Server,
    repository_url: Url,
    repository: String,
    token: Option<Secret>,
    patience: Patience,
    settings: Settings,
}

impl Github {
    /// Prepares for asking. Nobody is asked yet.
    ///
    /// # Errors
    /// `GITHUB_API_URL` is no URL, or one that credentials must not be sent to.
    pub(crate) async fn open(
        owner: &str,
        repository: &str,
        patience: &Patience,
    ) -> Result<Self, Error> {
        let settings = blocking(Settings::read).await?;
        let api = std::env::var("GITHUB_API_URL").unwrap_or_default();
        let api = match api.trim() {
            "" => API,
            api => api,
        };
        let url = Url::parse(api).map_err(|_| Error::Unsupported {
            channel: format!("GITHUB_API_URL={}", cep27::printable(api)),
            reason: "is not a URL",
        })?;
        Ok(Self {
            server: Server::new(&url, patience.clone(), &settings)?,
            repository_url: join(&url, ["repos", owner, repository]),
            repository: format!("{owner}/{repository}"),
            token: variable("GITHUB_TOKEN").or_else(|| variable("GH_TOKEN")),
            patience: patience.clone(),
            settings,
        })
    }

    /// The server of the interface.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Another of GitHub's servers.
    ///
    /// # Errors
    /// Credentials must not be sent there.
    fn server_at(&self, url: &Url) -> Result<Server, Error> {
        Server::new(url, self.patience.clone(), &self.settings)
    }

    /// The repository's own URL in the interface.
    pub(crate) fn url(&self) -> &Url {
        &self.repository_url
    }

    /// `owner/name`.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// Makes a request for `what`, again if it fails in passing, and gives the answer, whatever its status.
    ///
    /// # Errors
    /// There is no token, or no whole answer.
    pub(crate) async fn ask(
        &self,
        what: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, Error> {
        self.ask_at(&self.server, what, request).await
    }

    /// [`ask`](Self::ask), at another of GitHub's servers.
    async fn ask_at(
        &self,
        server: &Server,
        what: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, Error> {
        let bearer = self.token()?.header(server.name(), "Bearer")?;
        let answer = server.ask(what, async || {
            Ok(request()
                .header(ACCEPT, "application/vnd.github+json")
                .header("X-GitHub-Api-Version", API_VERSION)
                .header(AUTHORIZATION, bearer.clone()))
        });
        answer.await
    }

    fn token(&self) -> Result<&Secret, Error> {
        self.token.as_ref().ok_or_else(|| Error::NoCredentials {
            server: self.server.name().to_owned(),
            reason: "expected a token in `GITHUB_TOKEN` or `GH_TOKEN`; found none".to_owned(),
        })
    }
}
