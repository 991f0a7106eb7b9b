//! Servers for tests: the protocols of channels that cannot be installed, on loopback.
//!
//! Each checks every header, field, part and hash of what it is sent, answers with the statuses that the real one
//! documents, and keeps what it took so that clients can read it. A request that breaks the protocol is recorded: a
//! test ends by asking for [`complaints`](https://en.wikipedia.org/wiki/Design_by_contract).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a server for tests fails them loudly"
)]

mod attestation;
mod elsewhere;
mod fault;
mod faulty;
mod listen;
mod shelf;

pub mod anaconda;
pub mod artifactory;
pub mod cloudsmith;
pub mod github;
pub mod package;
pub mod prefix;
pub mod program;
pub mod quetz;
pub mod toxiproxy;
pub mod versitygw;
pub mod way;

pub use elsewhere::{Elsewhere, Seen};
pub use fault::{Fault, Faults, Hold};
pub use faulty::{Faulty, SelfSigned};
pub use shelf::Shelf;
