//! Every package: a table of all, and what is known of each.

use maud::{Markup, html};
use release_manifest::{Package, PackageKey, Progress, PublishResult};

use crate::{
    Report,
    link::{link, named},
    quantity::{moment, size},
    state::badge,
    verifying::commands,
};

/// The part of the page that tells of a package.
pub(crate) fn anchor(report: &Report, package: &PackageKey) -> String {
    let packages = report.manifest.packages();
    let place = packages.binary_search_by_key(package, Package::key);
    format!("package-{}", place.unwrap_or_else(|place| place) + 1)
}

/// The package by its name, as a link to what is known of it.
pub(crate) fn reference(report: &Report, package: &PackageKey) -> Markup {
    html! {
        a .package href={ "#" (anchor(report, package)) } title=(package) { (package.file.name()) " " span .minor { (package.file.version()) } }
    }
}

/// All packages, and what is known of each.
pub(crate) fn section(report: &Report) -> Markup {
    let packages = report.manifest.packages();
    html! {
        section id="packages" aria-labelledby="packages-title" {
            h2 id="packages-title" { "Packages" }
            @if packages.is_empty() { p { "None: there was nothing to release." } } @else {
                (table(report, packages))
                h3 id="each" { "Each package" }
                @for package in packages { (details(report, package)) }
            }
            @if !report.plan.skipped.is_empty() { (left_out(report)) }
        }
    }
}

fn table(report: &Report, packages: &[Package]) -> Markup {
    html! {
        table role="table" {
            caption { "Packages of this release" }
            thead role="rowgroup" {
                tr role="row" {
                    @for head in ["Package", "Subdir", "State"] { th scope="col" role="columnheader" { (head) } }
                    th .number scope="col" role="columnheader" { "Size" }
                    th scope="col" role="columnheader" { "SHA-256" }
                    th .number scope="col" role="columnheader" { "Log entry" }
                }
            }
            tbody role="rowgroup" {
                @for package in packages {
                    tr role="row" {
                        th scope="row" role="rowheader" { (reference(report, &package.key())) }
                        td .short role="cell" data-label="Subdir" { (package.subdir) }
                        td role="cell" data-label="State" { (badge(package)) }
                        td .number role="cell" data-label="Size" { (or_nothing(package.size.map(size))) }
                        td .short role="cell" data-label="SHA-256" {
                            @match package.sha256 {
                                Some(sha256) => { code { (&sha256.to_string()[..12]) "…" } },
                                None => { span .nothing { "–" } },
                            }
                        }
                        td .number role="cell" data-label="Log entry" { (log_entry(report, package)) }
                    }
                }
            }
        }
    }
}

fn or_nothing(text: Option<String>) -> Markup {
    html! {
        @match text { Some(text) => { (text) }, None => { span .nothing { "–" } } }
    }
}

/// The index in the transparency log; a link where that log has pages.
pub(crate) fn log_entry(report: &Report, package: &Package) -> Markup {
    let index = package
        .attestation
        .as_ref()
        .and_then(|attestation| attestation.log_index);
    let page = report
        .details(&package.key())
        .and_then(|details| details.log_entry.as_deref());
    html! {
        @match (index, page) {
            (Some(index), Some(page)) => { (named(&index.to_string(), page)) },
            (index, _) => { (or_nothing(index.map(|index| index.to_string()))) },
        }
    }
}

fn details(report: &Report, package: &Package) -> Markup {
    let key = package.key();
    let more = report.details(&key);
    html! {
        details .each {
            summary {
                span .title { (key.file.name()) " " span .minor { (key.file.version()) " · " (key.subdir) } } " " (badge(package))
            }
            div id=(anchor(report, &key)) {
                dl {
                    (fact("File", html! { code { (key) } }))
                    @if let Some(size_) = package.size { (fact("Size", html! { (size(size_)) " (" (size_) " bytes)" })) }
                    @if let Some(sha256) = package.sha256 { (fact("SHA-256", html! { code { (sha256) } })) }
                    (fact("Recipe", html! { code { (package.recipe) } }))
                    @if !package.variant.is_empty() {
                        (fact("Variant", html! {
                            @for (place, (key, value)) in package.variant.iter().enumerate() {
                                @if place > 0 { ", " }
                                code { (key) "=" (value) }
                            }
                        }))
                    }
                    @if !package.depends_on.is_empty() {
                        (fact("Needs", html! {
                            @for (place, key) in package.depends_on.iter().enumerate() {
                                @if place > 0 { ", " }
                                (reference(report, key))
                            }
                        }))
                    }
                    @if !package.sources.is_empty() { (fact("Sources", sources(package))) }
                    @if let Some(skipped) = &package.skipped { (fact("Left out", html! { (skipped.reason) })) }
                    @if let Some(skipped) = &package.tests_skipped { (fact("Not tested", html! { (skipped.reason) })) }
                    @if let Some(attestation) = &package.attestation {
                        (fact("Attestation", html! { code { (attestation.bundle) } }))
                        @if let Some(provenance) = &attestation.provenance {
                            (fact("Provenance", html! { code { (provenance.bundle) } }))
                        }
                        (fact("Signed by", link(&attestation.identity)))
                        (fact("Signed at", moment(attestation.signed_at)))
                        (fact("Log entry", log_entry(report, package)))
                    }
                    @if let Some(published) = &package.published {
                        (fact(result(published.result), html! { (link(&published.url)) " at " (moment(published.at)) }))
                        @if let Some(seen) = published.seen { (fact("Seen by clients", moment(seen))) }
                    }
                    @if let Some(log) = &package.log { (fact("Build log", html! { code { (log) } })) }
                    @if let Some(more) = more.filter(|more| !more.links.is_empty()) {
                        (fact("See also", html! {
                            @for (place, (name, address)) in more.links.iter().enumerate() {
                                @if place > 0 { ", " }
                                (named(name, address))
                            }
                        }))
                    }
                    (fact("Fingerprint", html! { code { (package.fingerprint) } }))
                }
                @if let Some(more) = more.filter(|more| !more.verify.is_empty()) {
                    h4 { "Verify it" }
                    (commands(&more.verify))
                }
            }
        }
    }
}

/// The sources of a package, each with its commit or hash, and the publishers whose attestation its recipe requires. It was
/// verified if the package was built.
fn sources(package: &Package) -> Markup {
    html! {
        @for (place, source) in package.sources.iter().enumerate() {
            @if place > 0 { br; }
            code { (source.uri) }
            @for (algorithm, digest) in &source.digest { " " (algorithm) " " code { (digest) } }
            @if let Some(attestation) = source.attestation() {
                @if package.progress >= Progress::Built { " attested by " } @else { " must be attested by " }
                (attestation.publishers.join(", "))
            }
        }
    }
}

fn result(result: PublishResult) -> &'static str {
    match result {
        PublishResult::Uploaded => "Published",
        PublishResult::Identical => "In the channel before, identical",
        PublishResult::Exists => "In the channel before",
    }
}

/// A term and what is said of it.
pub(crate) fn fact(term: &str, description: Markup) -> Markup {
    html! { div { dt { (term) } dd { (description) } } }
}

fn left_out(report: &Report) -> Markup {
    html! {
        h3 id="left-out" { "Not built" }
        table role="table" {
            caption { "Outputs that were not to be built" }
            thead role="rowgroup" {
                tr role="row" { @for head in ["Output", "Recipe", "Why"] { th scope="col" role="columnheader" { (head) } } }
            }
            tbody role="rowgroup" {
                @for skipped in &report.plan.skipped {
                    tr role="row" {
                        th scope="row" role="rowheader" { (skipped.output) }
                        td role="cell" data-label="Recipe" { code { (skipped.recipe) } }
                        td role="cell" data-label="Why" { (skipped.reason) }
                    }
                }
            }
        }
    }
}
