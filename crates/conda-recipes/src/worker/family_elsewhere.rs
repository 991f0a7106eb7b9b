//! Processes that come from a worker, on systems that don't tell who descends from whom. Less than on Linux: see
//! [`worker`](super).

use std::io;

use super::Leftover;

/// Does nothing here.
///
/// # Errors
/// None.
pub fn guard_parent() -> io::Result<()> {
    Ok(())
}

/// Finds nothing here.
pub fn end_leftovers() -> Vec<Leftover> {
    Vec::new()
}

/// Makes this process, a worker, lead a session, and with it a process group, of its own.
pub(super) fn lead() -> io::Result<()> {
    #[cfg(unix)]
    rustix::process::setsid()?;
    Ok(())
}

/// Ends this process's group, this process included.
pub(super) fn end_own() {
    #[cfg(unix)]
    {
        let own = rustix::process::getpgrp();
        let _gone_already = rustix::process::kill_process_group(own, rustix::process::Signal::KILL);
    }
}

/// Ends the worker's group.
pub(super) fn end_worker(pid: u32) {
    #[cfg(unix)]
    if let Some(worker) = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
    {
        let _gone_already =
            rustix::process::kill_process_group(worker, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = pid;
}
