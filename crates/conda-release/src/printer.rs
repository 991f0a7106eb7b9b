//! Where output goes: results to stdout, everything else to stderr.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex},
};

use clap::ValueEnum;
use console::Style;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

pub use release_report::{count, duration, size};

use crate::{
    actions::{Actions, Annotation, Fold, Log, Runner, harmless_json},
    error::Error,
    foreign::harmless,
};

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
    /// How the log of a job folds.
    log: Option<Arc<Log>>,
    actions: Option<Actions>,
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
            log: Runner::detect().map(|runner| Arc::new(Log::new(runner))),
            actions: Actions::detect(),
        }
    }

    /// The runner of GitHub Actions, in a job of it.
    pub(crate) fn actions(&self) -> Option<&Actions> {
        self.actions.as_ref()
    }

    /// Who shows the log of the job that this runs in.
    pub(crate) fn runner(&self) -> Option<Runner> {
        self.log.as_ref().map(|log| log.runner)
    }

    /// A phase begins, whose lines belong together until what this returns is dropped.
    pub(crate) fn phase(&self, title: &str) -> PhaseOfLog {
        if let Some(log) = &self.log {
            log.begin(title);
        }
        PhaseOfLog(self.log.clone())
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
                .above_bars(|| match &self.log {
                    Some(log) => log.text(Fold::Never, text, |text| write(io::stdout(), text)),
                    None => write(io::stdout(), text),
                })
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
        let text = text.map_err(no_stdout())?;
        let text = match &self.actions {
            Some(_) => harmless_json(&text),
            None => text,
        };
        self.raw(format!("{text}\n").as_bytes())
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
            self.stderr(Fold::Away, text);
        }
    }

    /// Text on stderr however quiet: errors.
    pub fn error(&self, text: &str) {
        self.stderr(Fold::Never, text);
    }

    /// The end of somebody's log, on stderr however quiet.
    pub(crate) fn excerpt(&self, title: &str, lines: &[String]) {
        let lines = lines.iter().map(|line| harmless(line));
        match &self.log {
            Some(log) => {
                let lines = lines.collect::<Vec<_>>().join("\n");
                log.excerpt(title, &lines, to_stderr);
            }
            None => {
                for line in lines {
                    self.error(&format!("             │ {line}"));
                }
            }
        }
    }

    /// Something to be seen beside a file, on GitHub Actions.
    pub(crate) fn annotate(&self, annotation: &Annotation) {
        if let (Some(log), Some(_)) = (&self.log, &self.actions) {
            log.command(&annotation.command(), to_stderr);
        }
    }

    fn say(&self, from: Verbosity, style: &Style, verb: &str, message: &str) {
        if self.verbosity >= from {
            let verb = style.clone().for_stderr().apply_to(format!("{verb:>12}"));
            let fold = match from {
                Verbosity::Quiet => Fold::Never,
                Verbosity::Normal | Verbosity::Verbose => Fold::Away,
            };
            self.stderr(fold, &format!("{verb} {}", harmless(message)));
        }
    }

    fn stderr(&self, fold: Fold, text: &str) {
        self.above_bars(|| match &self.log {
            Some(log) => log.text(fold, text, to_stderr),
            None => to_stderr(text),
        });
    }

    /// Writes while no bar is on the terminal, which both streams may lead to.
    fn above_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        let bars = self.bars.lock().ok().and_then(|bars| bars.clone());
        match bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// A phase of the log; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct PhaseOfLog(Option<Arc<Log>>);

impl Drop for PhaseOfLog {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.end(to_stderr);
        }
    }
}

/// stderr for what is traced, past the bars; without what the runner of a job takes for more than text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces {
    /// Who listens.
    pub(crate) runner: Option<Runner>,
}

impl Write for Traces {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        match self.runner {
            Some(runner) => {
                let text = runner.text(&String::from_utf8_lossy(event));
                io::stderr().write_all(text.as_bytes())?;
            }
            None => io::stderr().write_all(event)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn to_stderr(text: &str) {
    // A closed stderr leaves nobody to tell.
    let _written = write(io::stderr(), text);
}

fn write(to: impl Write, text: &str) -> io::Result<()> {
    let mut to = io::BufWriter::new(to);
    writeln!(to, "{}", text.trim_end_matches('\n'))?;
    to.flush()
}

fn no_stdout() -> impl FnOnce(io::Error) -> Error {
    Error::output("write", "stdout")
}
