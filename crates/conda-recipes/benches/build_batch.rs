//! How fast a batch builds: in parallel against one after another, and against rattler-build itself. Asserts ratios, not times.
//!
//! `cargo bench -p conda-recipes --bench build_batch [parallel|upstream]`. The second needs python3 with
//! `pip install py-rattler-build==0.73.0` and is skipped without it, but not in CI. With `TMPDIR` on a memory file system the
//! machine's disk has no part in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../tests/worker/workspace.rs"]
#[allow(dead_code)]
mod workspace;

use std::{
    num::NonZeroUsize,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use conda_recipes::TestMode;
use workspace::{Events, Workspace, block_on};

/// Packages whose scripts sleep.
const SLEEPERS: usize = 8;
/// Trivial packages, compared in pairs of runs; and so many that the growth of upstream's index shows.
const FEW: usize = 200;
const MANY: usize = 1_000;
/// Of several runs the best is compared: the machine's own noise only ever adds.
const ROUNDS: usize = 3;
const UPSTREAM: &str = "0.73.0";

fn main() -> ExitCode {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    match arguments.next().as_deref() {
        Some(workspace::SERVE) => return conda_recipes::worker::serve(),
        Some("parallel") => parallel(),
        Some("upstream") => upstream(),
        _ => {
            parallel();
            upstream();
        }
    }
    ExitCode::SUCCESS
}

/// Scripts that sleep: what is shared out is time, not cores.
fn parallel() {
    let workspace = batch(SLEEPERS, &["sleep 1"]);
    let (one, eight) = (
        build(workspace(1), SLEEPERS),
        build(workspace(SLEEPERS), SLEEPERS),
    );
    let ratio = one.as_secs_f64() / eight.as_secs_f64();
    println!(
        "parallel: {SLEEPERS} x sleep 1: --jobs 1 {one:.2?}, --jobs {SLEEPERS} {eight:.2?}: {ratio:.1} times faster (at least 5.0)"
    );
    assert!(
        ratio >= 5.0,
        "--jobs {SLEEPERS} is only {ratio:.1} times faster than --jobs 1"
    );
}

/// Trivial packages against rattler-build's own loop in one process, in turns.
fn upstream() {
    let version = Command::new("python3")
        .args([
            "-c",
            "import importlib.metadata as m; print(m.version('py-rattler-build'))",
        ])
        .output();
    let found = version
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    if found != UPSTREAM {
        assert!(
            std::env::var_os("CI").is_none(),
            "py-rattler-build {UPSTREAM} is missing"
        );
        println!(
            "upstream: skipped: needs `pip install py-rattler-build=={UPSTREAM}`, found `{found}`"
        );
        return;
    }
    let script = &[
        "mkdir -p $PREFIX/share",
        "echo it > $PREFIX/share/$PKG_NAME",
    ];
    let workspace = batch(FEW, script);
    let mut best = [Duration::MAX; 3];
    for _ in 0..ROUNDS {
        let runs = [
            upstream_build(&workspace(1)),
            build(workspace(1), FEW),
            build(workspace(2), FEW),
        ];
        best = std::array::from_fn(|run| best[run].min(runs[run]));
    }
    let [theirs, one, two] = best;
    let (slower, faster) = (times(one, theirs), times(theirs, two));
    println!(
        "upstream: {FEW} trivial packages: rattler-build {theirs:.2?}; --jobs 1 {one:.2?}, {slower:.2} times as long (at most 1.05); \
         --jobs 2 {two:.2?}, {faster:.2} times faster (at least 1.50)"
    );
    let workspace = batch(MANY, script);
    let (theirs, two) = (upstream_build(&workspace(1)), build(workspace(2), MANY));
    let much_faster = times(theirs, two);
    println!(
        "upstream: {MANY} trivial packages: rattler-build {theirs:.2?}; --jobs 2 {two:.2?}, {much_faster:.2} times faster (at least 3.00)"
    );
    assert!(
        slower <= 1.05,
        "--jobs 1 takes {slower:.2} times as long as rattler-build"
    );
    assert!(
        faster >= 1.5,
        "--jobs 2 is only {faster:.2} times faster than rattler-build"
    );
    assert!(
        much_faster >= 3.0,
        "{MANY} packages are built only {much_faster:.2} times faster than by rattler-build"
    );
}

fn times(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// Makes workspaces of independent packages with the same script.
fn batch(packages: usize, script: &'static [&'static str]) -> impl Fn(usize) -> Workspace {
    move |jobs| {
        let mut workspace = Workspace::new();
        workspace.options.jobs = NonZeroUsize::new(jobs);
        workspace.options.test = TestMode::Skip;
        for number in 0..packages {
            workspace.script(&format!("p{number}"), script, "");
        }
        workspace
    }
}

/// How long the build phase takes, its worker included; planning has been before.
fn build(workspace: Workspace, packages: usize) -> Duration {
    let request = workspace.build_request();
    let events = Events::default();
    let worker = workspace.worker();
    let begun = Instant::now();
    block_on(worker.build(request, &events)).unwrap();
    let taken = begun.elapsed();
    let built = events
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|event| matches!(event, conda_recipes::BuildEvent::Built { .. }))
        .count();
    assert_eq!(built, packages);
    taken
}

/// How long `rattler_build.build_recipes` takes, as it measures it itself: no interpreter, no imports.
fn upstream_build(workspace: &Workspace) -> Duration {
    const SCRIPT: &str = "import sys, time, rattler_build\n\
         recipes, out = sys.argv[2:], sys.argv[1]\n\
         begun = time.monotonic()\n\
         rattler_build.build_recipes(recipes, output_dir=out, channel=[], test='skip')\n\
         print('seconds', time.monotonic() - begun)\n";
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(workspace.output())
        .args(workspace.request().recipes)
        .env("RATTLER_CACHE_DIR", workspace.root().join("cache"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let seconds = text
        .lines()
        .find_map(|line| line.strip_prefix("seconds ")?.parse().ok());
    Duration::from_secs_f64(
        seconds.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr))),
    )
}
