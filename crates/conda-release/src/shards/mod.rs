//! Many machines: what the job that plans, those that build and the one that merges have in common.
//!
//! The job that plans writes plan and assignment ([`PlanningArgs`]). Each build job follows them
//! ([`Assignment`]) and hands over a folder with its manifest, its packages and their logs
//! ([`hand_over`]); later jobs take from it what the assignment gave it to build ([`read_all`]).
//! Digests come from the jobs themselves, not with the folders ([`DigestArgs`]).

mod assignment;
mod copy;
mod digests;
mod handed;
mod handing;
mod planning;

pub(crate) use assignment::Assignment;
pub(crate) use digests::DigestArgs;
pub(crate) use handed::read_all;
pub(crate) use handing::hand_over;
pub(crate) use planning::PlanningArgs;

use crate::{actions::Outputs, error::Error};

/// The plan's file in a folder.
const PLAN: &str = "plan.json";
/// The assignment's file, beside the plan's.
const SHARDS: &str = "shards.json";
/// The manifest's file in a folder that was handed over.
const MANIFEST: &str = "release-manifest.json";

/// Tells later jobs digests and matrices, as outputs of the step where it can have any. Without them they would have to
/// believe artifacts, so that what cannot be told is an error.
///
/// # Errors
/// The file for outputs cannot be written.
pub(crate) fn tell_jobs<'a>(
    outputs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), Error> {
    match Outputs::detect() {
        Some(file) => file
            .set(outputs)
            .map_err(Error::output("write", file.path())),
        None => Ok(()),
    }
}
