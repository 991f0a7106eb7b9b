//! `doctor`: everything that a release needs, and the fix for each thing missing.

mod channel;
mod machine;
mod project;
mod sigstore;

use clap::Args;
use serde::Serialize;

use super::trust::TrustArgs;
use crate::{
    cli::GlobalArgs,
    error::{Error, with_causes},
    exit::Status,
    foreign::harmless,
    identity::IdentityArgs,
    printer::Printer,
    workspace::Workspace,
};

/// Check everything that a release needs, and name the fix for each thing missing
///
/// A line for each thing: ✓ it is there, ✗ it is missing and needed, – it is missing, and a rehearsal
/// does without. With --execute, what a live release needs must be there too. Nothing is signed, and
/// no identity token leaves this machine.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  conda-release doctor            what a rehearsal needs, and what a live release would miss
  conda-release doctor -x         in CI, before the release: identity, services, clock
  conda-release doctor --offline  without asking anybody")]
pub struct DoctorArgs {
    /// What is missing for a live release counts as missing
    #[arg(short = 'x', long)]
    execute: bool,

    /// Ask nobody: neither the channel, nor Sigstore, nor an identity provider
    #[arg(long)]
    offline: bool,

    /// Who would sign
    #[command(flatten)]
    identity: IdentityArgs,

    /// Under whose trust a live release would sign
    #[command(flatten)]
    trust: TrustArgs,
}

/// What was found, for scripts.
#[derive(Serialize)]
struct Report {
    schema_version: u32,
    ready: bool,
    checks: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at, in `snake_case`; stable.
    check: &'static str,
    state: State,
    message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is as it should be.
    Ok,
    /// It is missing or wrong, and needed.
    Missing,
    /// It is missing or wrong, and what was asked for does without.
    NotNeeded,
}

/// What needs a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A rehearsal too.
    Rehearsal,
    /// A live release alone.
    Live,
    /// No release, but some of those who make one.
    Some,
}

/// The findings so far, and what they are judged by.
struct Findings {
    is_live: bool,
    all: Vec<Finding>,
}

impl Findings {
    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.all.push(Finding {
            check,
            state: State::Ok,
            message: message.into(),
            fix: None,
        });
    }

    fn missing(
        &mut self,
        check: &'static str,
        need: Need,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let state = match need {
            Need::Rehearsal => State::Missing,
            Need::Live if self.is_live => State::Missing,
            Need::Live | Need::Some => State::NotNeeded,
        };
        self.all.push(Finding {
            check,
            state,
            message: message.into(),
            fix: Some(fix.into()),
        });
    }

    /// What an error of ours says, and its hint.
    fn error(&mut self, check: &'static str, need: Need, error: &Error) {
        let fix = error.hint();
        let fix = fix.unwrap_or_else(|| "correct what the message names".to_owned());
        self.missing(check, need, with_causes(error), fix);
    }
}

impl DoctorArgs {
    /// Looks at everything.
    ///
    /// # Errors
    /// stdout cannot be written. What is missing is a finding, and the exit status says that there is one.
    pub(crate) async fn run(self, global: &GlobalArgs, printer: &Printer) -> Result<Status, Error> {
        let mut findings = Findings {
            is_live: self.execute,
            all: Vec::new(),
        };
        let workspace = match Workspace::find(global) {
            Ok(workspace) => {
                project::check(&workspace, &mut findings);
                workspace
            }
            Err(error) => {
                findings.error("configuration", Need::Rehearsal, &error);
                Workspace::here()?
            }
        };
        machine::check(&workspace, &mut findings);
        if !self.offline {
            channel::check(&workspace, &mut findings).await;
        }
        self.sigstore(&workspace, &mut findings, printer).await;
        let report = Report {
            schema_version: 1,
            ready: findings.all.iter().all(|it| it.state != State::Missing),
            checks: findings.all,
        };
        report.show(printer)?;
        Ok(match report.ready {
            true => Status::Done,
            false => Status::Preflight,
        })
    }

    async fn sigstore(self, workspace: &Workspace, findings: &mut Findings, printer: &Printer) {
        let sought = sigstore::Sought {
            source: self.trust.to_sign(true, workspace),
            audience: self.identity.audience(workspace),
            token: self.identity.token(),
            offline: self.offline,
        };
        sought.check(findings, printer).await;
    }
}

impl Report {
    fn show(&self, printer: &Printer) -> Result<(), Error> {
        let width = self.checks.iter().map(|it| it.check.len()).max();
        let width = width.unwrap_or_default();
        for finding in &self.checks {
            let Finding {
                check,
                state,
                message,
                fix,
            } = finding;
            let mark = match state {
                State::Ok => '✓',
                State::Missing => '✗',
                State::NotNeeded => '–',
            };
            let indent = " ".repeat(width + 4);
            let lines = |text: &str| {
                let lines: Vec<String> = text.lines().map(harmless).collect();
                lines.join(&format!("\n{indent}"))
            };
            printer.result(&format!(
                "{mark} {:width$}  {}",
                check.replace('_', " "),
                lines(message)
            ))?;
            if let Some(fix) = fix {
                printer.result(&format!("{indent}fix: {}", lines(fix)))?;
            }
        }
        printer.json(self)
    }
}
