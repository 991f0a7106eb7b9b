//! Planning, from recipe files to the plan. Nothing here reaches a network: no recipe has a channel.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cargo;
mod edges;
mod errors;
mod fingerprints;
mod inputs;
mod outputs;
mod sources;
mod workspace;
