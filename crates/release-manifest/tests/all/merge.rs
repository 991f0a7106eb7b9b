use std::collections::BTreeSet;

use proptest::prelude::*;
use release_manifest::{
    Error, Event, Isolation, Manifest, PackageKey, Plan, PlannedPackage, Progress, Shard,
};
use serde_json::Value;

use crate::samples::{self, DATA, LIBRARY, PROGRAM, any_plan, built, key};

/// What a build job makes of its packages: each is built and tested.
fn shard(plan: &Plan, ours: &BTreeSet<PackageKey>) -> Manifest {
    let mut manifest = Manifest::new(plan, None, Isolation::Worker);
    for package in ours {
        for event in [built(LIBRARY), Event::Tested { milliseconds: 3 }] {
            let entry = manifest.entry(samples::moment(0), package.clone(), event);
            manifest.apply(&entry).unwrap();
        }
    }
    manifest
}

fn keys(texts: &[&str]) -> BTreeSet<PackageKey> {
    texts.iter().map(|text| key(text)).collect()
}

#[test]
fn shards_join_into_one_release() {
    let plan = samples::plan();
    let (first, second) = (keys(&[LIBRARY, PROGRAM]), keys(&[DATA]));
    let (one, two) = (shard(&plan, &first), shard(&plan, &second));
    let shards =
        [(&first, &one), (&second, &two)].map(|(packages, manifest)| Shard { packages, manifest });
    let merged = Manifest::merge(&plan, shards).unwrap();
    let all = keys(&[LIBRARY, PROGRAM, DATA]);
    let unsharded = shard(&plan, &all);
    assert_eq!(merged.packages(), unsharded.packages());
    assert_eq!(merged.isolation, Isolation::SeparateJob);
    assert_eq!(merged.trust, None);
    assert_eq!(Manifest::from_json(&merged.to_json()).unwrap(), merged);
}

#[test]
fn a_shard_tells_of_its_own_packages_only() {
    let plan = samples::plan();
    let ours = keys(&[DATA]);
    let more = shard(&plan, &keys(&[DATA, LIBRARY]));
    let refused = |packages: &BTreeSet<PackageKey>, manifest: &Manifest| {
        Manifest::merge(&plan, [Shard { packages, manifest }]).unwrap_err()
    };
    insta::assert_snapshot!(
        refused(&ours, &more),
        @"the shard may not tell of `linux-64/libgreet-1.0.0-h123_0.conda`: it was not its to build"
    );
    let mut other = samples::plan();
    other.timestamp += 1;
    assert!(matches!(
        refused(&ours, &shard(&other, &ours)),
        Error::ShardPlan { .. }
    ));
    let mut trusting = shard(&plan, &ours);
    trusting.trust = Some(samples::trust());
    assert!(matches!(
        refused(&ours, &trusting),
        Error::ShardField { field: "trust" }
    ));
    let good = shard(&plan, &ours);
    let twice = Shard {
        packages: &ours,
        manifest: &good,
    };
    assert!(matches!(
        Manifest::merge(&plan, [twice, twice]),
        Err(Error::Duplicate { .. })
    ));
}

/// Every leaf of a shard's manifest is changed, one after the other. It is refused, it makes no
/// difference, or it is one of those that a shard may tell.
#[test]
fn a_shard_tells_nothing_but_size_hash_times_and_logs() {
    let plan = samples::plan();
    let ours = keys(&[DATA, LIBRARY, PROGRAM]);
    let manifest = shard(&plan, &ours);
    let merge = |manifest: &Manifest| {
        let packages = &ours;
        Manifest::merge(&plan, [Shard { packages, manifest }])
    };
    let expected = merge(&manifest).unwrap();
    let original = serde_json::to_value(&manifest).unwrap();
    let leaves = samples::leaves(&original);
    assert!(leaves.len() > 50);
    let mut told = BTreeSet::new();
    for pointer in leaves {
        let mut value: Value = original.clone();
        let leaf = value.pointer_mut(&pointer).unwrap();
        *leaf = samples::changed(leaf);
        let Ok(changed) = Manifest::from_json(&serde_json::to_vec(&value).unwrap()) else {
            continue;
        };
        match merge(&changed) {
            Ok(merged) if merged != expected => {
                told.insert(pointer.splitn(4, '/').last().unwrap().to_owned());
            }
            Ok(_) => assert!(
                ["/isolation", "/sequence"].contains(&pointer.as_str()),
                "{pointer}"
            ),
            Err(_) => {}
        }
    }
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "log",
            "sha256",
            "size",
            "times/built/at",
            "times/built/milliseconds",
            "times/tested/at",
            "times/tested/milliseconds"
        ]
    );
}

#[test]
fn a_shard_attests_and_publishes_nothing() {
    let plan = samples::plan();
    let ours = keys(&[LIBRARY]);
    for steps in [1, 2] {
        let mut manifest = shard(&plan, &ours);
        let events = [samples::attested(LIBRARY), samples::published(LIBRARY)];
        samples::record(
            &mut manifest,
            events.into_iter().take(steps).map(|event| (LIBRARY, event)),
        );
        let shard = Shard {
            packages: &ours,
            manifest: &manifest,
        };
        assert!(matches!(
            Manifest::merge(&plan, [shard]),
            Err(Error::ShardPackage { .. })
        ));
    }
}

#[test]
fn what_a_shard_could_not_build_stays_planned() {
    let plan = samples::plan();
    let ours = keys(&[LIBRARY, samples::BROKEN, PROGRAM]);
    let (mut manifest, _) = samples::live(&plan, vec![]);
    manifest.trust = None;
    let failed = Event::Failed {
        error: release_manifest::PackageError {
            phase: release_manifest::Phase::Build,
            code: "script_failed".to_owned(),
            message: "foreign text".to_owned(),
            log: None,
        },
    };
    samples::record(&mut manifest, [(LIBRARY, failed), (DATA, built(DATA))]);
    let shard = |packages| Shard {
        packages,
        manifest: &manifest,
    };
    assert!(Manifest::merge(&plan, [shard(&ours)]).is_err());
    let merged = Manifest::merge(&plan, [shard(&keys(&[LIBRARY, DATA]))]).unwrap();
    assert_eq!(
        merged.package(&key(DATA)).unwrap().progress,
        Progress::Built
    );
    let library = merged.package(&key(LIBRARY)).unwrap();
    assert_eq!(library.progress, Progress::Planned);
    assert_eq!(library.error, None);
}

proptest! {
    /// However a plan is cut: joined, it is what one machine would have made.
    #[test]
    fn sharded_and_unsharded_agree(plan in any_plan(), count in 1_usize..4) {
        let all: Vec<PackageKey> = plan.packages.iter().map(PlannedPackage::key).collect();
        let cuts: Vec<BTreeSet<PackageKey>> = (0..count)
            .map(|shard| all.iter().skip(shard).step_by(count).cloned().collect())
            .collect();
        let manifests: Vec<Manifest> = cuts.iter().map(|ours| shard(&plan, ours)).collect();
        let shards = cuts
            .iter()
            .zip(&manifests)
            .map(|(packages, manifest)| Shard { packages, manifest });
        let merged = Manifest::merge(&plan, shards).unwrap();
        let unsharded = shard(&plan, &all.into_iter().collect());
        prop_assert_eq!(merged.packages(), unsharded.packages());
        prop_assert_eq!(merged.plan_digest, unsharded.plan_digest);
    }
}
