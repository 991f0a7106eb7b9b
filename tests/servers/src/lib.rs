//! Servers for tests: the protocols of channels that cannot be installed, on loopback.
//!
//! Each checks every header, field, part and hash of what it is sent, answers with the statuses that the real one
//! documents, and keeps what it took so that clients can read it. A request that breaks the protocol is recorded: a
//! test ends by asking for [`complaints`](https://en.wikipedia.org/wiki/Design_by_contract).

pub mod program;
pub mod toxiproxy;
pub mod versitygw;
