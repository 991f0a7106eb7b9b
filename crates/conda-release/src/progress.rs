//! What moves on a terminal while something takes time.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    foreign::harmless,
    printer::{PhaseOfLog, Printer},
};

/// A phase in progress: one bar for all of it, one spinner for each thing under way.
///
/// Shows nothing where stderr is no terminal; the lines that the printer writes tell the same.
#[derive(Debug)]
pub(crate) struct Activity {
    bars: MultiProgress,
    total: ProgressBar,
    running: Mutex<BTreeMap<String, ProgressBar>>,
    _phase: PhaseOfLog,
}

impl Activity {
    /// Starts a phase of `total` steps.
    pub(crate) fn start(printer: &Printer, verb: &str, total: usize) -> Self {
        let template = "{prefix:>12.cyan.bold} [{bar:27}] {pos}/{len} {elapsed}";
        Self::with(printer, verb, total, template)
    }

    /// Starts a phase of `total` steps that are many, and shows how many there are a second.
    pub(crate) fn start_rated(printer: &Printer, verb: &str, total: usize) -> Self {
        let template = "{prefix:>12.cyan.bold} [{bar:27}] {pos}/{len} {elapsed} {per_sec}";
        Self::with(printer, verb, total, template)
    }

    fn with(printer: &Printer, verb: &str, total: usize, template: &str) -> Self {
        let bars = printer.bars();
        let bar = ProgressBar::new(total as u64)
            .with_style(style(template).progress_chars("=> "))
            .with_prefix(verb.to_owned());
        let total = bars.add(bar);
        total.enable_steady_tick(TICK);
        Self {
            bars,
            total,
            running: Mutex::default(),
            _phase: printer.phase(verb),
        }
    }

    /// Starts a phase that moves so many bytes.
    pub(crate) fn bytes(printer: &Printer, verb: &str, total: u64) -> Self {
        let bars = printer.bars();
        let bar = ProgressBar::new(total)
            .with_style(
                style("{prefix:>12.cyan.bold} [{bar:27}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left")
                    .progress_chars("=> "),
            )
            .with_prefix(verb.to_owned());
        let total = bars.add(bar);
        total.enable_steady_tick(TICK);
        Self {
            bars,
            total,
            running: Mutex::default(),
            _phase: printer.phase(verb),
        }
    }

    /// So many bytes have moved.
    pub(crate) fn advance(&self, bytes: u64) {
        self.total.inc(bytes);
    }

    /// So many bytes will move again.
    pub(crate) fn back(&self, bytes: u64) {
        self.total.dec(bytes);
    }

    /// Shows that something began.
    pub(crate) fn begin(&self, verb: &str, what: &str) {
        let spinner = ProgressBar::new_spinner()
            .with_style(style("{prefix:>12.cyan} {msg} {spinner} {elapsed}"))
            .with_prefix(verb.to_owned())
            .with_message(harmless(what));
        let spinner = self.bars.insert_before(&self.total, spinner);
        spinner.enable_steady_tick(TICK);
        if let Ok(mut running) = self.running.lock() {
            running.insert(what.to_owned(), spinner);
        }
    }

    /// Takes away what [`begin`](Self::begin) showed.
    pub(crate) fn end(&self, what: &str) {
        let spinner = self
            .running
            .lock()
            .ok()
            .and_then(|mut running| running.remove(what));
        if let Some(spinner) = spinner {
            spinner.finish_and_clear();
        }
    }

    /// One of the steps is over.
    pub(crate) fn step(&self) {
        self.total.inc(1);
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Ok(running) = self.running.get_mut() {
            for spinner in running.values() {
                spinner.finish_and_clear();
            }
        }
        self.total.finish_and_clear();
    }
}

const TICK: Duration = Duration::from_millis(120);

fn style(template: &str) -> ProgressStyle {
    // The templates are ours; one that indicatif refuses falls back to its own.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
