//! One file a command: its arguments, and what it does with them.

pub mod build;
pub mod completions;
pub mod doctor;
pub mod init;
pub mod inspect;
pub mod man;
pub mod merge;
pub mod plan;
pub mod policy;
pub mod publish;
pub mod release;
pub mod schema;
pub mod sign;
pub mod trust;
pub mod validate;
pub mod verify;
