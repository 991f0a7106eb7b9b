//! What cannot be planned while the rest can: recipes that do not render, and outputs that need them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use rattler_build_recipe::{
    EvaluationContext, parse_recipe, source_code,
    stage0::{
        self,
        evaluate::{evaluate_value_to_string, evaluate_value_to_variable},
    },
};
use release_manifest::PackageKey;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Failure, PlanRequest, error, failure, graph,
    render::{self, RenderedOutput},
};

/// A recipe that cannot be planned, or an output that needs one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unplanned {
    /// The recipe file, relative to the root.
    pub recipe: String,
    /// The output, where the recipe's others are planned.
    pub output: Option<String>,
    /// Why.
    pub failure: Failure,
}

/// The recipes that cannot be planned so far.
#[derive(Default)]
pub(crate) struct Broken {
    failed: Vec<Unplanned>,
    first: Option<Error>,
    /// The names under which others may need them.
    names: BTreeSet<String>,
}

impl Broken {
    /// Adds a recipe. One that fails for several platforms failed once.
    pub(crate) fn add(&mut self, request: &PlanRequest, recipe: &Path, error: Error) {
        let relative = recipe.strip_prefix(&request.root).unwrap_or(recipe);
        let relative = relative.display().to_string().replace('\\', "/");
        self.fail(relative, None, error);
        self.names.extend(names(request, recipe));
    }

    /// Adds an output of a recipe whose others may be planned. One that fails under several variants failed once.
    pub(crate) fn add_output(&mut self, output: &RenderedOutput, error: Error) {
        let name = output.name().to_owned();
        self.fail(output.recipe.to_string(), Some(name.clone()), error);
        self.names.insert(name);
    }

    fn fail(&mut self, recipe: String, output: Option<String>, error: Error) {
        let unplanned = Unplanned {
            recipe,
            output,
            failure: Failure::from(&error),
        };
        let is_known = |known: &Unplanned| {
            (&known.recipe, &known.output) == (&unplanned.recipe, &unplanned.output)
        };
        if !self.failed.iter().any(is_known) {
            self.failed.push(unplanned);
        }
        self.first.get_or_insert(error);
    }

    /// The recipes as one error, if there are any.
    pub(crate) fn into_error(self) -> Result<(), Error> {
        match (self.first, self.failed.len()) {
            (None, _) => Ok(()),
            (Some(error), 1) => Err(error),
            (Some(_), _) => Err(Error::Recipes {
                failures: self.failed.into_iter().map(|it| it.failure).collect(),
            }),
        }
    }

    /// Takes out of `outputs` what needs one of the recipes, directly or through others: built against what a channel has
    /// under that name, it would be another package than the one that is meant. Returns all that is not planned.
    pub(crate) fn without_dependents(
        self,
        outputs: &mut Vec<(PackageKey, RenderedOutput)>,
    ) -> Vec<Unplanned> {
        let Self {
            mut failed, names, ..
        } = self;
        if names.is_empty() {
            return failed;
        }
        let mut needed_by: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, (_, output)) in outputs.iter().enumerate() {
            for needed in graph::all_names(&output.output.recipe) {
                needed_by.entry(needed).or_default().push(index);
            }
        }
        let mut because: BTreeMap<usize, String> = BTreeMap::new();
        let mut open: Vec<String> = names.into_iter().collect();
        while let Some(missing) = open.pop() {
            for index in needed_by.remove(&missing).unwrap_or_default() {
                let own = outputs[index].1.name();
                if own != missing && !because.contains_key(&index) {
                    because.insert(index, missing.clone());
                    open.push(own.to_owned());
                }
            }
        }
        failed.extend(because.iter().map(|(&index, missing)| {
            let (_, output) = &outputs[index];
            let (recipe, output) = (output.recipe.to_string(), output.name().to_owned());
            let message = format!("`{output}` needs `{missing}`, which cannot be planned");
            Unplanned {
                recipe,
                output: Some(output),
                failure: failure::plain("needs_unplanned", message),
            }
        }));
        let mut index = 0..;
        outputs.retain(|_| {
            index
                .next()
                .is_some_and(|index| !because.contains_key(&index))
        });
        failed
    }
}

/// The names that a recipe's outputs have as far as they can be told without rendering it, and the one of its folder, which is
/// mostly the same. Those that depend on a variant cannot.
fn names(request: &PlanRequest, recipe: &Path) -> BTreeSet<String> {
    let folder = recipe.parent().and_then(Path::file_name);
    let mut names: BTreeSet<String> = folder
        .map(|name| name.to_string_lossy().to_lowercase())
        .into_iter()
        .collect();
    let Ok(text) = error::read(recipe) else {
        return names;
    };
    let source = source_code::Source {
        name: recipe.display().to_string(),
        code: text.as_str().into(),
        path: recipe.to_owned(),
    };
    let Ok(parsed) = parse_recipe(&source) else {
        return names;
    };
    let (variables, packages) = match &parsed {
        stage0::Recipe::SingleOutput(recipe) => (&recipe.context, vec![&recipe.package.name]),
        stage0::Recipe::MultiOutput(recipe) => {
            let packages = recipe.outputs.iter().filter_map(|output| match output {
                stage0::Output::Package(output) => Some(&output.package.name),
                stage0::Output::Staging(_) => None,
            });
            (&recipe.context, packages.collect())
        }
    };
    let mut context = EvaluationContext::new();
    let cargo = request.cargo.variable(recipe, true);
    if let Some(Ok(cargo)) = cargo.map(render::variable) {
        context.insert(render::CARGO.to_owned(), cargo);
    }
    for (name, value) in variables {
        // The one that cannot be evaluated may be what is wrong with the recipe.
        if let Ok(value) = evaluate_value_to_variable(value, &context) {
            context.insert(name.clone(), value);
        }
    }
    let told = packages
        .into_iter()
        .map(|name| evaluate_value_to_string(name, &context));
    names.extend(told.flatten().map(|name| name.to_lowercase()));
    names
}
