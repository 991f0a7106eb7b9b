use proptest::prelude::*;
use release_manifest::{
    Difference, Digest, MANIFEST_NAME, Manifest, Progress, RELEASE_TYPE, ReleaseStatement,
};
use serde_json::{Value, json};

use crate::samples::{digest, key, release};

fn statement() -> (ReleaseStatement, Manifest) {
    let (manifest, _) = release();
    let statement = ReleaseStatement::about(&manifest.to_json()).unwrap();
    (statement, manifest)
}

#[test]
fn it_is_about_the_manifest_and_every_attested_package_and_names_the_release() {
    let (statement, manifest) = statement();
    let written: Value = serde_json::from_slice(&statement.to_json()).unwrap();
    let bytes = Digest::of(&manifest.to_json()).to_string();
    let mut subjects = vec![json!({
        "name": MANIFEST_NAME,
        "digest": {"sha256": bytes.strip_prefix("sha256:").unwrap()},
    })];
    for package in manifest.packages() {
        if package.progress >= Progress::Attested {
            subjects.push(json!({
                "name": format!("{}/{}", package.subdir, package.file),
                "digest": {"sha256": package.sha256.unwrap().to_string()},
            }));
        }
    }
    assert!(subjects.len() > 1 && subjects.len() <= manifest.packages().len());
    let plan = manifest.plan_digest.to_string();
    let channel = manifest.target_channel.as_str();
    let place = channel.strip_prefix("https://").unwrap();
    let expected = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": RELEASE_TYPE,
        "predicate": {
            "purl": format!("pkg:generic/{place}@{}", plan.strip_prefix("sha256:").unwrap()),
        },
    });
    assert_eq!(written, expected);
}

#[test]
fn what_has_another_meaning_in_a_package_url_is_escaped_in_it() {
    let (mut manifest, _) = release();
    for (channel, place) in [
        ("https://prefix.dev", "prefix.dev"),
        ("http://127.0.0.1:8080/a/b", "127.0.0.1:8080/a/b"),
        ("https://x.org/a@1+b%20c", "x.org/a%401%2Bb%20c"),
        ("https://[::1]/a", "%5B::1%5D/a"),
    ] {
        manifest.target_channel = channel.parse().unwrap();
        let statement = ReleaseStatement::about(&manifest.to_json()).unwrap();
        let (before, version) = statement.purl().split_once('@').unwrap();
        assert_eq!(before, format!("pkg:generic/{place}"));
        assert_eq!(
            format!("sha256:{version}"),
            manifest.plan_digest.to_string()
        );
    }
}

#[test]
fn it_reads_as_it_was_written_and_in_any_order_of_subjects() {
    let (statement, _) = statement();
    let written = statement.to_json();
    assert_eq!(ReleaseStatement::from_json(&written).unwrap(), statement);
    let mut turned: Value = serde_json::from_slice(&written).unwrap();
    turned["subject"].as_array_mut().unwrap().reverse();
    let turned = turned.to_string();
    assert_eq!(
        ReleaseStatement::from_json(turned.as_bytes()).unwrap(),
        statement
    );
}

#[test]
fn a_statement_that_says_more_or_less_or_anything_twice_is_refused() {
    let (statement, _) = statement();
    let good: Value = serde_json::from_slice(&statement.to_json()).unwrap();
    type Alter = fn(&mut Value);
    let cases: [(&str, Alter); 12] = [
        ("expected _type", |it| {
            it["_type"] = json!("https://in-toto.io/Statement/v0.1");
        }),
        ("expected predicateType", |it| {
            it["predicateType"] = json!("https://in-toto.io/attestation/release/v0.2");
        }),
        ("unknown field `more`", |it| it["more"] = json!(1)),
        ("unknown field `releaseId`", |it| {
            it["predicate"]["releaseId"] = json!("1");
        }),
        ("missing field `purl`", |it| it["predicate"] = json!({})),
        ("missing field `subject`", |it| {
            it.as_object_mut().unwrap().remove("subject");
        }),
        ("no subject is `release-manifest.json`", |it| {
            it["subject"] = json!([]);
        }),
        ("unknown field `uri`", |it| {
            it["subject"][1]["uri"] = json!("https://example.org");
        }),
        ("unknown field `sha512`", |it| {
            it["subject"][1]["digest"]["sha512"] = json!("00");
        }),
        ("is there twice", |it| {
            let first = it["subject"][0].clone();
            it["subject"].as_array_mut().unwrap().push(first);
        }),
        ("is there twice", |it| {
            let mut package = it["subject"][1].clone();
            package["digest"]["sha256"] = json!("00".repeat(32));
            it["subject"].as_array_mut().unwrap().push(package);
        }),
        ("expected a package such as", |it| {
            it["subject"][1]["name"] = json!("foo-1.0-0.conda");
        }),
    ];
    for (expected, alter) in cases {
        let mut altered = good.clone();
        alter(&mut altered);
        let error = ReleaseStatement::from_json(altered.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let twice = String::from_utf8(statement.to_json()).unwrap();
    let twice = twice.replacen("\"subject\"", "\"subject\":[],\"subject\"", 1);
    ReleaseStatement::from_json(twice.as_bytes()).unwrap_err();
}

#[test]
fn what_differs_is_named_and_the_bytes_of_the_manifest_come_last() {
    let (statement, mut manifest) = statement();
    assert_eq!(statement.difference(&statement), None);

    manifest.channel = Some("file:///elsewhere".to_owned());
    let changed = ReleaseStatement::about(&manifest.to_json()).unwrap();
    assert_eq!(
        statement.difference(&changed),
        Some(Difference::Manifest {
            expected: statement.manifest(),
            found: changed.manifest(),
        })
    );

    let (package, hash) = statement.packages().first_key_value().unwrap();
    let text = String::from_utf8(statement.to_json()).unwrap();
    let text = text.replace(&changed.manifest().to_string(), &digest(b"x").to_string());
    let read = |text: &str| ReleaseStatement::from_json(text.as_bytes()).unwrap();
    let other = read(&text.replace(&hash.to_string(), &digest(b"other").to_string()));
    assert_eq!(
        statement.difference(&other),
        Some(Difference::Package {
            package: package.clone(),
            expected: Some(*hash),
            found: Some(digest(b"other")),
        })
    );
    let renamed = read(&text.replace(&package.to_string(), "noarch/another-1-0.conda"));
    let difference = statement.difference(&renamed).unwrap();
    assert!(matches!(
        &difference,
        Difference::Package { package: found, found: None, .. } if found == package
    ));
    let difference = renamed.difference(&statement).unwrap();
    assert!(matches!(
        difference,
        Difference::Package { package, found: None, .. } if package == key("noarch/another-1-0.conda")
    ));

    let purl = statement.purl().to_owned();
    let elsewhere = read(&text.replace(&purl, "pkg:generic/evil.example@1"));
    assert!(matches!(
        statement.difference(&elsewhere),
        Some(Difference::Release { .. })
    ));
}

#[test]
fn bytes_that_are_no_manifest_have_no_statement() {
    ReleaseStatement::about(b"{}").unwrap_err();
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(ReleaseStatement::from_json(&bytes));
    }
}
