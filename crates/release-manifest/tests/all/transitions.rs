use std::collections::BTreeMap;

use proptest::prelude::*;
use release_manifest::{
    Error, Event, Manifest, Package, PackageError, PackageKey, Phase, Progress,
};

use crate::samples::{self, DATA, LIBRARY, PROGRESS, any_history, attested, built, key, published};

const TESTED: Event = Event::Tested { milliseconds: 1 };

fn returned(to: Progress) -> Event {
    Event::Returned {
        to,
        reason: "the file is gone".to_owned(),
    }
}

fn failed(phase: Phase) -> Event {
    Event::Failed {
        error: PackageError {
            phase,
            code: "code".to_owned(),
            message: "message".to_owned(),
            log: None,
        },
    }
}

/// The sample with the library at this step.
fn at(progress: Progress) -> Manifest {
    let mut manifest = samples::empty(&samples::plan());
    let steps = [
        built(LIBRARY),
        TESTED,
        attested(LIBRARY),
        published(LIBRARY),
    ];
    let taken = PROGRESS.iter().position(|step| *step == progress).unwrap();
    samples::record(
        &mut manifest,
        steps.into_iter().take(taken).map(|event| (LIBRARY, event)),
    );
    manifest
}

/// What every event does at every step: the table of `Manifest::apply`, written out.
#[test]
fn the_table_of_transitions() {
    let reason = || "reason".to_owned();
    let blocked = |by: &str| Event::Blocked { by: vec![key(by)] };
    let events = [
        ("built", built(LIBRARY)),
        ("tested", TESTED),
        ("tests skipped", Event::TestsSkipped { reason: reason() }),
        ("attested", attested(LIBRARY)),
        ("published", published(LIBRARY)),
        ("seen", Event::Seen),
        (
            "skipped",
            Event::Skipped {
                reason: reason(),
                in_channel: None,
            },
        ),
        ("failed plan", failed(Phase::Plan)),
        ("failed build", failed(Phase::Build)),
        ("failed test", failed(Phase::Test)),
        ("failed sign", failed(Phase::Sign)),
        ("failed verify", failed(Phase::Verify)),
        ("failed publish", failed(Phase::Publish)),
        ("blocked", blocked(DATA)),
        ("blocked by itself", blocked(LIBRARY)),
        ("blocked by a stranger", blocked("noarch/gone-1-0.conda")),
        ("blocked by nothing", Event::Blocked { by: vec![] }),
        ("returned to planned", returned(Progress::Planned)),
        ("returned to built", returned(Progress::Built)),
        ("returned to tested", returned(Progress::Tested)),
        ("returned to attested", returned(Progress::Attested)),
        ("returned to published", returned(Progress::Published)),
    ];
    let mut table = format!("{:21}", "");
    for progress in PROGRESS {
        table += &format!(" {progress:9}");
    }
    for (name, event) in events {
        table += &format!("\n{name:21}");
        for progress in PROGRESS {
            let mut manifest = at(progress);
            let before = manifest.clone();
            let entry = manifest.entry(samples::moment(60), key(LIBRARY), event.clone());
            if manifest.apply(&entry).is_ok() {
                table += &format!(" {:9}", manifest.package(&key(LIBRARY)).unwrap().progress);
                assert_ne!(manifest, before);
            } else {
                table += &format!(" {:9}", "-");
                assert_eq!(manifest, before, "an error changes nothing");
            }
        }
    }
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(table.join("\n"));
}

/// The attestation of a release names packages with their hashes: it is of no others.
#[test]
fn the_attestation_of_the_whole_goes_with_that_of_a_package() {
    for (event, stays) in [
        (published(LIBRARY), true),
        (failed(Phase::Publish), true),
        (returned(Progress::Tested), false),
    ] {
        let mut manifest = at(Progress::Attested);
        manifest.release = Some(samples::whole());
        samples::record(&mut manifest, [(LIBRARY, event.clone())]);
        assert_eq!(manifest.release.is_some(), stays, "{event:?}");
    }
    let mut manifest = at(Progress::Tested);
    manifest.release = Some(samples::whole());
    samples::record(&mut manifest, [(LIBRARY, attested(LIBRARY))]);
    assert_eq!(manifest.release, None);
}

#[test]
fn what_is_skipped_goes_no_further_and_stays_skipped_when_it_is_returned() {
    let skipped = || Event::Skipped {
        reason: "already in the channel".to_owned(),
        in_channel: None,
    };
    let steps = [
        (Progress::Planned, built(LIBRARY), Phase::Build),
        (Progress::Built, TESTED, Phase::Test),
        (Progress::Tested, attested(LIBRARY), Phase::Sign),
        (Progress::Attested, published(LIBRARY), Phase::Publish),
    ];
    for (progress, next, phase) in steps {
        let mut manifest = at(progress);
        samples::record(&mut manifest, [(LIBRARY, skipped())]);
        for event in [next, failed(phase)] {
            let entry = manifest.entry(samples::moment(0), key(LIBRARY), event);
            assert!(matches!(
                manifest.apply(&entry),
                Err(Error::Transition { .. })
            ));
        }
        if progress > Progress::Planned {
            samples::record(&mut manifest, [(LIBRARY, returned(Progress::Planned))]);
        }
        let package = manifest.package(&key(LIBRARY)).unwrap();
        assert_eq!(package.progress, Progress::Planned);
        assert!(package.skipped.is_some());
    }
}

#[test]
fn messages_name_package_from_and_to() {
    let mut manifest = at(Progress::Built);
    let entry = manifest.entry(samples::moment(0), key(LIBRARY), published(LIBRARY));
    insta::assert_snapshot!(
        manifest.apply(&entry).unwrap_err(),
        @"`linux-64/libgreet-1.0.0-h123_0.conda` is built: it cannot become published"
    );
    let stranger = manifest.entry(samples::moment(0), key("noarch/gone-1-0.conda"), TESTED);
    insta::assert_snapshot!(
        manifest.apply(&stranger).unwrap_err(),
        @"`noarch/gone-1-0.conda` is not part of this release"
    );
}

#[test]
fn an_entry_of_another_plan_or_out_of_turn_is_refused() {
    let mut manifest = at(Progress::Built);
    let entry = manifest.entry(samples::moment(0), key(LIBRARY), TESTED);
    let mut other = entry.clone();
    other.plan_digest = release_manifest::Digest::of(b"another");
    assert!(matches!(
        manifest.apply(&other),
        Err(Error::OtherPlan { .. })
    ));
    for sequence in [0, entry.sequence - 1, entry.sequence + 1, u64::MAX] {
        let mut other = entry.clone();
        other.sequence = sequence;
        assert!(matches!(
            manifest.apply(&other),
            Err(Error::Sequence { .. })
        ));
    }
    manifest.apply(&entry).unwrap();
    assert!(manifest.apply(&entry).is_err(), "once only");
}

/// A failure that was got over, and one that another package's failure replaced, are forgotten.
#[test]
fn the_next_outcome_replaces_a_failure() {
    let mut manifest = at(Progress::Planned);
    let blocked = Event::Blocked {
        by: vec![key(DATA), key(DATA)],
    };
    samples::record(&mut manifest, [(LIBRARY, failed(Phase::Build))]);
    assert!(manifest.package(&key(LIBRARY)).unwrap().error.is_some());
    samples::record(&mut manifest, [(LIBRARY, blocked)]);
    let package = manifest.package(&key(LIBRARY)).unwrap();
    assert_eq!(package.blocked_by, [key(DATA)]);
    assert_eq!(package.error, None);
    samples::record(&mut manifest, [(LIBRARY, built(LIBRARY))]);
    let package = manifest.package(&key(LIBRARY)).unwrap();
    assert!(package.blocked_by.is_empty() && package.error.is_none());
}

#[test]
fn a_signed_package_whose_upload_failed_is_still_signed() {
    let mut manifest = at(Progress::Attested);
    samples::record(&mut manifest, [(LIBRARY, failed(Phase::Publish))]);
    let package = manifest.package(&key(LIBRARY)).unwrap();
    assert_eq!(package.progress, Progress::Attested);
    assert!(package.attestation.is_some() && package.error.is_some());
}

/// What must hold of any package, however it came to be.
fn check(package: &Package) {
    let reached = |progress| package.progress >= progress;
    let times = package.times;
    assert_eq!(package.sha256.is_some(), reached(Progress::Built));
    assert_eq!(package.size.is_some(), reached(Progress::Built));
    assert_eq!(times.built.is_some(), reached(Progress::Built));
    let tests = (times.tested.is_some(), package.tests_skipped.is_some());
    assert_eq!(tests.0 ^ tests.1, reached(Progress::Tested));
    assert_eq!(tests.0 || tests.1, reached(Progress::Tested));
    assert_eq!(package.attestation.is_some(), reached(Progress::Attested));
    assert_eq!(times.attested.is_some(), reached(Progress::Attested));
    assert_eq!(package.published.is_some(), reached(Progress::Published));
    assert_eq!(times.published.is_some(), reached(Progress::Published));
    assert!(package.error.is_none() || package.blocked_by.is_empty());
    assert!(package.skipped.is_none() || package.progress < Progress::Published);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is tried in whatever order: progress is never above what was recorded, one step
    /// at a time, and what a package claims fits together.
    #[test]
    fn progress_is_what_was_recorded((plan, events) in any_history()) {
        let mut manifest = samples::empty(&plan);
        let mut recorded: BTreeMap<PackageKey, usize> = BTreeMap::new();
        for (package, event) in events {
            let before = manifest.clone();
            let entry = manifest.entry(samples::moment(0), package.clone(), event.clone());
            prop_assert_eq!(&manifest, &before, "making an entry changes nothing");
            let applied = manifest.apply(&entry);
            let steps = recorded.entry(package.clone()).or_default();
            if applied.is_err() {
                prop_assert_eq!(&manifest, &before);
                continue;
            }
            match &event {
                Event::Built { .. } | Event::Tested { .. } | Event::TestsSkipped { .. }
                | Event::Attested { .. } | Event::Published { .. } => *steps += 1,
                Event::Seen | Event::Skipped { .. } | Event::Failed { .. } | Event::Blocked { .. } => {}
                Event::Returned { to, .. } => {
                    let back = PROGRESS.iter().position(|step| step == to).unwrap();
                    prop_assert!(back < *steps);
                    *steps = back;
                }
            }
            prop_assert_eq!(manifest.package(&package).unwrap().progress, PROGRESS[*steps]);
            for other in manifest.packages() {
                check(other);
                if other.key() != package {
                    prop_assert_eq!(Some(other), before.package(&other.key()));
                }
            }
        }
    }
}
