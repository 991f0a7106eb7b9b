use std::path::PathBuf;

use proptest::prelude::*;
use release_manifest::{SchemaName, schema};
use serde_json::{Value, json};

use crate::samples::{self, any_history};

/// `schema/*.schema.json` are what this crate says. After a change of the types, run
/// `UPDATE_SCHEMA=1 cargo test -p release-manifest` and commit them.
#[test]
fn the_committed_schemas_are_current() {
    for name in SchemaName::ALL {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../schema")
            .join(format!("{name}.schema.json"));
        let expected = format!("{:#}\n", schema(*name));
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "schema/{name}.schema.json is not what the types say: run \
             `UPDATE_SCHEMA=1 cargo test -p release-manifest` and commit it"
        );
    }
}

fn validator(name: SchemaName) -> jsonschema::Validator {
    let schema = schema(name);
    assert!(jsonschema::meta::is_valid(&schema));
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn accepts(name: SchemaName, document: &Value) {
    let errors: Vec<String> = validator(name)
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn sample_documents_are_valid() {
    let (manifest, journal) = samples::release();
    let read = |json: &[u8]| serde_json::from_slice(json).unwrap();
    accepts(SchemaName::Plan, &read(&samples::plan().to_json()));
    accepts(SchemaName::Manifest, &read(&manifest.to_json()));
    for entry in journal {
        accepts(SchemaName::Journal, &read(&entry.to_line()));
    }
}

/// Every field is known to the schema, and every value has its form: an unknown field anywhere,
/// and a leaf of another type anywhere, are invalid.
#[test]
fn other_documents_are_not() {
    let (manifest, journal) = samples::release();
    let documents = [
        (SchemaName::Plan, serde_json::to_value(samples::plan())),
        (
            SchemaName::Decisions,
            serde_json::to_value(samples::decisions()),
        ),
        (SchemaName::Manifest, serde_json::to_value(manifest)),
        (SchemaName::Journal, serde_json::to_value(&journal[0])),
        (SchemaName::Journal, serde_json::to_value(&journal[4])),
        (SchemaName::Journal, serde_json::to_value(&journal[5])),
    ];
    for (name, document) in documents {
        let document = document.unwrap();
        let validator = validator(name);
        for pointer in samples::leaves(&document) {
            let mut value = document.clone();
            *value.pointer_mut(&pointer).unwrap() = json!(1.5);
            assert!(!validator.is_valid(&value), "{pointer}");

            let parent = &pointer[..pointer.rfind('/').unwrap()];
            let mut value = document.clone();
            let is_map = ["/variant", "/digest"]
                .iter()
                .any(|map| parent.ends_with(map));
            if !is_map && let Some(object) = value.pointer_mut(parent).unwrap().as_object_mut() {
                object.insert("colour".to_owned(), json!("green"));
                assert!(!validator.is_valid(&value), "{parent}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_document_is_valid((plan, events) in any_history()) {
        let (manifest, journal) = samples::live(&plan, events);
        accepts(SchemaName::Plan, &serde_json::from_slice(&plan.to_json()).unwrap());
        accepts(SchemaName::Manifest, &serde_json::to_value(manifest).unwrap());
        let validator = validator(SchemaName::Journal);
        for entry in journal {
            prop_assert!(validator.is_valid(&serde_json::to_value(entry).unwrap()));
        }
    }
}
