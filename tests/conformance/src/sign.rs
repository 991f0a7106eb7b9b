//! `sign-bundle`: make a bundle for a file, or for a statement.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::Args;
use conda_attest::{Purpose, Search, find_identity, sign_statement};
use fs_err as fs;
use sigstore_sign::{
    SigningContext, SigningServices, oidc::IdentityToken as BareToken, trust_root::SigningConfig,
};

use crate::{Result, verify::trust};

/// How long the services may take in all.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sign a file or a statement
#[derive(Args, Debug)]
pub(crate) struct SignBundle {
    /// With the staging instance, not the public-good one
    #[arg(long)]
    staging: bool,

    /// The file is an in-toto statement
    #[arg(long)]
    in_toto: bool,

    /// Who signs
    #[arg(long, value_name = "TOKEN")]
    identity_token: String,

    /// Where the bundle is written
    #[arg(long, value_name = "FILE")]
    bundle: PathBuf,

    /// With the instance of this trusted root
    #[arg(long, value_name = "FILE", requires = "signing_config")]
    trusted_root: Option<PathBuf>,

    /// With these services
    #[arg(long, value_name = "FILE", requires = "trusted_root")]
    signing_config: Option<PathBuf>,

    /// What is signed
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl SignBundle {
    /// Signs a statement as conda-release does. conda-release signs nothing else: a bare file is
    /// signed by the library under it.
    pub(crate) async fn run(self) -> Result<()> {
        let content = fs::read(&self.file)?;
        let bundle = if self.in_toto {
            let Self {
                identity_token,
                staging,
                trusted_root,
                signing_config,
                ..
            } = self;
            let trust = trust(staging, trusted_root, signing_config, Purpose::Sign).await?;
            let named = BTreeMap::from([("SIGSTORE_ID_TOKEN".to_owned(), identity_token)]);
            let identity = find_identity(Search {
                token: None,
                audience: trust.audience(),
                environment: &named,
                person: None,
                oidc: None,
            })
            .await?;
            sign_statement(&trust, &identity, &content, PATIENCE, &()).await?
        } else {
            let token = BareToken::from_jwt(&self.identity_token)?;
            let context = match self.signing_config {
                Some(path) => {
                    let config = SigningConfig::from_file(path)?;
                    SigningContext::new(SigningServices::from_signing_config(&config)?)
                }
                None if self.staging => SigningContext::staging().await?,
                None => SigningContext::production().await?,
            };
            let bundle = context.signer(token).sign(content.as_slice()).await?;
            bundle.to_json()?.into_bytes()
        };
        Ok(fs::write(&self.bundle, bundle)?)
    }
}
