//! The same command again: what it takes when there is nothing to do.
//!
//! `cargo bench -p end-to-end`

#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

use std::time::{Duration, Instant};

use end_to_end::Workspace;
use fs_err as fs;

/// As many packages as this repository's own release has.
const PACKAGES: usize = 8;
/// What the same command again may take.
const LIMIT: Duration = Duration::from_secs(1);

fn main() {
    let workspace = Workspace::new();
    for number in 0..PACKAGES {
        workspace.package(&format!("package-{number}"));
    }
    workspace.commit();
    workspace.run(["release"]).ends(0);
    let manifest = workspace.rehearsal("release-manifest.json");
    let before = fs::read(&manifest).unwrap();

    let again = || {
        let started = Instant::now();
        workspace.run(["release"]).ends(0);
        started.elapsed()
    };
    let taken = [again(), again(), again()].into_iter().min().unwrap();
    println!("{PACKAGES} packages, nothing to do: {taken:.2?}, at most {LIMIT:?} wanted");
    assert_eq!(fs::read(&manifest).unwrap(), before);
    assert!(taken < LIMIT);
}
