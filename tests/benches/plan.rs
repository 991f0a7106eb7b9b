//! How long it takes to plan large trees of recipes, and how much memory.
//!
//! `cargo bench -p end-to-end --bench plan`

#![allow(clippy::unwrap_used, missing_docs)]
#![expect(clippy::print_stdout, reason = "a benchmark says what it has measured")]

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use end_to_end::{Workspace, write_tree};
use fs_err as fs;

/// Recipes of the smallest and the largest tree.
const SIZES: [usize; 4] = [500, 1_000, 2_000, 4_000];
/// What the largest may take in an optimised build on two cores.
const LIMIT: Duration = Duration::from_secs(6);
/// What all processes together may need for it, in bytes.
const MEMORY: u64 = 1_000_000_000;
/// How much longer a recipe of the largest tree may take than one of the smallest, and a second run than the first.
const SLACK: f64 = 1.25;

struct Planned {
    taken: Duration,
    memory: u64,
}

fn main() {
    let mut all = Vec::new();
    for recipes in SIZES {
        let workspace = Workspace::new();
        let packages = write_tree(&workspace, recipes);
        workspace.commit();
        let (first, second) = (plan(&workspace), plan(&workspace));
        println!(
            "{recipes} recipes, {packages} packages: {:.2?}, again {:.2?}; {} MB",
            first.taken,
            second.taken,
            first.memory / 1_000_000
        );
        all.push((first, second));
    }
    let (smallest, _) = &all[0];
    let (largest, again) = &all[SIZES.len() - 1];
    let times = (SIZES[SIZES.len() - 1] / SIZES[0]) as f64;
    let growth = largest.taken.as_secs_f64() / smallest.taken.as_secs_f64() / times;
    println!("a recipe of the largest tree takes {growth:.2} times as long as one of the smallest");
    assert!(growth < SLACK);
    assert!(again.taken.as_secs_f64() < largest.taken.as_secs_f64() * SLACK);
    assert!(largest.memory < MEMORY, "{} bytes", largest.memory);
    if cfg!(debug_assertions) {
        println!("not optimised: the time is not compared");
    } else {
        assert!(largest.taken < LIMIT, "at most {LIMIT:?} wanted");
    }
}

/// Plans, and adds up what the program and its worker needed at most.
fn plan(workspace: &Workspace) -> Planned {
    let mut command: Command = workspace.command(["plan", "--output-format", "json"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut most = BTreeMap::new();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        for pid in family(child.id()) {
            if let Some(peak) = peak(pid) {
                most.insert(pid, peak);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let taken = started.elapsed();
    assert!(status.success());
    Planned {
        taken,
        memory: most.values().sum(),
    }
}

/// A process and its children, as Linux tells.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|it| it.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

/// The most memory that a process had at a time, in bytes.
fn peak(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}
