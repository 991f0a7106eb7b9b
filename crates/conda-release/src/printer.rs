//! Where output goes: results to stdout, everything else to stderr.

use std::{
    io::{self, IsTerminal, Write},
    sync::Mutex,
    time::Duration,
};

use clap::ValueEnum;
use console::Style;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::{error::Error, foreign::harmless};

/// What stdout carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Text for a person.
    #[default]
    Human,
    /// One JSON document, also for errors.
    Json,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that wants it (`NO_COLOR` is honoured).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors and warnings.
    Quiet,
    /// What happens.
    Normal,
    /// What happens, and why.
    Verbose,
}

/// The one place that writes to the terminal.
#[derive(Debug)]
pub struct Printer {
    format: OutputFormat,
    verbosity: Verbosity,
    bars: Mutex<Option<MultiProgress>>,
}

impl Printer {
    /// A printer for this process's stdout and stderr.
    pub fn new(format: OutputFormat, color: ColorChoice, verbosity: Verbosity) -> Self {
        match color {
            ColorChoice::Auto => {}
            ColorChoice::Always | ColorChoice::Never => {
                console::set_colors_enabled(color == ColorChoice::Always);
                console::set_colors_enabled_stderr(color == ColorChoice::Always);
            }
        }
        Self {
            format,
            verbosity,
            bars: Mutex::new(None),
        }
    }

    /// What stdout carries.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Whether a person watches stderr, so that bars may move there.
    pub fn is_interactive(&self) -> bool {
        self.verbosity > Verbosity::Quiet && io::stderr().is_terminal()
    }

    /// A group of progress bars on stderr; lines printed meanwhile appear above it.
    ///
    /// Hidden where nobody watches: there, lines alone tell what happens.
    pub fn bars(&self) -> MultiProgress {
        let target = if self.is_interactive() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bars = MultiProgress::with_draw_target(target);
        if let Ok(mut current) = self.bars.lock() {
            *current = Some(bars.clone());
        }
        bars
    }

    /// A result for a person, on stdout; nothing where JSON was asked for.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn result(&self, text: &str) -> Result<(), Error> {
        match self.format {
            OutputFormat::Human => self
                .above_bars(|| self.write(io::stdout(), text))
                .map_err(no_stdout()),
            OutputFormat::Json => Ok(()),
        }
    }

    /// A result for a script: the one JSON document on stdout, if that was asked for.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn json(&self, document: &impl Serialize) -> Result<(), Error> {
        if self.format == OutputFormat::Human {
            return Ok(());
        }
        // In ASCII: what recipes and certificates say may carry characters that rewrite a terminal.
        let text = cep27::ascii_json(document).map_err(io::Error::other);
        self.raw(format!("{}\n", text.map_err(no_stdout())?).as_bytes())
    }

    /// Bytes that are the result as they stand, on stdout.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(no_stdout())
    }

    /// What happened, on stderr: a right-aligned verb and what it happened to.
    pub fn status(&self, verb: &str, message: &str) {
        self.say(
            Verbosity::Normal,
            &Style::new().green().bold(),
            verb,
            message,
        );
    }

    /// A detail for `-v`.
    pub fn detail(&self, verb: &str, message: &str) {
        self.say(Verbosity::Verbose, &Style::new().cyan(), verb, message);
    }

    /// A thing that failed while others go on.
    pub fn failure(&self, verb: &str, message: &str) {
        self.say(Verbosity::Quiet, &Style::new().red().bold(), verb, message);
    }

    /// A thing to look at, though nothing failed.
    pub fn warning(&self, message: &str) {
        self.say(
            Verbosity::Quiet,
            &Style::new().yellow().bold(),
            "warning",
            message,
        );
    }

    /// Text on stderr as it stands, for a person.
    pub fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.stderr(text);
        }
    }

    /// Text on stderr however quiet: errors.
    pub fn error(&self, text: &str) {
        self.stderr(text);
    }

    fn say(&self, from: Verbosity, style: &Style, verb: &str, message: &str) {
        if self.verbosity >= from {
            let verb = style.clone().for_stderr().apply_to(format!("{verb:>12}"));
            self.stderr(&format!("{verb} {}", harmless(message)));
        }
    }

    fn stderr(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _written = self.above_bars(|| self.write(io::stderr(), text));
    }

    /// Writes while no bar is on the terminal, which both streams may lead to.
    fn above_bars(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let bars = self.bars.lock().ok().and_then(|bars| bars.clone());
        match bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn write(&self, mut to: impl Write, text: &str) -> io::Result<()> {
        writeln!(to, "{}", text.trim_end_matches('\n'))
    }
}

fn no_stdout() -> impl FnOnce(io::Error) -> Error {
    Error::output("write", "stdout")
}

/// A duration as a person reads it: `85 ms`, `1.2 s`, `2 min 5 s`.
pub fn duration(taken: Duration) -> String {
    let milliseconds = taken.as_millis();
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..60_000 => format!("{:.1} s", taken.as_secs_f64()),
        _ => format!("{} min {} s", taken.as_secs() / 60, taken.as_secs() % 60),
    }
}

/// A size as a person reads it: `812 B`, `12.3 KiB`, `4.0 MiB`.
pub fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::duration;

    #[test]
    fn durations_read_naturally() {
        assert_eq!(duration(Duration::from_millis(85)), "85 ms");
        assert_eq!(duration(Duration::from_millis(1_240)), "1.2 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
    }
}
