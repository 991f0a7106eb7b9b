//! `sign`: attest packages, of the release or given as files.

mod files;

use std::path::PathBuf;

use cep27::TargetChannel;
use clap::Args;
use release_manifest::{Mode, Progress};

use self::files::Files;
use super::trust::{Instance, TrustArgs};
use crate::{
    error::Error,
    exit::Status,
    guard::EventArgs,
    identity::IdentityArgs,
    live::Attester,
    pipeline,
    printer::Printer,
    run::{Run, check_rehearsal, ended, show},
    workspace::Workspace,
};

/// Attest packages, of the release or given as files
///
/// Writes `<package>.sigstore.json` beside each package, after verifying it. Files are attested in a
/// rehearsal unless --execute or --trust names an instance of Sigstore: then with the identity of
/// --identity-token, of SIGSTORE_ID_TOKEN, of the CI system, or of you in a browser, in this order.
/// What is attested already by that identity for that channel is kept, so that the same command
/// continues.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release sign                                                rehearse: what `build` built
  conda-release sign dist/*.conda --channel https://prefix.dev/acme rehearse: these files
  conda-release sign -x dist/*.conda --channel https://prefix.dev/acme
  conda-release sign dist/*.conda --channel https://conda.acme.example/pkgs --trust trust_config.json --audience acme")]
pub struct SignArgs {
    /// Packages to attest; those of the release by default
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PathBuf>,

    /// The channel they are attested for; only with PACKAGE
    #[arg(long, value_name = "URL", requires = "packages")]
    channel: Option<TargetChannel>,

    /// Sign for real, with the public instance of Sigstore unless --trust or `sign.trust` names another
    #[arg(short = 'x', long)]
    execute: bool,

    /// After a failure, go on with what does not need the failed package
    #[arg(short, long)]
    keep_going: bool,

    /// What it may be for
    #[command(flatten)]
    event: EventArgs,

    /// Who signs
    #[command(flatten)]
    identity: IdentityArgs,

    /// Under whose trust
    #[command(flatten)]
    trust: TrustArgs,
}

impl SignArgs {
    /// Whether files are signed for real, which leaves nothing but the bundles beside them.
    pub(crate) fn keeps_no_state(&self) -> bool {
        !self.packages.is_empty() && self.is_for_real()
    }

    fn is_for_real(&self) -> bool {
        self.execute || self.trust.names_a_sigstore()
    }

    /// Attests what was asked for.
    ///
    /// # Errors
    /// Whatever concerns the run as a whole; what concerns a package is in the manifest or report, and in the status.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if self.is_for_real() {
            self.event.check()?;
        }
        match self.trust.to_sign(self.execute, workspace)? {
            Instance::Sandbox if self.identity.token().is_some() => Err(Error::Usage(
                "--identity-token is for an instance that exists: a rehearsal has an identity of its own".to_owned(),
            )),
            Instance::Sandbox if self.packages.is_empty() => {
                self.sign_release(workspace, printer).await
            }
            Instance::Sandbox => {
                let channel = match self.channel {
                    Some(channel) => channel,
                    None => workspace.rehearsed_channel(workspace.channel(None).as_deref())?,
                };
                let files = Files::read(&self.packages, channel)?;
                files.rehearse(workspace, printer).await
            }
            Instance::Sigstore(_) if self.packages.is_empty() && !self.execute => {
                Err(Error::Usage(
                    "a rehearsal is signed by the sandbox: leave --trust out, or sign the live release with --execute".to_owned(),
                ))
            }
            Instance::Sigstore(_) if self.packages.is_empty() => {
                self.sign_live(workspace, printer).await
            }
            Instance::Sigstore(source) => {
                let channel = match self.channel {
                    Some(channel) => channel,
                    None => workspace.configured_channel()?,
                };
                let files = Files::read(&self.packages, channel)?;
                files
                    .sign(&source, &self.identity, workspace, printer)
                    .await
            }
        }
    }

    async fn sign_live(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let (mut release, _lock) = Run::resume(workspace, Mode::Live, printer)?;
        let attester =
            Attester::prepare(workspace, &self.trust, &self.identity, true, printer).await?;
        attester.check(&mut release, None)?;
        attester.sign(&mut release, self.keep_going).await?;
        release.compact()?;
        show(&release, workspace, printer)?;
        Ok(ended(
            pipeline::outcome(&release, Progress::Attested),
            printer,
        ))
    }

    async fn sign_release(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let (mut release, _lock) = Run::resume(workspace, Mode::Rehearsal, printer)?;
        check_rehearsal(&mut release, workspace, printer)?;
        let checkout = workspace.checkout()?;
        pipeline::sign(&mut release, workspace, &checkout, self.keep_going, printer).await?;
        release.compact()?;
        show(&release, workspace, printer)?;
        Ok(ended(
            pipeline::outcome(&release, Progress::Attested),
            printer,
        ))
    }
}
