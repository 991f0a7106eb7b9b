//! Random changes of a real bundle: nothing panics, and nothing that is reported can be forged.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use conda_attest::{Package, Policy, Trust, Verdict, Verifier, inspect};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let trust = Trust::from_root_json("public-good", SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
    Verifier::new(&trust).unwrap()
});

fn judge(bundle: &[u8]) -> Verdict {
    let package = Package::at(fixture("signed-package-2.1.0-hb0f4dca_0.conda")).unwrap();
    VERIFIER.verify(package, bundle, &Policy::Anyone, None)
}

fn good() -> Vec<u8> {
    std::fs::read(fixture("conda-attestation.sigstore.json")).unwrap()
}

/// Every place of a document, as JSON pointers.
fn places(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                places(value, format!("{pointer}/{name}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in elements.iter().enumerate() {
                places(value, format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
    found.push(pointer);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i64>().prop_map(|number| number.to_string().into()),
        "[A-Za-z0-9+/=]{0,40}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z0-9]{1,12}", inner, 0..4)
                .prop_map(|members| json!(members)),
        ]
    })
}

/// One change of a document.
#[derive(Clone, Debug)]
enum Change {
    Replace(Index, Value),
    Copy(Index, Index),
    Remove(Index),
    Repeat(Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any_json()).prop_map(|(at, value)| Change::Replace(at, value)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Copy(from, to)),
        any::<Index>().prop_map(Change::Remove),
        any::<Index>().prop_map(Change::Repeat),
    ]
}

fn apply(bundle: &mut Value, change: Change) {
    let mut all = Vec::new();
    places(bundle, String::new(), &mut all);
    let at = |index: &Index| index.get(&all).clone();
    match change {
        Change::Replace(place, value) => *bundle.pointer_mut(&at(&place)).unwrap() = value,
        Change::Copy(from, to) => {
            let value = bundle.pointer(&at(&from)).unwrap().clone();
            *bundle.pointer_mut(&at(&to)).unwrap() = value;
        }
        Change::Remove(place) => {
            let place = at(&place);
            let Some((parent, name)) = place.rsplit_once('/') else {
                return;
            };
            match bundle.pointer_mut(parent).unwrap() {
                Value::Object(members) => drop(members.remove(name)),
                Value::Array(elements) => drop(elements.remove(name.parse().unwrap())),
                _ => {}
            }
        }
        Change::Repeat(place) => {
            if let Some(Value::Array(elements)) = bundle.pointer_mut(&at(&place)) {
                elements.extend(elements.clone());
            }
        }
    }
}

/// What passes says exactly what the good bundle says.
fn holds(bundle: &[u8]) {
    let verdict = judge(bundle);
    let _readable_or_not = inspect(bundle);
    if !verdict.passed() {
        return;
    }
    let original = judge(&good());
    assert_eq!(verdict.signed, original.signed);
    let statement = |bundle: &[u8]| inspect(bundle).unwrap().statement;
    assert_eq!(statement(bundle), statement(&good()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_documents_prove_nothing_else(changes in prop::collection::vec(any_change(), 1..4)) {
        let mut bundle: Value = serde_json::from_slice(&good()).unwrap();
        for change in changes {
            apply(&mut bundle, change);
        }
        holds(bundle.to_string().as_bytes());
    }

    #[test]
    fn changed_bytes_prove_nothing_else(at in any::<Index>(), bytes in prop::collection::vec(any::<u8>(), 0..8), length in 0_usize..8) {
        let mut bundle = good();
        let start = at.index(bundle.len());
        let end = (start + length).min(bundle.len());
        bundle.splice(start..end, bytes);
        holds(&bundle);
    }

    #[test]
    fn no_text_is_a_bundle(text in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!judge(&text).passed());
    }
}
