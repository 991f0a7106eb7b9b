//! Processes that come from a worker, on Linux.
//!
//! The release and the worker are both child subreapers: a process whose parent dies becomes their child, so that whatever it
//! did (a double fork, a session of its own) it stays a descendant. The worker leads a session of its own, which no process of
//! it can leave for the release's: that tells them from the children the release has for itself.

use std::{collections::BTreeMap, io, time::Duration};

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper,
    set_dumpable_behavior, setsid, waitpid,
};

use super::Leftover;

/// How often processes are looked for until none is left, and the pause between: five seconds in all. A process in the kernel
/// (a dead network file system) cannot be killed; it must not hold the release for ever.
const ROUNDS: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(5);

/// Makes this process the keeper of whatever its workers leave behind, and closes its memory and its environment to other
/// processes of the same user. Called once, when the release begins.
///
/// # Errors
/// The kernel refuses.
pub fn guard_parent() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Ends every process that a worker of this process left running, and says which. To be called while no worker runs.
pub fn end_leftovers() -> Vec<Leftover> {
    let Some(Process { session: own, .. }) = process(getpid().as_raw_nonzero().get()) else {
        return Vec::new();
    };
    end(|| {
        descendants(getpid())
            .into_iter()
            .filter(|process| process.session != own)
            .collect()
    })
}

/// Makes this process, a worker, the keeper of all that it starts, in a session of its own.
pub(super) fn lead() -> io::Result<()> {
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    Ok(())
}

/// Ends all descendants of this process.
pub(super) fn end_own() {
    let _ended: Vec<Leftover> = end(|| descendants(getpid()));
}

/// Ends the worker `pid` and all its descendants.
pub(super) fn end_worker(pid: u32) {
    let Some(worker) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    // Stopped, it starts nothing more and keeps its orphans; nobody is left of them when it is killed.
    let _gone_already: rustix::io::Result<()> = kill_process(worker, Signal::STOP);
    let _ended: Vec<Leftover> = end(|| {
        descendants(worker)
            .into_iter()
            .filter(|process| !process.is_dead)
            .collect()
    });
    let _gone_already: rustix::io::Result<()> = kill_process(worker, Signal::KILL);
    // Who goes on finds nothing of it at work: neither its lock nor a process that is still dying.
    for _ in 0..ROUNDS {
        match waitpid(Some(worker), WaitOptions::NOHANG) {
            Ok(None) => std::thread::sleep(PAUSE),
            Ok(Some(_)) | Err(_) => break,
        }
    }
}

#[derive(Clone, Debug)]
struct Process {
    pid: i32,
    parent: i32,
    /// 0 where its leader is outside of this process's PID namespace, as a container's init often finds itself.
    session: i32,
    is_dead: bool,
}

/// Kills and reaps what `select` finds until it finds nothing.
fn end(select: impl Fn() -> Vec<Process>) -> Vec<Leftover> {
    let mut ended = BTreeMap::new();
    for _ in 0..ROUNDS {
        let found = select();
        if found.is_empty() {
            break;
        }
        for Process {
            pid: raw, is_dead, ..
        } in found
        {
            let Some(pid) = Pid::from_raw(raw) else {
                continue;
            };
            if is_dead {
                // Ours by inheritance, or about to be.
                let _reaped = waitpid(Some(pid), WaitOptions::NOHANG);
            } else {
                ended.entry(raw).or_insert_with(|| command(raw));
                let _gone_already: rustix::io::Result<()> = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(PAUSE);
    }
    ended
        .into_iter()
        .map(|(pid, command)| Leftover {
            pid: pid.unsigned_abs(),
            command,
        })
        .collect()
}

/// Every process below `root`, in no order.
fn descendants(root: Pid) -> Vec<Process> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in processes() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut open = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            open.push(process.pid);
            found.push(process);
        }
    }
    found
}

/// The children of this process, and whether they are dead.
pub(super) fn children() -> impl Iterator<Item = (i32, bool)> {
    let own = getpid().as_raw_nonzero().get();
    processes()
        .into_iter()
        .filter(move |process| process.parent == own)
        .map(|process| (process.pid, process.is_dead))
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(process)
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    parse_stat(
        pid,
        &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?,
    )
}

/// proc_pid_stat(5): `pid (name) state ppid pgrp session …`; the name may contain anything, also `) R 1 1 1`.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        session,
        is_dead,
    })
}

/// The command line of a process, or its name where it has none.
pub(super) fn command(pid: i32) -> String {
    let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = read("cmdline");
    let line = if line.is_empty() { read("comm") } else { line };
    let words: Vec<_> = line
        .split(|&byte| byte == 0 || byte == b'\n')
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_other_fields() {
        let process = parse_stat(7, "7 (a) Z 1 1 1 () S 42 43 44 0 -1").unwrap();
        assert_eq!(
            (process.parent, process.session, process.is_dead),
            (42, 44, false)
        );
    }

    #[test]
    fn descendants_are_found_whatever_their_depth() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 1000 & wait"])
            .spawn()
            .unwrap();
        let of_child = || descendants(Pid::from_child(&child));
        // Between fork and exec it still bears the shell's name.
        while of_child()
            .first()
            .is_none_or(|process| command(process.pid) != "sleep 1000")
        {
            std::thread::yield_now();
        }
        assert!(
            descendants(getpid())
                .iter()
                .any(|process| process.pid == of_child()[0].pid)
        );
        let grandchild = of_child()[0].pid;
        assert_eq!(
            end(of_child),
            [Leftover {
                pid: grandchild.unsigned_abs(),
                command: "sleep 1000".to_owned()
            }]
        );
        child.wait().unwrap();
    }
}
