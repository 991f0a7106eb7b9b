use proptest::prelude::*;
use release_manifest::{Error, Manifest, Package, Progress};
use serde_json::{Value, json};

use crate::samples::{self, BROKEN, DATA, LIBRARY, PROGRAM, any_history, key};

#[test]
fn a_manifest_reads_well() {
    let (manifest, _) = samples::release();
    insta::assert_snapshot!("manifest", String::from_utf8(manifest.to_json()).unwrap());
}

#[test]
fn a_new_manifest_is_a_preview_of_the_plan() {
    let plan = samples::plan();
    let manifest = samples::empty(&plan);
    assert_eq!(manifest.plan_digest, plan.digest());
    let keys: Vec<_> = manifest.packages().iter().map(Package::key).collect();
    assert_eq!(keys, [PROGRAM, BROKEN, LIBRARY, DATA].map(key));
    let program = manifest.package(&key(PROGRAM)).unwrap();
    assert_eq!(program.progress, Progress::Planned);
    assert_eq!(program.depends_on, [key(LIBRARY)]);
    assert!(manifest.package(&key("noarch/other-1-0.conda")).is_none());
}

/// The message of what is wrong with the sample release after an edit of one of its packages.
fn edited(package: &str, edit: impl Fn(&mut Value)) -> String {
    let (manifest, _) = samples::release();
    let mut value = serde_json::to_value(&manifest).unwrap();
    let position = manifest
        .packages()
        .iter()
        .position(|known| known.key() == key(package))
        .unwrap();
    edit(&mut value["packages"][position]);
    match Manifest::from_json(&serde_json::to_vec(&value).unwrap()) {
        Ok(_) => "accepted".to_owned(),
        Err(Error::Json { source, .. }) => source.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A forged manifest: every claim needs what goes with it.
#[test]
fn claims_without_evidence_are_refused() {
    fn remove(field: &str) -> impl Fn(&mut Value) {
        move |package| drop(package.as_object_mut().unwrap().remove(field).unwrap())
    }
    fn claim(progress: &str) -> impl Fn(&mut Value) {
        move |package| package["progress"] = json!(progress)
    }
    assert_eq!(edited(LIBRARY, |_| ()), "accepted");
    let refused = [
        edited(BROKEN, claim("built")),
        edited(BROKEN, claim("published")),
        edited(DATA, claim("published")),
        edited(LIBRARY, claim("attested")),
        edited(LIBRARY, claim("tested")),
        edited(LIBRARY, claim("built")),
        edited(LIBRARY, claim("planned")),
        edited(LIBRARY, remove("attestation")),
        edited(LIBRARY, remove("sha256")),
        edited(LIBRARY, remove("size")),
        edited(LIBRARY, remove("published")),
        edited(LIBRARY, remove("times")),
        edited(DATA, remove("tests_skipped")),
        edited(LIBRARY, |package| {
            package["tests_skipped"] = json!({"reason": "both"})
        }),
        edited(LIBRARY, |package| {
            package["skipped"] = json!({"reason": "but published"})
        }),
        edited(LIBRARY, |package| package["blocked_by"] = json!([DATA])),
        edited(BROKEN, |package| package["blocked_by"] = json!([BROKEN])),
        edited(BROKEN, |package| {
            package["blocked_by"] = json!(["noarch/gone-1-0.conda"])
        }),
        edited(BROKEN, |package| {
            package["skipped"] = json!({"reason": "and blocked"})
        }),
        edited(PROGRAM, |package| {
            package["error"]["phase"] = json!("publish")
        }),
        edited(PROGRAM, |package| {
            package["log"] = json!("logs/of-nothing.log")
        }),
        edited(DATA, |package| {
            package["attestation"]["bundle"] = json!("../bundle")
        }),
        edited(DATA, |package| {
            package["attestation"]["bundle"] = json!("/etc/passwd")
        }),
        edited(DATA, |package| {
            package["attestation"]["colour"] = json!("green")
        }),
    ];
    let refused = refused.map(|message| samples::without_place(&message));
    insta::assert_snapshot!(refused.join("\n"));
}

#[test]
fn packages_of_version_1_are_of_the_source_of_their_manifest() {
    let (current, _) = samples::release();
    let mut value: Value = serde_json::from_slice(&current.to_json()).unwrap();
    value["schema_version"] = json!(1);
    value.as_object_mut().unwrap().remove("timestamp");
    for package in value["packages"].as_array_mut().unwrap() {
        let package = package.as_object_mut().unwrap();
        package.remove("source");
        package.remove("timestamp");
    }
    let read = Manifest::from_json(value.to_string().as_bytes()).unwrap();
    for (read, current) in read.packages().iter().zip(current.packages()) {
        assert_eq!(read.source, current.source, "{}", read.key());
        assert_eq!(read.timestamp, None);
    }
    let written: Value = serde_json::from_slice(&read.to_json()).unwrap();
    assert_eq!(written["schema_version"], 2);
}

#[test]
fn a_newer_manifest_is_told_by_its_version() {
    let (manifest, _) = samples::release();
    let mut value = serde_json::to_value(&manifest).unwrap();
    value["schema_version"] = json!(3);
    value["something_new"] = json!([]);
    let error = Manifest::from_json(&serde_json::to_vec(&value).unwrap()).unwrap_err();
    insta::assert_snapshot!(
        error,
        @"expected a manifest of schema version 2, which this tool supports, found version 3"
    );
}

#[test]
fn packages_are_found_and_written_sorted_however_they_were_read() {
    let (manifest, _) = samples::release();
    let mut value = serde_json::to_value(&manifest).unwrap();
    value["packages"].as_array_mut().unwrap().reverse();
    let read = Manifest::from_json(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(read, manifest);
    assert_eq!(read.to_json(), manifest.to_json());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read((plan, events) in any_history()) {
        let (manifest, _) = samples::live(&plan, events);
        let read = Manifest::from_json(&manifest.to_json()).unwrap();
        prop_assert_eq!(read.to_json(), manifest.to_json());
        prop_assert_eq!(read, manifest);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Manifest::from_json(&bytes).is_err());
    }

    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..4)) {
        let mut json = samples::release().0.to_json();
        let at = at.index(json.len());
        let end = (at + bytes.len()).min(json.len());
        json.splice(at..end, bytes);
        if let Ok(manifest) = Manifest::from_json(&json) {
            prop_assert_eq!(Manifest::from_json(&manifest.to_json()).unwrap(), manifest);
        }
    }
}
