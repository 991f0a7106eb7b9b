//! What `init` says.

use serde::Serialize;
use similar::TextDiff;

use super::{
    change::{Change, State},
    proposal::Proposal,
};
use crate::{
    error::Error, foreign::harmless_lines, printer::Printer, table::table, workspace::Workspace,
};

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    files: Vec<File>,
    skipped: Vec<Skipped<'a>>,
}

#[derive(Serialize)]
struct File {
    path: String,
    state: State,
    written: bool,
}

#[derive(Serialize)]
struct Skipped<'a> {
    member: &'a str,
    reason: &'a str,
}

/// The difference between what is there and what would be, as `diff -u` shows it.
pub(super) fn differences(changes: &[Change], workspace: &Workspace) -> String {
    let different = changes
        .iter()
        .filter(|change| change.state() != State::Current);
    let shown = different.map(|change| {
        let name = workspace.shown(&change.path);
        let before = match &change.before {
            Some(_) => &name,
            None => "/dev/null",
        };
        TextDiff::from_lines(change.before.as_deref().unwrap_or_default(), &change.after)
            .unified_diff()
            .header(before, &name)
            .to_string()
    });
    harmless_lines(&shown.collect::<Vec<_>>().join("\n"))
}

/// The files and how they stand: what `init` has done, or would do.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn finish(
    proposal: &Proposal,
    workspace: &Workspace,
    printer: &Printer,
) -> Result<(), Error> {
    for note in &proposal.notes {
        printer.warning(note);
    }
    let mut files: Vec<File> = proposal
        .changes
        .iter()
        .map(|change| File {
            path: workspace.shown(&change.path),
            state: change.state(),
            written: change.is_written,
        })
        .collect();
    files.extend(proposal.lockfile.iter().map(|lockfile| File {
        path: workspace.shown(&lockfile.path),
        state: State::Missing,
        written: lockfile.is_written,
    }));
    let rows = files.iter().map(|file| {
        let state = match (file.state, file.written) {
            (_, true) => "written",
            (State::Current, _) => "current",
            (State::Missing, _) => "missing",
            (State::Differs, _) => "differs",
        };
        [state.to_owned(), file.path.clone()]
    });
    printer.result(&table(&["STATE", "FILE"], rows))?;
    let skipped = proposal.skipped.iter().map(|skipped| Skipped {
        member: &skipped.member,
        reason: &skipped.reason,
    });
    printer.json(&Document {
        schema_version: 1,
        skipped: skipped.collect(),
        files,
    })
}

/// What to do now.
pub(super) fn next_steps(proposal: &Proposal, invocation: &str, printer: &Printer) {
    let kept = proposal
        .changes
        .iter()
        .any(|change| change.state() == State::Differs && !change.is_written);
    if kept {
        printer.warning("what differs stays as it is: --check shows how, --force replaces it");
    }
    let command = match proposal.xtask.has_us() {
        true => "cargo xtask",
        false => invocation,
    };
    let lockfile = match proposal.xtask.has_us() {
        true => ", xtask/Cargo.lock included",
        false => "",
    };
    let mut steps = format!(
        "\nNext:\n  {command} release    rehearse: build, test and attest, on this machine alone\n"
    );
    if proposal.has_channel {
        steps.push_str(&format!(
            "  {command} doctor     what a release for real needs, once all of it is committed{lockfile}\n"
        ));
    }
    printer.note(&steps);
}
