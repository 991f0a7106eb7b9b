//! The timeline: when each package was built, tested, attested and published, and how long it took.

use std::time::Duration;

use maud::{Markup, html};
use release_manifest::{Package, Taken, Timestamp};

use crate::{
    Report,
    axis::{Axis, WIDTH},
    packages::reference,
    quantity::{duration, moment},
};

/// The least that a step is drawn with: short ones show too.
const SLIVER: f64 = 3.0;

/// The steps, by the column they stand in and the class that colours them.
const STEPS: [(&str, &str); 4] = [
    ("Built", "build"),
    ("Tested", "test"),
    ("Attested", "sign"),
    ("Published", "publish"),
];

/// What was done when.
pub(crate) fn section(report: &Report) -> Markup {
    let mut packages: Vec<&Package> = report.manifest.packages().iter().collect();
    packages.retain(|package| taken(package).iter().any(Option::is_some));
    packages.sort_by_key(|package| spans(package).map(|(start, _)| start).min());
    let axis = Axis::over(packages.iter().flat_map(|package| spans(package)));
    html! {
        section id="timeline" aria-labelledby="timeline-title" {
            h2 id="timeline-title" { "Timeline" }
            @match axis {
                Some(axis) => { (chart(report, &packages, &axis)) },
                None => { p { "Nothing was done yet." } },
            }
        }
    }
}

fn chart(report: &Report, packages: &[&Package], axis: &Axis) -> Markup {
    let ends = axis.ends().map(|(first, last)| [first, last].map(at));
    html! {
        p {
            @if let Some([first, last]) = ends { "From " (moment(first)) " to " (moment(last)) ", " }
            (duration(millis(axis.length()))) " shown"
            @if axis.cuts().next().is_some() { "; pauses between runs are cut out, where a dashed line stands" }
            "."
        }
        ul .legend aria-label="Steps of the timeline" {
            @for (name, class) in STEPS {
                li { svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true" { rect class=(class) width="14" height="14" rx="3" {} } " " (name) }
            }
        }
        table .timeline role="table" {
            caption { "When each package was built, tested, attested and published, and how long that took" }
            thead role="rowgroup" {
                tr role="row" {
                    th scope="col" role="columnheader" { "Package" }
                    th scope="col" role="columnheader" { "When" }
                    @for (name, _) in STEPS { th .number scope="col" role="columnheader" { (name) } }
                }
            }
            tbody role="rowgroup" {
                @for package in packages {
                    tr role="row" {
                        th scope="row" role="rowheader" { (reference(report, &package.key())) }
                        td .when role="cell" { (bars(package, axis)) }
                        @for ((name, _), taken) in STEPS.iter().zip(taken(package)) {
                            td .number role="cell" data-label=(name) {
                                @match taken {
                                    Some(taken) => { (duration(Duration::from_millis(taken.milliseconds))) },
                                    None => { span .nothing { "–" } },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn bars(package: &Package, axis: &Axis) -> Markup {
    let label = taken(package)
        .iter()
        .zip(STEPS)
        .filter_map(|(taken, (name, _))| Some(format!("{name} {}", taken.as_ref()?.at)))
        .collect::<Vec<_>>()
        .join(", ");
    html! {
        svg .bars viewBox={ "0 0 " (WIDTH) " 14" } preserveAspectRatio="none" role="img" aria-label=(label) {
            @for cut in axis.cuts() { path .cut d={ "M" (rounded(cut)) " 0V14" } {} }
            @for (taken, (_, class)) in taken(package).iter().zip(STEPS) {
                @if let Some((start, end)) = taken.map(span) {
                    @let width = (axis.place(end) - axis.place(start)).max(SLIVER);
                    @let x = axis.place(start).min(WIDTH - width);
                    rect class=(class) x=(rounded(x)) y="1" width=(rounded(width)) height="12" rx="1" {}
                }
            }
        }
    }
}

/// The steps of a package, in the order of [`STEPS`].
fn taken(package: &Package) -> [Option<Taken>; 4] {
    let times = package.times;
    [times.built, times.tested, times.attested, times.published]
}

fn spans(package: &Package) -> impl Iterator<Item = (i64, i64)> {
    taken(package).into_iter().flatten().map(span)
}

/// From when to when a step took, in milliseconds since 1970.
fn span(taken: Taken) -> (i64, i64) {
    let end = taken.at.as_unix().saturating_mul(1000);
    let took = i64::try_from(taken.milliseconds).unwrap_or(i64::MAX);
    (end.saturating_sub(took), end)
}

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_unix(milliseconds.div_euclid(1000))
}

fn millis(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds.unsigned_abs())
}

fn rounded(place: f64) -> String {
    format!("{place:.1}")
}
