//! Attestations that the real Sigstore made, verified offline by the roots embedded in
//! `sigstore-trust-root`. Where the files are from stands in `fixtures/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use conda_attest::{
    GITHUB_ISSUER, Github, Matcher, Package, Policy, Predicate, Trust, Verdict, Verifier,
    bundles_in, inspect,
};
use serde_json::{Value, json};
use sha2::Digest as _;
use sigstore_trust_root::{
    SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, SIGSTORE_STAGING_TRUSTED_ROOT,
};

const IDENTITY: &str =
    "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
const CHANNEL: &str = "https://prefix.dev/sigstore-example";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A fixture of the conformance tests.
fn shared(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/conformance/fixtures")
        .join(name)
}

fn sha2_of(path: &Path) -> cep27::Sha256 {
    cep27::Sha256::from_bytes(sha2::Sha256::digest(std::fs::read(path).unwrap()).into())
}

fn bundle() -> Vec<u8> {
    std::fs::read(fixture("conda-attestation.sigstore.json")).unwrap()
}

fn production() -> Verifier {
    let trust = Trust::from_root_json("public-good", SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
    Verifier::new(&trust).unwrap()
}

fn verify(bundle: &[u8], policy: &Policy) -> Verdict {
    let package = Package::at(fixture("signed-package-2.1.0-hb0f4dca_0.conda")).unwrap();
    production().verify(package, bundle, policy, Some(CHANNEL))
}

fn failure(verdict: &Verdict) -> Option<&'static str> {
    verdict.failure().map(|check| check.code)
}

#[test]
fn a_real_attestation_verifies() {
    let verdict = verify(&bundle(), &Policy::exactly(IDENTITY, GITHUB_ISSUER));
    assert!(verdict.passed(), "{verdict}");
    let evidence = verdict.signed.unwrap();
    assert_eq!(evidence.log_index, Some(456_119_071));
    assert_eq!(evidence.identity, IDENTITY);
    assert_eq!(evidence.target_channel.as_deref(), Some(CHANNEL));
    assert!(evidence.signed_at <= evidence.certificate_not_after);
}

#[test]
fn another_root_package_identity_or_channel_is_refused() {
    let exact = Policy::exactly(IDENTITY, GITHUB_ISSUER);
    let staging = Trust::from_root_json("staging", SIGSTORE_STAGING_TRUSTED_ROOT).unwrap();
    let path = fixture("signed-package-2.1.0-hb0f4dca_0.conda");
    let package = Package::at(&path).unwrap();
    let verdict =
        Verifier::new(&staging)
            .unwrap()
            .verify(package.clone(), &bundle(), &exact, Some(CHANNEL));
    assert_eq!(failure(&verdict), Some("log"));
    assert!(verdict.signed.is_none());

    let renamed = Package {
        file: "signed-package-2.1.1-hb0f4dca_0.conda".parse().unwrap(),
        ..package.clone()
    };
    let verdict = production().verify(renamed, &bundle(), &exact, Some(CHANNEL));
    assert_eq!(failure(&verdict), Some("statement"));
    assert_eq!(verdict.violations.len(), 1);

    let elsewhere = Package {
        subdir: Some("win-64".parse().unwrap()),
        ..package.clone()
    };
    let verdict = production().verify(elsewhere, &bundle(), &exact, Some(CHANNEL));
    assert_eq!(failure(&verdict), Some("index"));

    let other = Policy::exactly(IDENTITY.replace("main", "other"), GITHUB_ISSUER);
    assert_eq!(failure(&verify(&bundle(), &other)), Some("identity"));
    let other = Policy::exactly(IDENTITY, "https://accounts.google.com");
    assert_eq!(failure(&verify(&bundle(), &other)), Some("identity"));

    let other = "https://prefix.dev/other";
    let verdict = production().verify(package.clone(), &bundle(), &exact, Some(other));
    assert_eq!(failure(&verdict), Some("statement"));
    assert!(
        production()
            .verify(package, &bundle(), &exact, None)
            .passed()
    );
}

#[test]
fn claims_are_compared_whole() {
    let workflow = IDENTITY.strip_prefix("https://github.com/").unwrap();
    let text = |text: &str| Some(text.to_owned());
    let good = Github {
        owner: text("prefix-dev"),
        repo: text("prefix-dev/sigstore-example"),
        git_ref: text("refs/heads/main"),
        workflow: text(workflow),
        signer_workflow: text(workflow),
        deny_self_hosted_runners: true,
        ..Github::default()
    };
    let verdict = verify(&bundle(), &good.clone().into_policy().unwrap());
    assert!(verdict.passed(), "{verdict}");

    let seen = inspect(&bundle()).unwrap();
    let mut pinned = good.clone();
    pinned.sha = seen.claims.get("source_repository_digest").cloned();
    pinned.owner_id = seen
        .claims
        .get("source_repository_owner_identifier")
        .cloned();
    pinned.repository_id = seen.claims.get("source_repository_identifier").cloned();
    assert!(verify(&bundle(), &pinned.clone().into_policy().unwrap()).passed());

    type Change = fn(&mut Github);
    let changes: [Change; 9] = [
        |claims| claims.owner = Some("prefix".to_owned()),
        |claims| claims.repo = Some("prefix-dev/sigstore".to_owned()),
        |claims| claims.repo = Some("prefix-dev/sigstore-example2".to_owned()),
        |claims| claims.git_ref = Some("refs/heads/mai".to_owned()),
        |claims| claims.sha = Some("0".repeat(40)),
        |claims| claims.owner_id = Some("1".to_owned()),
        |claims| claims.environment = Some("production".to_owned()),
        |claims| {
            claims.signer_workflow =
                Some("prefix-dev/x/.github/workflows/a.yaml@refs/heads/main".to_owned())
        },
        |claims| claims.issuer = Some("https://ghe.example/_services/token".to_owned()),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = pinned.clone();
        change(&mut other);
        let verdict = verify(&bundle(), &other.into_policy().unwrap());
        assert_eq!(failure(&verdict), Some("identity"), "change {number}");
    }
}

#[test]
fn policies_that_anybody_could_meet_are_refused() {
    let text = |text: &str| Some(text.to_owned());
    for policy in [
        Github::default(),
        Github {
            git_ref: text("refs/heads/main"),
            ..Github::default()
        },
        Github {
            signer_workflow: text("a/b/.github/workflows/c.yml@v1"),
            ..Github::default()
        },
        Github {
            owner: text("acme"),
            signer_workflow: text("a/b/.github/workflows/c.yml@v1"),
            ..Github::default()
        },
        Github {
            repo: text("a/b"),
            git_ref: text("main"),
            ..Github::default()
        },
        Github {
            repo: text("a/b"),
            workflow: text("a/b/.github/workflows/c.yml"),
            ..Github::default()
        },
    ] {
        let shown = format!("{policy:?}");
        assert_eq!(
            policy.into_policy().unwrap_err().code(),
            "policy",
            "{shown}"
        );
    }
    assert_eq!(
        failure(&verify(&bundle(), &Policy::AnyOf(Vec::new()))),
        Some("identity")
    );
}

#[test]
fn patterns_match_whole_identities() {
    let accepts = |matcher: Matcher| {
        let policy = Policy::Identity {
            identity: matcher,
            issuer: GITHUB_ISSUER.to_owned(),
        };
        let both = Policy::AnyOf(vec![Policy::exactly("nobody", GITHUB_ISSUER), policy]);
        verify(&bundle(), &both).passed()
    };
    for (pattern, expected) in [
        (r"https://github\.com/prefix-dev/.*", true),
        (r"(?i)HTTPS://GITHUB\.COM/PREFIX-DEV/.*", true),
        (r"https://github\.com/prefix-dev/", false),
        (r"prefix-dev", false),
        (r"x|https://github\.com/prefix-dev", false),
        (r"x|.*", true),
    ] {
        assert_eq!(
            accepts(Matcher::regex(pattern).unwrap()),
            expected,
            "{pattern}"
        );
    }
    for pattern in ["a)|(.*", "(", "(?x) .* # "] {
        assert_eq!(
            Matcher::regex(pattern).unwrap_err().code(),
            "policy",
            "{pattern}"
        );
    }
    for (pattern, expected) in [
        (
            "https://github.com/prefix-dev/*/.github/workflows/action.yaml@refs/heads/main",
            true,
        ),
        (
            "https://github.com/prefix-dev/sigstore-example/.github/workflows/*@refs/heads/main",
            true,
        ),
        ("https://github.com/prefix-dev/*", false),
        (
            "https://github.com/prefix-dev/sigstore-example/.github/workflows/*",
            false,
        ),
        (
            "https://github.com/*/.github/workflows/action.yaml@refs/heads/main",
            false,
        ),
    ] {
        assert_eq!(
            accepts(Matcher::glob(pattern).unwrap()),
            expected,
            "{pattern}"
        );
    }
}

/// What sigstore-verify accepts and we do not.
#[test]
fn a_log_entry_without_proof_is_refused() {
    let anyone = Policy::Anyone;
    let change = |change: &dyn Fn(&mut Value)| {
        let mut bundle: Value = serde_json::from_slice(&bundle()).unwrap();
        change(&mut bundle);
        let verdict = verify(bundle.to_string().as_bytes(), &anyone);
        assert!(!verdict.passed());
        failure(&verdict)
    };
    // A promise alone, also beside an entry that is proved.
    let entries = "/verificationMaterial/tlogEntries";
    assert_eq!(
        change(&|bundle| {
            let entries = bundle.pointer_mut(entries).unwrap().as_array_mut().unwrap();
            let mut unproved = entries[0].clone();
            unproved.as_object_mut().unwrap().remove("inclusionProof");
            entries.push(unproved);
        }),
        Some("log")
    );
    assert_eq!(
        change(&|bundle| {
            let entry = bundle.pointer_mut(&format!("{entries}/0")).unwrap();
            entry.as_object_mut().unwrap().remove("inclusionProof");
        }),
        Some("log")
    );
    assert_eq!(
        change(&|bundle| *bundle.pointer_mut(entries).unwrap() = json!([])),
        Some("log")
    );
    // A later time within the certificate's window, which the promise does not cover.
    let time = format!("{entries}/0/integratedTime");
    assert_eq!(
        change(&|bundle| {
            let value = bundle.pointer_mut(&time).unwrap();
            let later = value.as_str().unwrap().parse::<i64>().unwrap() + 1;
            *value = later.to_string().into();
        }),
        Some("log")
    );
    // An index that the promise does not cover.
    let index = format!("{entries}/0/logIndex");
    assert_eq!(
        change(&|bundle| *bundle.pointer_mut(&index).unwrap() = json!("1")),
        Some("log")
    );
}

#[test]
fn bundles_mean_one_thing_or_nothing() {
    let text = String::from_utf8(bundle()).unwrap();
    let twice = text.replacen('{', r#"{"mediaType":"x","#, 1);
    let trailing = format!("{text} {{}}");
    for other in [
        twice.as_str(),
        &trailing,
        "",
        "[]",
        "null",
        "{}",
        "\u{feff}{}",
    ] {
        let verdict = verify(other.as_bytes(), &Policy::Anyone);
        assert_eq!(
            failure(&verdict),
            Some("bundle"),
            "{}",
            &other[..other.len().min(40)]
        );
        assert!(verdict.signed.is_none());
        assert!(inspect(other.as_bytes()).is_err());
    }
}

#[test]
fn files_of_bundles_keep_every_byte() {
    let first = r#"{ "a": 1 , "a" : 1.0e0 }"#;
    let second = "{\"b\":\n[2]}";
    for file in [
        format!("[{first},{second}]"),
        format!(" [ {first} ,\n {second} ]\n"),
        format!("{first}\n{second}\n"),
        format!("{first}{second}"),
    ] {
        let found = bundles_in(file.as_bytes()).unwrap();
        assert_eq!(found, [first.as_bytes(), second.as_bytes()], "{file}");
    }
    for refused in [
        "", " ", "[]", "1", "[1]", "{", "[{}", "[[{}]]", "{} []", "[{}] {}x",
    ] {
        assert!(bundles_in(refused.as_bytes()).is_err(), "{refused}");
    }
    assert!(bundles_in(" ".repeat(5 << 20).as_bytes()).is_err());
}

#[test]
fn a_real_rekor_v2_bundle_can_be_inspected() {
    let bundle = std::fs::read(fixture("conda-attestation-rekor2.sigstore.json")).unwrap();
    let seen = inspect(&bundle).unwrap();
    assert_eq!(seen.log_entries[0].kind, "hashedrekord 0.0.2");
    assert_eq!(seen.times[0].source, "rfc3161");
    assert!(seen.certificate_not_before <= seen.times[0].time);
    assert!(seen.times[0].time <= seen.certificate_not_after);
}

#[test]
fn one_verifier_serves_many_threads() {
    let verifier = production();
    let policy = Policy::exactly(IDENTITY, GITHUB_ISSUER);
    let package = Package::at(fixture("signed-package-2.1.0-hb0f4dca_0.conda")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                assert!(
                    verifier
                        .verify(package.clone(), &bundle(), &policy, None)
                        .passed()
                );
            });
        }
    });
}

/// Older clients write the same in another form. What version 0.1 allows beside, a promise alone, is
/// refused.
#[test]
fn bundles_of_older_versions_verify() {
    let policy = Policy::exactly(IDENTITY, GITHUB_ISSUER);
    for version in ["0.1", "0.2"] {
        let mut older: Value = serde_json::from_slice(&bundle()).unwrap();
        let material = older["verificationMaterial"].as_object_mut().unwrap();
        let leaf = material.remove("certificate").unwrap();
        material.insert(
            "x509CertificateChain".to_owned(),
            json!({ "certificates": [leaf] }),
        );
        older["mediaType"] =
            format!("application/vnd.dev.sigstore.bundle+json;version={version}").into();
        let verdict = verify(older.to_string().as_bytes(), &policy);
        assert!(verdict.verifies_package(), "{version}: {verdict}");
        assert_eq!(
            inspect(older.to_string().as_bytes()).unwrap().log_entries[0].index,
            456_119_071
        );

        let entry = &mut older["verificationMaterial"]["tlogEntries"][0];
        entry.as_object_mut().unwrap().remove("inclusionProof");
        let verdict = verify(older.to_string().as_bytes(), &policy);
        assert_eq!(failure(&verdict), Some("log"), "{version}");

        let chain = &mut older["verificationMaterial"]["x509CertificateChain"]["certificates"];
        *chain = json!([]);
        let verdict = verify(older.to_string().as_bytes(), &policy);
        assert_eq!(failure(&verdict), Some("bundle"), "{version}");
    }
}

/// The package is too large to be a fixture, so this is about its hash.
#[test]
fn the_sidecar_of_a_real_channel_verifies() {
    let sidecar = std::fs::read(shared("actionlint-1.7.12-h60d57d3_0.conda.sigs")).unwrap();
    let [bundle] = &bundles_in(&sidecar).unwrap()[..] else {
        panic!("one attestation");
    };
    let seen = inspect(bundle).unwrap();
    assert_eq!(seen.predicate, Predicate::Publish);
    let statement = serde_json::to_vec(&seen.statement).unwrap();
    let statement = cep27::validate_statement(&statement).unwrap();
    let policy = Github {
        repo: seen.claims.get("source_repository_uri").cloned(),
        ..Github::default()
    };
    let proved = production()
        .verify_artifact(statement.sha256, bundle, &policy.into_policy().unwrap())
        .unwrap();
    assert!(proved.logged);
    assert_eq!(proved.trust, "public-good");
    assert_eq!(
        proved.repository,
        seen.claims.get("source_repository_uri").cloned()
    );
    let stranger = Github {
        owner: Some("acme".to_owned()),
        ..Github::default()
    };
    let refused = production()
        .verify_artifact(statement.sha256, bundle, &stranger.into_policy().unwrap())
        .unwrap_err();
    assert_eq!(refused.reason(), "identity_mismatch");
}

/// For private repositories GitHub signs with an instance of its own, which has no log.
#[test]
fn an_attestation_of_githubs_own_instance_is_refused_by_name() {
    let bundle = std::fs::read(shared("github-private-attestation.sigstore.json")).unwrap();
    let seen = inspect(&bundle).unwrap();
    assert!(seen.github_instance);
    assert!(!inspect(&self::bundle()).unwrap().github_instance);
    let subject = &seen.statement["subject"][1];
    let sha256 = subject["digest"]["sha256"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let policy = Policy::Anyone;

    let refused = production()
        .verify_artifact(sha256, &bundle, &policy)
        .unwrap_err();
    assert_eq!(refused.reason(), "github_instance");

    let github = Trust::from_root_json("github", SIGSTORE_GITHUB_TRUSTED_ROOT).unwrap();
    assert!(github.is_github());
    let verifier = Verifier::new(&github).unwrap();
    let proved = verifier.verify_artifact(sha256, &bundle, &policy).unwrap();
    assert!(!proved.logged, "what nobody can see is not published");
    assert_eq!(proved.log_index, None);
    assert_eq!(proved.identity, "https://dotcom.releases.github.com");

    // Without its timestamp there is no time, and for another artifact it proves nothing.
    let mut timeless: Value = serde_json::from_slice(&bundle).unwrap();
    timeless["verificationMaterial"]["timestampVerificationData"] = Value::Null;
    let refused = verifier
        .verify_artifact(sha256, timeless.to_string().as_bytes(), &policy)
        .unwrap_err();
    assert_eq!(refused.reason(), "no_verified_time");
    let other = "0".repeat(64).parse().unwrap();
    let refused = verifier
        .verify_artifact(other, &bundle, &policy)
        .unwrap_err();
    assert_eq!(refused.reason(), "artifact_mismatch");

    // Nor does the trust in GitHub's instance make up for a log of anybody else.
    let path = fixture("signed-package-2.1.0-hb0f4dca_0.conda");
    let mut unlogged: Value = serde_json::from_slice(&self::bundle()).unwrap();
    let verdict = verifier.verify(
        Package::at(&path).unwrap(),
        unlogged.to_string().as_bytes(),
        &policy,
        None,
    );
    assert_eq!(failure(&verdict), Some("log"));
    unlogged["verificationMaterial"]["tlogEntries"] = json!([]);
    let verdict = verifier.verify(
        Package::at(&path).unwrap(),
        unlogged.to_string().as_bytes(),
        &policy,
        None,
    );
    assert_eq!(failure(&verdict), Some("log"));
}

#[test]
fn an_attestation_leads_to_where_more_is_known() {
    let links = inspect(&bundle()).unwrap().links;
    let repository = "https://github.com/prefix-dev/sigstore-example";
    assert_eq!(links["repository"], repository);
    assert_eq!(links["attestations"], format!("{repository}/attestations"));
    assert!(links["run"].starts_with(&format!("{repository}/actions/runs/")));
    assert!(links["commit"].starts_with(&format!("{repository}/commit/")));
    assert_eq!(
        links["log_entry"],
        "https://search.sigstore.dev/?logIndex=456119071"
    );
    let package = Package::at(fixture("signed-package-2.1.0-hb0f4dca_0.conda")).unwrap();
    let sha256 = sha2_of(&package.path);
    assert_eq!(
        links["search"],
        format!("https://search.sigstore.dev/?hash={sha256}")
    );
    assert_eq!(
        links["package"],
        "https://prefix.dev/channels/sigstore-example/packages/signed-package"
    );

    // The second generation of the log cannot be searched, and a person has no repository.
    let staging = std::fs::read(fixture("conda-attestation-rekor2.sigstore.json")).unwrap();
    let links = inspect(&staging).unwrap().links;
    for absent in ["search", "log_entry", "repository", "attestations", "run"] {
        assert!(!links.contains_key(absent), "{absent}");
    }
}
