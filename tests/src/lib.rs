//! End-to-end tests of conda-release: the built program, run as a user runs it.
//!
//! This library is what the tests in `tests/` share: a [`Workspace`] with recipes in a temporary
//! folder, the program run in it, and readers for what the program leaves behind. Nothing here
//! reaches a network: the program runs behind a proxy that does not exist, for all but loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attested;
mod browser;
mod gate;
mod outputs;
mod prefix;
mod privilege;
mod process;
mod redact;
mod server;
mod sigstore;
mod state;
mod tree;
mod workspace;

pub use attested::{Attested, write_package};
pub use browser::Browser;
pub use gate::Gate;
pub use outputs::step_outputs;
pub use prefix::{PREFIX_KEY, prefix_server};
pub use privilege::{Mount, in_namespace};
pub use process::{Output, Running, program, within};
pub use redact::redact;
pub use server::{Answer, Seen, Server};
pub use sigstore::{COMMIT, IDENTITY, Sigstore};
pub use state::Footprint;
pub use tree::write_tree;
pub use workspace::{REHEARSAL, Workspace, repodata};
