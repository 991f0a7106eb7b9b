//! CEP-27 publish attestations for conda packages.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod error;
mod file_name;
mod sha256;
mod subdir;
mod target_channel;
mod text;

pub use error::NameError;
pub use file_name::{FileName, Format};
pub use sha256::Sha256;
pub use subdir::Subdir;
pub use target_channel::TargetChannel;
pub use text::printable;
