//! Fifty packages under one certificate against one certificate a package in sequence, with the
//! latencies of the real services: `cargo bench -p conda-attest`. Fails below 20 times.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use conda_attest::sign;
use sigstore_sandbox::{Latency, Options, Service};
use support::{Fixture, options};

const PACKAGES: usize = 50;
/// The slow way is measured on so many packages, and scaled: it is the same for each.
const SAMPLE: usize = 3;
const WANTED: f64 = 20.0;

#[tokio::main]
async fn main() {
    let latency = Latency {
        fulcio: Duration::from_millis(200),
        rekor: Duration::from_millis(500),
        tsa: Duration::from_millis(100),
    };
    let fixture = Fixture::with(Options {
        latency,
        ..Options::default()
    })
    .await;
    let packages = fixture.packages(PACKAGES);

    let start = Instant::now();
    for package in &packages[..SAMPLE] {
        let one = vec![package.clone()];
        let results = sign(&fixture.trust, &fixture.identity, one, &options(), &())
            .await
            .unwrap();
        assert!(results[0].1.is_ok());
    }
    let singly = start.elapsed().mul_f64(PACKAGES as f64 / SAMPLE as f64);
    let certificates = fixture.sandbox.requests(Service::Fulcio);

    let start = Instant::now();
    let results = sign(&fixture.trust, &fixture.identity, packages, &options(), &())
        .await
        .unwrap();
    let batch = start.elapsed();
    assert!(results.iter().all(|(_, signed)| signed.is_ok()));
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), certificates + 1);

    let ratio = singly.as_secs_f64() / batch.as_secs_f64();
    println!("{PACKAGES} packages, a certificate each: {singly:.2?} (from {SAMPLE})");
    println!("{PACKAGES} packages, one certificate:    {batch:.2?}");
    println!("{ratio:.1} times faster, at least {WANTED} wanted");
    assert!(ratio >= WANTED, "only {ratio:.1} times faster");
}
