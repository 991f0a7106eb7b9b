//! `kill -9` at any moment, then the same command.
//!
//! The moment is found by counting what the program said, and a random number of microseconds after that.
//! `KILL_SEED` repeats the moments of a run that failed.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use end_to_end::{Gate, Workspace};
use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const THREADS: u64 = 4;
const MOMENTS: u32 = 5;
/// About as many lines as a whole run of the workspace says before its summary.
const LINES: u64 = 22;
/// About as long as a line takes.
const MICROSECONDS: u64 = 60_000;

#[test]
fn a_killed_process_group_is_continued_by_the_same_command() {
    at_random_moments(|pid| kill_process_group(pid, Signal::KILL).unwrap());
}

#[test]
fn a_killed_parent_is_continued_by_the_same_command() {
    at_random_moments(|pid| kill_process(pid, Signal::KILL).unwrap());
}

#[test]
fn a_killed_release_takes_all_that_its_scripts_started_with_it() {
    let workspace = Workspace::plain();
    let gate = Gate::new(&workspace, "gate");
    workspace.script(
        "slow",
        &[&format!(
            "(setsid sleep 100000 </dev/null >/dev/null 2>&1 &); {}",
            gate.line()
        )],
        "",
    );
    let running = workspace.start(["release"]);
    gate.wait();
    assert!(
        workspace.processes().len() > 3,
        "release, worker, script, and what that left"
    );
    running.kill();
    let mut patience = 60_000;
    while !workspace.processes().is_empty() {
        // Only for a test that fails: nothing is timed by it.
        assert_ne!(patience, 0, "{:?}", workspace.processes());
        patience -= 1;
        thread::sleep(Duration::from_millis(1));
    }
}

#[expect(clippy::print_stdout, reason = "the seed repeats a run that failed")]
fn at_random_moments(kill: fn(Pid)) {
    let seed = std::env::var("KILL_SEED").map_or_else(
        |_| RandomState::new().hash_one("moment"),
        |seed| seed.parse().unwrap(),
    );
    println!("KILL_SEED={seed}");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_add(thread));
                let workspace = workspace();
                for moment in 0..MOMENTS {
                    change(&workspace, moment);
                    // A run that continues is killed too, sometimes.
                    for _ in 0..=random.below(2) {
                        kill_at(&workspace, &mut random, kill);
                    }
                    continue_(&workspace);
                    workspace.assert_sound();
                }
            });
        }
    });
}

/// Four packages: two that build upon each other, one with a test, one alone.
fn workspace() -> Workspace {
    let workspace = Workspace::plain();
    let install = |from: &str, to: &str| {
        format!("mkdir -p $PREFIX/share && cp {from} $PREFIX/share/{to}.txt")
    };
    fs::create_dir(workspace.beside("temporary")).unwrap();
    workspace
        .script("base", &[&install("$RECIPE_DIR/data.txt", "base")], "")
        .script(
            "upon",
            &[&install("$PREFIX/share/base.txt", "upon")],
            "requirements:\n  host: [base]\n",
        )
        .script(
            "tested",
            &[&install("$RECIPE_DIR/data.txt", "tested")],
            "tests:\n  - script:\n      - test -f $PREFIX/share/tested.txt\n",
        )
        .script("alone", &[&install("$RECIPE_DIR/data.txt", "alone")], "");
    workspace
}

/// Gives the next release something to do: everything, or a part.
fn change(workspace: &Workspace, moment: u32) {
    let changed: &[&str] = if moment.is_multiple_of(2) {
        &["base", "tested", "alone"]
    } else {
        &["base"]
    };
    for name in changed {
        workspace.write(format!("recipes/{name}/data.txt"), &format!("{moment}\n"));
    }
}

fn start(workspace: &Workspace) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = workspace
        .command(["release"])
        .process_group(0)
        // A killed process leaves its temporary files.
        .env("TMPDIR", workspace.beside("temporary"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map(Result::unwrap);
    (child, lines)
}

fn kill_at(workspace: &Workspace, random: &mut Random, kill: fn(Pid)) {
    let (mut child, mut lines) = start(workspace);
    let after = random.below(LINES);
    // A run that has ended before is one that is killed too late: also a moment.
    let _said = (0..after).map_while(|_| lines.next()).count();
    thread::sleep(Duration::from_micros(random.below(MICROSECONDS)));
    kill(Pid::from_child(&child));
    child.wait().unwrap();
}

/// Runs the command to its end, which must be a good one, and sees that nothing of the killed run is left by
/// the time its worker has begun.
fn continue_(workspace: &Workspace) {
    let killed = workspace.processes();
    let (mut child, mut lines) = start(workspace);
    let mut said = Vec::from_iter(lines.next());
    let alive = workspace.processes();
    for (pid, command) in killed {
        assert!(
            alive.get(&pid) != Some(&command),
            "{command} of the killed run is at work beside the next one"
        );
    }
    said.extend(lines);
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}\n{}", said.join("\n"));
    assert_eq!(workspace.processes(), [].into(), "nothing runs on");
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose moments.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}
