//! Every JSON leaf of a bundle, every byte that a leaf encodes, and every byte of its package is
//! changed in turn. `leaves.txt` says for each what must happen: which check refuses the change, or
//! why nothing can notice it. What is not listed there fails.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Mutex;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use conda_attest::{Package, PackageFile, Policy, SignOptions, Verifier, sign};
use serde_json::Value;
use sigstore_sandbox::{Claims, Options};
use support::{CHANNEL, Fixture, options};

const LIST: &str = include_str!("leaves.txt");

/// A change to one leaf, or to one byte within what it encodes.
struct Change {
    leaf: String,
    bundle: Vec<u8>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_leaf_and_byte_of_a_bundle_is_accounted_for() {
    let attested = Attested::new().await;
    assert_eq!(attested.refusal(&attested.package, &attested.bundle), None);

    let bundle: Value = serde_json::from_slice(&attested.bundle).unwrap();
    let mut changes = Vec::new();
    change_leaves(&bundle, &bundle, "", &mut changes);
    let observed = observe(&changes, |change| {
        attested.refusal(&attested.package, &change.bundle)
    });
    compare(&observed, |leaf| !leaf.starts_with("package"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_package_is_accounted_for() {
    let attested = Attested::new().await;
    let bytes = std::fs::read(&attested.package.path).unwrap();
    let mut observed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for position in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[position] ^= 1;
        std::fs::write(&attested.package.path, changed).unwrap();
        let known = Package::from(&attested.package);
        let unknown = Package {
            sha256: None,
            ..known.clone()
        };
        for (leaf, package) in [
            ("package, hash known", known),
            ("package, hash unknown", unknown),
        ] {
            let refusal = attested.refusal(package, &attested.bundle);
            observed
                .entry(leaf.to_owned())
                .or_default()
                .insert(name(refusal));
        }
    }
    compare(&observed, |leaf| leaf.starts_with("package"));
}

/// A package with its attestation, from a log of three entries and a certificate with claims.
struct Attested {
    _fixture: Fixture,
    package: PackageFile,
    bundle: Vec<u8>,
    verifier: Verifier,
    policy: Policy,
}

impl Attested {
    async fn new() -> Self {
        let claims = Claims {
            repository: Some("https://github.com/acme/pkgs".to_owned()),
            commit: Some("a".repeat(40)),
            git_ref: Some("refs/heads/main".to_owned()),
            ..Claims::default()
        };
        let fixture = Fixture::with(Options {
            claims,
            ..Options::default()
        })
        .await;
        let in_order = SignOptions {
            concurrency: NonZeroUsize::MIN,
            ..options()
        };
        let packages = fixture.packages(3);
        let results = sign(&fixture.trust, &fixture.identity, packages, &in_order, &())
            .await
            .unwrap();
        let package = results[2].0.clone();
        Self {
            bundle: std::fs::read(package.bundle_path()).unwrap(),
            verifier: Verifier::new(&fixture.trust).unwrap(),
            policy: Policy::exactly(fixture.sandbox.identity(), fixture.sandbox.issuer()),
            package,
            _fixture: fixture,
        }
    }

    /// The first check that refuses the bundle.
    fn refusal(&self, package: impl Into<Package>, bundle: &[u8]) -> Option<&'static str> {
        let verdict = self
            .verifier
            .verify(package, bundle, &self.policy, Some(CHANNEL));
        assert_eq!(verdict.passed(), verdict.failure().is_none());
        verdict.failure().map(|check| check.code)
    }
}

fn name(refusal: Option<&str>) -> String {
    refusal.unwrap_or("nothing").to_owned()
}

/// Which checks refused the changes of each leaf.
fn observe(
    changes: &[Change],
    judge: impl Fn(&Change) -> Option<&'static str> + Sync,
) -> BTreeMap<String, BTreeSet<String>> {
    let observed: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for part in changes.chunks(changes.len().div_ceil(threads)) {
            let (observed, judge) = (&observed, &judge);
            scope.spawn(move || {
                for change in part {
                    let refusal = name(judge(change));
                    observed
                        .lock()
                        .unwrap()
                        .entry(change.leaf.clone())
                        .or_default()
                        .insert(refusal);
                }
            });
        }
    });
    observed.into_inner().unwrap()
}

/// Compares what happened with the list, both ways.
fn compare(observed: &BTreeMap<String, BTreeSet<String>>, part: impl Fn(&str) -> bool) {
    let listed: BTreeMap<&str, &str> = LIST
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" | ").expect("LEAF | EXPECTATION"))
        .filter(|(leaf, _)| part(leaf))
        .collect();
    let mut wrong = Vec::new();
    for (leaf, refusals) in observed {
        let refusals: Vec<&str> = refusals.iter().map(String::as_str).collect();
        let found = format!("{leaf} | refused by {}", refusals.join(", "));
        let expected = listed.get(leaf.as_str()).copied().unwrap_or("(not listed)");
        let as_expected = if let Some(checks) = expected.strip_prefix("refused by ") {
            let checks: Vec<&str> = checks.split(", ").collect();
            refusals.iter().all(|refusal| checks.contains(refusal))
        } else {
            // Some changes may not even parse, but if all are refused, the list is wrong.
            expected.starts_with("unauthenticated because ") && refusals.contains(&"nothing")
        };
        if !as_expected {
            wrong.push(format!("{found}        expected: {expected}"));
        }
    }
    for leaf in listed.keys().filter(|leaf| !observed.contains_key(**leaf)) {
        wrong.push(format!(
            "{leaf}        is listed, but the bundle does not have it"
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn change_leaves(root: &Value, value: &Value, pointer: &str, changes: &mut Vec<Change>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                change_leaves(root, value, &format!("{pointer}/{key}"), changes);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                change_leaves(root, value, &format!("{pointer}/{index}"), changes);
            }
        }
        leaf => change_leaf(root, leaf, pointer, changes),
    }
}

fn change_leaf(root: &Value, leaf: &Value, pointer: &str, changes: &mut Vec<Change>) {
    let mut replace = |leaf: &str, new: Value| {
        let mut bundle = root.clone();
        *bundle.pointer_mut(pointer).unwrap() = new;
        changes.push(Change {
            leaf: leaf.to_owned(),
            bundle: bundle.to_string().into_bytes(),
        });
    };
    let text = leaf.as_str().expect("every leaf of a bundle is a string");
    for other in others(pointer, text) {
        replace(pointer, other);
    }
    if pointer.ends_with("/envelope") {
        // A signed note: lines of text, then signatures.
        let mut start = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            for (offset, character) in line.char_indices() {
                let mut changed = text.to_owned();
                let other = if character == 'x' { "y" } else { "x" };
                let position = start + offset;
                changed.replace_range(position..position + character.len_utf8(), other);
                replace(&format!("{pointer}#line{number}"), changed.into());
            }
            start += line.len();
        }
        return;
    }
    // Text that happens to be base64, such as `dsse`, decodes to other text.
    let encoded = [
        "rawBytes",
        "keyId",
        "rootHash",
        "canonicalizedBody",
        "signedTimestamp",
        "payload",
        "sig",
    ];
    let is_hash = pointer.contains("/hashes/");
    if !is_hash
        && !encoded
            .iter()
            .any(|name| pointer.ends_with(&format!("/{name}")))
    {
        return;
    }
    let bytes = STANDARD.decode(text).unwrap();
    let der = pointer.ends_with("rawBytes") || pointer.ends_with("signedTimestamp");
    let ranges = if der {
        der_elements(&bytes)
    } else {
        vec![("bytes".to_owned(), 0..bytes.len())]
    };
    for (range, positions) in ranges {
        for position in positions {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            replace(
                &format!("{pointer}#{range}"),
                STANDARD.encode(changed).into(),
            );
        }
    }
}

/// What else could stand in place of a whole leaf, other valid values among it.
fn others(pointer: &str, text: &str) -> Vec<Value> {
    let mut others = vec![Value::Null, "".into(), format!("{text}x").into(), 7.into()];
    if let Ok(number) = text.parse::<u64>() {
        others.extend([(number + 1).to_string().into(), "0".into()]);
    }
    if pointer == "/mediaType" {
        others.extend(["0.1", "0.2"].map(|version| {
            format!("application/vnd.dev.sigstore.bundle+json;version={version}").into()
        }));
    }
    if pointer.ends_with("/kind") {
        others.extend(["dsse", "intoto"].map(Value::from));
    }
    if pointer.ends_with("/version") {
        others.push("0.0.1".into());
    }
    others.retain(|other| other != text);
    others
}

/// The elements of a DER encoding by their paths: `der0.1.2` is the third child of the second child
/// of the outermost. Tag and length of an element are its header.
fn der_elements(der: &[u8]) -> Vec<(String, std::ops::Range<usize>)> {
    fn walk(
        der: &[u8],
        mut position: usize,
        end: usize,
        path: &str,
        elements: &mut Vec<(String, std::ops::Range<usize>)>,
    ) {
        let mut child = 0;
        while position < end {
            let start = position;
            let constructed = der[position] & 0x20 != 0;
            let first = usize::from(der[position + 1]);
            position += 2;
            let mut length = first;
            if first & 0x80 != 0 {
                length = 0;
                for _ in 0..first & 0x7f {
                    length = length << 8 | usize::from(der[position]);
                    position += 1;
                }
            }
            let path = if path.is_empty() {
                format!("der{child}")
            } else {
                format!("{path}.{child}")
            };
            let content_end = position + length;
            elements.push((format!("{path} header"), start..position));
            if constructed {
                walk(der, position, content_end, &path, elements);
            } else if position < content_end {
                elements.push((path, position..content_end));
            }
            position = content_end;
            child += 1;
        }
    }
    let mut elements = Vec::new();
    walk(der, 0, der.len(), "", &mut elements);
    elements
}
