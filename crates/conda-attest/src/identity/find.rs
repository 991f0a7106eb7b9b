//! Finding an identity to sign with.

use std::fmt;

use async_trait::async_trait;
use url::Url;

use super::command::TokenCommand;
use super::input::{TokenFile, read_stdin, still_valid};
use super::interactive::{Person, log_in};
use crate::{
    ActionsEndpoint, Environment, Error, IdentitySource, IdentityToken, Provider, TokenInput,
};

/// Where to look for an identity.
///
/// Looked for in this order, and the first that is there is taken: a token that was named,
/// `SIGSTORE_ID_TOKEN`, GitHub Actions, GitLab CI, Buildkite, CircleCI, a person. What is there
/// and does not work is an error: whoever runs in GitHub Actions does not mean to sign as
/// somebody else. The CI systems are recognized as the crate `ambient-id` recognizes them.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// A token that was named: `--identity-token`.
    pub token: Option<&'a TokenInput>,
    /// The audience of the Sigstore instance.
    pub audience: &'a str,
    /// Where variables are looked up.
    pub environment: &'a dyn Environment,
    /// Somebody who can log in; nobody unless standard input and standard error are terminals.
    pub person: Option<&'a dyn Person>,
    /// Where a person logs in: the identity provider of the signing configuration.
    pub oidc: Option<&'a Url>,
}

/// A source of tokens that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sought {
    /// The source.
    pub provider: Provider,
    /// What was looked for and not found.
    pub missing: String,
    /// What to change, where this is the CI system that the program runs in.
    pub remedy: Option<String>,
}

impl fmt::Display for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.missing)
    }
}

/// A source of identity tokens that was found.
pub struct Identity {
    provider: Provider,
    source: Source,
}

enum Source {
    /// A token that is all there is.
    AtHand(IdentityToken),
    File(TokenFile),
    Actions(ActionsEndpoint),
    Command(TokenCommand),
}

impl Identity {
    /// Where the tokens come from.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Whether the provider makes a new token whenever one is asked for. Where it does not, what
    /// can be signed ends with the token and the certificate made with it, unless a token file is
    /// replaced in time.
    #[must_use]
    pub fn can_renew(&self) -> bool {
        matches!(self.source, Source::Actions(_) | Source::Command(_))
    }
}

/// A token of the caller's: used until it ends, and not renewed.
impl From<IdentityToken> for Identity {
    fn from(token: IdentityToken) -> Self {
        Self {
            provider: token.provider(),
            source: Source::AtHand(token),
        }
    }
}

/// A token that is valid now: a new one from a provider that makes them, else the one at hand.
///
/// Fails with [`Error::CannotRenew`] when the token at hand has ended.
#[async_trait]
impl IdentitySource for Identity {
    async fn token(&self) -> Result<IdentityToken, Error> {
        match &self.source {
            Source::AtHand(token) => still_valid(token, None),
            Source::File(file) => file.token().await,
            Source::Actions(endpoint) => endpoint.token().await,
            Source::Command(command) => command.run().await,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

/// Finds an identity to sign with. A token that is at hand is read and checked here, and a person
/// logs in here; a CI system is asked when the [token](IdentitySource::token) is needed.
///
/// # Errors
/// [`Error::NoIdentity`] when there is none, with everything that was looked for; and when a token
/// at hand cannot be read, has ended, or is for another audience.
pub async fn find(search: Search<'_>) -> Result<Identity, Error> {
    let found = search.look()?;
    let provider = found.provider();
    let at_hand = |token: IdentityToken| {
        token.check(search.audience)?;
        Ok::<_, Error>(Source::AtHand(token))
    };
    let source = match found {
        Found::Token(TokenInput::File(path)) => {
            let file = TokenFile::open(path.clone()).await?;
            file.held().check(search.audience)?;
            Source::File(file)
        }
        Found::Token(TokenInput::Stdin) => at_hand(read_stdin().await?)?,
        Found::Variable(provider, text) => at_hand(IdentityToken::from_jwt(&text, provider)?)?,
        Found::Actions { url, bearer } => {
            Source::Actions(ActionsEndpoint::new(&url, bearer, search.audience)?)
        }
        Found::Command(command) => Source::Command(command),
        Found::Person { person, oidc } => at_hand(log_in(person, oidc).await?)?,
    };
    Ok(Identity { provider, source })
}

impl Search<'_> {
    /// Which identity would be used. No token is read or made, and nobody is asked.
    ///
    /// # Errors
    /// [`Error::NoIdentity`] when there is none, with everything that was looked for.
    pub fn detect(&self) -> Result<Provider, Error> {
        self.look().map(|found| found.provider())
    }

    fn look(&self) -> Result<Found<'_>, Error> {
        let mut sought = Vec::new();
        let steps = [
            Self::named,
            Self::variable,
            Self::github_actions,
            Self::gitlab,
            Self::buildkite,
            Self::circleci,
            Self::interactive,
        ];
        for step in steps {
            match step(self) {
                Ok(found) => return Ok(found),
                Err(missing) => {
                    let is_here = missing.remedy.is_some();
                    sought.push(missing);
                    if is_here {
                        break;
                    }
                }
            }
        }
        Err(Error::NoIdentity { sought })
    }

    fn named(&self) -> Result<Found<'_>, Sought> {
        match self.token {
            Some(input) => Ok(Found::Token(input)),
            None => Err(missing(
                Provider::File,
                "none was given with --identity-token",
            )),
        }
    }

    fn variable(&self) -> Result<Found<'_>, Sought> {
        let provider = Provider::Variable;
        let token = self
            .set(VARIABLE)
            .map_err(|reason| missing(provider, reason))?;
        Ok(Found::Variable(provider, token))
    }

    /// <https://docs.github.com/en/actions/reference/security/oidc>
    fn github_actions(&self) -> Result<Found<'_>, Sought> {
        let provider = Provider::GithubActions;
        self.runs_in(provider, "GITHUB_ACTIONS")?;
        let granted = |name| {
            self.set(name).map_err(|reason| {
                let reason = format!("{reason}, so this job may not ask for identity tokens");
                fixed_by(provider, reason, GITHUB_REMEDY.to_owned())
            })
        };
        Ok(Found::Actions {
            url: granted("ACTIONS_ID_TOKEN_REQUEST_URL")?,
            bearer: granted("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?,
        })
    }

    /// <https://docs.gitlab.com/ci/secrets/id_token_authentication/>; the variable has the name
    /// that the audience has in capitals.
    fn gitlab(&self) -> Result<Found<'_>, Sought> {
        let provider = Provider::Gitlab;
        self.runs_in(provider, "GITLAB_CI")?;
        let in_capitals = |c: char| match c.is_ascii_alphanumeric() {
            true => c.to_ascii_uppercase(),
            false => '_',
        };
        let name: String = self.audience.chars().map(in_capitals).collect();
        let token = self.set(&format!("{name}_ID_TOKEN")).map_err(|reason| {
            let remedy = format!(
                "have GitLab make a token for this job in .gitlab-ci.yml:\n\n    id_tokens:\n      \
                 {VARIABLE}:\n        aud: {}\n",
                self.audience
            );
            fixed_by(provider, reason, remedy)
        })?;
        Ok(Found::Variable(provider, token))
    }

    /// <https://buildkite.com/docs/pipelines/security/oidc>
    fn buildkite(&self) -> Result<Found<'_>, Sought> {
        self.runs_in(Provider::Buildkite, "BUILDKITE")?;
        self.command(TokenCommand::buildkite(self.audience), BUILDKITE_REMEDY)
    }

    /// <https://circleci.com/docs/guides/permissions-authentication/openid-connect-tokens/>
    fn circleci(&self) -> Result<Found<'_>, Sought> {
        self.runs_in(Provider::CircleCi, "CIRCLECI")?;
        self.command(TokenCommand::circleci(self.audience), CIRCLECI_REMEDY)
    }

    fn command(&self, command: TokenCommand, remedy: &str) -> Result<Found<'_>, Sought> {
        let program = format!("{}{}", command.program, std::env::consts::EXE_SUFFIX);
        let path = self.environment.variable("PATH").unwrap_or_default();
        if std::env::split_paths(&path).any(|folder| folder.join(&program).is_file()) {
            return Ok(Found::Command(command));
        }
        let reason = format!("`{}` is not on the PATH", command.program);
        Err(fixed_by(command.provider, reason, remedy.to_owned()))
    }

    fn interactive(&self) -> Result<Found<'_>, Sought> {
        let provider = Provider::Interactive;
        if self.set("CI").is_ok() {
            return Err(missing(provider, "CI is set, so nobody is there to log in"));
        }
        let person = self.person.ok_or_else(|| {
            let reason = "standard input and standard error are not both a terminal";
            missing(provider, reason)
        })?;
        let oidc = self.oidc.ok_or_else(|| {
            missing(
                provider,
                "the signing configuration names no identity provider",
            )
        })?;
        Ok(Found::Person { person, oidc })
    }

    /// The value of a variable that is set to something, or what is wrong with it.
    fn set(&self, name: &str) -> Result<String, String> {
        match self.environment.variable(name) {
            Some(value) if !value.is_empty() => Ok(value),
            Some(_) => Err(format!("{name} is empty")),
            None => Err(format!("{name} is not set")),
        }
    }

    /// Whether a CI system says that the program runs in it.
    fn runs_in(&self, provider: Provider, name: &str) -> Result<(), Sought> {
        match self.environment.variable(name).as_deref() {
            Some("true") => Ok(()),
            _ => Err(missing(provider, format!("{name} is not `true`"))),
        }
    }
}

/// The variable for tokens that all Sigstore clients know.
const VARIABLE: &str = "SIGSTORE_ID_TOKEN";

const GITHUB_REMEDY: &str = "give the job the right to ask for identity tokens:\n\n    permissions:\n      \
     id-token: write\n\nA pull request from a fork cannot have it, whatever its workflow says.";

const BUILDKITE_REMEDY: &str = "run this step where Buildkite's agent is; with the docker plugin:\n\n    \
     mount-buildkite-agent: true\n";

const CIRCLECI_REMEDY: &str = "run this step in a job of CircleCI's own executors, where its command is, or hand \
     over a token in SIGSTORE_ID_TOKEN";

/// What is there, before it was used.
enum Found<'a> {
    Token(&'a TokenInput),
    Variable(Provider, String),
    Actions {
        url: String,
        bearer: String,
    },
    Command(TokenCommand),
    Person {
        person: &'a dyn Person,
        oidc: &'a Url,
    },
}

impl Found<'_> {
    fn provider(&self) -> Provider {
        match self {
            Self::Token(TokenInput::File(_)) => Provider::File,
            Self::Token(TokenInput::Stdin) => Provider::Stdin,
            Self::Variable(provider, _) => *provider,
            Self::Actions { .. } => Provider::GithubActions,
            Self::Command(command) => command.provider,
            Self::Person { .. } => Provider::Interactive,
        }
    }
}

fn missing(provider: Provider, missing: impl Into<String>) -> Sought {
    Sought {
        provider,
        missing: missing.into(),
        remedy: None,
    }
}

fn fixed_by(provider: Provider, missing: String, remedy: String) -> Sought {
    Sought {
        provider,
        missing,
        remedy: Some(remedy),
    }
}
