//! A release as one page to look at.
//!
//! [`Report::to_html`] makes a [`Manifest`] and its [`Plan`] into one HTML file that needs nothing else: no request, no
//! script, no font of somebody's. What the release says was written by others (recipes, logs, certificates, servers), so
//! two things hold for the whole page, in one place each:
//!
//! - Every text is escaped by the templates (maud), and every control, direction or invisible character of the finished
//!   page is replaced ([`Report::to_html`]).
//! - Only what [`web_address`] knows is a link; everything else that looks like one is text.
//!
//! A content security policy in the page forbids the rest: it allows one style sheet, by its hash, and nothing else.
//!
//! Pure: what has to be read or decided (ends of logs, claims of certificates, commands) comes with the [`Report`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod axis;
mod failures;
mod graph;
mod layout;
mod link;
mod overview;
mod packages;
mod page;
mod quantity;
mod signers;
mod state;
mod timeline;
mod verifying;

use std::collections::BTreeMap;

use release_manifest::{Manifest, PackageKey, Plan};

use crate::overview::Headline;

pub use link::web_address;
pub use overview::Outcome;
pub use quantity::{count, duration, size};

/// What a page is made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// How far the release is.
    pub manifest: &'a Manifest,
    /// What was planned.
    pub plan: &'a Plan,
    /// What more is known of a package.
    pub details: BTreeMap<PackageKey, Details>,
    /// How the release as a whole is verified.
    pub verify: Vec<Command>,
}

/// What is known of a package beside what the manifest has.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// What the certificate of its attestation says: claim and value, in the order of interest.
    pub claims: Vec<(String, String)>,
    /// The page of its log entry, where there is one.
    pub log_entry: Option<String>,
    /// Where to look further: what it is, and its address.
    pub links: Vec<(String, String)>,
    /// How it is verified.
    pub verify: Vec<Command>,
    /// The last lines of the log of what failed.
    pub log_tail: Vec<String>,
}

/// A command for a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What it is a command of, or what it is for.
    pub title: String,
    /// The command, as it is typed.
    pub line: String,
}

impl Report<'_> {
    /// The page, as the text of one file.
    #[must_use]
    pub fn to_html(&self) -> String {
        harmless(&page::page(self).into_string())
    }

    /// What happened, in a few words: `12 packages published`.
    #[must_use]
    pub fn headline(&self) -> String {
        Headline::of(self).text
    }

    /// How the release ended, so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Headline::of(self).outcome
    }

    fn details(&self, package: &PackageKey) -> Option<&Details> {
        self.details.get(package)
    }
}

/// The page without characters that are not seen: what was written to read as something else reads as what it is.
fn harmless(html: &str) -> String {
    html.chars()
        .map(|character| match character {
            '\n' => '\n',
            '\t' => ' ',
            invisible if cep27::is_invisible(invisible) => char::REPLACEMENT_CHARACTER,
            visible => visible,
        })
        .collect()
}
