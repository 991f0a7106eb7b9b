//! Signing batches of packages against signing them one after another as upstream does.
//!
//! `cargo bench -p conda-attest --bench sign_batch` prints the tables in docs/performance.md, and
//! fails where a figure is missed. It takes three or four minutes, most of them asleep.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use cep27::Statement;
use conda_attest::{PackageFile, SignOptions};
use sigstore_sandbox::{Latency, Options, Service};
use sigstore_sign::trust_root::SigningConfig;
use sigstore_sign::{SigningContext, SigningServices, oidc::IdentityToken};
use support::{Fixture, options};

const SIZES: [usize; 5] = [1, 10, 50, 200, 1000];
const CONCURRENCIES: [usize; 3] = [8, 32, 128];
/// Fulcio, Rekor, timestamp authority, in milliseconds.
const LATENCIES: [[u64; 3]; 3] = [[0, 0, 0], [200, 500, 100], [500, 1500, 300]];
/// What would take longer by the law is left out.
const LONGEST: Duration = Duration::from_secs(40);
/// Upstream's way takes the same time for each package: it is measured on so many, and scaled.
const SAMPLE: usize = 3;

#[tokio::main]
async fn main() {
    let maker = Fixture::start().await;
    let packages = maker.packages(SIZES[SIZES.len() - 1]);
    for latency in LATENCIES {
        table(&packages, latency).await;
    }
    println!();
    figure(&packages).await;
    #[cfg(target_os = "linux")]
    memory(&packages).await;
}

async fn table(packages: &[PackageFile], latency: [u64; 3]) {
    let one = upstream(&packages[..SAMPLE], latency).await / u32::try_from(SAMPLE).unwrap();
    let [fulcio, rekor, tsa] = latency;
    println!("\nFulcio {fulcio} ms, Rekor {rekor} ms, timestamp authority {tsa} ms");
    print!("{:>8} {:>12}", "packages", "one by one");
    for concurrency in CONCURRENCIES {
        print!(" {:>17}", format!("at most {concurrency}"));
    }
    println!();
    for size in SIZES {
        let sequential = one * u32::try_from(size).unwrap();
        print!("{size:>8} {:>12}", format!("{sequential:.2?}"));
        for concurrency in CONCURRENCIES {
            if law(latency, size, concurrency) > LONGEST {
                print!(" {:>17}", "–");
                continue;
            }
            let Batch { taken, .. } = batch(&packages[..size], latency, concurrency).await;
            let ratio = sequential.as_secs_f64() / taken.as_secs_f64();
            print!(" {:>17}", format!("{taken:.2?} ({ratio:.0}x)"));
        }
        println!();
    }
}

/// 100 packages with the defaults, at the latencies of the real services.
async fn figure(packages: &[PackageFile]) {
    const PACKAGES: usize = 100;
    let latency = LATENCIES[1];
    let concurrency = options().concurrency.get();
    let sequential = upstream(&packages[..SAMPLE], latency)
        .await
        .mul_f64(PACKAGES as f64 / SAMPLE as f64);
    let Batch { taken, reached } = batch(&packages[..PACKAGES], latency, concurrency).await;
    let ratio = sequential.as_secs_f64() / taken.as_secs_f64();
    let excess = taken.as_secs_f64() / law(latency, PACKAGES, reached).as_secs_f64();
    println!("{PACKAGES} packages: {taken:.2?} at up to {reached} at a time");
    println!("  {ratio:.1} times faster than one by one ({sequential:.1?}), at least 25 wanted");
    println!("  {excess:.2} times the law, at most 1.3 wanted");
    assert!(ratio >= 25.0, "only {ratio:.1} times faster");
    assert!(excess <= 1.3, "{excess:.2} times the law");
}

/// What 1000 packages add to the memory of this process, which has the services in it as well.
#[cfg(target_os = "linux")]
async fn memory(packages: &[PackageFile]) {
    let before = support::resident();
    batch(packages, LATENCIES[0], options().concurrency.get()).await;
    let grown = support::resident().saturating_sub(before) / packages.len();
    let count = packages.len();
    println!("{count} packages: {grown} bytes each, less than 51200 wanted");
    assert!(grown < 50 << 10, "{grown} bytes a package");
}

/// `fulcio + ceil(N / c) * max(rekor, tsa)`
fn law([fulcio, rekor, tsa]: [u64; 3], size: usize, concurrency: usize) -> Duration {
    let rounds = u64::try_from(size.div_ceil(concurrency)).unwrap();
    Duration::from_millis(fulcio + rounds * rekor.max(tsa))
}

async fn services(latency: [u64; 3]) -> Fixture {
    let [fulcio, rekor, tsa] = latency.map(Duration::from_millis);
    Fixture::with(Options {
        latency: Latency { fulcio, rekor, tsa },
        ..Options::default()
    })
    .await
}

struct Batch {
    taken: Duration,
    /// How many log entries were on their way at the same time at most.
    reached: usize,
}

async fn batch(packages: &[PackageFile], latency: [u64; 3], concurrency: usize) -> Batch {
    let fixture = services(latency).await;
    let options = SignOptions {
        concurrency: NonZeroUsize::new(concurrency).unwrap(),
        ..options()
    };
    let start = Instant::now();
    let results = fixture.sign_with(packages.to_vec(), &options, &()).await;
    let taken = start.elapsed();
    assert!(results.iter().all(|(_, signed)| signed.is_ok()));
    assert_eq!(fixture.sandbox.requests(Service::Fulcio), 1);
    Batch {
        taken,
        reached: fixture.sandbox.peak(Service::Rekor),
    }
}

/// The packages one after another, each with a certificate of its own, by upstream's library.
async fn upstream(packages: &[PackageFile], latency: [u64; 3]) -> Duration {
    let fixture = services(latency).await;
    let config = std::fs::read_to_string(fixture.sandbox.signing_config()).unwrap();
    let config = SigningConfig::from_json(&config).unwrap();
    let context = SigningContext::new(SigningServices::from_signing_config(&config).unwrap());
    let token = fixture.sandbox.token(sigstore_sandbox::AUDIENCE).unwrap();
    let start = Instant::now();
    for package in packages {
        let channel = options().target_channel;
        let statement = Statement::new(&package.file, package.sha256, &channel).to_json();
        let signer = context.signer(IdentityToken::from_jwt(&token).unwrap());
        signer.sign_raw_statement(&statement).await.unwrap();
    }
    start.elapsed()
}
