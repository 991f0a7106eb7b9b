//! The worker process of this run.

use std::{ffi::OsString, path::PathBuf};

use conda_recipes::worker::{Worker, WorkerEnvironment};

use crate::{error::Error, workspace::Workspace};

/// This very program, to be run again as the worker, with the environment that recipes may see.
///
/// # Errors
/// `pass-env` names a variable that no recipe may see, or this program's file cannot be found.
pub(crate) fn worker(workspace: &Workspace) -> Result<Worker, Error> {
    let program = this_program()?;
    let environment = WorkerEnvironment::from_process(&workspace.config().build.pass_env)?;
    Ok(Worker::new(
        program,
        vec![OsString::from("__worker")],
        environment,
    ))
}

/// On Linux also when the file was replaced while this process runs, as cargo does when it rebuilds
/// an `xtask`: release and worker are of one build, or do not understand each other.
fn this_program() -> Result<PathBuf, Error> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe().map_err(Error::output("find", "the program itself"))
}
