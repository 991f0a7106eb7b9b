//! What the users of plan, manifest and journal rely on, by the public interface alone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod carry_over;
mod journal;
mod manifest;
mod merge;
mod names;
mod plan;
mod release_statement;
mod samples;
mod schemas;
mod shards;
mod transitions;
