//! The page around its sections: what it may load, its style, its landmarks.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use release_manifest::Mode;
use sha2::{Digest as _, Sha256};

use crate::{
    Outcome, Report, failures, graph, overview, overview::Headline, packages, signers, timeline,
    verifying,
};

const STYLE: &str = include_str!("style.css");

/// What the tab of a browser shows: a tick or an exclamation mark. Within the page, so that no browser asks for one.
const DONE: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%231a7f4b'/%3E%3Cpath d='m4 8 3 3 5-6' fill='none' stroke='%23fff' stroke-width='2'/%3E%3C/svg%3E";
const UNFINISHED: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%23b3261e'/%3E%3Cpath d='M8 3v6m0 2v2' stroke='%23fff' stroke-width='2'/%3E%3C/svg%3E";

/// The whole page.
pub(crate) fn page(report: &Report) -> Markup {
    let headline = Headline::of(report);
    let kind = match report.manifest.mode {
        Mode::Rehearsal => "Rehearsal",
        Mode::Live => "Release",
    };
    let failures = failures::section(report);
    let verifying = verifying::section(report);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (kind) ": " (headline.text) }
                link rel="icon" href=(if headline.outcome == Outcome::Done { DONE } else { UNFINISHED });
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#content" { "Skip to the content" }
                (overview::header(report))
                nav aria-label="Sections" {
                    ul {
                        @if !failures.0.is_empty() { li { a href="#failures" { "What failed" } } }
                        li { a href="#packages" { "Packages" } }
                        li { a href="#graph" { "Dependency graph" } }
                        li { a href="#timeline" { "Timeline" } }
                        li { a href="#identity" { "Identity and trust" } }
                        @if !verifying.0.is_empty() { li { a href="#verify" { "How to verify" } } }
                    }
                }
                main id="content" {
                    (failures)
                    (packages::section(report))
                    (graph::section(report))
                    (timeline::section(report))
                    (signers::section(report))
                    (verifying)
                }
                footer {
                    p {
                        "Made by " (report.manifest.tool.name) " " (report.manifest.tool.version)
                        " from " code { "release-manifest.json" } ", which lies beside this page and says the same to programs. "
                        "The page proves nothing: the attestations do."
                    }
                }
            }
        }
    }
}

/// Nothing is loaded, run, framed or sent; the one style sheet is known by its hash.
fn policy() -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::{STYLE, policy};

    #[test]
    fn the_style_sheet_loads_nothing_and_stays_as_it_was_hashed() {
        for loading in ["url(", "@import", "http", "</"] {
            assert!(!STYLE.contains(loading), "{loading}");
        }
        assert_eq!(crate::harmless(STYLE), STYLE);
        assert!(policy().starts_with("default-src 'none';"), "{}", policy());
    }
}
