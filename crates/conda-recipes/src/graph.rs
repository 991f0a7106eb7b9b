//! The edges between the outputs of a plan.
//!
//! Hard edges are rattler-build's own: build and host requirements, `pin_subpackage` in run requirements and run exports, and
//! exact `pin_subpackage` in run constraints. Plain run requirements make none: they are allowed to form cycles.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{
    algo::kosaraju_scc,
    graph::{DiGraph, NodeIndex},
};
use rattler_build_jinja::Variable;
use rattler_build_recipe::{
    Stage1Recipe,
    stage1::{Dependency, Requirements, TestType},
};
use rattler_build_types::NormalizedKey;
use rattler_conda_types::{Matches, PackageName, PackageRecord, Subdir};

use crate::render::{RenderedOutput, closest};

/// The names that a recipe's hard edges lead to.
pub(crate) fn hard_names(recipe: &Stage1Recipe) -> impl Iterator<Item = &PackageName> {
    let requirements = recipe.requirements();
    let installed = requirements.build.iter().chain(&requirements.host);
    installed
        .chain(pinned(requirements))
        .filter_map(Dependency::name)
}

/// The names of everything that an output needs, to be built, tested or installed.
pub(crate) fn all_names(recipe: &Stage1Recipe) -> BTreeSet<String> {
    let staging = recipe.staging_caches.iter();
    let all = std::iter::once(recipe.requirements())
        .chain(staging.map(|staging| &staging.requirements))
        .flat_map(|requirements| {
            let installed = requirements.build.iter().chain(&requirements.host);
            installed
                .chain(&requirements.run)
                .chain(pinned(requirements))
        });
    let tests = recipe.tests().iter().filter_map(|test| match test {
        TestType::Commands(test) => Some(&test.requirements),
        _ => None,
    });
    all.chain(tests.flat_map(|needed| needed.run.iter().chain(&needed.build)))
        .filter_map(Dependency::name)
        .map(|name| name.as_normalized().to_owned())
        .collect()
}

/// Edges to other outputs, by their index.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edges {
    /// Built before this one: its hard edges, and what must be installed along with them.
    pub(crate) builds_on: BTreeSet<usize>,
    /// Built before this one is tested.
    pub(crate) test_needs: BTreeSet<usize>,
    /// Needed when this one is installed.
    pub(crate) runs_with: BTreeSet<usize>,
}

/// The edges of each output.
pub(crate) fn edges(outputs: &[RenderedOutput]) -> Vec<Edges> {
    let graph = Graph::new(outputs);
    let hard: Vec<Hard> = (0..outputs.len())
        .map(|output| graph.hard(output))
        .collect();
    let runs_with: Vec<_> = (0..outputs.len())
        .map(|output| graph.runs_with(output))
        .collect();
    let mut builds_on: Vec<BTreeSet<usize>> = hard.iter().map(Hard::all).collect();
    // Where two outputs don't reach each other along any edges, none between them closes a circle.
    let circle = circles(&builds_on, &runs_with);
    for (output, hard) in hard.iter().enumerate() {
        for needed in closure(&hard.installed.all(), &runs_with) {
            // Without an edge such an output comes from a channel, or not at all. With one that closed a circle, nothing could
            // ever be built first.
            let closes = || circle[needed] == circle[output] && reaches(&builds_on, needed, output);
            if needed != output && !closes() {
                builds_on[output].insert(needed);
            }
        }
    }
    builds_on
        .into_iter()
        .enumerate()
        .map(|(output, builds_on)| {
            let direct = runs_with[output]
                .union(&graph.tests(output))
                .copied()
                .collect();
            let mut test_needs = closure(&direct, &runs_with);
            test_needs.remove(&output);
            Edges {
                builds_on,
                test_needs,
                runs_with: runs_with[output].clone(),
            }
        })
        .collect()
}

/// What must be built before an output.
struct Hard {
    installed: Environments,
    /// Not installed: only their name, version or build string must be known.
    pinned: BTreeSet<usize>,
}

/// What is installed to build an output.
struct Environments {
    build: BTreeSet<usize>,
    host: BTreeSet<usize>,
}

impl Hard {
    fn all(&self) -> BTreeSet<usize> {
        self.installed.all().union(&self.pinned).copied().collect()
    }
}

impl Environments {
    fn all(&self) -> BTreeSet<usize> {
        self.build.union(&self.host).copied().collect()
    }
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    by_name: BTreeMap<&'a PackageName, Vec<usize>>,
}

struct Node<'a> {
    recipe_file: &'a str,
    recipe: &'a Stage1Recipe,
    combination: &'a BTreeMap<NormalizedKey, Variable>,
    /// As a solver would see it; none where the build string isn't one, which no requirement can then name.
    record: Option<PackageRecord>,
    subdir: Subdir,
    host: Subdir,
    build: Subdir,
}

impl<'a> Graph<'a> {
    fn new(outputs: &'a [RenderedOutput]) -> Self {
        let nodes: Vec<Node<'_>> = outputs.iter().map(Node::new).collect();
        let mut by_name: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, output) in outputs.iter().enumerate() {
            by_name
                .entry(output.output.recipe.package().name())
                .or_default()
                .push(index);
        }
        Self { nodes, by_name }
    }

    fn hard(&self, output: usize) -> Hard {
        let node = &self.nodes[output];
        let requirements = node.requirements(true);
        Hard {
            installed: self.environments(output, &requirements),
            pinned: requirements
                .iter()
                .flat_map(|requirements| self.all(output, pinned(requirements), node.host))
                .collect(),
        }
    }

    /// What is installed to build an output with these requirements.
    fn environments(&self, output: usize, requirements: &[&Requirements]) -> Environments {
        let node = &self.nodes[output];
        let all = |list: fn(&Requirements) -> &Vec<Dependency>, platform| -> BTreeSet<usize> {
            let dependencies = requirements
                .iter()
                .flat_map(|requirements| list(requirements));
            self.all(output, dependencies, platform).collect()
        };
        let build = all(|requirements| &requirements.build, node.build);
        let mut host = all(|requirements| &requirements.host, node.host);
        // Strong run exports of what is in the build environment are installed into the host environment too.
        host.extend(
            build
                .iter()
                .flat_map(|&provider| self.exports(output, provider, Export::Strong)),
        );
        Environments { build, host }
    }

    fn runs_with(&self, output: usize) -> BTreeSet<usize> {
        let node = &self.nodes[output];
        let installed = self.environments(output, &node.requirements(node.takes_staging_exports()));
        let mut found: BTreeSet<usize> = self
            .all(output, &node.recipe.requirements().run, node.host)
            .collect();
        let is_noarch = node.recipe.build().noarch.is_some();
        let from_host = if is_noarch {
            Export::Noarch
        } else {
            Export::Any
        };
        found.extend(
            installed
                .host
                .iter()
                .flat_map(|&provider| self.exports(output, provider, from_host)),
        );
        if !is_noarch {
            found.extend(
                installed
                    .build
                    .iter()
                    .flat_map(|&provider| self.exports(output, provider, Export::Strong)),
            );
        }
        found
    }

    fn tests(&self, output: usize) -> BTreeSet<usize> {
        let node = &self.nodes[output];
        let mut found = BTreeSet::new();
        for test in node.recipe.tests() {
            match test {
                TestType::Commands(test) => {
                    found.extend(self.all(output, &test.requirements.run, node.host));
                    found.extend(self.all(output, &test.requirements.build, node.build));
                }
                TestType::Downstream(test) => {
                    let name = PackageName::try_from(test.downstream.as_str()).ok();
                    let named = name.and_then(|name| self.by_name.get(&name));
                    found.extend(named.into_iter().flatten().copied());
                }
                _ => {}
            }
        }
        found
    }

    /// The outputs that `dependencies` of an output lead to, without the output itself and its own variants.
    fn all<'d>(
        &self,
        output: usize,
        dependencies: impl IntoIterator<Item = &'d Dependency>,
        platform: Subdir,
    ) -> impl Iterator<Item = usize> {
        let name = self.nodes[output].name();
        dependencies
            .into_iter()
            .flat_map(move |dependency| self.providers(output, dependency, platform))
            .filter(move |&provider| self.nodes[provider].name() != name)
    }

    /// What a run export of `provider` adds to `output`.
    fn exports(&self, output: usize, provider: usize, export: Export) -> Vec<usize> {
        let node = &self.nodes[output];
        let exporter = &self.nodes[provider];
        let ignored = &node.recipe.requirements().ignore_run_exports;
        if ignored.from_package.contains(exporter.name()) {
            return Vec::new();
        }
        let exports = &exporter.recipe.requirements().run_exports;
        let lists = match export {
            Export::Strong => vec![&exports.strong],
            Export::Noarch => vec![&exports.noarch],
            Export::Any => vec![&exports.strong, &exports.weak],
        };
        lists
            .into_iter()
            .flatten()
            .filter(|dependency| {
                dependency
                    .name()
                    .is_some_and(|name| !ignored.by_name.contains(name))
            })
            .flat_map(|dependency| {
                if dependency.name() == Some(exporter.name()) {
                    vec![provider]
                } else {
                    self.providers(provider, dependency, node.host)
                }
            })
            .filter(|&provider| self.nodes[provider].name() != node.name())
            .collect()
    }

    /// The outputs that satisfy a dependency of `output`. A pin means the output of the same recipe and variant; anything else is
    /// the solver's choice, which has to be the same whatever was built first: so all of them.
    fn providers(&self, output: usize, dependency: &Dependency, platform: Subdir) -> Vec<usize> {
        let node = &self.nodes[output];
        let Some(named) = dependency.name().and_then(|name| self.by_name.get(name)) else {
            return Vec::new();
        };
        let installable = named.iter().copied().filter(|&provider| {
            let subdir = self.nodes[provider].subdir;
            subdir == platform || subdir == Subdir::NoArch
        });
        match dependency {
            Dependency::PinSubpackage(_) => {
                let siblings = installable
                    .filter(|&provider| self.nodes[provider].recipe_file == node.recipe_file);
                let variants =
                    siblings.map(|provider| (provider, self.nodes[provider].combination));
                closest(node.combination, variants).into_iter().collect()
            }
            Dependency::Spec(spec) if spec.channel.is_some() || spec.url.is_some() => Vec::new(),
            Dependency::Spec(spec) => installable
                .filter(|&provider| {
                    self.nodes[provider]
                        .record
                        .as_ref()
                        .is_some_and(|record| spec.matches(record))
                })
                .collect(),
            Dependency::PinCompatible(_) => installable.collect(),
        }
    }
}

#[derive(Clone, Copy)]
enum Export {
    /// From the build environment.
    Strong,
    /// From the host environment of a noarch output.
    Noarch,
    /// From the host environment.
    Any,
}

impl<'a> Node<'a> {
    fn new(rendered: &'a RenderedOutput) -> Self {
        let configuration = &rendered.output.build_configuration;
        let recipe = &rendered.output.recipe;
        let package = recipe.package();
        let record = rendered.output.build_string().parse().ok().map(|build| {
            let mut record =
                PackageRecord::new(package.name().clone(), package.version().clone(), build);
            record.build_number = recipe.build().number.unwrap_or(0);
            record
        });
        Self {
            recipe_file: rendered.recipe.as_str(),
            recipe,
            combination: &rendered.combination,
            record,
            subdir: configuration.target_platform,
            host: configuration.host_platform.platform,
            build: configuration.build_platform.platform,
        }
    }

    fn name(&self) -> &'a PackageName {
        self.recipe.package().name()
    }

    /// Those of the output, and, if wanted, of the staging output that it inherits from.
    fn requirements(&self, with_staging: bool) -> Vec<&'a Requirements> {
        let staging = self.recipe.staging_caches.iter().filter(|_| with_staging);
        std::iter::once(self.recipe.requirements())
            .chain(staging.map(|staging| &staging.requirements))
            .collect()
    }

    /// Whether run exports of what its staging output is built with become its own.
    fn takes_staging_exports(&self) -> bool {
        self.recipe
            .inherits_from
            .as_ref()
            .is_some_and(|inherits| inherits.inherit_run_exports)
    }
}

/// The pins whose output must be known before this one can be: it is built first without being installed.
fn pinned(requirements: &Requirements) -> impl Iterator<Item = &Dependency> {
    let is_pin = |dependency: &&Dependency| matches!(dependency, Dependency::PinSubpackage(_));
    let is_exact = |dependency: &&Dependency| matches!(dependency, Dependency::PinSubpackage(pin) if pin.pin_subpackage.args.exact);
    let run = requirements
        .run
        .iter()
        .chain(requirements.run_exports.iter());
    run.filter(is_pin)
        .chain(requirements.run_constraints.iter().filter(is_exact))
}

/// `start` and everything that `edges` lead to from there.
fn closure(start: &BTreeSet<usize>, edges: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open: Vec<usize> = start.iter().copied().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&edges[next]);
        }
    }
    found
}

/// For each output the number of its circle: two that reach each other along both kinds of edges have the same one.
fn circles(builds_on: &[BTreeSet<usize>], runs_with: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut graph = DiGraph::<(), ()>::new();
    for _ in builds_on {
        graph.add_node(());
    }
    for edges in [builds_on, runs_with] {
        for (from, to) in edges.iter().enumerate() {
            for &to in to {
                graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
            }
        }
    }
    let mut circle = vec![0; builds_on.len()];
    for (number, members) in kosaraju_scc(&graph).into_iter().enumerate() {
        for member in members {
            circle[member.index()] = number;
        }
    }
    circle
}

fn reaches(edges: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    closure(&BTreeSet::from([from]), edges).contains(&to)
}
