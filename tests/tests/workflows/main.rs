//! The workflows that we give others, run: the scripts of their jobs, in order, each job in a folder of its own with what
//! others handed it. GitHub is played, its Sigstore is real, and so are channel, program and packages.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod act;
mod actions;
mod adopted;
mod examples;
mod expression;
mod gitlab;
mod identity_rules;
mod machine;
mod model;
mod private;
mod refused;
mod released;
mod rules;
mod runner;
mod scene;
