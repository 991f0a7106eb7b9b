//! Who may have signed: the options of every command that verifies.

use clap::Args;
use conda_attest::{Github, Matcher, Policy};

use crate::error::Error;

/// Who may have signed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Identity policy")]
pub struct PolicyArgs {
    /// The certificate's subject, exactly; with --issuer
    #[arg(long, value_name = "SAN", requires = "issuer", conflicts_with_all = ["identity_regexp", "github", "allow_any_identity"])]
    identity: Option<String>,

    /// A regular expression for the certificate's whole subject; with --issuer
    #[arg(long, value_name = "REGEXP", requires = "issuer", conflicts_with_all = ["github", "allow_any_identity"])]
    identity_regexp: Option<String>,

    /// Who vouches for the identity, exactly; GitHub Actions with --repo and --owner
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    /// The source repository on GitHub: `acme/pkgs`
    #[arg(long, value_name = "OWNER/NAME", group = "github")]
    repo: Option<String>,

    /// The owner of the source repository on GitHub: `acme`
    #[arg(long, value_name = "OWNER", group = "github")]
    owner: Option<String>,

    /// The full git reference: `refs/heads/main`; with --repo or --owner
    #[arg(long = "ref", value_name = "REF", requires = "github")]
    git_ref: Option<String>,

    /// The commit; with --repo or --owner
    #[arg(long, value_name = "COMMIT", requires = "github")]
    sha: Option<String>,

    /// The workflow that was started: `acme/pkgs/.github/workflows/release.yml@refs/heads/main`
    #[arg(long, value_name = "WORKFLOW", requires = "github")]
    workflow: Option<String>,

    /// The reusable workflow that signed; with --repo
    #[arg(long, value_name = "WORKFLOW", requires = "repo")]
    signer_workflow: Option<String>,

    /// The deployment environment; with --repo or --owner
    #[arg(long, value_name = "NAME", requires = "github")]
    environment: Option<String>,

    /// Refuse runners that are not GitHub's
    #[arg(long, requires = "github")]
    deny_self_hosted_runners: bool,

    /// Accept whoever the trust root vouches for: it proves that an attestation is intact, not that it is the publisher's
    #[arg(long, conflicts_with_all = ["issuer", "github"])]
    allow_any_identity: bool,
}

impl PolicyArgs {
    /// The policy that the options make.
    ///
    /// # Errors
    /// No policy was given, or one that would accept anybody.
    pub(crate) fn policy(self) -> Result<Policy, Error> {
        match self {
            Self {
                allow_any_identity: true,
                ..
            } => Ok(Policy::Anyone),
            Self {
                identity: Some(identity),
                issuer: Some(issuer),
                ..
            } => Ok(Policy::exactly(identity, issuer)),
            Self {
                identity_regexp: Some(pattern),
                issuer: Some(issuer),
                ..
            } => Ok(Policy::Identity {
                identity: Matcher::regex(&pattern)?,
                issuer,
            }),
            Self {
                repo: None,
                owner: None,
                ..
            } => Err(Error::NoPolicy),
            github => Ok(Github {
                issuer: github.issuer,
                owner: github.owner,
                repo: github.repo,
                git_ref: github.git_ref,
                sha: github.sha,
                workflow: github.workflow,
                signer_workflow: github.signer_workflow,
                environment: github.environment,
                deny_self_hosted_runners: github.deny_self_hosted_runners,
                ..Github::default()
            }
            .into_policy()?),
        }
    }
}
