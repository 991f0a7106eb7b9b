//! Outputs that become the same file: one of them is planned where they are the same package, else none of them.

use std::collections::{BTreeMap, BTreeSet};

use rattler_build_recipe::Stage1Recipe;
use release_manifest::PackageKey;

use crate::{
    Error,
    render::{self, RenderedOutput},
    unplanned::Broken,
};

/// Leaves one of each file, sorted by key. A variant key that an output doesn't use renders the same output several times; other
/// outputs that would become the same file are added to `broken`, and none of them is left.
pub(crate) fn unique(
    outputs: Vec<(PackageKey, RenderedOutput)>,
    broken: &mut Broken,
) -> Vec<(PackageKey, RenderedOutput)> {
    let mut by_key: BTreeMap<PackageKey, RenderedOutput> = BTreeMap::new();
    let mut unclear: BTreeSet<PackageKey> = BTreeSet::new();
    for (key, output) in outputs {
        match by_key.get(&key) {
            None => {
                by_key.insert(key, output);
            }
            Some(first) if is_same(first, &output) => {}
            Some(first) => {
                let error = Error::Duplicate {
                    package: key.to_string(),
                    first: described(first),
                    second: described(&output),
                };
                broken.add_output(first, error);
                unclear.insert(key);
            }
        }
    }
    by_key.retain(|key, _| !unclear.contains(key));
    by_key.into_iter().collect()
}

/// Whether the same package is made by both, leaving aside the variant values that nothing but the context refers to. A recipe
/// that names keys to ignore says so itself.
fn is_same(first: &RenderedOutput, second: &RenderedOutput) -> bool {
    let without_context = |recipe: &Stage1Recipe| Stage1Recipe {
        context: Default::default(),
        used_variant: BTreeMap::new(),
        ..recipe.clone()
    };
    let (one, other) = (&first.output.recipe, &second.output.recipe);
    let is_told = !one.build().variant.ignore_keys.is_empty()
        && one.build().variant.ignore_keys == other.build().variant.ignore_keys;
    first.recipe == second.recipe && (is_told || without_context(one) == without_context(other))
}

fn described(output: &RenderedOutput) -> String {
    let variant: Vec<String> = render::strings(&output.combination)
        .into_iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{} with {}", output.recipe, variant.join(", "))
}
