//! Sign and verify publish attestations of conda packages (CEP-27), many at once.
//!
//! [`sign`] attests a batch of packages under one short-lived certificate, and a [`Session`] the
//! release that they are part of as well; a [`Verifier`] judges
//! attestations by the rules of Sigstore, of CEP-27 and of a [`Policy`]; [`inspect`] shows what one
//! says. What is believed comes from a [`Trust`], who signs from an [`IdentitySource`].
//!
//! The cryptography is that of the `sigstore-*` crates. Added here is what they leave to their
//! callers: one certificate for many statements, time limits and repetition, the rules about
//! package and channel, and the strictness about everything in a bundle that nobody signed.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod artifact;
mod bundle;
mod bundle_shape;
mod certificate;
mod claims;
mod envelope_hash;
mod error;
mod http;
mod identity;
mod inspect;
mod log_entry;
mod pace;
mod package;
mod policy;
mod probe;
mod provenance;
mod provenance_rules;
mod rekor_v1;
mod release;
mod report;
mod retry;
mod services;
mod sign;
mod source;
mod source_attestation;
mod trust;
mod verdict;
mod verify;
mod write;

pub use artifact::{Refused, sign_statement};
pub use bundle::{bundles_in, read_bundle, read_bundles};
pub use claims::{Claims, Subject};
pub use error::Error;
pub use identity::{
    ActionsEndpoint, Environment, Identity, IdentitySource, IdentityToken, Person,
    ProcessEnvironment, Provider, Search, Sought, TokenFacts, TokenInput, find as find_identity,
};
pub use inspect::{Inspection, LogEntry, SigningTime, inspect};
pub use package::{Package, PackageFile};
pub use policy::{GITHUB_ISSUER, Github, Matcher, Policy, WholeRegex};
pub use probe::{Answer, Probe, probe};
pub use provenance::{BUILD_TYPE, BuildDefinition, PROVENANCE_TYPE};
pub use release::SignedRelease;
pub use report::{Event, Reporter};
pub use sign::{Session, SignOptions, Signed, SignedProvenance, ToSign, sign};
pub use source_attestation::{Publisher, fetch_source_bundles, verify_source};
pub use trust::{
    Freshness, PUBLIC_AUDIENCE, Purpose, SANDBOX_MARK, Trust, TrustOptions, TrustSource,
};
pub use verdict::{Check, CheckName, Evidence, Outcome, Predicate, Verdict};
pub use verify::Verifier;
