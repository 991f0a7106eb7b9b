//! Who may have signed: the options of every command that verifies, and the entries of `[[verify]]`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use conda_attest::{Github, Matcher, Policy};
use serde::Serialize;

use crate::{
    config::{self, Config},
    error::Error,
    foreign::harmless,
    workspace::Workspace,
};

/// Who may have signed.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Identity policy")]
pub struct PolicyArgs {
    /// The certificate's subject, exactly; with --issuer, and with --repo if it is a reusable workflow
    #[arg(long, value_name = "SAN", requires = "issuer", conflicts_with_all = ["identity_regexp", "allow_any_identity"])]
    identity: Option<String>,

    /// A regular expression for the certificate's whole subject; with --issuer
    #[arg(
        long,
        value_name = "REGEXP",
        requires = "issuer",
        conflicts_with = "allow_any_identity"
    )]
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

/// Where a policy was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub(crate) enum Origin {
    /// The options of the command line.
    CommandLine,
    /// The `[[verify]]` entries of a file that was named with `--config`.
    Config {
        /// The file.
        file: PathBuf,
        /// How many there are, of which any one suffices.
        entries: usize,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("as given on the command line"),
            Self::Config { file, entries } => {
                let file = harmless(&file.display().to_string());
                match entries {
                    1 => write!(f, "the [[verify]] entry of `{file}`"),
                    _ => write!(f, "any of the {entries} [[verify]] entries of `{file}`"),
                }
            }
        }
    }
}

impl PolicyArgs {
    /// The policy that the options make, else the one of a configuration that was named with `--config`.
    ///
    /// # Errors
    /// No policy was given, or one that would accept anybody.
    pub(crate) fn policy_told(
        self,
        told: Option<(&Path, &Config)>,
    ) -> Result<(Policy, Origin), Error> {
        match told {
            Some((file, config)) if self.is_empty() && !config.verify.is_empty() => {
                let origin = Origin::Config {
                    file: file.to_owned(),
                    entries: config.verify.len(),
                };
                Ok((of_entries(file, &config.verify)?, origin))
            }
            _ => Ok((self.policy()?, Origin::CommandLine)),
        }
    }

    /// Whether no option says anything.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

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
                identity: None,
                identity_regexp: None,
                repo: None,
                owner: None,
                ..
            } => Err(Error::NoPolicy),
            given => {
                let pattern = given.identity_regexp.as_deref().map(Matcher::regex);
                let policy = Github {
                    identity: given.identity.map(Matcher::Exact).or(pattern.transpose()?),
                    issuer: given.issuer,
                    owner: given.owner,
                    repo: given.repo,
                    git_ref: given.git_ref,
                    sha: given.sha,
                    workflow: given.workflow,
                    signer_workflow: given.signer_workflow,
                    environment: given.environment,
                    deny_self_hosted_runners: given.deny_self_hosted_runners,
                    ..Github::default()
                };
                Ok(policy.into_policy()?)
            }
        }
    }
}

/// Who may have signed as the workspace's own configuration says; nothing where it says nothing. For what this
/// workspace releases itself, never for what comes from elsewhere.
pub(crate) fn configured_policy(workspace: &Workspace) -> Result<Option<Policy>, Error> {
    let entries = &workspace.config().verify;
    match entries.is_empty() {
        true => Ok(None),
        false => of_entries(&workspace.root().join(config::FILE), entries).map(Some),
    }
}

/// Whatever one of the entries accepts. Within an entry, everything that is given must hold.
fn of_entries(file: &Path, entries: &[config::Verify]) -> Result<Policy, Error> {
    let policies = entries.iter().enumerate().map(|(index, entry)| {
        of_entry(entry).map_err(|source| Error::PolicyEntry {
            file: file.to_owned(),
            entry: index + 1,
            source,
        })
    });
    Ok(Policy::AnyOf(policies.collect::<Result<_, _>>()?))
}

fn of_entry(entry: &config::Verify) -> Result<Policy, Box<conda_attest::Error>> {
    let config::Verify {
        identity,
        issuer,
        repository,
        owner_id,
        repository_id,
        workflow,
        signer_workflow,
        git_ref,
        environment,
    } = entry.clone();
    let identity = identity
        .map(|identity| match identity.contains('*') {
            true => Matcher::glob(&identity).map_err(Box::new),
            false => Ok(Matcher::Exact(identity)),
        })
        .transpose()?;
    Github {
        identity,
        issuer,
        repo: repository,
        owner_id,
        repository_id,
        workflow,
        signer_workflow,
        git_ref,
        environment,
        ..Github::default()
    }
    .into_policy()
    .map_err(Box::new)
}
