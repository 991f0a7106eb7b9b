//! What is said while packages are attested.

use std::time::Duration;

use conda_attest::{Event, Reporter, TokenFacts};
use jiff::SignedDuration;

use crate::{
    printer::{Printer, duration},
    progress::Activity,
};

/// Shows a person what a signer reports.
pub(crate) struct Attesting<'a> {
    activity: Activity,
    printer: &'a Printer,
}

impl<'a> Attesting<'a> {
    /// Begins with so many packages.
    pub(crate) fn start(printer: &'a Printer, packages: usize) -> Self {
        Self {
            activity: Activity::start(printer, "Attesting", packages),
            printer,
        }
    }
}

impl Reporter for Attesting<'_> {
    fn report(&self, event: Event) {
        let printer = self.printer;
        match event {
            Event::Identity(facts) => printer.status("Identity", &of_token(&facts)),
            Event::Certificate {
                identity,
                issuer,
                not_after,
            } => printer.status(
                "Certificate",
                &format!("{identity}, issued by {issuer}, until {not_after}"),
            ),
            Event::Retrying {
                file,
                what,
                attempt,
                after,
                reason,
            } => {
                let about = file.map_or(String::new(), |file| format!(" for {file}"));
                let after = duration(after);
                printer.detail(
                    "Retrying",
                    &format!("{what}{about} after attempt {attempt} ({reason}), in {after}"),
                );
            }
            Event::Signed {
                file,
                signed,
                milliseconds,
            } => {
                self.activity.step();
                let index = signed
                    .log_index
                    .map_or(String::new(), |index| format!(", log index {index}"));
                let retries = match signed.retries {
                    0 => String::new(),
                    retries => format!(", {retries} retried"),
                };
                let taken = duration(Duration::from_millis(milliseconds));
                printer.status("Attested", &format!("{file} in {taken}{index}{retries}"));
            }
            Event::Failed { file, message, .. } => {
                self.activity.step();
                printer.failure("Failed", &format!("{file} to attest: {message}"));
            }
            _ => {}
        }
    }
}

/// Who a token speaks of, and how long it can be used: everything about it that may be shown.
pub(crate) fn of_token(facts: &TokenFacts) -> String {
    let TokenFacts {
        provider,
        issuer,
        subject,
        audience,
        ..
    } = facts;
    let audience = audience.join(", ");
    let left = time(facts.time_left());
    format!("{subject} from {provider}, issued by {issuer} for {audience}, {left} left")
}

/// A time as a person reads it; what lies in the past is no time at all.
fn time(left: SignedDuration) -> String {
    duration(Duration::try_from(left).unwrap_or_default())
}
