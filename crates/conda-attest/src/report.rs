//! What signing reports while it runs.

use std::time::Duration;

use release_manifest::PackageKey;

use crate::{Signed, TokenFacts};

/// Receives what happens while a batch is signed, as it happens.
///
/// Called from the task that signs: it must not block.
pub trait Reporter: Send + Sync {
    /// Takes note of an event.
    fn report(&self, event: Event);
}

/// Reports to nobody.
impl Reporter for () {
    fn report(&self, _: Event) {}
}

/// Something that happened while a batch was signed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An identity token was found good: this is who signs. The certificate authority has not seen
    /// it yet.
    Identity(TokenFacts),
    /// A certificate for a new key was issued, the first or a renewed one.
    Certificate {
        /// Whose it is: its subject alternative name.
        identity: String,
        /// Who vouches for the identity.
        issuer: String,
        /// Until when it can sign.
        not_after: jiff::Timestamp,
    },
    /// A package has a verified attestation beside it.
    Signed {
        /// The package.
        file: PackageKey,
        /// Its attestation.
        signed: Signed,
        /// How long it took, hashing and verifying included.
        milliseconds: u64,
    },
    /// A package could not be attested; the others go on.
    Failed {
        /// The package.
        file: PackageKey,
        /// The [code](crate::Error::code) of the error.
        code: &'static str,
        /// The error with its causes.
        message: String,
    },
    /// A request failed in passing and is repeated.
    Retrying {
        /// The package it is for; a certificate is for all of them.
        file: Option<PackageKey>,
        /// What was asked for.
        what: &'static str,
        /// Which attempt failed, counted from 1.
        attempt: u32,
        /// How long until the next one.
        after: Duration,
        /// Why it failed.
        reason: String,
    },
}
