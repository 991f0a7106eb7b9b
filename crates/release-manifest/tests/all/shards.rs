use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use release_manifest::{
    Error, Event, MATRIX_LIMIT, Manifest, Matrices, PackageKey, Plan, PlannedPackage, Sharding,
    Shards, Skipped, WAVES,
};
use serde_json::{Value, json};

use crate::samples::{self, DATA, LIBRARY, PROGRAM, key};

/// A package that builds upon others, named by their numbers.
fn package(number: usize, platform: &str, builds_on: &[usize]) -> PlannedPackage {
    PlannedPackage {
        build_platform: platform.parse().unwrap(),
        builds_on: builds_on.iter().map(|&on| numbered(on)).collect(),
        ..samples::planned(&numbered(number).to_string())
    }
}

fn numbered(number: usize) -> PackageKey {
    key(&format!("noarch/p{number:04}-1-0.conda"))
}

fn plan(packages: Vec<PlannedPackage>) -> Plan {
    Plan {
        packages,
        ..samples::plan()
    }
}

fn cut(plan: &Plan, sharding: Sharding) -> Result<(Shards, Matrices), Error> {
    Shards::cut(plan, BTreeMap::new(), sharding, None, |platform| {
        format!("runner-of-{platform}")
    })
}

/// The packages of each shard of each wave, by their numbers.
fn shown(shards: &Shards) -> Vec<(u8, String)> {
    let number = |key: &PackageKey| key.file.name().trim_start_matches(['p', '0']).to_owned();
    let shown = |shard: &release_manifest::PlannedShard| {
        let numbers: Vec<String> = shard.packages.iter().map(number).collect();
        (shard.wave, numbers.join(" "))
    };
    shards.shards.iter().map(shown).collect()
}

fn owned(shown: &[(u8, &str)]) -> Vec<(u8, String)> {
    shown
        .iter()
        .map(|(wave, text)| (*wave, (*text).to_owned()))
        .collect()
}

#[test]
fn what_hangs_together_stays_together_and_machines_are_equally_busy() {
    let on = |number, needs: &[usize]| package(number, "linux-64", needs);
    let plan = plan(vec![
        on(1, &[]),
        on(2, &[1]),
        on(3, &[]),
        on(4, &[]),
        on(5, &[]),
        on(6, &[5]),
    ]);
    let shown = |jobs| shown(&cut(&plan, Sharding::Cost(jobs)).unwrap().0);
    assert_eq!(shown(1), owned(&[(1, "1 2 3 4 5 6")]));
    assert_eq!(shown(2), owned(&[(1, "1 2 3"), (1, "4 5 6")]));
    // Cutting a pair would cost more than it saves.
    assert_eq!(
        shown(9),
        owned(&[(1, "1 2"), (1, "5 6"), (1, "3"), (1, "4")])
    );
}

#[test]
fn what_would_keep_one_machine_busy_longest_is_cut_into_waves() {
    let mut packages = vec![package(0, "linux-64", &[])];
    packages.extend((1..=20).map(|number| package(number, "linux-64", &[0])));
    let plan = plan(packages);
    let (shards, matrices) = cut(&plan, Sharding::Cost(4)).unwrap();
    let sizes: Vec<(u8, usize)> = shards
        .shards
        .iter()
        .map(|shard| (shard.wave, shard.packages.len()))
        .collect();
    assert_eq!(sizes, [(1, 1), (2, 5), (2, 5), (2, 5), (2, 5)]);
    let [first, second, third, fourth] = matrices.lines().try_into().unwrap();
    assert_eq!(
        first,
        r#"{"include":[{"shard":1,"runs-on":"runner-of-linux-64","build-platform":"linux-64","packages":1,"minutes":1,"from":[]}]}"#
    );
    let second: Value = serde_json::from_str(&second).unwrap();
    assert_eq!(second["include"][3]["from"], json!([1]));
    assert_eq!(
        [third, fourth],
        [r#"{"include":[]}"#, r#"{"include":[]}"#],
        "an empty matrix lets a workflow leave its job out"
    );
}

#[test]
fn a_machine_builds_for_one_platform_and_waits_for_another() {
    let plan = plan(vec![
        package(1, "linux-64", &[]),
        package(2, "osx-arm64", &[1]),
        package(3, "linux-64", &[1]),
        package(4, "osx-arm64", &[]),
    ]);
    for sharding in [Sharding::Platform, Sharding::Cost(1)] {
        let (shards, _) = cut(&plan, sharding).unwrap();
        assert_eq!(
            shown(&shards),
            owned(&[(1, "1 3"), (1, "4"), (2, "2")]),
            "{sharding:?}"
        );
        let needs = shards.needs(&plan, &shards.shards[2]);
        assert_eq!(needs, BTreeMap::from([(1, [numbered(1)].into())]));
    }
}

#[test]
fn platforms_cannot_wait_for_each_other_forever() {
    let platform = |number| ["linux-64", "osx-arm64"][number % 2];
    let chain = |length: usize| {
        let link = |number: usize| {
            let needs: Vec<usize> = number.checked_sub(1).into_iter().collect();
            package(number, platform(number), &needs)
        };
        plan((0..length).map(link).collect())
    };
    assert_eq!(
        cut(&chain(4), Sharding::Cost(8)).unwrap().0.shards.len(),
        usize::from(WAVES)
    );
    insta::assert_snapshot!(
        cut(&chain(5), Sharding::Cost(8)).unwrap_err(),
        @"`noarch/p0004-1-0.conda` needs packages that platforms build for each other in more than 4 waves"
    );
    let mut circle = chain(2);
    circle.packages[0].test_needs = vec![numbered(1)];
    insta::assert_snapshot!(
        cut(&circle, Sharding::Cost(8)).unwrap_err(),
        @"`noarch/p0000-1-0.conda` and `noarch/p0001-1-0.conda` need each other and are built on different platforms: no job can build both"
    );
}

#[test]
fn a_job_builds_a_recipe() {
    let plan = plan(vec![
        package(1, "linux-64", &[]),
        PlannedPackage {
            recipe: samples::planned("noarch/p0001-1-0.conda").recipe,
            ..package(2, "linux-64", &[])
        },
        package(3, "linux-64", &[2]),
        package(4, "linux-64", &[]),
    ]);
    let (shards, _) = cut(&plan, Sharding::Recipe(256)).unwrap();
    assert_eq!(
        shown(&shards),
        owned(&[(1, "1 2"), (1, "4"), (2, "3")]),
        "outputs of one recipe stay together"
    );
}

#[test]
fn outputs_of_one_build_folder_stay_together() {
    let mut plan = plan((1..=4).map(|it| package(it, "linux-64", &[])).collect());
    plan.packages[3].build_folder = plan.packages[0].build_folder.clone();
    let (shards, _) = cut(&plan, Sharding::Cost(4)).unwrap();
    assert_eq!(shown(&shards), owned(&[(1, "1 4"), (1, "2"), (1, "3")]));
}

#[test]
fn work_is_spread_by_what_it_took_before() {
    let plan = plan((1..=5).map(|it| package(it, "linux-64", &[])).collect());
    let mut history = samples::empty(&plan);
    for (number, minutes) in [(1, 10), (2, 4), (3, 3), (4, 3)] {
        let event = Event::Built {
            sha256: samples::digest(b"package"),
            size: 1,
            milliseconds: minutes * 60_000,
            log: None,
        };
        let entry = history.entry(samples::moment(0), numbered(number), event);
        history.apply(&entry).unwrap();
    }
    let cut = |plan: &Plan, history: Option<&Manifest>| {
        let cut = Shards::cut(plan, BTreeMap::new(), Sharding::Cost(2), history, |it| {
            it.to_string()
        });
        shown(&cut.unwrap().0)
    };
    // The fifth is expected to take five minutes, as the others did on average.
    assert_eq!(
        cut(&plan, Some(&history)),
        owned(&[(1, "1 4"), (1, "2 3 5")])
    );
    assert_eq!(cut(&plan, None), owned(&[(1, "1 3 5"), (1, "2 4")]));
    // A new version is known by its name.
    let mut newer = plan;
    newer.packages[0].file = "p0001-2-0.conda".parse().unwrap();
    assert_eq!(
        cut(&newer, Some(&history)),
        owned(&[(1, "1 4"), (1, "2 3 5")])
    );
}

#[test]
fn what_is_left_out_is_in_no_shard_and_nobody_waits_for_it() {
    let plan = samples::plan();
    let reason = "the channel has a package of this name".to_owned();
    let left_out = BTreeMap::from([(key(LIBRARY), Skipped::because(reason))]);
    let (shards, _) = Shards::cut(&plan, left_out, Sharding::Cost(1), None, |it| {
        it.to_string()
    })
    .unwrap();
    assert_eq!(shards.shards[0].packages.len(), plan.packages.len() - 1);
    assert!(!shards.shards[0].packages.contains(&key(LIBRARY)));
    assert_eq!(Shards::from_json(&shards.to_json(), &plan).unwrap(), shards);
}

#[test]
fn nothing_to_build_is_no_job() {
    let (shards, matrices) = cut(&plan(Vec::new()), Sharding::Cost(4)).unwrap();
    assert_eq!(shards.shards, []);
    assert_eq!(matrices.lines(), [r#"{"include":[]}"#; 4]);
}

/// Four layers of packages that need two thirds of the layer before: no matrix is larger than GitHub takes.
#[test]
fn matrices_fit_into_the_outputs_of_a_job() {
    let layer = |number: usize| -> Vec<usize> {
        match (number / 256).checked_sub(1) {
            None => Vec::new(),
            Some(before) => (before * 256..before * 256 + 256)
                .filter(|number| number % 3 > 0)
                .collect(),
        }
    };
    let plan = plan(
        (0..1024)
            .map(|number| package(number, "linux-64", &layer(number)))
            .collect(),
    );
    let (shards, matrices) = cut(&plan, Sharding::Cost(MATRIX_LIMIT)).unwrap();
    shards.check(&plan).unwrap();
    assert_eq!(shards.shards.last().unwrap().wave, WAVES);
    let size: usize = matrices.lines().iter().map(String::len).sum();
    assert!(size <= 512 << 10, "{size}");
    assert!(shards.shards.len() > 4 * 32, "{}", shards.shards.len());
}

#[test]
fn shards_that_are_not_the_plans() {
    let plan = samples::plan();
    let (shards, _) = cut(&plan, Sharding::Recipe(4)).unwrap();
    assert!(shards.shards.len() > 1);
    let original = serde_json::to_value(&shards).unwrap();
    let mut table = BTreeMap::new();
    let mut refused = |name: &'static str, edit: &dyn Fn(&mut Value)| {
        let mut value = original.clone();
        edit(&mut value);
        let error = Shards::from_json(&serde_json::to_vec(&value).unwrap(), &plan).unwrap_err();
        let chain: Vec<String> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |it| it.source())
                .map(ToString::to_string)
                .collect();
        let shown = samples::without_place(&chain.join(": "));
        table.insert(name, shown.replace(&plan.digest().to_string(), "[PLAN]"));
    };
    refused("another plan", &|it| {
        it["plan_digest"] = json!(format!("sha256:{}", "0".repeat(64)))
    });
    refused("a package that nobody builds", &|it| {
        drop(it["shards"][0]["packages"].as_array_mut().unwrap().pop())
    });
    refused("a package that is built twice", &|it| {
        let twice = it["shards"][0]["packages"][0].clone();
        it["shards"][1]["packages"]
            .as_array_mut()
            .unwrap()
            .push(twice);
    });
    refused("a foreign package", &|it| {
        let packages = it["shards"][0]["packages"].as_array_mut().unwrap();
        packages.push(json!("noarch/foreign-1-0.conda"));
    });
    refused("built and left out", &|it| {
        it["left_out"] = json!({ DATA: {"reason": "so"} })
    });
    refused("another platform", &|it| {
        it["shards"][0]["build_platform"] = json!("osx-64")
    });
    refused("a number too high", &|it| {
        it["shards"][1]["shard"] = json!(7)
    });
    refused("a wave too many", &|it| {
        it["shards"].as_array_mut().unwrap().last_mut().unwrap()["wave"] = json!(5)
    });
    refused("a wave before the one before", &|it| {
        it["shards"][0]["wave"] = json!(4)
    });
    refused("everything in one wave", &|it| {
        for shard in it["shards"].as_array_mut().unwrap() {
            shard["wave"] = json!(1);
        }
    });
    refused("an unknown field", &|it| it["colour"] = json!("green"));
    refused("another version", &|it| it["schema_version"] = json!(2));
    insta::assert_debug_snapshot!(table);
    assert!(
        shards
            .shards
            .iter()
            .any(|it| it.packages.contains(&key(PROGRAM))),
        "nothing of the table is there by accident"
    );
}

/// Plans of up to forty packages. Packages build upon earlier ones, and run with any where there
/// is one platform; where there are two, with earlier ones.
fn any_cut() -> impl Strategy<Value = (Plan, Sharding, bool)> {
    let edges = || prop::collection::vec(any::<Index>(), 0..3);
    let package = (edges(), edges(), any::<bool>());
    let sharding = prop_oneof![
        4 => (1_usize..20).prop_map(Sharding::Cost),
        1 => (1_usize..20).prop_map(Sharding::Recipe),
        1 => Just(Sharding::Platform),
    ];
    let packages = prop::collection::vec(package, 0..40);
    (packages, sharding, prop::bool::weighted(0.3)).prop_map(|(drawn, sharding, is_mixed)| {
        let count = drawn.len();
        let packages = drawn.iter().enumerate().map(|(number, (on, with, side))| {
            let pick = |below: usize, from: &[Index]| -> Vec<PackageKey> {
                let picked: BTreeSet<usize> = match below {
                    0 => BTreeSet::new(),
                    _ => from.iter().map(|index| index.index(below)).collect(),
                };
                picked.into_iter().map(numbered).collect()
            };
            let platform = match is_mixed && *side {
                true => "osx-arm64",
                false => "linux-64",
            };
            let test_needs = pick(if is_mixed { number } else { count }, with);
            PlannedPackage {
                builds_on: pick(number, on),
                test_needs: test_needs.clone(),
                runs_with: test_needs,
                ..package_of(number, platform)
            }
        });
        (plan(packages.collect()), sharding, is_mixed)
    })
}

fn package_of(number: usize, platform: &str) -> PlannedPackage {
    package(number, platform, &[])
}

proptest! {
    /// However a plan is cut: no order is broken, no limit passed, no platform mixed, nothing lost.
    #[test]
    fn every_edge_leads_to_the_same_job_or_an_earlier_wave((plan, sharding, is_mixed) in any_cut()) {
        let (shards, matrices) = match cut(&plan, sharding) {
            Err(Error::ShardWaves { .. }) if is_mixed => return Ok(()),
            cut => cut.unwrap(),
        };
        let place: BTreeMap<&PackageKey, (u32, u8)> = shards
            .shards
            .iter()
            .flat_map(|it| it.packages.iter().map(move |package| (package, (it.shard, it.wave))))
            .collect();
        prop_assert_eq!(place.len(), plan.packages.len());
        for package in &plan.packages {
            let (shard, wave) = place[&package.key()];
            for edge in [&package.builds_on, &package.test_needs, &package.runs_with].into_iter().flatten() {
                let (other, earlier) = place[edge];
                prop_assert!(other == shard || earlier < wave, "{} needs {}", package.file, edge);
            }
        }
        let mut of_wave: BTreeMap<u8, usize> = BTreeMap::new();
        for shard in &shards.shards {
            prop_assert!((1..=WAVES).contains(&shard.wave));
            *of_wave.entry(shard.wave).or_default() += 1;
            let platforms: BTreeSet<_> = plan
                .packages
                .iter()
                .filter(|it| shard.packages.contains(&it.key()))
                .map(|it| it.build_platform)
                .collect();
            prop_assert_eq!(platforms, [shard.build_platform].into());
        }
        let most = match sharding {
            Sharding::Cost(jobs) | Sharding::Recipe(jobs) => jobs.max(1 + usize::from(is_mixed)),
            Sharding::Platform => 2,
        };
        prop_assert!(of_wave.values().all(|&jobs| jobs <= most));
        prop_assert_eq!(matrices.jobs().count(), shards.shards.len());
        prop_assert_eq!(Shards::from_json(&shards.to_json(), &plan).unwrap(), shards.clone());

        let mut turned = plan.clone();
        turned.packages.reverse();
        let sorted = Plan::from_json(&turned.to_json()).unwrap();
        prop_assert_eq!(cut(&sorted, sharding).unwrap().0, shards);
    }
}
