//! What a live release refuses to start from.

use clap::Args;
use release_manifest::Source;

use crate::error::Error;

/// What a live release may start from, beyond the ordinary.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Live releases")]
pub(crate) struct GuardArgs {
    /// With --execute: release although files differ from the commit that is attested
    #[arg(long)]
    allow_dirty: bool,

    /// Which events
    #[command(flatten)]
    event: EventArgs,
}

/// Which events may run something for real, beyond the ordinary.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Live releases")]
pub(crate) struct EventArgs {
    /// For real: go on although this GitHub event runs other people's code
    #[arg(long, value_name = "NAME")]
    allow_event: Vec<String>,
}

/// GitHub's events whose workflows may run, with the repository's rights, code that its owners have not seen.
const UNTRUSTED: &[&str] = &[
    "pull_request",
    "pull_request_target",
    "workflow_run",
    "issue_comment",
];

impl GuardArgs {
    /// Whether a live release may start from this source, in this process's environment.
    ///
    /// # Errors
    /// A dirty checkout, or an event that runs untrusted code, which were not allowed.
    pub(crate) fn check(&self, source: &Source) -> Result<(), Error> {
        self.event.check()?;
        match source.dirty && !self.allow_dirty {
            true => Err(Error::Dirty),
            false => Ok(()),
        }
    }
}

impl EventArgs {
    /// Whether something may run for real because of what happened.
    ///
    /// # Errors
    /// An event that runs untrusted code, which was not allowed.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_event(std::env::var("GITHUB_EVENT_NAME").ok().as_deref())
    }

    fn check_event(&self, event: Option<&str>) -> Result<(), Error> {
        match event {
            Some(event)
                if UNTRUSTED.contains(&event)
                    && !self.allow_event.iter().any(|allowed| allowed == event) =>
            {
                Err(Error::UntrustedEvent(event.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_that_run_untrusted_code_are_allowed_by_name_only() {
        let guard = EventArgs {
            allow_event: vec!["workflow_run".to_owned()],
        };
        for event in ["pull_request", "pull_request_target", "issue_comment"] {
            assert_eq!(
                guard.check_event(Some(event)).unwrap_err().code(),
                "untrusted_event"
            );
        }
        for event in [None, Some("push"), Some("workflow_run"), Some("release")] {
            guard.check_event(event).unwrap();
        }
    }
}
