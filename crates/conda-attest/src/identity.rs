//! Who signs: identity tokens, and where they come from.

mod actions;
mod command;
mod find;
mod input;
mod interactive;
mod provider;
mod redirect;
mod token;

use async_trait::async_trait;

pub use actions::ActionsEndpoint;
pub use find::{Identity, Search, Sought, find};
pub use input::TokenInput;
pub use interactive::Person;
pub use provider::{Environment, ProcessEnvironment, Provider};
pub use token::{IdentityToken, TokenFacts};

use crate::Error;

/// Where identity tokens come from.
///
/// Asked once when a batch begins and again for each renewal of its certificate, since tokens often
/// live shorter than a batch.
#[async_trait]
pub trait IdentitySource: Send + Sync {
    /// A token that is valid now.
    ///
    /// # Errors
    /// When none can be had; [`Error::CannotRenew`] when one was at hand, and has ended.
    async fn token(&self) -> Result<IdentityToken, Error>;
}

#[cfg(test)]
mod tests;
