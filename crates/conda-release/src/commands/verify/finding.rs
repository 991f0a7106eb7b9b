//! What is found of a package, under names that scripts can rely on.

use std::fmt;

use cep27::Rule;
use conda_attest::{Outcome, Predicate, Verdict};
use serde::{Deserialize, Serialize};

/// What is found of a package. Of several attestations, the one that comes nearest to proving it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Finding {
    /// An attestation passes every check.
    Verified,
    /// There is none, and the baseline of the one who verifies has the package so.
    Historic,
    /// An attestation passes every check, but was signed before attestations count.
    SignedBefore,
    /// An attestation is good, but made for another channel.
    OtherChannel,
    /// An attestation is good, but not by whom the policy accepts.
    OtherIdentity,
    /// An attestation is of another package.
    OtherPackage,
    /// There is an attestation that cannot be had or does not verify.
    InvalidAttestation,
    /// There is none.
    NoAttestation,
    /// There is none, and only the channel says that the package is from before there were any.
    UnprovenAge,
    /// There is none any more: these bytes had one when they were verified last.
    AttestationRemoved,
    /// The package cannot be had, or not with the hash that is recorded for it.
    Unavailable,
}

impl Finding {
    /// Of a package with these attestations, of which there is at least one.
    pub(super) fn of(verdicts: &[Verdict]) -> Self {
        let findings = verdicts.iter().map(of_one);
        findings.min().unwrap_or(Self::NoAttestation)
    }

    /// The stable name.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Historic => "historic",
            Self::SignedBefore => "signed_before",
            Self::OtherChannel => "other_channel",
            Self::OtherIdentity => "other_identity",
            Self::OtherPackage => "other_package",
            Self::InvalidAttestation => "invalid_attestation",
            Self::NoAttestation => "no_attestation",
            Self::UnprovenAge => "unproven_age",
            Self::AttestationRemoved => "attestation_removed",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether there was no attestation, and nobody can tell that there ever was one.
    pub(super) fn is_without(self) -> bool {
        matches!(
            self,
            Self::NoAttestation | Self::UnprovenAge | Self::Historic
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

fn of_one(verdict: &Verdict) -> Finding {
    let failed: Vec<&str> = verdict
        .checks
        .iter()
        .filter(|check| matches!(check.result, Outcome::Failed { .. }))
        .map(|check| check.code)
        .collect();
    let violations = &verdict.violations;
    let unmatched = !violations.is_empty() && violations.iter().all(|it| it.rule == Rule::Match);
    let only_channel = unmatched && violations.iter().all(|it| is_of_channel(it.code));
    match failed.as_slice() {
        [] if verdict.predicate == Predicate::Publish => Finding::Verified,
        // That it was built says nobody published it.
        [] => Finding::NoAttestation,
        failed if failed.contains(&"package") => Finding::Unavailable,
        ["identity"] => Finding::OtherIdentity,
        ["identity", "statement"] if only_channel => Finding::OtherIdentity,
        ["statement"] if only_channel => Finding::OtherChannel,
        ["statement"] if unmatched => Finding::OtherPackage,
        _ => Finding::InvalidAttestation,
    }
}

/// Whether a violation of CEP-27's rule 8 is about the channel.
fn is_of_channel(code: &str) -> bool {
    matches!(code, "channel_mismatch" | "channel_absent")
}
