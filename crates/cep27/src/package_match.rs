//! CEP-27 rule 8: whether a statement is about the package at hand.

use url::Url;

use crate::statement_rules::Reading;
use crate::violation::{Violations, quote};
use crate::{Expected, Rule, Subdir};

/// Rule 8. The predicate type has been checked by rule 2.
pub(crate) fn check_match(
    reading: &Reading<'_>,
    expected: &Expected<'_>,
    violations: &mut Violations,
) {
    if let Some(name) = reading.name.filter(|name| *name != expected.file.as_str()) {
        violations.push(Rule::Match.broken(
            "name_mismatch",
            "/subject/0/name",
            format!("the package's file name {}", quote(expected.file.as_str())),
            quote(name),
        ));
    }
    let digest = expected.sha256.to_string();
    if let Some(found) = reading
        .digest
        .filter(|found| !found.eq_ignore_ascii_case(&digest))
    {
        violations.push(Rule::Match.broken(
            "digest_mismatch",
            "/subject/0/digest/sha256",
            format!("the package's digest {}", quote(&digest)),
            quote(found),
        ));
    }
    if let Some(channel) = expected.channel {
        check_channel_match(reading.channel, channel, expected.subdir, violations);
    }
}

fn check_channel_match(
    attested: Option<&str>,
    channel: &str,
    subdir: Option<Subdir>,
    violations: &mut Violations,
) {
    let channel = channel.trim_end_matches('/');
    let expected = format!("the package's channel {}", quote(channel));
    let pointer = "/predicate/targetChannel";
    match attested {
        None => violations.push(Rule::Match.broken("channel_absent", pointer, expected, "nothing")),
        Some(attested) if is_same_channel(attested, channel) => {}
        Some(attested) => {
            let ends_in_subdir = subdir
                .is_some_and(|subdir| is_same_channel(attested, &format!("{channel}/{subdir}")));
            let explanation =
                ends_in_subdir.then_some("the channel is attested by its URL, without the subdir");
            let violation =
                Rule::Match.broken("channel_mismatch", pointer, expected, quote(attested));
            violations.push(violation.because(explanation));
        }
    }
}

/// Whether two channels are one by the rules of URLs: scheme and host in any case, default port.
fn is_same_channel(a: &str, b: &str) -> bool {
    match (
        Url::parse(a.trim_end_matches('/')),
        Url::parse(b.trim_end_matches('/')),
    ) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
