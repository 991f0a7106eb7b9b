//! How fast an audit gets on.

use std::time::{Duration, Instant};

use crate::{
    printer::{Printer, duration},
    progress::Activity,
};

/// Shows how many packages are verified, and how many a second.
///
/// On a terminal a bar does; elsewhere, as in the log of a CI job, a line now and then.
pub(super) struct Pace<'a> {
    printer: &'a Printer,
    activity: &'a Activity,
    started: Instant,
    said: Instant,
    done: usize,
    total: usize,
    /// Whether a line at the end says how fast it went.
    sums_up: bool,
}

/// Between two lines where no bar moves.
const NOW_AND_THEN: Duration = Duration::from_secs(15);

impl<'a> Pace<'a> {
    /// Starts with so many packages.
    pub(super) fn start(
        printer: &'a Printer,
        activity: &'a Activity,
        total: usize,
        sums_up: bool,
    ) -> Self {
        let now = Instant::now();
        Self {
            printer,
            activity,
            started: now,
            said: now,
            done: 0,
            total,
            sums_up,
        }
    }

    /// One more package is done.
    pub(super) fn step(&mut self) {
        self.activity.step();
        self.done += 1;
        if !self.printer.is_interactive() && self.said.elapsed() >= NOW_AND_THEN {
            self.said = Instant::now();
            let (done, total) = (self.done, self.total);
            let rate = rate(done, self.started.elapsed());
            self.printer
                .status("Verifying", &format!("{done} of {total} packages, {rate}"));
        }
    }

    /// Everything is done.
    pub(super) fn end(self) {
        if self.sums_up {
            let (done, taken) = (self.done, self.started.elapsed());
            let (rate, taken) = (rate(done, taken), duration(taken));
            let packages = match done {
                1 => "package",
                _ => "packages",
            };
            self.printer
                .status("Judged", &format!("{done} {packages} in {taken}, {rate}"));
        }
    }
}

fn rate(packages: usize, taken: Duration) -> String {
    let rate = packages as f64 / taken.as_secs_f64().max(0.001);
    match rate {
        10.0.. => format!("{rate:.0} a second"),
        _ => format!("{rate:.1} a second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_reads_naturally() {
        assert_eq!(rate(1_000, Duration::from_secs(8)), "125 a second");
        assert_eq!(rate(3, Duration::from_secs(2)), "1.5 a second");
        assert_eq!(rate(1, Duration::ZERO), "1000 a second");
    }
}
