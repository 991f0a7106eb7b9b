//! The rules against the raw text of a statement or predicate.

use serde_json::Value;

use crate::json::read_json;
use crate::package_match::check_match;
use crate::statement_rules::{Reading, check_predicate, check_statement};
use crate::violation::{Violation, Violations, describe};
use crate::{FileName, Rule, Sha256, Subdir};

/// Most bytes of a statement or predicate.
pub const STATEMENT_LIMIT: usize = 1 << 20;

/// What a statement says that keeps CEP-27's rules.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ValidStatement {
    /// The package's file name.
    pub file: FileName,
    /// The package's digest.
    pub sha256: Sha256,
    /// The channel as attested, if any. Any URL that CEP-27 allows, which is more than a
    /// [`TargetChannel`](crate::TargetChannel): print it through [`printable`](crate::printable).
    pub target_channel: Option<String>,
}

/// What a verifier knows of a package before it reads the attestation (CEP-27 rule 8).
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The package's file name, as in repodata.
    pub file: &'a FileName,
    /// The digest of the package's bytes.
    pub sha256: Sha256,
    /// The channel that the package comes from or goes to; a trailing slash does not matter.
    /// `None` where any channel will do, as for a mirror.
    pub channel: Option<&'a str>,
    /// The package's subdir; serves to explain a channel that wrongly ends in it.
    pub subdir: Option<Subdir>,
}

/// Checks the raw text of a statement against CEP-27 rules 1 to 7.
///
/// Members that the rules do not name are ignored, as in-toto asks. The hexadecimal digits of the
/// digest must be lower-case, since rule 5 asks for a DigestSet and in-toto defines that so.
///
/// # Errors
/// Every violation, in the order of reading. Never panics; a text of more than
/// [`STATEMENT_LIMIT`] bytes or beyond the limits of [`check_json`](crate::check_json) is refused.
pub fn validate_statement(json: &[u8]) -> Result<ValidStatement, Vec<Violation>> {
    validate(json, |_, _| {})
}

/// Checks the raw text of a statement against CEP-27 rules 1 to 7, and against a package and its
/// channel (rule 8). Clients and servers verify with this same function (rule 9).
///
/// With a channel given, a statement that names none or another is refused; the codes
/// `channel_absent` and `channel_mismatch` tell these from a broken MUST.
///
/// # Errors
/// Every violation, as [`validate_statement`].
pub fn validate_against(
    json: &[u8],
    expected: &Expected<'_>,
) -> Result<ValidStatement, Vec<Violation>> {
    validate(json, |reading, violations| {
        check_match(reading, expected, violations)
    })
}

/// Checks the raw text of a predicate by itself against CEP-27 rules 6 and 7.
///
/// # Errors
/// Every violation, with pointers into the predicate.
pub fn validate_predicate(json: &[u8]) -> Result<(), Vec<Violation>> {
    let (value, mut violations) = read_json(json, STATEMENT_LIMIT);
    check_predicate(value.as_ref(), "", &mut violations);
    if violations.is_empty() {
        Ok(())
    } else {
        Err(violations.into_list())
    }
}

fn validate(
    json: &[u8],
    check_further: impl FnOnce(&Reading<'_>, &mut Violations),
) -> Result<ValidStatement, Vec<Violation>> {
    let (value, mut violations) = read_json(json, STATEMENT_LIMIT);
    let reading = match &value {
        Some(Value::Object(statement)) => {
            let reading = check_statement(statement, &mut violations);
            check_further(&reading, &mut violations);
            reading
        }
        Some(other) => {
            let found = describe(Some(other));
            violations.push(Rule::StatementType.broken(
                "statement_type",
                "",
                "an in-toto statement, an object",
                found,
            ));
            Reading::default()
        }
        None => Reading::default(),
    };
    let file = reading.name.and_then(|name| name.parse().ok());
    let sha256 = reading.digest.and_then(|digest| digest.parse().ok());
    match (file, sha256) {
        (Some(file), Some(sha256)) if violations.is_empty() => {
            let target_channel = reading.channel.map(str::to_owned);
            Ok(ValidStatement {
                file,
                sha256,
                target_channel,
            })
        }
        _ => Err(violations.into_list()),
    }
}
