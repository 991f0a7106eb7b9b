//! Who signs for real: found once, shown before use, asked again when a certificate is renewed.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use clap::Args;
use conda_attest::{
    Environment, Error as AttestError, Evidence, Identity, IdentitySource, IdentityToken,
    ProcessEnvironment, Search, TokenFacts, TokenInput, Trust,
};
use conda_publish::TokenSource;
use url::{Host, Url};

use crate::{error::Error, person::AtTerminal, printer::Printer, workspace::Workspace};

/// Who signs for real.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentityArgs {
    /// A file with the identity token, `-` for standard input
    #[arg(long, value_name = "FILE")]
    identity_token: Option<PathBuf>,

    /// The audience of identity tokens for an instance of your own; `sign.audience` by default
    #[arg(long, value_name = "AUDIENCE", env = "CONDA_RELEASE_AUDIENCE")]
    audience: Option<String>,
}

impl IdentityArgs {
    /// The token that is named, if one is.
    pub(crate) fn token(&self) -> Option<TokenInput> {
        let path = self.identity_token.clone()?;
        Some(match path.as_os_str() == "-" {
            true => TokenInput::Stdin,
            false => TokenInput::File(path),
        })
    }

    /// The audience that tokens must have, where it is not that of the public instance.
    pub(crate) fn audience(&self, workspace: &Workspace) -> Option<String> {
        let configured = &workspace.config().sign.audience;
        self.audience.as_ref().or(configured.as_ref()).cloned()
    }
}

/// An identity to sign with under a trust, and its first token.
pub(crate) struct Signer {
    source: Identity,
    /// The first token. It is used before another is asked for: to ask twice might have a person
    /// log in twice.
    first: IdentityToken,
    is_used: AtomicBool,
}

impl Signer {
    /// Finds the identity: the token that was named, the CI system's, or a person's.
    ///
    /// # Errors
    /// There is none, it cannot be used with this instance, or it is a rehearsal's.
    pub(crate) async fn find(
        token: Option<&TokenInput>,
        trust: &Trust,
        printer: &Printer,
    ) -> Result<Self, Error> {
        let oidc = trust.identity_provider()?;
        let person = AtTerminal::find(printer, &ProcessEnvironment);
        let source = conda_attest::find_identity(Search {
            token,
            audience: trust.audience(),
            environment: &ProcessEnvironment,
            person: person.as_ref().map(|person| person as _),
            oidc: oidc.as_ref(),
        })
        .await?;
        let first = source.token().await?;
        match is_rehearsed(first.issuer()) {
            true => Err(Error::RehearsedIdentity(first.issuer().to_owned())),
            false => Ok(Self {
                source,
                first,
                is_used: AtomicBool::new(false),
            }),
        }
    }

    /// Whether there is an identity. No token is asked for, and nobody logs in.
    ///
    /// # Errors
    /// There is none, with everything that was looked for.
    pub(crate) fn detect(
        token: Option<&TokenInput>,
        trust: &Trust,
        printer: &Printer,
    ) -> Result<(), Error> {
        let oidc = trust.identity_provider()?;
        let person = AtTerminal::find(printer, &ProcessEnvironment);
        let search = Search {
            token,
            audience: trust.audience(),
            environment: &ProcessEnvironment,
            person: person.as_ref().map(|person| person as _),
            oidc: oidc.as_ref(),
        };
        search.detect().map(drop).map_err(Error::from)
    }

    /// What the first token says of itself.
    pub(crate) fn facts(&self) -> TokenFacts {
        self.first.facts()
    }

    /// Whether what is proved was signed by this identity.
    pub(crate) fn has_signed(&self, proved: &Evidence) -> bool {
        self.first.speaks_for(proved)
    }
}

#[async_trait]
impl IdentitySource for Signer {
    async fn token(&self) -> Result<IdentityToken, AttestError> {
        match self.is_used.swap(true, Ordering::Relaxed) {
            false => Ok(self.first.clone()),
            true => self.source.token().await,
        }
    }
}

/// The identity of the CI system that this runs in, for trusted publishing.
///
/// Neither a token that was named nor a person takes part: those are for Sigstore.
pub(crate) struct CiIdentity;

impl CiIdentity {
    /// Whether this runs where identity tokens can be had. None is asked for.
    pub(crate) fn is_there() -> bool {
        Self::search(PUBLISHING).detect().is_ok()
    }

    fn search(audience: &str) -> Search<'_> {
        Search {
            token: None,
            audience,
            environment: &WithoutSigstore,
            person: None,
            oidc: None,
        }
    }
}

#[async_trait]
impl TokenSource for CiIdentity {
    async fn identity_token(
        &self,
        audience: &str,
    ) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
        let search = Self::search(audience);
        if search.detect().is_err() {
            return Ok(None);
        }
        let token = conda_attest::find_identity(search).await?.token().await?;
        Ok(Some(token.expose().to_owned()))
    }
}

/// The audience of prefix.dev.
const PUBLISHING: &str = "prefix.dev";

/// The environment of this process without the token that was made for Sigstore.
struct WithoutSigstore;

impl Environment for WithoutSigstore {
    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "SIGSTORE_ID_TOKEN" => None,
            name => ProcessEnvironment.variable(name),
        }
    }
}

/// Whether a URL names a host that can never exist (RFC 2606 §2): those of rehearsals do.
pub(crate) fn is_rehearsed(url: &str) -> bool {
    let host = Url::parse(url)
        .ok()
        .and_then(|url| url.host().map(|host| host.to_owned()));
    matches!(host, Some(Host::Domain(name)) if name.trim_end_matches('.').ends_with(".invalid"))
}

#[cfg(test)]
mod tests {
    use super::is_rehearsed;

    #[test]
    fn names_that_cannot_exist_are_a_rehearsals() {
        for url in [
            sigstore_sandbox::ISSUER,
            "https://a.invalid/x",
            "https://A.INVALID.",
        ] {
            assert!(is_rehearsed(url), "{url}");
        }
        for url in [
            "https://token.actions.githubusercontent.com",
            "https://invalid.example",
            "https://a.b/x.invalid",
            "not a URL",
        ] {
            assert!(!is_rehearsed(url), "{url}");
        }
    }
}
