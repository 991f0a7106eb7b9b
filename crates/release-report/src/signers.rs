//! Who signed: identity, workflow and trust.

use std::collections::BTreeMap;

use maud::{Markup, html};
use release_manifest::{Isolation, Mode};

use crate::{
    Report,
    link::link,
    packages::fact,
    quantity::{count, moment, readable},
};

/// Who signed, and what the certificates say.
pub(crate) fn section(report: &Report) -> Markup {
    let manifest = report.manifest;
    let mut signers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in manifest.packages() {
        if let Some(attestation) = &package.attestation {
            let details = report.details(&package.key());
            let claims = details.map_or(&[][..], |details| &details.claims);
            let signer = (&attestation.identity, &attestation.issuer, claims);
            signers.entry(signer).or_default().push(attestation);
        }
    }
    html! {
        section id="identity" aria-labelledby="identity-title" {
            h2 id="identity-title" { "Identity and trust" }
            @if manifest.mode == Mode::Rehearsal {
                p { "A rehearsal is signed by nobody that exists, and logged nowhere but on the machine that rehearsed." }
            }
            @if signers.is_empty() { p { "Nothing was signed yet." } }
            @for ((identity, issuer, claims), attestations) in &signers {
                @let times = attestations.iter().map(|attestation| attestation.signed_at);
                dl .card {
                    (fact("Signed", html! { (count(attestations.len(), "package")) }))
                    (fact("Identity", link(identity)))
                    (fact("Issuer", link(issuer)))
                    @if let (Some(first), Some(last)) = (times.clone().min(), times.max()) {
                        (fact("When", html! { (moment(first)) @if first != last { " to " (moment(last)) } }))
                    }
                    @for (claim, value) in *claims { (fact(&capitalised(claim), link(value))) }
                }
            }
            dl .card {
                @if let Some(trust) = &manifest.trust {
                    (fact("Trust", html! { (trust.name) }))
                    (fact("Trusted root", html! { code { "sha256:" (trust.root_sha256) } }))
                }
                @if let Some(release) = &manifest.release {
                    (fact("Release", html! {
                        "attested as a whole at " (moment(release.signed_at))
                        @if let Some(index) = release.log_index { ", log index " (index) }
                        @if let Some(url) = &release.url { ", " (link(url)) }
                    }))
                }
                (fact("Built in", html! {
                    @match manifest.isolation {
                        Isolation::Worker => { "a process of its own on the machine that signed, which is hygiene and no security boundary" },
                        Isolation::SeparateJob => { "a separate CI job that had no identity" },
                    }
                }))
                (fact("Packages carry the time", html! { (readable(release_manifest::Timestamp::from_unix(report.plan.timestamp))) }))
                (fact("Plan", html! { code { (manifest.plan_digest) } }))
                (fact("Made by", html! { (manifest.tool.name) " " (manifest.tool.version) }))
            }
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::capitalised;

    #[test]
    fn claims_begin_like_other_terms() {
        assert_eq!(capitalised("signer workflow"), "Signer workflow");
        assert_eq!(capitalised(""), "");
    }
}
