//! How the time of a whole rehearsal grows with the number of packages: journal, signing and publishing included.
//!
//! `TMPDIR=/dev/shm cargo bench -p end-to-end --bench rehearsal`: on a memory file system, since a disk's own time varies.

#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use end_to_end::Workspace;

/// Packages of each rehearsal, the fewest first.
const SIZES: [usize; 4] = [250, 500, 1_000, 2_000];
/// How much longer a package of the largest rehearsal may take than one of the smallest.
const LIMIT: f64 = 1.2;
/// Of several runs the best is compared: the machine's own noise only ever adds.
const ROUNDS: usize = 2;

fn main() {
    let taken = SIZES.map(|packages| {
        let best = (0..ROUNDS).map(|_| rehearse(packages)).min().unwrap();
        println!(
            "{packages} packages: {best:.2?}, {:.2} ms a package",
            each(packages, best)
        );
        each(packages, best)
    });
    let growth = taken[SIZES.len() - 1] / taken[0];
    println!(
        "a package of the largest takes {growth:.2} times one of the smallest (at most {LIMIT:.2})"
    );
    assert!(growth <= LIMIT);
}

/// Milliseconds for one package.
fn each(packages: usize, taken: Duration) -> f64 {
    taken.as_secs_f64() * 1_000.0 / packages as f64
}

fn rehearse(packages: usize) -> Duration {
    let workspace = Workspace::new();
    for number in 0..packages {
        workspace.package(&format!("p{number}"));
    }
    workspace.commit();
    let mut command = workspace.command(["release", "--quiet"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    assert!(command.status().unwrap().success());
    begun.elapsed()
}
