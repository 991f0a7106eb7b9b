//! The workspace: its configuration, recipes, source and channel.

use super::{Findings, Need};
use crate::{pipeline, printer::count, workspace::Workspace};

pub(super) fn check(workspace: &Workspace, findings: &mut Findings) {
    findings.ok("configuration", format!("`{}`", workspace.root().display()));
    match conda_recipes::find(workspace.root(), &workspace.recipe_patterns(&[])) {
        Ok(recipes) => findings.ok("recipes", count(recipes.len(), "recipe")),
        Err(error) => findings.error("recipes", Need::Rehearsal, &error.into()),
    }
    match pipeline::worker(workspace) {
        Ok(_) => {}
        Err(error) => findings.error("environment", Need::Rehearsal, &error),
    }
    source(workspace, findings);
    match workspace.configured_channel() {
        Ok(channel) => findings.ok("channel", format!("packages are attested for {channel}")),
        Err(error) => findings.error("channel", Need::Live, &error),
    }
}

/// The commit that packages would be of.
fn source(workspace: &Workspace, findings: &mut Findings) {
    let source = match workspace.checkout() {
        Ok(checkout) => checkout.source,
        Err(error) => return findings.error("source", Need::Rehearsal, &error),
    };
    let Some(commit) = source.commit else {
        return findings.missing(
            "source",
            Need::Live,
            "not in a git repository with a commit: attestations would name none",
            "commit the recipes",
        );
    };
    let repository = match source.repository {
        Some(repository) => format!(" of {repository}"),
        None => String::new(),
    };
    match source.dirty {
        false => findings.ok("source", format!("{commit}{repository}")),
        true => findings.missing(
            "source",
            Need::Live,
            format!("files differ from {commit}{repository}"),
            "commit or remove the changes: what is released should be what is committed",
        ),
    }
}
