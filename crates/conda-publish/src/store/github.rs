//! GitHub's attestation store of a repository, where `gh attestation verify` looks.
//!
//! `POST /repos/{owner}/{repo}/attestations`: <https://docs.github.com/en/rest/repos/attestations>.

use async_trait::async_trait;
use cep27::Sha256;
use http::StatusCode;
use release_manifest::PackageKey;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::AttestationStore;
use crate::blocking::blocking;
use crate::github::Github;
use crate::remote::join;
use crate::sidecar::BundleText;
use crate::{Bundle, Error, Patience};

/// The newest attestations of a package that are looked at for the one to store.
const LOOKED_AT: &str = "30";

pub(super) struct GithubStore {
    github: Github,
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
        Ok(Self {
            github: Github::open(owner, repository, patience).await?,
        })
    }

    /// Checks whether it has this attestation already.
    ///
    /// # Errors
    /// It cannot be read: stored twice, an attestation stays there twice.
    async fn has(&self, what: &str, package: Sha256, bundle: &BundleText) -> Result<bool, Error> {
        let digest = format!("sha256:{package}");
        let mut url = join(self.github.url(), ["attestations", &digest]);
        url.set_query(Some(&format!("per_page={LOOKED_AT}")));
        let get = || self.github.server().http().get(url.clone());
        let answer = self.github.ask(what, get).await?;
        let server = self.github.server();
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(false),
            status => return Err(server.refused(what, &answer, help(status))),
        }
        let unexpected = |error: serde_json::Error| server.unexpected(what, error.to_string());
        let listed: Attestations = serde_json::from_slice(&answer.body).map_err(unexpected)?;
        let wanted: Value = serde_json::from_str(bundle.as_str()).map_err(unexpected)?;
        let mut bundles = listed.attestations.into_iter().filter_map(|it| it.bundle);
        Ok(bundles.any(|bundle| bundle == wanted))
    }
}

#[async_trait]
impl AttestationStore for GithubStore {
    async fn preflight(&self) -> Result<(), Error> {
        let what = format!("the repository {}", self.github.repository());
        let server = self.github.server();
        let get = || server.http().get(self.github.url().clone());
        let answer = self.github.ask(&what, get).await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            status => Err(server.refused(&what, &answer, help(status))),
        }
    }

    async fn put(
        &self,
        package: &PackageKey,
        sha256: Sha256,
        bundle: &Bundle,
    ) -> Result<(), Error> {
        let what = format!("the attestation of {package}");
        let server = self.github.server();
        let (bundle, name) = (bundle.clone(), package.clone());
        let text = blocking(move || BundleText::read(&bundle, &name)).await?;
        if self.has(&what, sha256, &text).await? {
            return Ok(());
        }
        let bundle: &RawValue = serde_json::from_str(text.as_str())
            .map_err(|error| server.unexpected(&what, error.to_string()))?;
        let body = NewAttestation { bundle };
        let url = join(self.github.url(), ["attestations"]);
        let request = || server.http().post(url.clone()).json(&body);
        let answer = self.github.ask(&what, request).await?;
        match answer.status {
            StatusCode::CREATED => Ok(()),
            status if status.is_success() => Err(server.unexpected(
                &what,
                format!("expected HTTP status 201, found {}", status.as_u16()),
            )),
            status => Err(server.refused(&what, &answer, help(status))),
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
