//! One command from conda recipes to a published, attested channel.

use std::process::ExitCode;

/// Runs the command line of this process and returns its exit status.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
