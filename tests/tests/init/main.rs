//! `init`: what it writes into a repository, what it leaves alone, and that a release comes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod changes;
mod figure;
mod monorepo;
mod recipes;
mod workflows;
