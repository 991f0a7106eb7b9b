//! Judging attestations against what sigstore-verify alone takes for them, on one core.
//!
//! `cargo bench -p conda-attest --bench verify` prints the table in docs/performance.md, and fails
//! where our own checks cost a tenth of the library's or more.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use conda_attest::{GITHUB_ISSUER, Package, Policy, Trust, Verifier};
use sha2::Digest as _;
use sigstore_trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};
use sigstore_types::{Bundle, Sha256Hash};
use sigstore_verify::VerificationPolicy;

const IDENTITY: &str =
    "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
const CHANNEL: &str = "https://prefix.dev/sigstore-example";
/// So many bundles are judged in a row, so that reading their package once does not count.
const BUNDLES: usize = 200;
/// Both ways take turns, and the best of so many counts: anything else that runs only slows down.
const ROUNDS: usize = 15;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn main() {
    let bundle = std::fs::read(fixture("conda-attestation.sigstore.json")).unwrap();
    let path = fixture("signed-package-2.1.0-hb0f4dca_0.conda");
    let digest: [u8; 32] = sha2::Sha256::digest(std::fs::read(&path).unwrap()).into();
    let root = SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    let trust = Trust::from_root_json("public-good", root).unwrap();
    let library = sigstore_verify::Verifier::new(&TrustedRoot::from_json(root).unwrap()).unwrap();
    let verifier = Verifier::new(&trust).unwrap();
    let package = Package::at(path).unwrap();
    let policy = Policy::exactly(IDENTITY, GITHUB_ISSUER);

    let alone = || {
        let policy = VerificationPolicy::new(IDENTITY, GITHUB_ISSUER);
        for _ in 0..BUNDLES {
            let text = std::str::from_utf8(&bundle).unwrap();
            let bundle = Bundle::from_json(text).unwrap();
            let digest = Sha256Hash::from(digest);
            assert!(library.verify(digest, &bundle, &policy).is_ok());
        }
    };
    let bundles = vec![&bundle; BUNDLES];
    let ours = || {
        let verdicts = verifier.verify_all(package.clone(), &bundles, &policy, Some(CHANNEL));
        assert!(verdicts.iter().all(conda_attest::Verdict::verifies_package));
    };
    let packages = || {
        for _ in 0..BUNDLES {
            let verdict = verifier.verify(package.clone(), &bundle, &policy, Some(CHANNEL));
            assert!(verdict.verifies_package());
        }
    };
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(time(alone));
        best[1] = best[1].min(time(ours));
        best[2] = best[2].min(time(packages));
    }
    let count = u32::try_from(BUNDLES).unwrap();
    let names = [
        "sigstore-verify alone",
        "and our own checks",
        "and a small package of its own",
    ];
    for (name, taken) in names.iter().zip(best) {
        let each = taken / count;
        let rate = 1.0 / each.as_secs_f64();
        println!("{name:<32} {each:>10.1?} a bundle, {rate:>6.0} a second and core");
    }
    let cost = best[1].as_secs_f64() / best[0].as_secs_f64() - 1.0;
    println!("our own checks cost {:.1} %", cost * 100.0);
    assert!(cost < 0.1, "expected less than 10 %");
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}
