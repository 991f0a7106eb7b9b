//! Texts that are no bundle, or mean several.

use crate::support::package;
use crate::table::{Court, failure};

#[tokio::test(flavor = "multi_thread")]
async fn texts_that_are_no_bundle_are_refused() {
    let court = Court::new().await;
    let forger = court.forger(sigstore_sandbox::RekorVersions::V2).await;
    let good = forger.attest(court.package()).await.to_string();
    let twice = |member: &str| good.replacen(member, &format!("{member}null,{member}"), 1);
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("null", b"null".to_vec()),
        ("a number", b"1".to_vec()),
        ("a string", b"\"{}\"".to_vec()),
        ("an array", format!("[{good}]").into_bytes()),
        ("an empty object", b"{}".to_vec()),
        (
            "half of a bundle",
            good.as_bytes()[..good.len() / 2].to_vec(),
        ),
        (
            "all but the end",
            good.as_bytes()[..good.len() - 1].to_vec(),
        ),
        ("two bundles", format!("{good}\n{good}").into_bytes()),
        ("a bundle and more", format!("{good} x").into_bytes()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        (
            "bytes that are no text",
            [good.as_bytes(), b"\xff"].concat(),
        ),
        ("a zero", [good.as_bytes(), b"\0"].concat()),
        ("a key twice", twice("\"mediaType\":").into_bytes()),
        ("a key twice within", twice("\"logIndex\":").into_bytes()),
        ("a signature twice", twice("\"sig\":").into_bytes()),
        ("a comment", format!("/* */{good}").into_bytes()),
        ("no end of arrays", "[".repeat(100_000).into_bytes()),
        ("no end of objects", "{\"a\":".repeat(100_000).into_bytes()),
        (
            "a very long key",
            format!("{{\"{}\":1}}", "k".repeat(100_000)).into_bytes(),
        ),
        ("a number beyond all", b"{\"mediaType\":1e999}".to_vec()),
        ("not a number", b"{\"mediaType\":NaN}".to_vec()),
        ("half a surrogate", b"{\"mediaType\":\"\\ud800\"}".to_vec()),
        (
            "a megabyte of space",
            format!("{}{good}", " ".repeat(1 << 20)).into_bytes(),
        ),
    ];
    for (name, text) in hostile {
        let verdict = court.judge(court.package(), &text);
        assert_eq!(failure(&verdict), Some(("bundle", "malformed")), "{name}");
        assert!(verdict.signed.is_none(), "{name}");
        assert!(!verdict.verifies_package(), "{name}");
        assert!(conda_attest::inspect(&text).is_err(), "{name}");
    }
    let verdict = court.judge(court.package(), good.as_bytes());
    assert!(verdict.verifies_package(), "{verdict}");
}

/// A good bundle proves one package, by its bytes and its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_about_one_package() {
    let court = Court::new().await;
    let forger = court.forger(sigstore_sandbox::RekorVersions::V2).await;
    let good = forger.attest(court.package()).await.to_string();
    let judge = |package: conda_attest::Package| failure(&court.judge(package, good.as_bytes()));
    let known: conda_attest::Package = court.package().into();

    let unknown = conda_attest::Package {
        sha256: None,
        subdir: None,
        ..known.clone()
    };
    assert_eq!(judge(unknown.clone()), None);
    let renamed = conda_attest::Package {
        file: court.packages[0].file.clone(),
        ..unknown.clone()
    };
    assert_eq!(judge(renamed), Some(("statement", "cep27_violation")));
    let moved = conda_attest::Package {
        subdir: Some("win-64".parse().unwrap()),
        ..known.clone()
    };
    assert_eq!(judge(moved), Some(("index", "package_index")));
    let recorded = conda_attest::Package {
        sha256: Some(court.packages[0].sha256),
        ..known.clone()
    };
    assert_eq!(judge(recorded), Some(("package", "package_changed")));
    let gone = conda_attest::Package {
        path: known.path.with_file_name("gone"),
        ..known.clone()
    };
    assert_eq!(judge(gone), Some(("package", "io")));

    // Other bytes under the same name.
    let folder = tempfile::tempdir().unwrap();
    let other = package(folder.path(), "greet2");
    std::fs::write(&other.path, std::fs::read(&court.packages[0].path).unwrap()).unwrap();
    let swapped = conda_attest::Package {
        path: other.path,
        ..unknown
    };
    assert_eq!(judge(swapped), Some(("statement", "cep27_violation")));
}
