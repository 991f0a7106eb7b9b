//! What real clients do with the sandbox, and what it does to bad ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod faults;
mod life;
mod refusals;
mod rekor_v1;
mod signing;
