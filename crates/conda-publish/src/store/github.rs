//! GitHub's attestation store of a repository, where `gh attestation verify` looks.
//!
//! `POST /repos/{owner}/{repo}/attestations`: <https://docs.github.com/en/rest/repos/attestations>.

use async_trait::async_trait;
use cep27::Sha256;
use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION};
use release_manifest::PackageKey;
use reqwest::RequestBuilder;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use super::AttestationStore;
use crate::blocking::blocking;
use crate::credentials::{Secret, variable};
use crate::remote::join;
use crate::server::{Answer, Server};
use crate::settings::Settings;
use crate::sidecar::BundleText;
use crate::{Bundle, Error, Patience};

/// Where the interface is, unless `GITHUB_API_URL` says otherwise, as it does on servers of companies.
const API: &str = "https://api.github.com";

/// The version of the interface that this is written for.
const API_VERSION: &str = "2022-11-28";

/// The newest attestations of a package that are looked at for the one to store.
const LOOKED_AT: &str = "30";

pub(super) struct GithubStore {
    server: Server,
    repository_url: Url,
    repository: String,
    token: Option<Secret>,
}

#[derive(serde::Serialize)]
struct NewAttestation<'a> {
    bundle: &'a RawValue,
}

#[derive(Deserialize)]
struct Attestations {
    attestations: Vec<Attestation>,
}

#[derive(Deserialize)]
struct Attestation {
    /// Absent where GitHub only says where it is.
    bundle: Option<Value>,
}

impl GithubStore {
    pub(super) async fn open(
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
        })
    }

    fn token(&self) -> Result<&Secret, Error> {
        self.token.as_ref().ok_or_else(|| Error::NoCredentials {
            server: self.server.name().to_owned(),
            reason: "expected a token in `GITHUB_TOKEN` or `GH_TOKEN`; found none".to_owned(),
        })
    }

    async fn ask(&self, what: &str, request: impl Fn() -> RequestBuilder) -> Result<Answer, Error> {
        let bearer = self.token()?.header(self.server.name(), "Bearer")?;
        let answer = self.server.ask(what, async || {
            Ok(request()
                .header(ACCEPT, "application/vnd.github+json")
                .header("X-GitHub-Api-Version", API_VERSION)
                .header(AUTHORIZATION, bearer.clone()))
        });
        answer.await
    }

    /// Whether it has this attestation already. What can't be told is taken for no: twice does no harm.
    async fn has(&self, what: &str, package: Sha256, bundle: &BundleText) -> Result<bool, Error> {
        let digest = format!("sha256:{package}");
        let mut url = join(&self.repository_url, ["attestations", &digest]);
        url.set_query(Some(&format!("per_page={LOOKED_AT}")));
        let answer = self
            .ask(what, || self.server.http().get(url.clone()))
            .await?;
        if answer.status != StatusCode::OK {
            return Ok(false);
        }
        let listed = serde_json::from_slice::<Attestations>(&answer.body);
        let wanted = serde_json::from_str::<Value>(bundle.as_str());
        let (Ok(listed), Ok(wanted)) = (listed, wanted) else {
            return Ok(false);
        };
        let mut bundles = listed.attestations.into_iter().filter_map(|it| it.bundle);
        Ok(bundles.any(|bundle| bundle == wanted))
    }
}

#[async_trait]
impl AttestationStore for GithubStore {
    async fn preflight(&self) -> Result<(), Error> {
        let what = format!("the repository {}", self.repository);
        let url = &self.repository_url;
        let answer = self
            .ask(&what, || self.server.http().get(url.clone()))
            .await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            status => Err(self.server.refused(&what, &answer, help(status))),
        }
    }

    async fn put(
        &self,
        package: &PackageKey,
        sha256: Sha256,
        bundle: &Bundle,
    ) -> Result<(), Error> {
        let what = format!("the attestation of {package}");
        let (bundle, name) = (bundle.clone(), package.clone());
        let text = blocking(move || BundleText::read(&bundle, &name)).await?;
        if self.has(&what, sha256, &text).await? {
            return Ok(());
        }
        let bundle: &RawValue = serde_json::from_str(text.as_str())
            .map_err(|error| self.server.unexpected(&what, error.to_string()))?;
        let body = NewAttestation { bundle };
        let url = join(&self.repository_url, ["attestations"]);
        let request = || self.server.http().post(url.clone()).json(&body);
        let answer = self.ask(&what, request).await?;
        match answer.status {
            StatusCode::CREATED => Ok(()),
            status if status.is_success() => Err(self.server.unexpected(
                &what,
                format!("expected HTTP status 201, found {}", status.as_u16()),
            )),
            status => Err(self.server.refused(&what, &answer, help(status))),
        }
    }
}

/// What a person can do about a refusal.
fn help(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => {
            "the token in `GITHUB_TOKEN` or `GH_TOKEN` is not valid or has ended: give the job's own, `${{ github.token }}`, or make a new one"
        }
        403 => {
            "give the job `permissions: attestations: write`, or the token write access to the repository's attestations"
        }
        404 => {
            "check the names of owner and repository, and that the token may see it; attestations of private repositories take a plan that has them"
        }
        422 => {
            "GitHub found the attestation wrong: it takes those signed with the public-good Sigstore, or its own, for packages of that repository"
        }
        _ => "look at the repository's settings and at githubstatus.com",
    }
}
