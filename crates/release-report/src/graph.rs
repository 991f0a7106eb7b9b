//! The dependency graph: a drawing where one can be looked at, and always a table.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use release_manifest::{PackageKey, PlannedPackage};

use crate::{
    Report,
    layout::Layout,
    packages::{anchor, reference},
    quantity::count,
    state::State,
};

/// More packages than these are a table only: their drawing would be a tangle.
const DRAWN: usize = 60;

/// A node of the drawing, in pixels.
const NODE: (usize, usize) = (196, 46);
/// What lies between nodes.
const GAP: (usize, usize) = (64, 16);
/// What an edge takes that passes nodes, and what lies around the drawing.
const PASSAGE: usize = 14;
const MARGIN: usize = 2;
/// Characters of a name that fit into a node.
const NAME: usize = 24;

/// How one package needs another; the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Build,
    Run,
    Test,
}

impl Need {
    fn class(self) -> &'static str {
        match self {
            Self::Build => "edge build",
            Self::Run => "edge run",
            Self::Test => "edge test",
        }
    }
}

/// What of the release needs what of it.
pub(crate) fn section(report: &Report) -> Markup {
    let planned: Vec<&PlannedPackage> = report.plan.packages.iter().collect();
    let direct = report.plan.direct_needs();
    let edges = edges(&planned, &direct);
    let ends = edges.keys().flat_map(|(from, to)| [*from, *to]);
    let joined = Vec::from_iter(ends.collect::<BTreeSet<usize>>());
    let alone = planned.len() - joined.len();
    html! {
        section id="graph" aria-labelledby="graph-title" {
            h2 id="graph-title" { "Dependency graph" }
            @if joined.is_empty() {
                p { "No package of this release needs another one of it." }
            } @else {
                p {
                    @match edges.len() { 1 => { "1 dependency" }, number => { (number) " dependencies" } } " between " (count(joined.len(), "package"))
                    @if alone > 0 { "; " (alone) " more need none and are needed by none" }
                    "."
                }
                @if joined.len() <= DRAWN { (drawing(report, &planned, &joined, &edges)) }
                (table(report, &planned, &joined, &direct))
            }
        }
    }
}

/// The packages that each package needs, without those that follow from that.
type Direct = BTreeMap<PackageKey, BTreeSet<PackageKey>>;

/// Every direct edge between two packages, once.
fn edges(planned: &[&PlannedPackage], direct: &Direct) -> BTreeMap<(usize, usize), Need> {
    let keys = planned.iter().enumerate();
    let place: BTreeMap<PackageKey, usize> = keys
        .map(|(place, package)| (package.key(), place))
        .collect();
    let mut edges = BTreeMap::new();
    for (from, package) in planned.iter().enumerate() {
        let needs = [
            (&package.builds_on, Need::Build),
            (&package.runs_with, Need::Run),
            (&package.test_needs, Need::Test),
        ];
        for (needed, need) in needs {
            for to in named(needed, direct.get(&package.key())) {
                if let Some(to) = place.get(to) {
                    edges.entry((from, *to)).or_insert(need);
                }
            }
        }
    }
    edges
}

/// Those of the packages that are needed directly.
fn named<'a>(
    keys: &'a [PackageKey],
    direct: Option<&BTreeSet<PackageKey>>,
) -> impl Iterator<Item = &'a PackageKey> {
    keys.iter()
        .filter(move |key| direct.is_some_and(|direct| direct.contains(*key)))
}

fn drawing(
    report: &Report,
    planned: &[&PlannedPackage],
    joined: &[usize],
    edges: &BTreeMap<(usize, usize), Need>,
) -> Markup {
    let place: BTreeMap<usize, usize> = joined.iter().copied().zip(0..).collect();
    let between: Vec<(usize, usize)> = edges
        .keys()
        .filter_map(|(from, to)| Some((*place.get(from)?, *place.get(to)?)))
        .collect();
    let layout = Layout::new(joined.len(), &between);
    let placed = Placed::new(&layout);
    let Placed {
        width, height, at, ..
    } = &placed;
    let needs: Vec<Need> = edges.values().copied().collect();
    html! {
        div .scroll tabindex="0" role="region" aria-label="Drawing of the dependency graph" {
            svg .graph width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="group" aria-label="Packages, each right of what it needs" {
                g aria-hidden="true" {
                    @for (route, need) in layout.routes.iter().zip(&needs) {
                        path class=(need.class()) d=(placed.line(route)) {}
                    }
                }
                @for (node, (x, y)) in joined.iter().zip(at) {
                    @let key = planned[*node].key();
                    @let state = report.manifest.package(&key).map_or(State::Underway, State::of);
                    a href={ "#" (anchor(report, &key)) } class={ "node " (state.class()) } {
                        title { (key) }
                        rect x=(x) y=(y) width=(NODE.0) height=(NODE.1) rx="8" {}
                        rect .stripe x=(x) y=(y) width="6" height=(NODE.1) rx="3" {}
                        text x=(x + 16) y=(y + 19) { (cut(key.file.name())) }
                        text .minor x=(x + 16) y=(y + 36) { (cut(&format!("{} · {}", key.file.version(), key.subdir))) }
                    }
                }
            }
        }
        ul .legend aria-label="Lines of the drawing" {
            @for (need, meaning) in [(Need::Build, "builds upon"), (Need::Run, "runs with"), (Need::Test, "needs for its tests")] {
                @if needs.contains(&need) {
                    li { svg width="34" height="8" viewBox="0 0 34 8" aria-hidden="true" { path class=(need.class()) d="M0 4H34" {} } " " (meaning) }
                }
            }
        }
    }
}

/// Where everything is, in pixels.
struct Placed<'a> {
    layout: &'a Layout,
    width: usize,
    height: usize,
    /// The upper left corner of each place.
    at: Vec<(usize, usize)>,
}

impl<'a> Placed<'a> {
    fn new(layout: &'a Layout) -> Self {
        let tall = |place: usize| match layout.is_node(place) {
            true => NODE.1 + GAP.1,
            false => PASSAGE,
        };
        let heights = layout
            .columns
            .iter()
            .map(|column| column.iter().map(|place| tall(*place)).sum());
        let heights: Vec<usize> = heights.collect();
        let tallest = heights.iter().copied().max().unwrap_or(0);
        let places: usize = layout.columns.iter().map(Vec::len).sum();
        let mut at = vec![(0, 0); places];
        for (number, (column, height)) in layout.columns.iter().zip(heights).enumerate() {
            let mut y = (tallest - height) / 2;
            for place in column {
                at[*place] = (MARGIN + number * (NODE.0 + GAP.0), MARGIN + y + (GAP.1 / 2));
                y += tall(*place);
            }
        }
        Self {
            width: layout.columns.len() * (NODE.0 + GAP.0) - GAP.0 + 2 * MARGIN,
            height: tallest + 2 * MARGIN,
            layout,
            at,
        }
    }

    /// A line through these places: out of each on its right, into each on its left, and straight through where it passes.
    fn line(&self, route: &[usize]) -> String {
        let bend = GAP.0 * 3 / 5;
        let middle = |place: usize| match self.layout.is_node(place) {
            true => self.at[place].1 + NODE.1 / 2,
            false => self.at[place].1 + PASSAGE / 2,
        };
        let mut line = String::new();
        for pair in route.windows(2) {
            let (x1, y1) = (self.at[pair[0]].0 + NODE.0, middle(pair[0]));
            let (x2, y2) = (self.at[pair[1]].0, middle(pair[1]));
            let command = if line.is_empty() { 'M' } else { 'L' };
            line += &format!(
                "{command}{x1} {y1}C{} {y1} {} {y2} {x2} {y2}",
                x1 + bend,
                x2.saturating_sub(bend)
            );
        }
        line
    }
}

fn cut(text: &str) -> String {
    match text.chars().count() {
        0..=NAME => text.to_owned(),
        _ => text.chars().take(NAME - 1).chain(['…']).collect(),
    }
}

fn table(
    report: &Report,
    planned: &[&PlannedPackage],
    joined: &[usize],
    direct: &Direct,
) -> Markup {
    let table = html! {
        table role="table" {
            caption { "What each package needs directly of this release" }
            thead role="rowgroup" {
                tr role="row" {
                    @for head in ["Package", "Builds upon", "Runs with", "Needs for its tests"] {
                        th scope="col" role="columnheader" { (head) }
                    }
                }
            }
            tbody role="rowgroup" {
                @for node in joined {
                    @let package = planned[*node];
                    @let direct = direct.get(&package.key());
                    tr role="row" {
                        th scope="row" role="rowheader" { (reference(report, &package.key())) }
                        (needed(report, "Builds upon", named(&package.builds_on, direct)))
                        (needed(report, "Runs with", named(&package.runs_with, direct)))
                        (needed(report, "Needs for its tests", named(&package.test_needs, direct)))
                    }
                }
            }
        }
    };
    match joined.len() <= DRAWN {
        true => html! { details { summary { "The same as a table" } (table) } },
        false => table,
    }
}

fn needed<'a>(report: &Report, label: &str, keys: impl Iterator<Item = &'a PackageKey>) -> Markup {
    let keys: Vec<&PackageKey> = keys.collect();
    html! {
        td role="cell" data-label=(label) {
            @if keys.is_empty() { span .nothing { "nothing" } }
            @for (place, key) in keys.iter().enumerate() {
                @if place > 0 { ", " }
                (reference(report, key))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, NODE, Placed, cut};

    #[test]
    fn long_names_are_cut_by_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(40);
        assert_eq!(cut(&long).chars().count(), 24);
    }

    #[test]
    fn an_edge_leads_from_what_is_needed_to_what_needs_it() {
        // 0 needs 1 and 2, and 1 needs 2.
        let layout = Layout::new(3, &[(0, 1), (0, 2), (1, 2)]);
        let placed = Placed::new(&layout);
        let line = placed.line(&layout.routes[0]);
        assert!(
            line.starts_with(&format!("M{} ", placed.at[1].0 + NODE.0)),
            "{line}"
        );
        assert!(
            line.contains(&format!(
                " {} {}",
                placed.at[0].0,
                placed.at[0].1 + NODE.1 / 2
            )),
            "{line}"
        );
        // The one that passes has a place of its own.
        assert_eq!(placed.line(&layout.routes[1]).matches('C').count(), 2);
        assert!(
            placed
                .at
                .iter()
                .all(|(x, y)| *x < placed.width && *y < placed.height)
        );
    }
}
