//! Documents to test with: one release that a person would recognise, and arbitrary ones.

use std::collections::{BTreeMap, BTreeSet};

use cep27::{FileName, Sha256, Subdir};
use proptest::prelude::*;
use proptest::sample::Index;
use release_manifest::{
    Attestation, Decision, Decisions, Digest, Event, Isolation, JournalEntry, Manifest, Mode,
    PackageError, PackageKey, Phase, Plan, PlannedPackage, Progress, ProvenanceRecord,
    PublishResult, Published, RelativePath, ReleaseRecord, SchemaVersion, SkippedOutput, Source,
    SourceDigest, Timestamp, Tool, Trust, UnplannedRecipe, Verdict,
};
use serde_json::Value;

pub(crate) const LIBRARY: &str = "linux-64/libgreet-1.0.0-h123_0.conda";
pub(crate) const PROGRAM: &str = "linux-64/greet-1.0.0-h456_0.conda";
pub(crate) const DATA: &str = "noarch/greet-data-2.1-0.conda";
pub(crate) const BROKEN: &str = "linux-64/greet-extra-1.0.0-h789_0.conda";

/// The program builds upon and runs with the library, and needs the data for its tests. The broken
/// one runs with the program.
pub(crate) fn plan() -> Plan {
    let package = |key: &str| PlannedPackage {
        variant: BTreeMap::from([("target_platform".to_owned(), "linux-64".to_owned())]),
        ..planned(key)
    };
    Plan {
        schema_version: SchemaVersion,
        tool: Tool {
            name: "conda-release".to_owned(),
            version: "0.1.0".to_owned(),
        },
        mode: Mode::Rehearsal,
        source: Source {
            repository: Some("https://github.com/acme/pkgs".to_owned()),
            commit: Some("a".repeat(40)),
            dirty: false,
        },
        channel: Some("https://prefix.dev/acme".to_owned()),
        target_channel: "https://prefix.dev/acme".parse().unwrap(),
        timestamp: 1_795_433_438,
        configuration: Digest::of(b"configuration"),
        packages: vec![
            PlannedPackage {
                builds_on: vec![key(LIBRARY)],
                test_needs: vec![key(LIBRARY), key(DATA)],
                runs_with: vec![key(LIBRARY)],
                ..package(PROGRAM)
            },
            package(LIBRARY),
            PlannedPackage {
                runs_with: vec![key(PROGRAM)],
                ..package(BROKEN)
            },
            package(DATA),
        ],
        skipped: ["old", "older"]
            .map(|output| SkippedOutput {
                recipe: "recipes/old/recipe.yaml".parse().unwrap(),
                output: output.to_owned(),
                variant: BTreeMap::new(),
                reason: "already in the channel".to_owned(),
            })
            .into(),
    }
}

/// Of the plan, one package is built, and one output is skipped by its recipe.
pub(crate) fn decisions() -> Decisions {
    let plan = plan();
    let skipped = &plan.skipped[0];
    let decisions = vec![
        Decision {
            output: "libgreet".to_owned(),
            package: Some(key(LIBRARY)),
            recipe: plan.packages[1].recipe.clone(),
            variant: plan.packages[1].variant.clone(),
            build_platform: Some(plan.packages[1].build_platform),
            verdict: Verdict::Build,
            reason: "new".to_owned(),
            tests_deferred: Some("tests for osx-64 do not run on linux-64".to_owned()),
            in_channel: None,
        },
        Decision {
            output: skipped.output.clone(),
            package: None,
            recipe: skipped.recipe.clone(),
            variant: BTreeMap::new(),
            build_platform: None,
            verdict: Verdict::Skipped,
            reason: skipped.reason.clone(),
            tests_deferred: None,
            in_channel: None,
        },
    ];
    Decisions {
        schema_version: SchemaVersion,
        plan_digest: plan.digest(),
        decisions,
        unplanned: vec![UnplannedRecipe {
            recipe: "recipes/other/recipe.yaml".to_owned(),
            output: Some("other".to_owned()),
            code: "needs_unplanned".to_owned(),
            message: "`other` needs `torn`, which cannot be planned".to_owned(),
        }],
        plan,
    }
}

pub(crate) fn planned(text: &str) -> PlannedPackage {
    let PackageKey { subdir, file } = key(text);
    PlannedPackage {
        recipe: format!("recipes/{}/recipe.yaml", file.name())
            .parse()
            .unwrap(),
        variant: BTreeMap::new(),
        build_number: 0,
        build_platform: "linux-64".parse().unwrap(),
        fingerprint: Digest::of(text.as_bytes()),
        sources: vec![SourceDigest {
            uri: format!("https://example.org/{}.tar.gz", file.name()),
            digest: BTreeMap::from([("sha256".to_owned(), digest(b"source").to_string())]),
            annotations: None,
        }],
        build_folder: format!("rattler-build_{}", file.name()),
        builds_on: Vec::new(),
        test_needs: Vec::new(),
        runs_with: Vec::new(),
        file,
        subdir,
    }
}

pub(crate) fn key(text: &str) -> PackageKey {
    text.parse().unwrap()
}

pub(crate) fn trust() -> Trust {
    Trust {
        name: "sandbox".to_owned(),
        root_sha256: digest(b"root"),
    }
}

pub(crate) fn empty(plan: &Plan) -> Manifest {
    Manifest::new(plan, Some(trust()), Isolation::Worker)
}

/// The sample release with every state in it: published, attested but not uploaded, failed and
/// blocked. With the journal that led there.
pub(crate) fn release() -> (Manifest, Vec<JournalEntry>) {
    let mut manifest = empty(&plan());
    let failed = |phase, code: &str| Event::Failed {
        error: PackageError {
            phase,
            code: code.to_owned(),
            message: "expected 201, found 503".to_owned(),
            log: Some("logs/failed.log".parse().unwrap()),
        },
    };
    let journal = record(
        &mut manifest,
        [
            (LIBRARY, built(LIBRARY)),
            (LIBRARY, Event::Tested { milliseconds: 80 }),
            (DATA, built(DATA)),
            (
                DATA,
                Event::TestsSkipped {
                    reason: "tests are switched off".to_owned(),
                },
            ),
            (LIBRARY, attested(LIBRARY)),
            (LIBRARY, published(LIBRARY)),
            (DATA, attested(DATA)),
            (DATA, failed(Phase::Publish, "server_error")),
            (PROGRAM, failed(Phase::Build, "script_failed")),
            (
                BROKEN,
                Event::Blocked {
                    by: vec![key(PROGRAM)],
                },
            ),
        ],
    );
    (manifest, journal)
}

/// Applies events one after another, a second apart.
pub(crate) fn record<'a>(
    manifest: &mut Manifest,
    events: impl IntoIterator<Item = (&'a str, Event)>,
) -> Vec<JournalEntry> {
    let mut entries = Vec::new();
    for (second, (package, event)) in events.into_iter().enumerate() {
        let at = moment(i64::try_from(second).unwrap());
        let entry = manifest.entry(at, key(package), event);
        manifest.apply(&entry).unwrap();
        entries.push(entry);
    }
    entries
}

pub(crate) fn built(text: &str) -> Event {
    Event::Built {
        sha256: digest(text.as_bytes()),
        size: 12_345,
        milliseconds: 1_500,
        log: Some("logs/build.log".parse().unwrap()),
    }
}

pub(crate) fn attested(text: &str) -> Event {
    Event::Attested {
        attestation: Attestation {
            bundle: format!("packages/{text}.sigstore.json").parse().unwrap(),
            bundle_sha256: digest(b"bundle"),
            identity: "https://sandbox.invalid/workflow".to_owned(),
            issuer: "https://issuer.invalid".to_owned(),
            log_index: Some(7),
            signed_at: moment(5),
            certificate_not_after: moment(605),
            retries: 2,
            provenance: Some(ProvenanceRecord {
                bundle: format!("packages/{text}.provenance.sigstore.json")
                    .parse()
                    .unwrap(),
                bundle_sha256: digest(b"provenance"),
                log_index: Some(8),
            }),
        },
        milliseconds: 30,
    }
}

pub(crate) fn published(text: &str) -> Event {
    Event::Published {
        published: Published {
            url: format!("file:///channel/{text}"),
            sidecar_sha256: Some(digest(b"sidecar")),
            at: moment(9),
            result: PublishResult::Uploaded,
            seen: None,
        },
        milliseconds: 4,
    }
}

/// The attestation of a release as a whole.
pub(crate) fn whole() -> ReleaseRecord {
    let path = |name: &str| format!("releases/1/{name}").parse().unwrap();
    ReleaseRecord {
        manifest: path("release-manifest.json"),
        manifest_sha256: digest(b"manifest"),
        bundle: path("release-manifest.json.sigstore.json"),
        bundle_sha256: digest(b"release bundle"),
        log_index: Some(9),
        signed_at: moment(6),
        url: None,
    }
}

pub(crate) fn moment(second: i64) -> Timestamp {
    Timestamp::from_unix(1_795_433_438 + second)
}

pub(crate) fn digest(bytes: &[u8]) -> Sha256 {
    let text = Digest::of(bytes).to_string();
    text.strip_prefix("sha256:").unwrap().parse().unwrap()
}

/// Plans of up to eight packages. Build edges lead to packages before; others anywhere.
pub(crate) fn any_plan() -> impl Strategy<Value = Plan> {
    let edges = || prop::collection::vec(any::<Index>(), 0..3);
    let package = (edges(), edges(), edges(), any::<bool>(), any::<u8>());
    (
        prop::collection::vec(package, 0..8),
        any::<i64>(),
        prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3),
    )
        .prop_map(|(packages, timestamp, variant)| {
            let keys: Vec<PackageKey> = packages
                .iter()
                .enumerate()
                .map(|(number, (.., is_noarch, _))| PackageKey {
                    subdir: if *is_noarch {
                        Subdir::NOARCH
                    } else {
                        "linux-64".parse().unwrap()
                    },
                    file: FileName::new(&format!("p{number}"), "1", "0", cep27::Format::Conda)
                        .unwrap(),
                })
                .collect();
            let pick = |from: &[PackageKey], edges: &[Index]| {
                let mut picked: BTreeSet<PackageKey> = BTreeSet::new();
                if !from.is_empty() {
                    picked.extend(edges.iter().map(|edge| edge.get(from).clone()));
                }
                Vec::from_iter(picked)
            };
            let packages = packages
                .iter()
                .zip(&keys)
                .enumerate()
                .map(
                    |(number, ((builds_on, test_needs, runs_with, _, seed), key))| PlannedPackage {
                        variant: variant.clone(),
                        fingerprint: Digest::of(&[*seed]),
                        builds_on: pick(&keys[..number], builds_on),
                        test_needs: pick(&keys, test_needs),
                        runs_with: pick(&keys, runs_with),
                        ..planned(&key.to_string())
                    },
                )
                .collect();
            Plan {
                packages,
                timestamp,
                ..plan()
            }
        })
}

/// Any event, legal or not where it will be applied.
pub(crate) fn any_event(keys: Vec<PackageKey>) -> impl Strategy<Value = Event> {
    let text = ".{0,8}";
    let phase = prop::sample::select(vec![
        Phase::Plan,
        Phase::Build,
        Phase::Test,
        Phase::Sign,
        Phase::Verify,
        Phase::Publish,
    ]);
    let progress = prop::sample::select(PROGRESS.to_vec());
    let log = prop::option::of(Just("logs/a.log".parse::<RelativePath>().unwrap()));
    let by = prop::collection::vec(prop::sample::select(keys), 0..3);
    let error =
        (phase, text, text, log.clone()).prop_map(|(phase, code, message, log)| PackageError {
            phase,
            code,
            message,
            log,
        });
    // Steps forward come more often, so that sequences get somewhere.
    prop_oneof![
        4 => (any::<[u8; 32]>(), any::<u64>(), any::<u64>(), log).prop_map(
            |(sha256, size, milliseconds, log)| Event::Built {
                sha256: Sha256::from_bytes(sha256),
                size,
                milliseconds,
                log
            }
        ),
        4 => any::<u64>().prop_map(|milliseconds| Event::Tested { milliseconds }),
        1 => text.prop_map(|reason| Event::TestsSkipped { reason }),
        4 => Just(attested("noarch/a-1-0.conda")),
        4 => Just(published("noarch/a-1-0.conda")),
        1 => text.prop_map(|reason| Event::Skipped { reason, in_channel: None }),
        1 => error.prop_map(|error| Event::Failed { error }),
        1 => by.prop_map(|by| Event::Blocked { by }),
        2 => (progress, text).prop_map(|(to, reason)| Event::Returned { to, reason }),
    ]
}

pub(crate) const PROGRESS: [Progress; 5] = [
    Progress::Planned,
    Progress::Built,
    Progress::Tested,
    Progress::Attested,
    Progress::Published,
];

/// A plan with packages, and events that may or may not happen to them.
pub(crate) fn any_history() -> impl Strategy<Value = (Plan, Vec<(PackageKey, Event)>)> {
    any_plan()
        .prop_filter("has packages", |plan| !plan.packages.is_empty())
        .prop_flat_map(|plan| {
            let keys: Vec<PackageKey> = plan.packages.iter().map(PlannedPackage::key).collect();
            let event = (prop::sample::select(keys.clone()), any_event(keys));
            (Just(plan), prop::collection::vec(event, 0..60))
        })
}

/// The manifest after those events that are legal, and the journal of them.
pub(crate) fn live(plan: &Plan, events: Vec<(PackageKey, Event)>) -> (Manifest, Vec<JournalEntry>) {
    let mut manifest = empty(plan);
    let mut journal = Vec::new();
    for (package, event) in events {
        let entry = manifest.entry(moment(0), package, event);
        if manifest.apply(&entry).is_ok() {
            journal.push(entry);
        }
    }
    (manifest, journal)
}

/// JSON pointers to every leaf of a document: what is no object or array with something in it.
pub(crate) fn leaves(value: &Value) -> Vec<String> {
    fn walk(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(object) if !object.is_empty() => {
                for (key, value) in object {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    walk(value, &format!("{pointer}/{key}"), found);
                }
            }
            Value::Array(array) if !array.is_empty() => {
                for (index, value) in array.iter().enumerate() {
                    walk(value, &format!("{pointer}/{index}"), found);
                }
            }
            _ => found.push(pointer.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// Another value of the same form, as far as there is one.
pub(crate) fn changed(value: &Value) -> Value {
    match value {
        Value::Bool(value) => (!value).into(),
        Value::Number(number) => (number.as_i64().unwrap() + 1).into(),
        Value::String(text) => match text.as_str() {
            "rehearsal" => "live".into(),
            "worker" => "separate-job".into(),
            "linux-64" => "osx-64".into(),
            "noarch" => "linux-64".into(),
            "uploaded" => "identical".into(),
            "build" => "plan".into(),
            "publish" => "verify".into(),
            _ => match text.strip_prefix("sha256:") {
                Some(hex) => format!("sha256:{}", other_end(hex)).into(),
                None if text.ends_with(".conda") => text.replace("0.conda", "1.conda").into(),
                None if text.ends_with('Z') => text.replace("2026", "2027").into(),
                None => other_end(text).into(),
            },
        },
        Value::Array(_) => vec![LIBRARY].into(),
        Value::Object(_) => serde_json::json!({"another": "value"}),
        Value::Null => unreachable!("nothing is null"),
    }
}

fn other_end(text: &str) -> String {
    let (kept, last) = text.split_at(text.len().saturating_sub(1));
    format!("{kept}{}", if last == "0" { '1' } else { '0' })
}

/// A message without line and column: where a field stands depends on whether the features of
/// `serde_json` that a whole workspace asks for keep the order of keys.
pub(crate) fn without_place(message: &str) -> String {
    match message.rsplit_once(" at line ") {
        Some((message, _)) => format!("{message} at line …"),
        None => message.to_owned(),
    }
}
