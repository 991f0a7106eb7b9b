//! What tokens and certificates say about the source of packages.

use serde::{Deserialize, Serialize};

use crate::{Error, IDENTITY, ISSUER};

/// Where sources are whose repository is not known.
const GITHUB: &str = "https://github.com";

/// What is known about the repository that packages come from, and who signs for it. It is put into
/// the tokens under GitHub's names and into the certificates under Fulcio's numbers, here in
/// brackets; what is not given is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// `https://host/owner/name` (.12; its owner .16)
    pub repository: Option<String>,
    /// The commit's full hash (.13, .19)
    pub commit: Option<String>,
    /// A full ref, such as `refs/heads/main` (.14)
    pub git_ref: Option<String>,
    /// The path of a workflow file in the repository (.18, together with repository and ref)
    pub workflow: Option<String>,
    /// An immutable number (.15)
    pub repository_id: Option<String>,
    /// An immutable number (.17)
    pub owner_id: Option<String>,
    /// `public`, `private` or `internal` (.22)
    pub visibility: Option<String>,
    /// The workflow that signs, as `owner/name/path@ref` below the repository's host: the SAN and
    /// .9. A reusable workflow signs as itself, whoever calls it. Without one, the sandbox's own
    /// [`IDENTITY`] signs.
    pub signer_workflow: Option<String>,
    /// The commit of the workflow that signs (.10); [`commit`](Self::commit) if not given.
    pub signer_commit: Option<String>,
    /// Who vouches for all this (.1, .8): a URL below `.invalid`. [`ISSUER`] if not given.
    pub issuer: Option<String>,
    /// What started the run (.20), such as `push`; `rehearsal` if not given.
    pub trigger: Option<String>,
    /// `github-hosted` or `self-hosted` (.11); the latter if not given.
    pub runner: Option<String>,
    /// The number of the run (.21, together with the repository)
    pub run_id: Option<String>,
    /// The deployment environment of the job (.23)
    pub environment: Option<String>,
}

impl Claims {
    /// What GitHub Actions says about a push to the branch `main` of `https://github.com/acme/pkgs`
    /// whose workflow `release.yml` signs; only its issuer is another, which is nobody's.
    pub fn github_actions() -> Self {
        let text = |text: &str| Some(text.to_owned());
        Self {
            repository: text("https://github.com/acme/pkgs"),
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            git_ref: text("refs/heads/main"),
            workflow: text(".github/workflows/release.yml"),
            repository_id: text("1001"),
            owner_id: text("2002"),
            visibility: text("public"),
            signer_workflow: text("acme/pkgs/.github/workflows/release.yml@refs/heads/main"),
            signer_commit: None,
            issuer: text("https://actions.sandbox.conda-release.invalid"),
            trigger: text("push"),
            runner: text("github-hosted"),
            run_id: text("3003"),
            environment: None,
        }
    }
}

/// Whether a URL's host is below `.invalid`, and therefore nobody's.
pub(crate) fn is_invalid(url: &str) -> bool {
    url.strip_prefix("https://")
        .and_then(|rest| rest.split('/').next())
        .is_some_and(|host| host.ends_with(".invalid"))
}

/// Whose tokens are minted, and what they say.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) claims: SourceClaims,
}

/// The claims that tell where the signed packages come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job_workflow_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job_workflow_sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) r#ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_owner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repository_visibility: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_attempt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runner_environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workflow_ref: Option<String>,
}

impl SourceClaims {
    /// A path below the repository's host.
    pub(crate) fn below_server(&self, path: &str) -> String {
        format!("{}/{path}", self.server_url.as_deref().unwrap_or(GITHUB))
    }

    /// Who a certificate is for: the workflow that signs, else the token's subject.
    pub(crate) fn identity(&self, subject: &str) -> String {
        match &self.job_workflow_ref {
            Some(workflow) => self.below_server(workflow),
            None => subject.to_owned(),
        }
    }
}

impl TryFrom<Claims> for Source {
    type Error = Error;

    fn try_from(claims: Claims) -> Result<Self, Error> {
        let Claims {
            repository,
            commit,
            git_ref,
            workflow,
            repository_id,
            owner_id,
            visibility,
            signer_workflow,
            signer_commit,
            issuer,
            trigger,
            runner,
            run_id,
            environment,
        } = claims;
        let issuer = issuer.unwrap_or_else(|| ISSUER.to_owned());
        if !is_invalid(&issuer) {
            return Err(Error::Issuer(issuer));
        }
        let repository = repository.map(|url| Repository::parse(&url)).transpose()?;
        let workflow_ref = match (&repository, &workflow, &git_ref) {
            (Some(Repository { path, .. }), Some(workflow), Some(git_ref)) => {
                Some(format!("{path}/{workflow}@{git_ref}"))
            }
            _ => None,
        };
        let (server_url, owner, path) = match repository {
            Some(Repository {
                server,
                owner,
                path,
            }) => (Some(server), Some(owner), Some(path)),
            None => (None, None, None),
        };
        // GitHub's default subjects.
        let subject = match (&signer_workflow, &path, &environment, &git_ref) {
            (Some(_), Some(path), Some(environment), _) => {
                format!("repo:{path}:environment:{environment}")
            }
            (Some(_), Some(path), None, Some(git_ref)) => format!("repo:{path}:ref:{git_ref}"),
            _ => IDENTITY.to_owned(),
        };
        let claims = SourceClaims {
            environment,
            event_name: Some(trigger.unwrap_or_else(|| "rehearsal".to_owned())),
            job_workflow_sha: signer_commit.or_else(|| commit.clone()),
            job_workflow_ref: signer_workflow,
            r#ref: git_ref,
            repository: path,
            repository_id,
            repository_owner: owner,
            repository_owner_id: owner_id,
            repository_visibility: visibility,
            run_attempt: run_id.as_ref().map(|_| "1".to_owned()),
            run_id,
            runner_environment: Some(runner.unwrap_or_else(|| "self-hosted".to_owned())),
            server_url,
            sha: commit,
            workflow,
            workflow_ref,
        };
        Ok(Self {
            issuer,
            subject,
            claims,
        })
    }
}

/// The parts of `https://host/owner/name`; the owner may be nested, as GitLab's groups are.
struct Repository {
    server: String,
    owner: String,
    path: String,
}

impl Repository {
    fn parse(url: &str) -> Result<Self, Error> {
        let parts = || {
            let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
            let (owner, name) = path.rsplit_once('/')?;
            let whole = ![host, owner, name].contains(&"");
            whole.then(|| Self {
                server: format!("https://{host}"),
                owner: owner.to_owned(),
                path: path.to_owned(),
            })
        };
        parts().ok_or_else(|| Error::Repository(url.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_a_host_an_owner_and_a_name() {
        for bad in [
            "acme/pkgs",
            "http://github.com/acme/pkgs",
            "https://github.com/pkgs",
            "https://github.com/acme/",
            "https:///acme/pkgs",
        ] {
            let claims = Claims {
                repository: Some(bad.to_owned()),
                ..Claims::default()
            };
            let error = Source::try_from(claims).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
        let claims = Claims {
            repository: Some("https://gitlab.com/group/sub/pkgs".to_owned()),
            ..Claims::default()
        };
        let Source { claims, .. } = Source::try_from(claims).unwrap();
        assert_eq!(claims.repository_owner.unwrap(), "group/sub");
    }

    /// Nobody shall be able to make the sandbox vouch as somebody who exists.
    #[test]
    fn an_issuer_is_below_invalid() {
        for bad in [
            "https://token.actions.githubusercontent.com",
            "https://github.com/x.invalid",
            "https://invalid",
            "http://actions.invalid",
            "https://actions.invalid:443",
            "https://actions.invalid@github.com",
            "",
        ] {
            let claims = Claims {
                issuer: Some(bad.to_owned()),
                ..Claims::default()
            };
            let error = Source::try_from(claims).unwrap_err();
            assert!(matches!(error, Error::Issuer(_)), "{bad}");
        }
    }
}
