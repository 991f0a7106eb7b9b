use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use release_manifest::{Error, PackageKey, Plan, PlannedPackage};
use serde_json::{Value, json};

use crate::samples::{self, BROKEN, DATA, LIBRARY, PROGRAM, any_plan, key, planned};

#[test]
fn a_plan_reads_well() {
    insta::assert_snapshot!(
        "plan",
        String::from_utf8(samples::plan().to_json()).unwrap()
    );
}

#[test]
fn dependencies_come_first_and_then_the_alphabet() {
    let order = samples::plan().build_order().unwrap();
    assert_eq!(order, [BROKEN, LIBRARY, PROGRAM, DATA].map(key));
}

/// The packages that each package leads to, directly or through others.
fn reachable(
    edges: &BTreeMap<PackageKey, BTreeSet<PackageKey>>,
) -> BTreeSet<(PackageKey, PackageKey)> {
    let mut pairs = BTreeSet::new();
    for start in edges.keys() {
        let mut open: Vec<&PackageKey> = edges[start].iter().collect();
        while let Some(next) = open.pop() {
            if pairs.insert((start.clone(), next.clone())) {
                open.extend(&edges[next]);
            }
        }
    }
    pairs.retain(|(from, to)| from != to);
    pairs
}

fn all_edges(plan: &Plan) -> BTreeMap<PackageKey, BTreeSet<PackageKey>> {
    let edges = |it: &PlannedPackage| {
        let edges = it
            .builds_on
            .iter()
            .chain(&it.test_needs)
            .chain(&it.runs_with);
        (it.key(), edges.cloned().collect())
    };
    plan.packages.iter().map(edges).collect()
}

#[test]
fn direct_edges_reach_the_same_packages_also_through_cycles() {
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| format!("noarch/{name}-1-0.conda"));
    let runs_with = |from: &str, to: &[&String]| PlannedPackage {
        runs_with: to.iter().map(|to| key(to)).collect(),
        ..planned(from)
    };
    let mut plan = samples::plan();
    // `b` and `c` run with each other.
    plan.packages = vec![
        runs_with(&a, &[&b, &c, &d, &e]),
        runs_with(&b, &[&c, &d, &e]),
        runs_with(&c, &[&b, &d]),
        runs_with(&d, &[&e]),
        planned(&e),
    ];
    let direct = plan.direct_dependencies();
    let names = |from: &str| -> Vec<String> {
        let to = direct[&key(from)].iter();
        to.map(|key| key.file.name().to_owned()).collect()
    };
    assert_eq!(names(&a), ["b", "c"]);
    assert_eq!(names(&b), ["c", "d"]);
    assert_eq!(names(&c), ["b", "d"]);
    assert_eq!(names(&d), ["e"]);
    assert_eq!(reachable(&direct), reachable(&all_edges(&plan)));
}

#[test]
fn a_cycle_is_printed() {
    let cycle = |names: [&str; 3]| {
        let mut plan = samples::plan();
        plan.packages = names
            .iter()
            .zip(names.iter().cycle().skip(1))
            .map(|(name, next)| PlannedPackage {
                builds_on: vec![key(next)],
                ..planned(name)
            })
            .collect();
        // Something that only leads into the cycle is not part of it.
        plan.packages.push(PlannedPackage {
            builds_on: vec![key(names[1])],
            ..planned("linux-64/a-1-0.conda")
        });
        plan
    };
    let [a, b, c] = [
        "noarch/a-1-0.conda",
        "noarch/b-1-0.conda",
        "noarch/c-1-0.conda",
    ];
    for names in [[a, b, c], [b, c, a], [c, a, b]] {
        let plan = cycle(names);
        assert_eq!(
            plan.build_order().unwrap_err().to_string(),
            "packages build upon each other in a cycle: \
             noarch/a-1-0.conda → noarch/b-1-0.conda → noarch/c-1-0.conda → noarch/a-1-0.conda"
        );
        assert!(matches!(plan.check(), Err(Error::Cycle { .. })));
        assert!(Plan::from_json(&plan.to_json()).is_err());
    }
    let mut alone = samples::plan();
    alone.packages = vec![PlannedPackage {
        builds_on: vec![key(a)],
        ..planned(a)
    }];
    assert_eq!(
        alone.build_order().unwrap_err().to_string(),
        "packages build upon each other in a cycle: noarch/a-1-0.conda → noarch/a-1-0.conda"
    );
}

#[test]
fn running_with_each_other_is_no_cycle() {
    let mut plan = samples::plan();
    plan.packages[1].runs_with = vec![key(PROGRAM)];
    plan.packages[1].test_needs = vec![key(PROGRAM)];
    plan.check().unwrap();
}

#[test]
fn dependents_are_whatever_cannot_be_finished() {
    let plan = samples::plan();
    let of = |keys: &[&str]| {
        let keys = keys.iter().map(|text| key(text)).collect();
        Vec::from_iter(plan.dependents(&keys))
    };
    assert_eq!(of(&[LIBRARY]), [PROGRAM, BROKEN].map(key));
    assert_eq!(of(&[DATA]), [PROGRAM, BROKEN].map(key));
    assert_eq!(of(&[LIBRARY, PROGRAM]), [key(BROKEN)]);
    assert_eq!(of(&[BROKEN]), []);
    assert_eq!(of(&[]), []);

    let running = |text: &str| Vec::from_iter(plan.runtime_dependents(&[key(text)].into()));
    assert_eq!(running(LIBRARY), [PROGRAM, BROKEN].map(key));
    assert_eq!(running(DATA), [], "needed for tests alone");
}

#[test]
fn plans_that_are_none() {
    let json = |edit: fn(&mut Value)| {
        let mut value = serde_json::to_value(samples::plan()).unwrap();
        edit(&mut value);
        let error = Plan::from_json(&serde_json::to_vec_pretty(&value).unwrap()).unwrap_err();
        let chain: Vec<String> =
            std::iter::successors(Some(&error as &dyn std::error::Error), |error| {
                error.source()
            })
            .map(ToString::to_string)
            .collect();
        samples::without_place(&chain.join(": "))
    };
    let mut shown = BTreeMap::new();
    shown.insert(
        "newer, with fields that nobody knows yet",
        json(|plan| {
            plan["schema_version"] = json!(2);
            plan["colour"] = json!("green");
        }),
    );
    shown.insert("older", json(|plan| plan["schema_version"] = json!(0)));
    shown.insert(
        "a version that is no number",
        json(|plan| plan["schema_version"] = json!("1")),
    );
    shown.insert(
        "no version",
        json(|plan| drop(plan.as_object_mut().unwrap().remove("schema_version"))),
    );
    shown.insert(
        "an unknown field",
        json(|plan| plan["colour"] = json!("green")),
    );
    shown.insert(
        "an unknown field of a package",
        json(|plan| plan["packages"][0]["colour"] = json!("green")),
    );
    shown.insert(
        "an edge to nowhere",
        json(|plan| plan["packages"][1]["runs_with"] = json!(["noarch/gone-1-0.conda"])),
    );
    shown.insert(
        "a package twice",
        json(|plan| {
            let twice = plan["packages"][0].clone();
            plan["packages"].as_array_mut().unwrap().push(twice);
        }),
    );
    shown.insert(
        "a package twice where case is ignored",
        json(|plan| {
            let mut twice = plan["packages"][1].clone();
            twice["file"] = json!("libgreet-1.0.0-H123_0.conda");
            plan["packages"].as_array_mut().unwrap().push(twice);
        }),
    );
    shown.insert(
        "a path that leads out",
        json(|plan| plan["packages"][0]["recipe"] = json!("recipes/../../etc/passwd")),
    );
    shown.insert(
        "credentials in the channel",
        json(|plan| plan["target_channel"] = json!("https://me:secret@prefix.dev/acme")),
    );
    insta::assert_debug_snapshot!(shown);
}

#[test]
fn a_variant_key_is_given_once() {
    let json = String::from_utf8(samples::plan().to_json()).unwrap();
    let entry = r#""target_platform": "linux-64""#;
    let twice = json.replacen(entry, &format!("{entry}, {entry}"), 1);
    assert_ne!(json, twice);
    Plan::from_json(twice.as_bytes()).unwrap_err();
    let field = r#""mode": "rehearsal""#;
    let twice = json.replacen(field, &format!("{field}, {field}"), 1);
    assert_ne!(json, twice);
    Plan::from_json(twice.as_bytes()).unwrap_err();
}

#[test]
fn hostile_sizes_are_refused() {
    let deep = [b"[".repeat(1_000_000), b"]".repeat(1_000_000)].concat();
    Plan::from_json(&deep).unwrap_err();
    let deep = format!(
        r#"{{"schema_version": {}1{}}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    Plan::from_json(deep.as_bytes()).unwrap_err();
    let error = Plan::from_json(&vec![b' '; (64 << 20) + 1]).unwrap_err();
    assert!(matches!(error, Error::Size { .. }));
    let mut trailing = samples::plan().to_json();
    trailing.extend(b"{}");
    Plan::from_json(&trailing).unwrap_err();
}

/// The digest covers everything: no leaf of the document can be changed without it.
#[test]
fn every_leaf_is_in_the_digest() {
    let plan = samples::plan();
    let original = serde_json::to_value(&plan).unwrap();
    let leaves = samples::leaves(&original);
    assert!(leaves.len() > 40);
    for pointer in leaves {
        let mut value = original.clone();
        let leaf = value.pointer_mut(&pointer).unwrap();
        *leaf = samples::changed(leaf);
        match Plan::from_json(&serde_json::to_vec(&value).unwrap()) {
            Ok(other) => assert_ne!(other.digest(), plan.digest(), "{pointer}"),
            Err(_) => assert!(
                [
                    "/schema_version",
                    "file",
                    "subdir",
                    "builds_on",
                    "test_needs",
                    "runs_with"
                ]
                .iter()
                .any(|part| pointer.contains(part)),
                "{pointer}"
            ),
        }
    }
}

proptest! {
    #[test]
    fn direct_edges_reach_what_all_edges_reach(plan in any_plan()) {
        let direct = plan.direct_needs();
        let all = all_edges(&plan);
        prop_assert_eq!(reachable(&direct), reachable(&all));
        prop_assert!(direct.iter().all(|(from, to)| to.is_subset(&all[from])));
    }

    #[test]
    fn what_is_written_is_read(plan in any_plan()) {
        let read = Plan::from_json(&plan.to_json()).unwrap();
        prop_assert_eq!(read.digest(), plan.digest());
        prop_assert_eq!(read.to_json(), plan.to_json());
        prop_assert_eq!(Plan::from_json(&read.to_json()).unwrap(), read);
    }

    #[test]
    fn arrangement_does_not_matter(plan in any_plan(), seed in any::<prop::sample::Index>()) {
        let mut other = plan.clone();
        let middle = seed.index(other.packages.len() + 1);
        other.packages.rotate_left(middle);
        other.skipped.reverse();
        for package in &mut other.packages {
            package.builds_on.reverse();
            package.runs_with.reverse();
        }
        prop_assert_eq!(other.digest(), plan.digest());
        prop_assert_eq!(other.to_json(), plan.to_json());
        prop_assert_eq!(other.build_order().unwrap(), plan.build_order().unwrap());
    }

    #[test]
    fn the_build_order_is_one(plan in any_plan()) {
        let order = plan.build_order().unwrap();
        let keys: BTreeSet<_> = plan.packages.iter().map(PlannedPackage::key).collect();
        prop_assert_eq!(BTreeSet::from_iter(order.clone()), keys);
        prop_assert_eq!(order.len(), plan.packages.len());
        for (position, key) in order.iter().enumerate() {
            for edge in &plan.package(key).unwrap().builds_on {
                prop_assert!(order[..position].contains(edge));
            }
        }
    }

    #[test]
    fn dependents_are_closed(plan in any_plan(), picked in prop::collection::vec(any::<prop::sample::Index>(), 1..3)) {
        prop_assume!(!plan.packages.is_empty());
        let of: BTreeSet<_> = picked.iter().map(|index| index.get(&plan.packages).key()).collect();
        let found = plan.dependents(&of);
        for package in &plan.packages {
            let needs_one = [&package.builds_on, &package.test_needs, &package.runs_with]
                .into_iter()
                .flatten()
                .any(|edge| of.contains(edge) || found.contains(edge));
            let expected = needs_one && !of.contains(&package.key());
            prop_assert_eq!(found.contains(&package.key()), expected);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Plan::from_json(&bytes).is_err());
    }

    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..4)) {
        let mut json = samples::plan().to_json();
        let at = at.index(json.len());
        let end = (at + bytes.len()).min(json.len());
        json.splice(at..end, bytes);
        if let Ok(plan) = Plan::from_json(&json) {
            prop_assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan);
        }
    }
}
