//! What is to be seen first: how it ended, and the figures.

use maud::{Markup, html};
use release_manifest::{Mode, Package, Progress};

use crate::{
    Report,
    link::{link, named},
    packages::fact,
    quantity::{count, moment, size},
    state::State,
};

/// How a release ended, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything that was to be released is.
    Done,
    /// Nothing failed, and something is left to do.
    Underway,
    /// Something failed.
    Failed,
}

/// The release in a few words, as title and headline.
pub(crate) struct Headline {
    /// What happened.
    pub(crate) text: String,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Headline {
    pub(crate) fn of(report: &Report) -> Self {
        let packages = report.manifest.packages().iter();
        let packages: Vec<&Package> = packages
            .filter(|package| package.skipped.is_none())
            .collect();
        let number = |state| {
            packages
                .iter()
                .filter(|package| State::of(package) == state)
                .count()
        };
        let (failed, published) = (number(State::Failed), number(State::Published));
        let least = packages.iter().map(|package| package.progress).min();
        let all = count(packages.len(), "package");
        let verb = match report.manifest.mode {
            Mode::Rehearsal => "rehearsed",
            Mode::Live => "published",
        };
        let (text, outcome) = match least {
            _ if failed > 0 => (format!("{failed} of {all} failed"), Outcome::Failed),
            None => ("Nothing to release".to_owned(), Outcome::Done),
            Some(Progress::Published) => (format!("{all} {verb}"), Outcome::Done),
            Some(least) if published == 0 => (format!("{all} {least}"), Outcome::Underway),
            Some(_) => (format!("{published} of {all} {verb}"), Outcome::Underway),
        };
        Self { text, outcome }
    }

    fn mark(&self) -> Markup {
        let (class, mark) = match self.outcome {
            Outcome::Done => ("mark published", "✓"),
            Outcome::Underway => ("mark underway", "●"),
            Outcome::Failed => ("mark failed", "✕"),
        };
        html! { span class=(class) aria-hidden="true" { (mark) } }
    }
}

/// The head of the page.
pub(crate) fn header(report: &Report) -> Markup {
    let manifest = report.manifest;
    let headline = Headline::of(report);
    let packages = manifest.packages();
    let last = packages.iter().flat_map(ends).max();
    html! {
        header {
            p .kicker {
                @match manifest.mode {
                    Mode::Rehearsal => { span .tag.rehearsal { "Rehearsal" } " Nothing left the machine it ran on." },
                    Mode::Live => { span .tag { "Release" } },
                }
            }
            h1 { (headline.mark()) " " (headline.text) }
            dl .facts {
                @if let Some(channel) = &manifest.channel { (fact("Channel", link(channel))) }
                @if manifest.channel.as_deref() != Some(manifest.target_channel.as_str()) {
                    (fact("Attested for", link(manifest.target_channel.as_str())))
                }
                @if let Some(repository) = &manifest.source.repository { (fact("Repository", link(repository))) }
                @if let Some(commit) = &manifest.source.commit { (fact("Commit", html! {
                    code { @match &manifest.source.repository {
                        Some(repository) if repository.starts_with("https://github.com/") => {
                            (named(commit, &format!("{repository}/commit/{commit}")))
                        },
                        _ => { (commit) },
                    } }
                    @if manifest.source.dirty { " with changes that are not committed" }
                })) }
                @if let Some(last) = last { (fact("Last step", moment(last))) }
            }
            (steps(packages))
        }
    }
}

fn ends(package: &Package) -> impl Iterator<Item = release_manifest::Timestamp> {
    let times = package.times;
    let steps = [times.built, times.tested, times.attested, times.published];
    steps.into_iter().flatten().map(|taken| taken.at)
}

/// How many packages came how far.
fn steps(packages: &[Package]) -> Markup {
    let left: Vec<&Package> = packages
        .iter()
        .filter(|package| package.skipped.is_none())
        .collect();
    let reached = |progress| {
        left.iter()
            .filter(|package| package.progress >= progress)
            .count()
    };
    let total: u64 = packages.iter().filter_map(|package| package.size).sum();
    let steps = [
        ("planned", Progress::Planned),
        ("built", Progress::Built),
        ("tested", Progress::Tested),
        ("attested", Progress::Attested),
        ("published", Progress::Published),
    ];
    html! {
        ol .steps aria-label="How far the packages came" {
            @for (name, progress) in steps {
                @let number = reached(progress);
                li class=(if number == left.len() { "all" } else { "some" }) {
                    span .figure { (number) @if number != left.len() { span .of { " of " (left.len()) } } }
                    " " span .step { (name) }
                    @if progress == Progress::Built && total > 0 { " " span .aside { (size(total)) } }
                }
            }
        }
    }
}
