//! The cycle among the outputs of one recipe: rattler-build, which cannot render such a recipe, names only who is part of it.

use std::collections::{BTreeMap, BTreeSet};

use rattler_build_jinja::JinjaConfig;
use rattler_build_recipe::{Evaluate, EvaluationContext, RenderConfig, Stage1Recipe, stage0};
use rattler_build_variant_config::VariantConfig;

use crate::graph;

/// The outputs of a cycle in the order of their hard edges, the first one again at the end. With the first value of every variant
/// key: a cycle that appears only with another one isn't found.
pub(crate) fn within(
    recipe: &stage0::Recipe,
    variants: &VariantConfig,
    config: &RenderConfig,
) -> Option<Vec<String>> {
    let stage0::Recipe::MultiOutput(recipe) = recipe else {
        return None;
    };
    let variant: BTreeMap<_, _> = variants
        .variants
        .iter()
        .filter_map(|(key, values)| Some((key.clone(), values.first()?.clone())))
        .collect();
    let mut variables = config.extra_context.clone();
    for (key, value) in &variant {
        variables.insert(key.normalize(), value.clone());
    }
    let jinja = JinjaConfig {
        experimental: config.experimental,
        recipe_path: config.recipe_path.clone(),
        target_platform: config.target_platform,
        build_platform: config.build_platform,
        host_platform: config.host_platform,
        variant,
        ..JinjaConfig::default()
    };
    let context = EvaluationContext::with_variables_and_config(variables, jinja);
    find(&needs(&recipe.evaluate(&context).ok()?))
}

type Needs = BTreeMap<String, BTreeSet<String>>;

/// What each output needs built before it, among the outputs.
fn needs(outputs: &[Stage1Recipe]) -> Needs {
    let name = |recipe: &Stage1Recipe| recipe.package().name().as_normalized().to_owned();
    let names: BTreeSet<String> = outputs.iter().map(name).collect();
    let mut needs = Needs::new();
    for output in outputs {
        let hard = graph::hard_names(output).map(|needed| needed.as_normalized().to_owned());
        let among = hard.filter(|needed| names.contains(needed) && *needed != name(output));
        needs.entry(name(output)).or_default().extend(among);
    }
    needs
}

fn find(needs: &Needs) -> Option<Vec<String>> {
    // Who needs nothing that is left cannot be part of a cycle. Whoever remains needs somebody who remains.
    let mut left = needs.clone();
    while let Some(free) = left
        .iter()
        .find(|(_, needed)| needed.iter().all(|name| !left.contains_key(name)))
        .map(|(name, _)| name.clone())
    {
        left.remove(&free);
    }
    let mut walked: Vec<&String> = vec![left.keys().next()?];
    loop {
        let next = left[*walked.last()?]
            .iter()
            .find(|name| left.contains_key(*name))?;
        if let Some(start) = walked.iter().position(|name| *name == next) {
            let cycle = walked[start..].iter().copied().chain([next]);
            return Some(cycle.cloned().collect());
        }
        walked.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycle(edges: &[(&str, &[&str])]) -> Option<String> {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let needs = edges
            .iter()
            .map(|(name, needed)| (name.to_string(), owned(needed)))
            .collect();
        find(&needs).map(|cycle| cycle.join(" → "))
    }

    #[test]
    fn who_only_leads_to_a_cycle_or_follows_one_is_not_part_of_it() {
        let leads: (&str, &[&str]) = ("a", &["b", "x"]);
        let ring: [(&str, &[&str]); 3] = [("b", &["c", "x"]), ("c", &["d"]), ("d", &["b"])];
        let edges: Vec<_> = [leads]
            .into_iter()
            .chain(ring)
            .chain([("x", &[][..])])
            .collect();
        assert_eq!(cycle(&edges).as_deref(), Some("b → c → d → b"));
        assert_eq!(cycle(&[("a", &["b"]), ("b", &[])]), None);
    }
}
