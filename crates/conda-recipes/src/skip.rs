//! The outputs that a recipe skips, and the conditions under which.

use std::collections::{BTreeMap, BTreeSet};

use rattler_build_jinja::Variable;
use rattler_build_recipe::{
    RenderedVariant,
    stage0::{self, ConditionalList},
};
use rattler_build_types::NormalizedKey;
use release_manifest::{RelativePath, SkippedOutput};

use crate::render::strings;

type Combination = BTreeMap<NormalizedKey, Variable>;

/// What `recipe`, the file of which is `file`, skips. Of a recipe with several outputs rattler-build renders only the others, so
/// those are found by their absence.
pub(crate) fn skipped(
    file: &RelativePath,
    recipe: &stage0::Recipe,
    rendered: &[RenderedVariant],
) -> Vec<SkippedOutput> {
    match recipe {
        stage0::Recipe::SingleOutput(recipe) => rendered
            .iter()
            .filter(|variant| variant.recipe.build().skip)
            .map(|variant| SkippedOutput {
                recipe: file.clone(),
                output: variant.recipe.package().name().as_normalized().to_owned(),
                variant: strings(&variant.variant),
                reason: reason(&[&recipe.build.skip]),
            })
            .collect(),
        stage0::Recipe::MultiOutput(recipe) => {
            let mut combinations: BTreeMap<String, (&Combination, BTreeSet<&str>)> =
                BTreeMap::new();
            for variant in rendered {
                let key = format!("{:?}", variant.full_combination);
                let (_, names) = combinations
                    .entry(key)
                    .or_insert_with(|| (&variant.full_combination, BTreeSet::new()));
                names.insert(variant.recipe.package().name().as_normalized());
            }
            let none = Combination::new();
            if combinations.is_empty() {
                combinations.insert(String::new(), (&none, BTreeSet::new()));
            }
            let mut skipped = Vec::new();
            for output in &recipe.outputs {
                let stage0::Output::Package(output) = output else {
                    continue;
                };
                for (combination, names) in combinations.values() {
                    // A name that is a template is known only where the output is rendered.
                    let name = match (
                        output.package.name.as_concrete(),
                        output.package.name.as_template(),
                    ) {
                        (Some(name), _) => name.to_string(),
                        (None, Some(template)) if names.is_empty() => template.source().to_owned(),
                        (None, _) => continue,
                    };
                    if !names.contains(name.as_str()) {
                        skipped.push(SkippedOutput {
                            recipe: file.clone(),
                            output: name,
                            variant: strings(combination),
                            reason: reason(&[&recipe.build.skip, &output.build.skip]),
                        });
                    }
                }
            }
            skipped
        }
    }
}

/// The conditions that apply to an output. Which of them holds is rattler-build's secret.
fn reason(lists: &[&ConditionalList<String>]) -> String {
    let conditions: Vec<String> = lists
        .iter()
        .flat_map(|list| match serde_json::to_value(list) {
            Ok(serde_json::Value::Array(conditions)) => conditions,
            Ok(condition) => vec![condition],
            Err(_) => Vec::new(),
        })
        .map(|condition| {
            condition
                .as_str()
                .map_or_else(|| condition.to_string(), ToOwned::to_owned)
        })
        .collect();
    format!("the recipe skips it: `{}`", conditions.join("` or `"))
}
