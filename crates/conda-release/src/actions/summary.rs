//! The summary of a job: a release as Markdown, no longer than there is room.

use std::collections::BTreeSet;

use release_manifest::{Manifest, Mode, Package, Progress};
use release_report::{Outcome, Report};

use super::markdown::{block, code, link, text};
use crate::{printer::size, secret::veiled};

/// What is kept for saying that something was left out.
const LAST_WORDS: usize = 256;

/// A text that grows while there is room.
struct Capped {
    text: String,
    room: usize,
}

impl Capped {
    fn new(room: usize) -> Self {
        Self {
            text: String::new(),
            room: room.saturating_sub(LAST_WORDS),
        }
    }

    /// Adds a part as a whole, or nothing of it.
    fn add(&mut self, part: &str) -> bool {
        let fits = self.text.len() + part.len() <= self.room;
        if fits {
            self.text.push_str(part);
        }
        fits
    }
}

/// A release: how it ended, what failed, every package, who signed, how to verify.
pub(super) fn of_release(report: &Report, room: usize) -> String {
    let mut summary = Capped::new(room);
    summary.add(&head(report));
    let packages = report.manifest.packages();
    for package in packages {
        if let Some(failure) = failure(report, package) {
            summary.add(&failure);
        }
    }
    let mut shown = 0;
    if summary.add(TABLE) {
        shown = packages
            .iter()
            .take_while(|package| summary.add(&row(report, package)))
            .count();
        summary.add("\n");
    }
    if !report.verify.is_empty() {
        summary.add("Verify it as anybody can.\n");
    }
    for command in &report.verify {
        let (title, line) = (text(&command.title), block(&command.line));
        summary.add(&format!("\n{title}:\n\n{line}\n"));
    }
    if shown < packages.len() && room >= LAST_WORDS {
        let left = packages.len() - shown;
        let more =
            format!("\n… and {left} more, for which there is no room here: see `report.html`.\n");
        summary.text.push_str(&more);
    }
    summary.text
}

/// An error that concerns a run as a whole.
pub(super) fn of_error(message: &str, room: usize) -> String {
    let mut summary = Capped::new(room);
    let message = veiled(message);
    let message: String = message.chars().take(10_000).collect();
    summary.add(&format!(
        "## ❌ conda-release could not go on\n\n{}\n",
        block(&message)
    ));
    summary.text
}

fn head(report: &Report) -> String {
    let Manifest {
        mode,
        source,
        target_channel,
        channel,
        ..
    } = report.manifest;
    let mark = match report.outcome() {
        Outcome::Done => "✅",
        Outcome::Underway => "⏳",
        Outcome::Failed => "❌",
    };
    let mut facts = vec![match (mode, channel) {
        (Mode::Rehearsal, _) => "A rehearsal: nothing left the machine it ran on.".to_owned(),
        (Mode::Live, Some(channel)) => format!("To {}.", link(channel, channel)),
        (Mode::Live, None) => format!(
            "To {}.",
            link(target_channel.as_str(), target_channel.as_str())
        ),
    }];
    if let Some(commit) = &source.commit {
        let repository = source.repository.as_deref().unwrap_or_default();
        let address = match repository.starts_with("https://github.com/") {
            true => format!("{repository}/commit/{commit}"),
            false => String::new(),
        };
        let dirty = if source.dirty {
            ", with changes that are not committed"
        } else {
            ""
        };
        let short = commit.get(..12).unwrap_or(commit);
        facts.push(format!(
            "From {}{dirty}.",
            link(format!("{repository} {short}").trim_start(), &address)
        ));
    }
    let packages = report.manifest.packages().iter();
    let signers: BTreeSet<&str> = packages
        .filter_map(|package| package.attestation.as_ref())
        .map(|attestation| attestation.identity.as_str())
        .collect();
    for signer in signers {
        facts.push(format!("Signed by {}.", code(signer)));
    }
    format!(
        "## {mark} {}\n\n{}\n\n",
        text(&report.headline()),
        facts.join("  \n")
    )
}

const TABLE: &str = "| Package | Subdir | Size | State | Log entry |\n|---|---|--:|---|--:|\n";

fn row(report: &Report, package: &Package) -> String {
    let name = format!("{} {}", package.file.name(), package.file.version());
    let url = package
        .published
        .as_ref()
        .map_or("", |published| &published.url);
    let entry = package
        .attestation
        .as_ref()
        .and_then(|attestation| attestation.log_index);
    let page = report
        .details
        .get(&package.key())
        .and_then(|details| details.log_entry.as_deref());
    format!(
        "| {} | {} | {} | {} | {} |\n",
        link(&name, url),
        package.subdir,
        package.size.map_or_else(String::new, size),
        state(package),
        entry.map_or_else(String::new, |index| link(
            &index.to_string(),
            page.unwrap_or_default()
        )),
    )
}

fn state(package: &Package) -> String {
    match &package.error {
        Some(error) => format!("❌ failed to {}", error.phase),
        None if let Some(skipped) = &package.skipped => match skipped.is_changed() {
            true => "⚠️ left out: changed since it was published".to_owned(),
            false => "left out".to_owned(),
        },
        None if !package.blocked_by.is_empty() => "⏸ blocked".to_owned(),
        None if package.progress == Progress::Published => "✅ published".to_owned(),
        None => package.progress.to_string(),
    }
}

fn failure(report: &Report, package: &Package) -> Option<String> {
    let error = package.error.as_ref()?;
    let key = package.key();
    let tail = report
        .details
        .get(&key)
        .map_or(&[][..], |details| &details.log_tail);
    let log = match tail.is_empty() {
        true => String::new(),
        false => format!(
            "<details><summary>The end of its log</summary>\n\n{}\n</details>\n\n",
            block(&tail.join("\n"))
        ),
    };
    Some(format!(
        "**{} failed to {}**\n\n{}\n{log}",
        text(&key.to_string()),
        error.phase,
        block(&veiled(&error.message))
    ))
}

#[cfg(test)]
mod tests {
    use super::Capped;

    #[test]
    fn a_part_without_room_is_left_out_as_a_whole() {
        let mut text = Capped::new(super::LAST_WORDS + 5);
        assert!(text.add("one"));
        assert!(!text.add("two"));
        assert!(text.add("22"));
        assert_eq!(text.text, "one22");
        assert!(!Capped::new(0).add("x"));
    }
}
