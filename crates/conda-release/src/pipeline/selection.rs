//! Which outputs of a plan a run is about: by name, and by what changed.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use conda_recipes::Planned;
use globset::{GlobBuilder, GlobMatcher};
use release_manifest::{PackageKey, PlannedPackage, RelativePath};

use crate::error::Error;

/// Which outputs a run is about; all of them by default. Each option can be given several times.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Selection")]
pub struct SelectionFlags {
    /// Only outputs of this name, or that this glob matches
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Outputs of this name with all that they need to be built, tested and installed
    #[arg(long, value_name = "NAME")]
    up_to: Vec<String>,

    /// No outputs of this name
    #[arg(long, value_name = "NAME")]
    exclude: Vec<String>,

    /// What changed since it left this git reference, and what builds upon it or is tested with it
    #[arg(long, value_name = "REF")]
    changed_since: Option<String>,
}

/// Which outputs of a plan a run is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Those that the names allow; all, where no names were given.
    named: Option<BTreeSet<PackageKey>>,
    /// Those of the recipes that are named; all, where none is.
    recipes: Option<BTreeSet<PackageKey>>,
    /// Those that changed, with what depends on them; all, where nothing is compared.
    changed: Option<BTreeSet<PackageKey>>,
}

impl SelectionFlags {
    /// The git reference that the sources are compared with.
    pub(crate) fn changed_since(&self) -> Option<&str> {
        self.changed_since.as_deref()
    }

    /// Returns whether outputs are selected by name.
    pub(crate) fn has_names(&self) -> bool {
        [&self.only, &self.up_to, &self.exclude]
            .into_iter()
            .any(|names| !names.is_empty())
    }

    /// Applies the flags to a plan. `recipes` are those that the command line names; `compares` says whether the plan was asked for what is made from changed files.
    ///
    /// # Errors
    /// A name or glob that no output has, and what is no glob.
    pub(crate) fn of(
        &self,
        planned: &Planned,
        recipes: Option<&BTreeSet<RelativePath>>,
        compares: bool,
    ) -> Result<Selection, Error> {
        let plan = &planned.plan;
        let names = Names::of(planned);
        let only = names.matching("--only", &self.only)?;
        let up_to = names.matching("--up-to", &self.up_to)?;
        let exclude = names.matching("--exclude", &self.exclude)?;
        let named = match (self.only.is_empty(), self.up_to.is_empty()) {
            (true, true) if self.exclude.is_empty() => None,
            (true, true) => Some(plan.packages.iter().map(|it| it.key()).collect()),
            _ => {
                let needs = plan.needs(&up_to);
                Some(only.into_iter().chain(up_to).chain(needs).collect())
            }
        };
        let without = |named: BTreeSet<PackageKey>| &named - &exclude;
        let changed = compares.then(|| &planned.touched | &plan.dependents(&planned.touched));
        let recipes = recipes.map(|recipes| {
            let packages = plan.packages.iter();
            let selected = packages.filter(|package| recipes.contains(&package.recipe));
            selected.map(PlannedPackage::key).collect()
        });
        Ok(Selection {
            named: named.map(without),
            recipes,
            changed,
        })
    }
}

impl Selection {
    /// Whether it leaves nothing out.
    pub(crate) fn is_everything(&self) -> bool {
        self.named.is_none() && self.recipes.is_none() && self.changed.is_none()
    }

    /// Whether the run is about the package.
    pub(crate) fn has(&self, package: &PackageKey) -> bool {
        let parts = [&self.recipes, &self.changed];
        let has = |part: &Option<BTreeSet<PackageKey>>| {
            part.as_ref().is_none_or(|part| part.contains(package))
        };
        self.allows(package) && parts.into_iter().all(has)
    }

    /// Whether the package may be built for another one that needs it: no name rules it out.
    pub(crate) fn allows(&self, package: &PackageKey) -> bool {
        let named = self.named.as_ref();
        named.is_none_or(|named| named.contains(package))
    }
}

/// The outputs of a plan by name.
struct Names<'a> {
    packages: BTreeMap<&'a str, Vec<PackageKey>>,
}

impl<'a> Names<'a> {
    /// Also the names of what is skipped or cannot be planned: those are known, though no package has them.
    fn of(planned: &'a Planned) -> Self {
        let plan = &planned.plan;
        let mut packages: BTreeMap<&str, Vec<PackageKey>> = BTreeMap::new();
        for package in &plan.packages {
            let of_name = packages.entry(package.file.name()).or_default();
            of_name.push(package.key());
        }
        let skipped = plan.skipped.iter().map(|skipped| skipped.output.as_str());
        let unplanned = planned.unplanned.iter().filter_map(|unplanned| {
            let folder = || unplanned.recipe.rsplit('/').nth(1);
            unplanned.output.as_deref().or_else(folder)
        });
        for name in skipped.chain(unplanned) {
            packages.entry(name).or_default();
        }
        Self { packages }
    }

    /// The packages that the patterns match.
    fn matching(
        &self,
        option: &'static str,
        patterns: &[String],
    ) -> Result<BTreeSet<PackageKey>, Error> {
        let mut found = BTreeSet::new();
        for pattern in patterns {
            let matcher = glob(option, pattern)?;
            let mut matches = self
                .packages
                .iter()
                .filter(|(name, _)| matcher.is_match(name))
                .peekable();
            if matches.peek().is_none() {
                return Err(Error::NoSuchOutput {
                    option,
                    pattern: pattern.clone(),
                    nearest: self.nearest(pattern),
                });
            }
            found.extend(matches.flat_map(|(_, packages)| packages.iter().cloned()));
        }
        Ok(found)
    }

    /// The names that a pattern was probably meant to be, the nearest first.
    fn nearest(&self, pattern: &str) -> Vec<String> {
        const MOST: usize = 3;
        let text: String = pattern.chars().filter(|c| !"*?[]{}".contains(*c)).collect();
        let mut near: Vec<(usize, &str)> = self
            .packages
            .keys()
            .map(|name| (strsim::damerau_levenshtein(&text, name), *name))
            .filter(|(distance, name)| *distance <= name.len().max(text.len()) / 2)
            .collect();
        near.sort_unstable();
        near.truncate(MOST);
        near.into_iter().map(|(_, name)| name.to_owned()).collect()
    }
}

fn glob(option: &'static str, pattern: &str) -> Result<GlobMatcher, Error> {
    let glob = GlobBuilder::new(pattern).build().map_err(|error| {
        Error::Usage(format!(
            "`{option} {pattern}` is not a usable glob: {}",
            error.kind()
        ))
    })?;
    Ok(glob.compile_matcher())
}
