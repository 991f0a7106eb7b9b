//! Identity tokens: what they say, and whether they may be used.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{Error, Evidence, Provider};

/// A token is one or two kilobytes, wherever it comes from.
pub(crate) const MAX_TOKEN: usize = 64 << 10;

/// How far ahead the clock of a provider may be: what Fulcio's own library grants.
const LEEWAY: SignedDuration = SignedDuration::from_mins(5);

/// An OpenID Connect identity token: a secret that Fulcio turns into a certificate.
///
/// Its claims are read without checking its signature, which is Fulcio's task. Neither `Debug` nor
/// an error ever shows it.
#[derive(Clone)]
pub struct IdentityToken {
    token: sigstore_oidc::IdentityToken,
    provider: Provider,
    more: MoreClaims,
}

/// What a token says of itself, to be shown before it is used. The token is no part of it.
///
/// All of it is text of the issuer's choice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenFacts {
    /// Where the token comes from.
    pub provider: Provider,
    /// Who made the token: what the certificate will call the issuer.
    pub issuer: String,
    /// Whom the token speaks of, in its issuer's terms.
    pub subject: String,
    /// For whom the token was made.
    pub audience: Vec<String>,
    /// When the token ends.
    pub expires_at: Timestamp,
}

impl TokenFacts {
    /// How long the token can still be used; zero when it has ended.
    #[must_use]
    pub fn time_left(&self) -> SignedDuration {
        let left = self.expires_at.duration_since(Timestamp::now());
        left.max(SignedDuration::ZERO)
    }
}

/// Claims that the library does not read.
#[derive(Clone, Default, Deserialize)]
struct MoreClaims {
    job_workflow_ref: Option<String>,
    repository: Option<String>,
    nonce: Option<String>,
    /// Seconds since 1970, which may have a fraction.
    nbf: Option<f64>,
}

impl IdentityToken {
    /// Reads a token in JWT's compact form. White space around it, and the byte order mark that
    /// some editors and shells write, are no part of it.
    ///
    /// # Errors
    /// When the text is not a token with issuer, subject and end.
    pub fn from_jwt(jwt: &str, provider: Provider) -> Result<Self, Error> {
        let not_a_token = |reason: &str| Error::Token {
            provider,
            reason: reason.to_owned(),
        };
        let jwt = jwt.trim_start_matches('\u{feff}').trim();
        if jwt.is_empty() {
            return Err(not_a_token("it is empty"));
        }
        if jwt.len() > MAX_TOKEN {
            return Err(not_a_token("it is longer than 64 KiB"));
        }
        // What serde_json quotes of the token is a claim at most, but nobody needs it.
        let not_a_jwt = || not_a_token("expected a JWT with the claims iss, sub and exp");
        let token = sigstore_oidc::IdentityToken::from_jwt(jwt).map_err(|_| not_a_jwt())?;
        let more = more_claims(jwt).ok_or_else(not_a_jwt)?;
        Ok(Self {
            token,
            provider,
            more,
        })
    }

    /// What the token says of itself.
    #[must_use]
    pub fn facts(&self) -> TokenFacts {
        TokenFacts {
            provider: self.provider,
            issuer: self.issuer().to_owned(),
            subject: self.subject().to_owned(),
            audience: self.audience().into_iter().map(str::to_owned).collect(),
            expires_at: self.expires_at(),
        }
    }

    /// Where the token comes from.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Who made the token: what the certificate will call the issuer.
    ///
    /// An identity broker (Dex at oauth2.sigstore.dev) names the provider behind it.
    #[must_use]
    pub fn issuer(&self) -> &str {
        let federated = self.token.claims().federated_claims.as_ref();
        federated
            .and_then(|claims| claims.connector_id.as_deref())
            .unwrap_or_else(|| self.token.issuer())
    }

    /// Whom the token speaks of, in its issuer's terms.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.token.identity()
    }

    /// The audiences of the token.
    #[must_use]
    pub fn audience(&self) -> Vec<&str> {
        match &self.token.claims().aud {
            sigstore_oidc::Audience::Single(audience) => vec![audience],
            sigstore_oidc::Audience::Multiple(audiences) => {
                audiences.iter().map(String::as_str).collect()
            }
            _ => Vec::new(),
        }
    }

    /// When the token ends.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.token.expiration()
    }

    /// The token itself, for a service other than Sigstore that it was made for.
    ///
    /// It is a secret: whoever has it is, until it ends, who it speaks of.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.token.expose_secret()
    }

    pub(crate) fn is_expired(&self) -> bool {
        self.expires_at() <= Timestamp::now()
    }

    /// `owner/repo/.github/workflows/file.yml@ref` of a GitHub Actions token: the end of the
    /// identity its certificate will have.
    pub(crate) fn workflow_ref(&self) -> Option<&str> {
        self.more.job_workflow_ref.as_deref()
    }

    /// Whether what is proved was signed by the owner of this token: the same workflow for the same
    /// repository, or the same address. `false` also where the token does not tell what its
    /// certificate will say.
    #[must_use]
    pub fn speaks_for(&self, proved: &Evidence) -> bool {
        let ends_in = |url: &str, path: &str| {
            let base = url.strip_suffix(path);
            base.is_some_and(|base| base.ends_with('/'))
        };
        let is_owner = match (self.workflow_ref(), self.email()) {
            // A reusable workflow signs as itself for every repository that calls it.
            (Some(workflow), _) => {
                let repository = self.more.repository.as_deref();
                let repositories = repository.zip(proved.repository.as_deref());
                ends_in(&proved.identity, workflow)
                    && repositories.is_some_and(|(own, proved)| ends_in(proved, own))
            }
            (None, Some(email)) => email == proved.identity,
            (None, None) => false,
        };
        is_owner && self.issuer() == proved.issuer
    }

    /// The address that the certificate of a person will have.
    pub(crate) fn email(&self) -> Option<&str> {
        self.token.email()
    }

    /// What binds the token to the login it was asked for in.
    pub(crate) fn nonce(&self) -> Option<&str> {
        self.more.nonce.as_deref()
    }

    /// The issuer that signed the token, be it a broker.
    pub(crate) fn signed_by(&self) -> &str {
        self.token.issuer()
    }

    pub(crate) fn as_sigstore(&self) -> &sigstore_oidc::IdentityToken {
        &self.token
    }

    /// Refuses a token that Fulcio would refuse, or that Fulcio should not see.
    pub(crate) fn check(&self, audience: &str) -> Result<(), Error> {
        if self.is_expired() {
            return Err(Error::TokenExpired {
                provider: self.provider,
                subject: self.subject().to_owned(),
                expired_at: self.expires_at(),
            });
        }
        if let Some(not_before) = self.not_before()
            && not_before
                > Timestamp::now()
                    .saturating_add(LEEWAY)
                    .unwrap_or(Timestamp::MAX)
        {
            return Err(Error::TokenNotYetValid {
                provider: self.provider,
                subject: self.subject().to_owned(),
                not_before,
            });
        }
        let found = self.audience();
        // A token for several audiences can be used by each of them at the others.
        if found != [audience] {
            let found = if found.is_empty() {
                "(none)".to_owned()
            } else {
                found.join(", ")
            };
            return Err(Error::Audience {
                provider: self.provider,
                expected: audience.to_owned(),
                found,
            });
        }
        Ok(())
    }

    /// When the token begins, where it says so. A time beyond all calendars is never reached.
    fn not_before(&self) -> Option<Timestamp> {
        let seconds = SignedDuration::try_from_secs_f64(self.more.nbf?);
        let time = seconds
            .ok()
            .and_then(|seconds| Timestamp::from_duration(seconds).ok());
        Some(time.unwrap_or(Timestamp::MAX))
    }
}

impl std::fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityToken")
            .field("provider", &self.provider)
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("expires_at", &self.expires_at())
            .finish_non_exhaustive()
    }
}

fn more_claims(jwt: &str) -> Option<MoreClaims> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}
