//! What may go on, and how a run ended.

use std::collections::{BTreeMap, BTreeSet};

use release_manifest::{Event, Package, PackageKey, Phase, Progress};

use crate::{error::Error, exit::Status, printer::Printer, release::Release};

/// The packages that have come as far as `progress` and no further, and that the next phase may take.
pub(crate) fn ready(release: &Release, progress: Progress, keep_going: bool) -> Vec<PackageKey> {
    let mut keys = reached(release, progress, keep_going);
    keys.retain(|key| {
        let package = release.manifest().package(key);
        package.is_some_and(|package| package.progress == progress)
    });
    keys
}

/// The packages that have come at least as far as `progress`, and that may leave together.
///
/// One failure stops the phases after it for all, since what is published together was tested
/// together; with `keep_going`, only for what needs the failed package at run time.
pub(crate) fn reached(release: &Release, progress: Progress, keep_going: bool) -> Vec<PackageKey> {
    let packages = release.manifest().packages();
    let behind: BTreeSet<PackageKey> = packages
        .iter()
        .filter(|package| package.progress < progress && package.skipped.is_none())
        .map(Package::key)
        .collect();
    if !behind.is_empty() && !keep_going {
        return Vec::new();
    }
    let unusable = release.plan().runtime_dependents(&behind);
    packages
        .iter()
        .filter(|package| package.progress >= progress && package.skipped.is_none())
        .map(Package::key)
        .filter(|key| !unusable.contains(key))
        .collect()
}

/// How many of the packages that a package waits for are recorded: thousands may wait for thousands.
const MOST_BLOCKING: usize = 10;

/// Records of the packages that have come as far as `progress`, and that the next phase may not take, which others they wait
/// for: those that failed, or where none did, those that are behind; the first ten of them.
///
/// # Errors
/// The journal cannot be written.
pub(crate) fn hold_back(
    release: &mut Release,
    progress: Progress,
    keep_going: bool,
    printer: &Printer,
) -> Result<(), Error> {
    let packages = release.manifest().packages();
    let behind: BTreeMap<PackageKey, bool> = packages
        .iter()
        .filter(|package| package.progress < progress && package.skipped.is_none())
        .map(|package| (package.key(), package.error.is_some()))
        .collect();
    let all = blocking(&behind, |_| true);
    let goes_on = BTreeSet::from_iter(ready(release, progress, keep_going));
    let waits = |package: &&Package| {
        package.progress == progress
            && package.skipped.is_none()
            && !goes_on.contains(&package.key())
    };
    let waiting: Vec<PackageKey> = packages.iter().filter(waits).map(Package::key).collect();
    for package in waiting {
        let by = match keep_going {
            false => all.clone(),
            true => {
                let needs = release
                    .plan()
                    .runtime_needs(&BTreeSet::from([package.clone()]));
                blocking(&behind, |key| needs.contains(key))
            }
        };
        if keep_going {
            let names: Vec<String> = by.iter().map(ToString::to_string).collect();
            printer.failure("Blocked", &format!("{package} by {}", names.join(", ")));
        }
        release.record(&package, Event::Blocked { by })?;
    }
    Ok(())
}

/// Returns the packages that a package waits for, of those that are `behind` and that it `needs`: those that failed, or where
/// none did, all of them; at most [`MOST_BLOCKING`].
fn blocking(
    behind: &BTreeMap<PackageKey, bool>,
    needs: impl Fn(&PackageKey) -> bool,
) -> Vec<PackageKey> {
    let needed = || behind.iter().filter(|(key, _)| needs(key));
    let has_failed = needed().any(|(_, failed)| *failed);
    needed()
        .filter(|(_, failed)| **failed || !has_failed)
        .map(|(key, _)| key.clone())
        .take(MOST_BLOCKING)
        .collect()
}

/// How a run that was to bring every package to `goal` ended.
pub(crate) fn outcome(release: &Release, goal: Progress) -> Status {
    outcome_of(release, goal, |_| true)
}

/// How a run that was to bring these packages to `goal` ended.
pub(crate) fn outcome_of(
    release: &Release,
    goal: Progress,
    which: impl Fn(&PackageKey) -> bool,
) -> Status {
    let packages = release.manifest().packages();
    let is_left = |package: &&Package| {
        package.progress < goal && package.skipped.is_none() && which(&package.key())
    };
    let failed = packages
        .iter()
        .filter(is_left)
        .filter_map(|package| package.error.as_ref())
        .map(|error| match error.phase {
            Phase::Plan => Status::Preflight,
            Phase::Build | Phase::Test => Status::Build,
            Phase::Sign => Status::Sign,
            Phase::Verify => Status::Verify,
            Phase::Publish => Status::Publish,
        })
        .fold(Status::Done, Status::and);
    match failed {
        Status::Done if packages.iter().any(|package| is_left(&package)) => Status::Incomplete,
        status => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(failed: impl Fn(usize) -> bool) -> BTreeMap<PackageKey, bool> {
        let keys = (0..2_000).map(|number| format!("noarch/p{number:04}-1-0.conda"));
        keys.enumerate()
            .map(|(number, key)| (key.parse().unwrap(), failed(number)))
            .collect()
    }

    #[test]
    fn a_package_waits_for_those_that_failed() {
        let behind = behind(|number| number == 1_999);
        let names = |needs: &dyn Fn(&PackageKey) -> bool| -> Vec<String> {
            let keys = blocking(&behind, needs);
            keys.iter().map(|key| key.file.name().to_owned()).collect()
        };
        assert_eq!(names(&|_| true), ["p1999"]);
        let is_early = |key: &PackageKey| key.file.name() < "p0002";
        assert_eq!(names(&is_early), ["p0000", "p0001"]);
    }

    #[test]
    fn records_of_waiting_packages_stay_small() {
        assert_eq!(blocking(&behind(|_| false), |_| true).len(), MOST_BLOCKING);
        assert_eq!(blocking(&behind(|_| true), |_| true).len(), MOST_BLOCKING);
    }
}
