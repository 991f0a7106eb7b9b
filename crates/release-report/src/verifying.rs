//! How the release is verified.

use maud::{Markup, html};

use crate::{Command, Report};

/// How all of the release is verified.
pub(crate) fn section(report: &Report) -> Markup {
    html! {
        @if !report.verify.is_empty() {
            section id="verify" aria-labelledby="verify-title" {
                h2 id="verify-title" { "How to verify" }
                p {
                    "An attestation says who built a package, from which commit, for which channel. These commands check it: that it is logged, "
                    "signed by this identity, and about these very bytes. The command for a package alone stands with the package."
                }
                (commands(&report.verify))
            }
        }
    }
}

/// Commands, each with what it is of.
pub(crate) fn commands(commands: &[Command]) -> Markup {
    html! {
        @for command in commands {
            div .command {
                p { (command.title) }
                pre tabindex="0" role="region" aria-label={ "Command: " (command.title) } { code { (command.line) } }
            }
        }
    }
}
