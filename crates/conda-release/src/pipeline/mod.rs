//! The phases of a release, in their order: plan, check what an earlier run left, build, sign, publish.
//!
//! Each phase takes the `Release` as the earlier ones left it, records every step, and
//! decides nothing that the plan decides.

mod building;
mod checking;
mod outcome;
mod planning;
mod publishing;
mod records;
mod signing;
mod summary;
mod worker;

pub use planning::{BuildFlags, PlanFlags};

pub(crate) use building::build;
pub(crate) use checking::{check, hash};
pub(crate) use outcome::{outcome, reached};
pub(crate) use planning::{Change, Planning, count, live_is_not_available, plan_table};
pub(crate) use publishing::{failed, line, publish, upload};
pub(crate) use signing::{
    REHEARSAL_TRUST, rehearsal_identity, rehearsal_trust, sign, with_sandbox,
};
pub(crate) use summary::{next_steps, packages_table};
pub(crate) use worker::worker;
