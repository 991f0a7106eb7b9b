//! The channel that a live release goes to, and the stores beside it.

use super::{Findings, Need};
use crate::{
    live::{self, PublishingArgs},
    target::Target,
    workspace::Workspace,
};

/// Asks the channel for what publishing needs, with the credentials that are at hand. Nothing is published.
pub(super) async fn check(workspace: &Workspace, findings: &mut Findings) {
    let target = match Target::find(workspace, None) {
        Ok(target) => target,
        Err(error) => return findings.error("publishing", Need::Live, &error),
    };
    match live::ask(workspace, &target, &PublishingArgs::default()).await {
        Ok(()) => findings.ok("publishing", format!("{} answers", target.name())),
        Err(error) => findings.error("publishing", Need::Live, &error),
    }
}
