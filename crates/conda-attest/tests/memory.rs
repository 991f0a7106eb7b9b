//! What a batch holds in memory. The only test of this binary, as it looks at the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::{Fixture, codes, resident};

/// Memory is bounded whatever the batch: less than 50 KB for each further package, with the services
/// and their log in the same process.
#[tokio::test(flavor = "multi_thread")]
async fn a_package_adds_less_than_fifty_kilobytes() {
    const PACKAGES: usize = 250;
    let fixture = Fixture::start().await;
    let mut packages = fixture.packages(PACKAGES + 100);
    // Pools, caches and buffers that are filled once.
    let warm = packages.split_off(PACKAGES);
    assert_eq!(codes(&fixture.sign(warm).await), ["signed"; 100]);
    let before = resident();
    assert_eq!(codes(&fixture.sign(packages).await), ["signed"; PACKAGES]);
    let grown = resident().saturating_sub(before) / PACKAGES;
    assert!(grown < 50 << 10, "{grown} bytes a package");
}
