//! Bundles that somebody made up, took apart or put together: each is refused, by the check whose
//! business it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod forger;
mod random;
mod statements;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod text;
