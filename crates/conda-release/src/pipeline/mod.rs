//! The phases of a release, in their order: plan, check what an earlier run left, build, sign, publish.
//!
//! Each phase takes the `Release` as the earlier ones left it, records every step, and
//! decides nothing that the plan decides.

mod building;
mod checking;
mod decisions;
mod numbering;
mod outcome;
mod plan_table;
mod planning;
mod published;
mod publishing;
mod records;
mod seeing;
mod selection;
mod signing;
mod source_attestations;
mod summary;
mod uploading;
mod whole;
mod worker;

pub use planning::{BuildFlags, PlanFlags};
pub use selection::SelectionFlags;

pub(crate) use building::{Part, build, build_part};
pub(crate) use checking::{Known, check, check_unpublished, hash, served_from};
pub(crate) use decisions::{Action, There, decide, listed, unplanned};
pub(crate) use outcome::{hold_back, outcome, outcome_of, reached, ready};
pub(crate) use plan_table::plan_table;
pub(crate) use planning::Planning;
pub(crate) use published::{Published, add_published, report_changed};
pub(crate) use publishing::{
    PublishOptions, failed, line, publish, publish_to, take_back, upload, upload_all,
};
pub(crate) use seeing::{Made, Wanted, is_final, see};
pub(crate) use selection::Selection;
pub(crate) use signing::{
    REHEARSAL_TRUST, rehearsal_identity, rehearsal_trust, sign, sign_as, wants_attestation,
    with_sandbox,
};
pub(crate) use source_attestations::SourceTrust;
pub(crate) use summary::{next_steps, next_steps_live, packages_table, quoted, trust_option};
pub(crate) use uploading::{Fate, Item};
pub(crate) use whole::{
    add_to_assets, publish as publish_whole, require as require_whole, waits as whole_waits,
};
pub(crate) use worker::worker;
