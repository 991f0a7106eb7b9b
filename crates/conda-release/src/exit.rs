//! The exit statuses a script can rely on.

use std::process::ExitCode;

/// How a command ended, as its exit status says it.
///
/// When several failures happened, the earliest phase wins; the variants stand in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Status {
    /// Everything that was asked for is done.
    Done = 0,
    /// Something that should not happen did.
    Unexpected = 1,
    /// The command line was wrong.
    Usage = 2,
    /// Configuration or preflight: nothing was started.
    Preflight = 3,
    /// A build or a package test failed.
    Build = 4,
    /// A document breaks the rules of CEP-27.
    Cep27 = 5,
    /// Signing failed.
    Sign = 6,
    /// Verification failed.
    Verify = 7,
    /// Publishing failed.
    Publish = 8,
    /// Nothing failed, but something is left to do: running again continues.
    Incomplete = 9,
    /// Interrupted by Ctrl-C (SIGINT).
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Status {
    /// Every status, in the order of precedence.
    pub const ALL: [Self; 12] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Preflight,
        Self::Build,
        Self::Cep27,
        Self::Sign,
        Self::Verify,
        Self::Publish,
        Self::Incomplete,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number a shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The status as one word, for scripts that compare it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Preflight => "preflight",
            Self::Build => "build",
            Self::Cep27 => "cep27",
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::Publish => "publish",
            Self::Incomplete => "incomplete",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// What the status means, for `--help` and the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unexpected => "unexpected",
            Self::Usage => "usage",
            Self::Preflight => "configuration or preflight",
            Self::Build => "build or test",
            Self::Cep27 => "CEP-27 violation",
            Self::Sign => "signing",
            Self::Verify => "verification",
            Self::Publish => "publishing",
            Self::Incomplete => "incomplete though nothing failed (running again continues)",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
        }
    }

    /// Of two endings, the one the exit status reports: a failure beats success, an earlier phase
    /// beats a later one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, status) | (status, Self::Done) => status,
            (one, two) => one.min(two),
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn the_earliest_phase_wins() {
        assert_eq!(Status::Publish.and(Status::Build), Status::Build);
        assert_eq!(Status::Done.and(Status::Incomplete), Status::Incomplete);
        assert_eq!(Status::Sign.and(Status::Done), Status::Sign);
    }

    #[test]
    fn the_documented_numbers_hold() {
        let numbers: Vec<u8> = Status::ALL.iter().map(|status| status.code()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130, 143]);
    }
}
