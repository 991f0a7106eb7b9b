use proptest::prelude::*;
use release_manifest::{Digest, Manifest, Mode, Plan, Progress};

use crate::samples::{self, BROKEN, DATA, LIBRARY, PROGRAM, any_history, key};

fn carried(plan: &Plan, old: &Manifest) -> Manifest {
    let mut manifest = samples::empty(plan);
    manifest.carry_over(old);
    manifest
}

fn progress(manifest: &Manifest) -> [Progress; 4] {
    [LIBRARY, DATA, PROGRAM, BROKEN].map(|text| manifest.package(&key(text)).unwrap().progress)
}

#[test]
fn what_is_good_stays_and_what_failed_is_tried_again() {
    let (old, _) = samples::release();
    let manifest = carried(&samples::plan(), &old);
    assert_eq!(progress(&manifest), progress(&old));
    for package in manifest.packages() {
        assert!(package.error.is_none() && package.blocked_by.is_empty());
    }
    let library = key(LIBRARY);
    assert_eq!(manifest.package(&library), old.package(&library));
}

#[test]
fn another_fingerprint_is_another_package() {
    use Progress::{Attested, Planned};
    let (old, _) = samples::release();
    let mut plan = samples::plan();
    let library = plan.packages.iter_mut().find(|p| p.key() == key(LIBRARY));
    library.unwrap().fingerprint = Digest::of(b"changed");
    let manifest = carried(&plan, &old);
    assert_eq!(progress(&manifest), [Planned, Attested, Planned, Planned]);
    assert_eq!(manifest.package(&key(LIBRARY)).unwrap().sha256, None);
}

#[test]
fn no_attestation_or_publication_comes_from_elsewhere() {
    use Progress::{Attested, Planned, Published, Tested};
    let (old, _) = samples::release();
    let mut elsewhere = samples::plan();
    elsewhere.channel = None;
    assert_eq!(
        progress(&carried(&elsewhere, &old)),
        [Attested, Attested, Planned, Planned]
    );
    let mut elsewhere = samples::plan();
    elsewhere.target_channel = "https://prefix.dev/other".parse().unwrap();
    assert_eq!(
        progress(&carried(&elsewhere, &old)),
        [Tested, Tested, Planned, Planned]
    );
    let mut live = samples::plan();
    live.mode = Mode::Live;
    assert_eq!(progress(&carried(&live, &old)), [Planned; 4]);

    let mut others = old.clone();
    others.trust.as_mut().unwrap().name = "public-good".to_owned();
    assert_eq!(
        progress(&carried(&samples::plan(), &others)),
        [Tested, Tested, Planned, Planned]
    );

    // A command that doesn't sign doesn't know the trust, and forgets no attestation for it.
    let mut unsigned = samples::empty(&samples::plan());
    unsigned.trust = None;
    unsigned.carry_over(&old);
    assert_eq!(progress(&unsigned), [Published, Attested, Planned, Planned]);
    assert_eq!(unsigned.trust, old.trust);
}

#[test]
fn a_live_package_of_another_source_is_kept_with_its_attestation_alone() {
    use Progress::{Attested, Planned, Published, Tested};
    let mut plan = samples::plan();
    plan.mode = Mode::Live;
    let (mut old, _) = samples::release();
    old.mode = Mode::Live;
    plan.source.commit = Some("b".repeat(40));
    let manifest = carried(&plan, &old);
    assert_eq!(progress(&manifest), [Published, Attested, Planned, Planned]);
    let library = manifest.package(&key(LIBRARY)).unwrap();
    assert_eq!(library.source.as_ref(), Some(&old.source));
    assert_ne!(library.source.as_ref(), Some(&manifest.source));

    let tested = |plan: &Plan| {
        let mut plan = plan.clone();
        plan.target_channel = "https://prefix.dev/other".parse().unwrap();
        progress(&carried(&plan, &old))
    };
    assert_eq!(tested(&plan), [Planned; 4]);
    plan.source = old.source.clone();
    assert_eq!(tested(&plan), [Tested, Tested, Planned, Planned]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A manifest that was carried over is as sound as any: it can be written, read and gone on
    /// with, and carrying it over again changes nothing.
    #[test]
    fn carrying_over_keeps_the_invariants((plan, events) in any_history()) {
        let (old, _) = samples::live(&plan, events);
        let manifest = carried(&plan, &old);
        prop_assert_eq!(&Manifest::from_json(&manifest.to_json()).unwrap(), &manifest);
        prop_assert_eq!(&carried(&plan, &manifest), &manifest);
        for package in manifest.packages() {
            prop_assert_eq!(package.progress, old.package(&package.key()).unwrap().progress);
        }
    }
}
