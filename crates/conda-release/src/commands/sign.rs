//! `sign`: attest packages, of the release or given as files.

use std::path::PathBuf;

use cep27::TargetChannel;
use clap::Args;
use conda_attest::{PackageFile, SignOptions};
use release_manifest::{Mode, Progress};
use serde::Serialize;

use super::policy::TrustArgs;
use crate::{
    error::{Error, with_causes},
    exit::Status,
    output::OutputLock,
    pipeline,
    printer::Printer,
    rehearsal::{Rehearsal, check, ended, show},
    workspace::Workspace,
};

/// Attest packages, of the release or given as files
///
/// Writes `<package>.sigstore.json` beside each package, after verifying it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release sign                                          what `build` built
  conda-release sign dist/*.conda --channel https://prefix.dev/my-channel")]
pub struct SignArgs {
    /// Packages to attest; those of the release by default
    #[arg(value_name = "PACKAGE")]
    packages: Vec<PathBuf>,

    /// The channel they are attested for; only with PACKAGE
    #[arg(long, value_name = "URL", requires = "packages")]
    channel: Option<TargetChannel>,

    /// A file with the identity token, `-` for standard input
    #[arg(long, value_name = "FILE")]
    identity_token: Option<PathBuf>,

    /// Sign for a live release
    #[arg(short = 'x', long)]
    execute: bool,

    /// After a failure, go on with what does not need the failed package
    #[arg(short, long)]
    keep_going: bool,

    /// Under whose trust
    #[command(flatten)]
    trust: TrustArgs,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    packages: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    package: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl SignArgs {
    /// Attests what was asked for.
    ///
    /// # Errors
    /// Whatever concerns the run as a whole; what concerns a package is in the manifest or report, and in the status.
    pub(crate) async fn run(
        self,
        workspace: &Workspace,
        printer: &Printer,
    ) -> Result<Status, Error> {
        if self.execute {
            return Err(pipeline::live_is_not_available("sign", None, workspace));
        }
        if self.identity_token.is_some() {
            return Err(Error::NotAvailable {
                what: "`--identity-token`".to_owned(),
                target: "the sandbox, which knows one identity".to_owned(),
                instead: "leave it out: a rehearsal has an identity of its own",
            });
        }
        self.trust.only_sandbox()?;
        if self.packages.is_empty() {
            self.sign_release(workspace, printer).await
        } else {
            self.sign_files(workspace, printer).await
        }
    }

    async fn sign_release(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let (mut release, _lock) = Rehearsal::resume(workspace, printer)?;
        check(&mut release, printer)?;
        let checkout = workspace.checkout();
        pipeline::sign(&mut release, workspace, &checkout, self.keep_going, printer).await?;
        release.compact()?;
        show(&release, workspace, printer)?;
        Ok(ended(
            pipeline::outcome(&release, Progress::Attested),
            printer,
        ))
    }

    async fn sign_files(self, workspace: &Workspace, printer: &Printer) -> Result<Status, Error> {
        let packages = self
            .packages
            .iter()
            .map(PackageFile::read)
            .collect::<Result<Vec<_>, _>>()?;
        let target_channel = match self.channel {
            Some(channel) => channel,
            None => workspace.rehearsed_channel(workspace.channel(None).as_deref())?,
        };
        let options = SignOptions {
            concurrency: workspace.config().sign.concurrency,
            ..SignOptions::new(target_channel)
        };
        let _lock = OutputLock::take(workspace.output())?;
        let sandbox = workspace.folder(Mode::Rehearsal).sandbox();
        let checkout = workspace.checkout();
        let results = pipeline::with_sandbox(&sandbox, &checkout, async |trust, identity| {
            Ok(conda_attest::sign(trust, identity, packages, &options, &()).await?)
        })
        .await?;
        let mut report = Report {
            schema_version: 1,
            packages: Vec::new(),
        };
        for (package, result) in results {
            let shown = package.path.display().to_string();
            let (bundle, error) = match result {
                Ok(signed) => {
                    printer.status("Attested", &shown);
                    (Some(signed.bundle), None)
                }
                Err(error) => {
                    let message = with_causes(&error);
                    printer.failure("Failed", &format!("{shown}: {message}"));
                    (None, Some(message))
                }
            };
            report.packages.push(Entry {
                package: package.path,
                bundle,
                error,
            });
        }
        printer.json(&report)?;
        match report.packages.iter().any(|entry| entry.error.is_some()) {
            true => Ok(Status::Sign),
            false => Ok(Status::Done),
        }
    }
}
