//! Scripts that have ended while a process they left in the background holds their output open.
//!
//! rattler-build reads a script's output to its end, and would wait for such a process for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::{
    Leftover,
    family::{children, command},
};

const PAUSE: Duration = Duration::from_millis(500);
/// How many pauses a process may outlive its script: what is about to end is let end.
const PATIENCE: u32 = 6;
/// A variable that rattler-build gives to scripts, of builds and of tests.
const OF_A_SCRIPT: &[u8] = b"CONDA_BUILD_STATE=";

/// Watches the scripts of this process, a worker, as long as it lives. Ends what holds the output of an ended script open, and
/// calls `ended` with it.
pub(super) fn watch(mut ended: impl FnMut(Leftover) + Send + 'static) -> io::Result<()> {
    let watch = move || {
        let mut waits = BTreeMap::new();
        loop {
            std::thread::sleep(PAUSE);
            let scripts = scripts();
            let dead: BTreeSet<i32> = children()
                .filter(|(pid, is_dead)| *is_dead && scripts.contains(pid))
                .map(|(pid, _)| pid)
                .collect();
            waits.retain(|pid, _| dead.contains(pid));
            for &pid in &dead {
                *waits.entry(pid).or_insert(0) += 1;
            }
            if waits.values().any(|&pauses| pauses >= PATIENCE) {
                holders(&scripts).into_iter().for_each(|pid| {
                    let command = command(pid);
                    if end(pid) {
                        ended(Leftover {
                            pid: pid.unsigned_abs(),
                            command,
                        });
                    }
                });
            }
        }
    };
    std::thread::Builder::new()
        .name("background-watch".to_owned())
        .spawn(watch)
        .map(drop)
}

/// The processes that tokio started and has not reaped: it holds a pidfd of each. Orphans, which are children of this process
/// too, have none.
fn scripts() -> BTreeSet<i32> {
    entries(PathBuf::from("/proc/self/fdinfo"))
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .filter_map(|info| {
            info.lines()
                .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        })
        .collect()
}

/// The orphans of scripts that hold a pipe which this process reads, and which no running script holds.
fn holders(scripts: &BTreeSet<i32>) -> Vec<i32> {
    let mut pipes = pipes("self");
    for script in scripts {
        let held = self::pipes(&script.to_string());
        pipes.retain(|pipe| !held.contains(pipe));
    }
    children()
        .filter(|(pid, is_dead)| !is_dead && !scripts.contains(pid))
        .map(|(pid, _)| pid)
        .filter(|pid| is_of_a_script(*pid) && !self::pipes(&pid.to_string()).is_disjoint(&pipes))
        .collect()
}

fn is_of_a_script(pid: i32) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|&byte| byte == 0)
        .any(|variable| variable.starts_with(OF_A_SCRIPT))
}

/// The pipes that a process has open.
fn pipes(process: &str) -> BTreeSet<PathBuf> {
    entries(PathBuf::from(format!("/proc/{process}/fd")))
        .filter_map(|path| std::fs::read_link(path).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .collect()
}

fn entries(folder: PathBuf) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn end(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else {
        return false;
    };
    let killed = kill_process(pid, Signal::KILL).is_ok();
    if killed {
        // It is nobody's but ours to reap.
        let _reaped = waitpid(Some(pid), WaitOptions::empty());
    }
    killed
}
