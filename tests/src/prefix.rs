//! A played server like prefix.dev that takes packages from who has its key, and their attestations from the real Sigstore.

use std::collections::BTreeMap;

use channel_servers::prefix::{Access, PrefixOptions, PrefixServer};

use crate::sigstore::Sigstore;

/// The key of a [`prefix_server`] that may write.
pub const PREFIX_KEY: &str = "key-of-acme";

/// Starts the server; `known_as` is the origin that it is reached at, where something stands before it.
///
/// # Panics
/// It does not start.
pub async fn prefix_server(sigstore: &Sigstore, known_as: Option<String>) -> PrefixServer {
    PrefixServer::start(PrefixOptions {
        trusted_root: Some(sigstore.trusted_root()),
        requires_attestation: true,
        api_keys: BTreeMap::from([(PREFIX_KEY.to_owned(), Access::Write)]),
        known_as,
        ..PrefixOptions::default()
    })
    .await
}
