//! How an error is shown to a person: its message, its causes, an excerpt, and what to do.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};

use crate::{
    error::{ConfigError, Error},
    foreign::{harmless, harmless_lines, is_harmless},
    secret::veiled,
};

/// An error as a person reads it, with every foreign character made harmless.
#[derive(Debug)]
pub(crate) struct Shown {
    message: String,
    causes: Vec<String>,
    help: Option<String>,
    excerpt: Option<(NamedSource<String>, LabeledSpan)>,
    related: Vec<Shown>,
}

/// How many failures of one error are shown: more of them only hide the first.
const MOST_RELATED: usize = 20;

impl Shown {
    /// What is said of a failure of one package: the same form as for an error.
    pub(crate) fn failure(failure: &conda_recipes::Failure) -> Self {
        let excerpt = failure.excerpt.as_ref().map(|excerpt| {
            let label = LabeledSpan::new(
                Some(harmless(&excerpt.label)),
                excerpt.offset,
                excerpt.length,
            );
            (
                NamedSource::new(harmless(&excerpt.file), tame(&excerpt.text)),
                label,
            )
        });
        Self {
            message: presentable(&failure.message),
            causes: failure
                .causes
                .iter()
                .map(|cause| presentable(cause))
                .collect(),
            help: failure.help.as_deref().map(presentable),
            excerpt,
            related: failure
                .related
                .iter()
                .take(MOST_RELATED)
                .map(Self::failure)
                .collect(),
        }
    }

    /// What it is about, one by one, where it is about several things.
    pub(crate) fn parts(&self) -> &[Self] {
        match self.related.as_slice() {
            [] => std::slice::from_ref(self),
            related => related,
        }
    }

    /// The file that its excerpt is of, and the line and column that it marks, from 1.
    pub(crate) fn place(&self) -> Option<(&str, (usize, usize))> {
        let (source, label) = self.excerpt.as_ref()?;
        let before = source.inner().get(..label.offset())?;
        let line = before.rsplit('\n').next().unwrap_or(before);
        let lines = before.matches('\n').count();
        Some((source.name(), (lines + 1, line.chars().count() + 1)))
    }

    /// Message, causes and help, as lines without any layout.
    pub(crate) fn text(&self) -> String {
        match &self.help {
            Some(help) => format!("{self}\nhelp: {help}"),
            None => self.to_string(),
        }
    }

    /// The text for stderr.
    pub(crate) fn render(&self) -> String {
        let theme = if console::colors_enabled_stderr() {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let mut text = String::new();
        let handler = GraphicalReportHandler::new_themed(theme).with_links(false);
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            Err(fmt::Error) => self.message.clone(),
        }
    }
}

impl From<&Error> for Shown {
    fn from(error: &Error) -> Self {
        if let Error::Recipes(error) = error {
            return Self::failure(&error.into());
        }
        let excerpt = match error {
            Error::Config(error) => match &**error {
                ConfigError::Invalid {
                    file,
                    text,
                    span,
                    message,
                    ..
                } => {
                    let label = LabeledSpan::new(Some(harmless(message)), span.start, span.len());
                    Some((
                        NamedSource::new(file.display().to_string(), tame(text)),
                        label,
                    ))
                }
                ConfigError::Read(_) | ConfigError::Twice { .. } => None,
            },
            _ => None,
        };
        Self {
            message: presentable(&error.to_string()),
            causes: error
                .causes()
                .iter()
                .map(|cause| presentable(cause))
                .collect(),
            help: error.hint().map(|hint| presentable(&hint)),
            excerpt,
            related: Vec::new(),
        }
    }
}

/// A text that neither rewrites the terminal nor tells a secret.
fn presentable(text: &str) -> String {
    veiled(&harmless_lines(text))
}

/// A source text whose control and bidirectional characters are replaced by characters of as many
/// bytes, so that offsets into it stay true. Line breaks stay.
fn tame(text: &str) -> String {
    text.chars()
        .map(|c| match c.len_utf8() {
            _ if c == '\n' || is_harmless(c) => c,
            1 => ' ',
            2 => '\u{B7}',
            _ => char::REPLACEMENT_CHARACTER,
        })
        .collect()
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, "\ncaused by: {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|(source, _)| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = self.excerpt.as_ref().map(|(_, label)| label.clone())?;
        Some(Box::new(std::iter::once(label)))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        let related = self.related.iter().map(|shown| shown as &dyn Diagnostic);
        (!self.related.is_empty()).then(|| Box::new(related) as _)
    }
}
