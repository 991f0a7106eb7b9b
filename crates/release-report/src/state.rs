//! What has become of a package, in one word.

use maud::{Markup, html};
use release_manifest::{Package, Progress};

/// What has become of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its next step failed.
    Failed,
    /// It waits for one that failed.
    Blocked,
    /// It was not to be released.
    LeftOut,
    /// It is in the channel.
    Published,
    /// It is on its way.
    Underway,
}

impl State {
    pub(crate) fn of(package: &Package) -> Self {
        if package.error.is_some() {
            Self::Failed
        } else if !package.blocked_by.is_empty() {
            Self::Blocked
        } else if package.skipped.is_some() {
            Self::LeftOut
        } else if package.progress == Progress::Published {
            Self::Published
        } else {
            Self::Underway
        }
    }

    /// The class that colours it.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::LeftOut => "left-out",
            Self::Published => "published",
            Self::Underway => "underway",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Failed => "✕",
            Self::Blocked => "■",
            Self::LeftOut => "○",
            Self::Published => "✓",
            Self::Underway => "●",
        }
    }
}

/// The state as a badge: mark and word, so that colour is never all there is.
pub(crate) fn badge(package: &Package) -> Markup {
    let state = State::of(package);
    let word = match (&package.error, state) {
        (Some(error), _) => format!("failed to {}", error.phase),
        (None, State::Blocked) => "blocked".to_owned(),
        (None, State::LeftOut) => "left out".to_owned(),
        (None, _) => package.progress.to_string(),
    };
    html! {
        span class={ "badge " (state.class()) } { span aria-hidden="true" { (state.mark()) } " " (word) }
    }
}
