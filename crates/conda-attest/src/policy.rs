//! Who may have signed.

use regex::Regex;
use serde::{Serialize, Serializer};
use sigstore_crypto::{CertificateInfo, FulcioCiClaims};

use crate::Error;
use crate::verdict::Refusal;

/// The issuer of GitHub Actions' identity tokens.
pub const GITHUB_ISSUER: &str = "https://token.actions.githubusercontent.com";

/// Whose attestations are accepted.
///
/// It is serialized to be told from others: policies of equal bytes accept the same.
#[derive(Clone, Debug, Serialize)]
pub enum Policy {
    /// One identity, or those of a pattern, as vouched for by exactly this issuer.
    ///
    /// That of a reusable workflow is the same for everybody who calls it: [`Github`] is the policy
    /// that looks at who did.
    Identity {
        /// The subject alternative name of the certificate.
        identity: Matcher,
        /// The issuer of the identity token.
        issuer: String,
    },
    /// A workflow of GitHub Actions, by the claims in the certificate.
    Github(Box<Github>),
    /// Whatever one of these accepts; an empty list accepts nothing.
    AnyOf(Vec<Policy>),
    /// Anybody at all. It tells that an attestation is intact, not that it can be trusted.
    Anyone,
}

impl Policy {
    /// Exactly this identity from exactly this issuer.
    pub fn exactly(identity: impl Into<String>, issuer: impl Into<String>) -> Self {
        Self::Identity {
            identity: Matcher::Exact(identity.into()),
            issuer: issuer.into(),
        }
    }

    pub(crate) fn check(&self, certificate: &CertificateInfo) -> Result<(), Refusal> {
        match self {
            Self::Identity { identity, issuer } => {
                let found = certificate.issuer.as_deref();
                equal("issuer", issuer, found)?;
                let found = certificate.identity.as_ref().map(|name| name.as_str());
                match found {
                    Some(found) if identity.matches(found) => Ok(()),
                    _ => Err(mismatch("identity", &identity.to_string(), found)),
                }
            }
            Self::Github(github) => github.check(certificate),
            Self::AnyOf(policies) => {
                let mut refusals = Vec::new();
                for policy in policies {
                    match policy.check(certificate) {
                        Ok(()) => return Ok(()),
                        Err(refusal) => refusals.push(refusal.message),
                    }
                }
                Err(Refusal::new(
                    "no_policy_matches",
                    format!(
                        "none of {} policies accepts it: {}",
                        policies.len(),
                        refusals.join("; ")
                    ),
                ))
            }
            Self::Anyone => Ok(()),
        }
    }
}

/// How an identity is compared.
#[derive(Clone, Debug, Serialize)]
pub enum Matcher {
    /// Character by character.
    Exact(String),
    /// A regular expression for the whole identity.
    Regex(WholeRegex),
}

impl Matcher {
    /// A pattern for the whole identity, in the syntax of the `regex` crate.
    ///
    /// # Errors
    /// When the pattern is not one.
    pub fn regex(pattern: &str) -> Result<Self, Error> {
        WholeRegex::new(pattern).map(Self::Regex)
    }

    /// A pattern in which `*` stands for any text without `/` and `@`.
    ///
    /// # Errors
    /// When the pattern is unreasonably long.
    pub fn glob(pattern: &str) -> Result<Self, Error> {
        let parts: Vec<_> = pattern.split('*').map(regex::escape).collect();
        Self::regex(&parts.join("[^/@]*"))
    }

    fn matches(&self, identity: &str) -> bool {
        match self {
            Self::Exact(expected) => identity == expected,
            Self::Regex(pattern) => pattern.0.is_match(identity),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(expected) => f.write_str(expected),
            Self::Regex(pattern) => write!(f, "/{}/", pattern.0),
        }
    }
}

/// A regular expression that matches whole strings only.
#[derive(Clone, Debug)]
pub struct WholeRegex(Regex);

impl WholeRegex {
    /// Compiles a pattern; it matches as if it stood between `^` and `$`.
    ///
    /// # Errors
    /// When the pattern is not a regular expression by itself.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let invalid = |error: regex::Error| Error::Policy {
            reason: error.to_string(),
        };
        // By itself first: `a)|(b` would otherwise break out of the group around it.
        Regex::new(pattern).map_err(invalid)?;
        Regex::new(&format!(r"\A(?:{pattern})\z"))
            .map(Self)
            .map_err(invalid)
    }
}

impl Serialize for WholeRegex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// What a certificate must claim: an entry of `[[verify]]`, or the options of the command line.
/// Everything that is given must hold. Claims are compared exactly; the names are those of GitHub
/// Actions, where `repo` `acme/pkgs` means `https://github.com/acme/pkgs`.
///
/// Numbers are those of Fulcio's certificate extensions, `1.3.6.1.4.1.57264.1.N`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Github {
    /// Who signed: the subject alternative name. Enough by itself if the issuer is given with it,
    /// but for a reusable workflow, whose identity is the same for every caller.
    pub identity: Option<Matcher>,
    /// Who vouches (.8); GitHub.com's own issuer unless given.
    pub issuer: Option<String>,
    /// The owner of the source repository (.16): `acme`.
    pub owner: Option<String>,
    /// The source repository (.12): `acme/pkgs`.
    pub repo: Option<String>,
    /// The full ref of the source (.14): `refs/heads/main`.
    pub git_ref: Option<String>,
    /// The commit of the source (.13).
    pub sha: Option<String>,
    /// The workflow that was started (.18): `acme/pkgs/.github/workflows/release.yml@refs/heads/main`.
    pub workflow: Option<String>,
    /// The workflow that signed (.9, and the identity): the same unless it is a reusable one, which
    /// signs as itself for every caller.
    pub signer_workflow: Option<String>,
    /// The immutable number of the owner (.17).
    pub owner_id: Option<String>,
    /// The immutable number of the repository (.15).
    pub repository_id: Option<String>,
    /// The deployment environment (.23).
    pub environment: Option<String>,
    /// Accept runners of GitHub only (.11).
    pub deny_self_hosted_runners: bool,
}

impl Github {
    /// Makes a policy of the claims.
    ///
    /// # Errors
    /// When they would accept repositories of anybody: without owner, repository or identity, or
    /// with a signing workflow that anybody may call; when an identity has no issuer, since any
    /// issuer may vouch for a name; or when a ref is not a full one.
    pub fn into_policy(self) -> Result<Policy, Error> {
        let unusable = |reason: &str| {
            Err(Error::Policy {
                reason: reason.to_owned(),
            })
        };
        let repository = self.repo.is_some() || self.repository_id.is_some();
        let owner = self.owner.is_some() || self.owner_id.is_some();
        if self.signer_workflow.is_some() && !repository {
            return unusable("a signing workflow signs for every caller: name the repository too");
        }
        match (&self.identity, &self.issuer) {
            (Some(_), None) if !repository && !owner => {
                return unusable("name the issuer of the identity too: another's can be anybody");
            }
            (None, _) if !repository && !owner => {
                return unusable(
                    "name the identity with its issuer, the owner or the repository: any other \
                     claim can be anybody's",
                );
            }
            _ => {}
        }
        if self
            .git_ref
            .as_ref()
            .is_some_and(|name| !name.starts_with("refs/"))
        {
            return unusable("a ref is a full one, as refs/heads/main or refs/tags/v1");
        }
        for workflow in [&self.workflow, &self.signer_workflow]
            .into_iter()
            .flatten()
        {
            if !workflow.contains('@') {
                return unusable("a workflow ends in its ref, as …/release.yml@refs/heads/main");
            }
        }
        Ok(Policy::Github(Box::new(self)))
    }

    /// Whether it says whose source or workflow it must be, and not only who signs.
    fn names_the_caller(&self) -> bool {
        let callers = [
            &self.owner,
            &self.owner_id,
            &self.repo,
            &self.repository_id,
            &self.workflow,
        ];
        callers.into_iter().any(Option::is_some)
    }

    fn check(&self, certificate: &CertificateInfo) -> Result<(), Refusal> {
        let issuer = self.issuer.as_deref().unwrap_or(GITHUB_ISSUER);
        equal("issuer", issuer, certificate.issuer.as_deref())?;
        let claims = &certificate.ci_claims;
        let signer = certificate
            .identity
            .as_ref()
            .map(|name| name.as_str().to_owned());
        if let Some(identity) = &self.identity
            && !signer.as_deref().is_some_and(|name| identity.matches(name))
        {
            let expected = identity.to_string();
            return Err(mismatch("identity", &expected, signer.as_deref()));
        }
        if !self.names_the_caller() {
            refuse_reusable(claims)?;
        }
        let urls = [
            ("owner", &self.owner, &claims.source_repository_owner_uri),
            ("repository", &self.repo, &claims.source_repository_uri),
            ("workflow", &self.workflow, &claims.build_config_uri),
            (
                "signer workflow",
                &self.signer_workflow,
                &claims.build_signer_uri,
            ),
            ("identity", &self.signer_workflow, &signer),
        ];
        for (claim, expected, found) in urls {
            if let Some(expected) = expected {
                equal(claim, &on_github(expected), found.as_deref())?;
            }
        }
        let hosted = self
            .deny_self_hosted_runners
            .then(|| "github-hosted".to_owned());
        let values = [
            ("ref", &self.git_ref, &claims.source_repository_ref),
            ("commit", &self.sha, &claims.source_repository_digest),
            (
                "owner id",
                &self.owner_id,
                &claims.source_repository_owner_identifier,
            ),
            (
                "repository id",
                &self.repository_id,
                &claims.source_repository_identifier,
            ),
            (
                "environment",
                &self.environment,
                &claims.deployment_environment,
            ),
            ("runner environment", &hosted, &claims.runner_environment),
        ];
        for (claim, expected, found) in values {
            if let Some(expected) = expected {
                equal(claim, expected, found.as_deref())?;
            }
        }
        Ok(())
    }
}

/// Refuses the certificate of a workflow that signs for another one (.9 is not .18): anybody may
/// call it, and its identity would be the same.
fn refuse_reusable(claims: &FulcioCiClaims) -> Result<(), Refusal> {
    match (&claims.build_signer_uri, &claims.build_config_uri) {
        (Some(signer), Some(caller)) if signer != caller => Err(Refusal::new(
            "reusable_workflow",
            format!(
                "expected a workflow that signs for itself, or a policy that names the repository, found \
                 the reusable workflow `{}` called by `{}`",
                cep27::printable(signer),
                cep27::printable(caller)
            ),
        )),
        _ => Ok(()),
    }
}

fn on_github(name: &str) -> String {
    if name.contains("://") {
        name.to_owned()
    } else {
        format!("https://github.com/{name}")
    }
}

fn equal(claim: &str, expected: &str, found: Option<&str>) -> Result<(), Refusal> {
    if found == Some(expected) {
        Ok(())
    } else {
        Err(mismatch(claim, expected, found))
    }
}

fn mismatch(claim: &str, expected: &str, found: Option<&str>) -> Refusal {
    let found = found.map_or_else(
        || "none".to_owned(),
        |found| format!("`{}`", cep27::printable(found)),
    );
    Refusal::new(
        "identity_mismatch",
        format!("expected {claim} `{expected}`, found {found}"),
    )
}
