//! The plan as a person reads it.

use std::collections::{BTreeMap, BTreeSet};

use cep27::Subdir;
use release_manifest::{Decision, Plan, UnplannedRecipe, Verdict};

use crate::table::table;

/// A row for each decision, then what could not be planned.
pub(crate) fn plan_table<'a>(
    plan: &Plan,
    decisions: impl IntoIterator<Item = &'a Decision>,
    unplanned: &[UnplannedRecipe],
) -> String {
    let names: BTreeSet<String> = plan
        .packages
        .iter()
        .map(|package| key_of(package.file.name()))
        .collect();
    let platforms: BTreeSet<Subdir> = plan.packages.iter().map(|it| it.build_platform).collect();
    let tells_platforms = platforms.len() > 1;
    let row = |package: String, recipe: &str, variant: String, on: Option<Subdir>, state| {
        let mut row = vec![package, recipe.to_owned(), variant];
        if tells_platforms {
            row.push(on.map_or_else(String::new, |on| on.to_string()));
        }
        row.push(state);
        row
    };
    let decisions = decisions.into_iter().map(|decision| {
        let package = decision.package.as_ref();
        row(
            package.map_or_else(|| decision.output.clone(), ToString::to_string),
            decision.recipe.as_str(),
            chosen(&decision.variant, &names),
            decision.build_platform,
            state(decision),
        )
    });
    let unplanned = unplanned.iter().map(|unplanned| {
        let (output, state) = match &unplanned.output {
            Some(output) => (output.clone(), unplanned.message.clone()),
            None => (String::new(), "cannot be planned".to_owned()),
        };
        row(output, &unplanned.recipe, String::new(), None, state)
    });
    let mut headers = vec!["PACKAGE", "RECIPE", "VARIANT"];
    headers.extend(tells_platforms.then_some("BUILT ON"));
    headers.push("STATE");
    table(&headers, decisions.chain(unplanned))
}

fn state(decision: &Decision) -> String {
    let verdict = decision.verdict.as_str();
    match (decision.verdict, &decision.tests_deferred) {
        (Verdict::Build, Some(tests)) => {
            format!("{verdict}: {}; tests deferred: {tests}", decision.reason)
        }
        (Verdict::InChannel, _) if decision.in_channel.is_some_and(|package| package.changed) => {
            format!("{verdict}, changed since it was published")
        }
        (Verdict::Build | Verdict::Skipped, _) => format!("{verdict}: {}", decision.reason),
        (Verdict::Unchanged | Verdict::InChannel | Verdict::NotSelected, _) => verdict.to_owned(),
    }
}

/// The part of a variant that somebody chose: not the platform, and not the exact pins on other
/// packages of the plan, which follow from it.
fn chosen(variant: &BTreeMap<String, String>, packages: &BTreeSet<String>) -> String {
    variant
        .iter()
        .filter(|(key, _)| key.as_str() != "target_platform" && !packages.contains(&key_of(key)))
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A package name as variants write it.
fn key_of(name: &str) -> String {
    name.replace('-', "_")
}
