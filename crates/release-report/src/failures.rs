//! What failed, and what waits for it.

use maud::{Markup, html};
use release_manifest::Package;

use crate::{
    Report,
    packages::{fact, reference},
    state::State,
};

/// What failed, with the end of its log; nothing if nothing did.
pub(crate) fn section(report: &Report) -> Markup {
    let packages = report.manifest.packages();
    let failed: Vec<&Package> = packages
        .iter()
        .filter(|package| package.error.is_some())
        .collect();
    let blocked: Vec<&Package> = packages
        .iter()
        .filter(|package| State::of(package) == State::Blocked)
        .collect();
    html! {
        @if !failed.is_empty() || !blocked.is_empty() {
            section id="failures" .failures aria-labelledby="failures-title" {
                h2 id="failures-title" { "What failed" }
                @for package in failed { (failure(report, package)) }
                @if !blocked.is_empty() {
                    h3 { "What waits for it" }
                    ul {
                        @for package in blocked {
                            li {
                                (reference(report, &package.key())) ", for "
                                @for (place, key) in package.blocked_by.iter().enumerate() {
                                    @if place > 0 { ", " }
                                    (reference(report, key))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn failure(report: &Report, package: &Package) -> Markup {
    let key = package.key();
    let tail = report
        .details(&key)
        .map_or(&[][..], |details| &details.log_tail);
    html! {
        @if let Some(error) = &package.error {
            article .failure {
                h3 { (reference(report, &key)) " failed to " (error.phase) }
                p .message { (error.message) }
                dl {
                    (fact("Error", html! { code { (error.code) } }))
                    (fact("Recipe", html! { code { (package.recipe) } }))
                    @if let Some(log) = &error.log { (fact("Log", html! { code { (log) } })) }
                }
                @if !tail.is_empty() {
                    h4 { "The end of its log" }
                    pre tabindex="0" role="region" aria-label={ "The end of the log of " (key) } {
                        code { @for line in tail { (line) "\n" } }
                    }
                }
            }
        }
    }
}
