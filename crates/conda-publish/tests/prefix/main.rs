//! Publishing to prefix.dev and to GitHub's attestation store, against servers that check every part of a request.
//!
//! Packages are attested by the sandbox, and the servers verify that with code which is not ours.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod conflicts;
mod faults;
mod github;
mod streaming;
mod support;
mod trusted_publishing;
mod upload;
mod upstream;
