//! CEP-27 rules 1 to 7: what a statement must look like by itself.

use serde_json::{Map, Value};
use url::Url;

use crate::file_name::file_name_problems;
use crate::json::segment;
use crate::target_channel::CHANNEL_LIMIT;
use crate::violation::{Violations, describe, quote};
use crate::{NameError, PREDICATE_TYPE, Rule, STATEMENT_TYPE, Sha256};

/// What could be read of a statement, right or wrong.
#[derive(Default)]
pub(crate) struct Reading<'a> {
    /// The first subject's name.
    pub(crate) name: Option<&'a str>,
    /// The first subject's SHA-256.
    pub(crate) digest: Option<&'a str>,
    /// The target channel.
    pub(crate) channel: Option<&'a str>,
}

/// Rules 1 to 7.
pub(crate) fn check_statement<'a>(
    statement: &'a Map<String, Value>,
    violations: &mut Violations,
) -> Reading<'a> {
    check_statement_type(statement.get("_type"), violations);
    check_predicate_type(statement.get("predicateType"), violations);
    let (name, digest) = check_subjects(statement.get("subject"), violations);
    let channel = check_predicate(statement.get("predicate"), "/predicate", violations);
    Reading {
        name,
        digest,
        channel,
    }
}

/// The code for a member that is not there, or for one of the wrong type.
fn missing_or(
    value: Option<&Value>,
    missing: &'static str,
    wrong_type: &'static str,
) -> &'static str {
    if value.is_none() { missing } else { wrong_type }
}

/// Rule 1.
fn check_statement_type(value: Option<&Value>, violations: &mut Violations) {
    const POINTER: &str = "/_type";
    match value.and_then(Value::as_str) {
        Some(STATEMENT_TYPE) => {}
        Some("https://in-toto.io/Statement/v0.1") => violations.push(
            Rule::StatementType
                .broken(
                    "statement_v0_1",
                    POINTER,
                    quote(STATEMENT_TYPE),
                    "the older `https://in-toto.io/Statement/v0.1`",
                )
                .because(
                    "older cosign releases write in-toto Statement v0.1, which CEP-27 does not \
                 allow: attest the package again with a client that writes v1",
                ),
        ),
        _ => violations.push(Rule::StatementType.broken(
            "statement_type",
            POINTER,
            quote(STATEMENT_TYPE),
            describe(value),
        )),
    }
}

/// Rule 2.
fn check_predicate_type(value: Option<&Value>, violations: &mut Violations) {
    let explanation = match value.and_then(Value::as_str) {
        Some(PREDICATE_TYPE) => return,
        Some("https://schemas.conda.org/attestations/publish/v1") => Some(
            "drafts of CEP-27 had this type; the accepted CEP has another: attest the package again",
        ),
        Some(other) if other.starts_with("https://slsa.dev/provenance/") => Some(
            "this is build provenance, which says how a package was built; CEP-27 wants a publish \
             attestation, which says where it is published",
        ),
        _ => None,
    };
    let violation = Rule::PredicateType.broken(
        "predicate_type",
        "/predicateType",
        quote(PREDICATE_TYPE),
        describe(value),
    );
    violations.push(violation.because(explanation));
}

/// Rules 3, 4 and 5; returns name and digest of the first subject.
fn check_subjects<'a>(
    value: Option<&'a Value>,
    violations: &mut Violations,
) -> (Option<&'a str>, Option<&'a str>) {
    const POINTER: &str = "/subject";
    const EXPECTED: &str = "an array of a single subject";
    let Some(Value::Array(subjects)) = value else {
        let code = missing_or(value, "subject_missing", "subject_type");
        violations.push(Rule::SingleSubject.broken(code, POINTER, EXPECTED, describe(value)));
        return (None, None);
    };
    match subjects.len() {
        0 => violations.push(Rule::SingleSubject.broken("subject_none", POINTER, EXPECTED, "none")),
        1 => {}
        count => violations.push(
            Rule::SingleSubject
                .broken(
                    "subject_many",
                    POINTER,
                    EXPECTED,
                    format!("{count} subjects"),
                )
                .because(
                    "actions/attest writes all files that the glob in `subject-path` matches into \
                 one statement; CEP-27 wants one attestation a package: attest each file by itself",
                ),
        ),
    }
    let mut first = (None, None);
    for (index, subject) in subjects.iter().enumerate() {
        let pointer = format!("{POINTER}/{index}");
        let Value::Object(subject) = subject else {
            let found = describe(Some(subject));
            violations.push(Rule::SingleSubject.broken(
                "descriptor_type",
                pointer,
                "a resource descriptor, an object",
                found,
            ));
            continue;
        };
        let name = check_name(subject.get("name"), format!("{pointer}/name"), violations);
        let digest = check_digest(
            subject.get("digest"),
            &format!("{pointer}/digest"),
            violations,
        );
        if index == 0 {
            first = (name, digest);
        }
    }
    first
}

/// Rule 4.
fn check_name<'a>(
    value: Option<&'a Value>,
    pointer: String,
    violations: &mut Violations,
) -> Option<&'a str> {
    let Some(Value::String(name)) = value else {
        let code = missing_or(value, "name_missing", "name_type");
        violations.push(Rule::SubjectName.broken(
            code,
            pointer,
            "the package's full file name",
            describe(value),
        ));
        return None;
    };
    let explanation = name
        .contains(['/', '\\'])
        .then_some("the name is the file name alone, without folder or URL");
    for problem in file_name_problems(name) {
        let (code, expected, found) = match problem {
            NameError::FileNameLength { length, limit } => (
                "file_name_length",
                format!("at most {limit} characters"),
                format!("{length}"),
            ),
            NameError::PartLength {
                part,
                length,
                limit,
            } => {
                let code = part_code(part, "name_length", "version_length", "build_length");
                (
                    code,
                    format!("a {part} of 1 to {limit} characters"),
                    format!("{length}"),
                )
            }
            NameError::Part {
                part,
                expected,
                found,
            } => {
                let code = part_code(part, "name_form", "version_form", "build_form");
                (
                    code,
                    format!("a {part} of {expected}"),
                    format!("`{found}`"),
                )
            }
            NameError::Extension { .. } => (
                "extension",
                "a file name ending in `.conda` or `.tar.bz2`".to_owned(),
                quote(name),
            ),
            _ => (
                "name_parts",
                "`name-version-build` with an extension".to_owned(),
                quote(name),
            ),
        };
        let violation = Rule::SubjectName.broken(code, &*pointer, expected, found);
        violations.push(violation.because(explanation));
    }
    Some(name)
}

fn part_code(
    part: &str,
    name: &'static str,
    version: &'static str,
    build: &'static str,
) -> &'static str {
    match part {
        "name" => name,
        "version" => version,
        _ => build,
    }
}

/// Rule 5.
fn check_digest<'a>(
    value: Option<&'a Value>,
    pointer: &str,
    violations: &mut Violations,
) -> Option<&'a str> {
    const EXPECTED: &str = "a SHA-256 of 64 lower-case hexadecimal characters";
    let Some(Value::Object(digests)) = value else {
        let code = missing_or(value, "digest_missing", "digest_type");
        let expected = "an object with the single entry `sha256`";
        violations.push(Rule::SubjectDigest.broken(code, pointer, expected, describe(value)));
        return None;
    };
    for algorithm in digests.keys().filter(|algorithm| *algorithm != "sha256") {
        violations.push(Rule::SubjectDigest.broken(
            "digest_extra",
            format!("{pointer}{}", segment(algorithm)),
            "`sha256` as the single entry",
            quote(algorithm),
        ));
    }
    let value = digests.get("sha256");
    let pointer = format!("{pointer}/sha256");
    let Some(Value::String(digest)) = value else {
        let code = missing_or(value, "sha256_missing", "sha256_type");
        violations.push(Rule::SubjectDigest.broken(code, pointer, EXPECTED, describe(value)));
        return None;
    };
    if digest.parse::<Sha256>().is_err() {
        let is_upper = digest.to_ascii_lowercase().parse::<Sha256>().is_ok();
        let (code, explanation) = if is_upper {
            (
                "sha256_case",
                Some("in-toto defines the digests of a DigestSet as lower-case"),
            )
        } else if digest.starts_with("sha256:") {
            (
                "sha256_form",
                Some("the algorithm is the key; the value is the digest alone"),
            )
        } else {
            ("sha256_form", None)
        };
        let violation = Rule::SubjectDigest.broken(code, pointer, EXPECTED, quote(digest));
        violations.push(violation.because(explanation));
    }
    Some(digest)
}

/// Rules 6 and 7; returns the channel.
pub(crate) fn check_predicate<'a>(
    value: Option<&'a Value>,
    pointer: &str,
    violations: &mut Violations,
) -> Option<&'a str> {
    let predicate = match value {
        None | Some(Value::Null) => return None,
        Some(Value::Object(predicate)) => predicate,
        other => {
            violations.push(Rule::Predicate.broken(
                "predicate_shape",
                pointer,
                "an object with `targetChannel`, or null",
                describe(other),
            ));
            return None;
        }
    };
    let value = predicate.get("targetChannel");
    let pointer = format!("{pointer}/targetChannel");
    match value {
        Some(Value::String(channel)) => {
            check_channel(channel, &pointer, violations);
            Some(channel)
        }
        None => {
            violations.push(Rule::Predicate.broken(
                "channel_missing",
                pointer,
                "the channel's URL",
                "nothing",
            ));
            None
        }
        Some(_) => {
            violations.push(Rule::TargetChannel.broken(
                "channel_type",
                pointer,
                "a string, the channel's URL",
                describe(value),
            ));
            None
        }
    }
}

/// Rule 7: a URL both by RFC 3986, which the schema's `format: uri` names, and to the parsers
/// that conda clients have. The latter quietly drop and change characters that the former forbids.
fn check_channel(channel: &str, pointer: &str, violations: &mut Violations) {
    let mut refuse = |code, expected: &str, found: String| {
        violations.push(Rule::TargetChannel.broken(code, pointer, expected, found));
    };
    let length = channel.chars().count();
    if length == 0 || length > CHANNEL_LIMIT {
        let expected = format!("1 to {CHANNEL_LIMIT} characters");
        refuse("channel_length", &expected, length.to_string());
    }
    if length == 0 {
        return;
    }
    let shown = quote(channel);
    if let Some(character) = channel
        .chars()
        .find(|character| !is_uri_character(*character))
    {
        let found = format!("{} in {shown}", quote(character.encode_utf8(&mut [0; 4])));
        refuse(
            "channel_characters",
            "a URL of the characters that RFC 3986 allows",
            found,
        );
    } else if !are_escapes_whole(channel) {
        refuse(
            "channel_escape",
            "`%` followed by two hexadecimal digits",
            shown,
        );
    } else {
        match Url::parse(channel) {
            Err(error) => refuse("channel_url", "a valid URL", format!("{shown}: {error}")),
            // To RFC 3986 `https:/host/c` has no host; parsers make one of its path.
            Ok(url) if url.has_host() && !names_host(channel) => {
                refuse("channel_url", "a valid URL with `//` and a host", shown);
            }
            Ok(_) => {}
        }
    }
    if channel.ends_with('/') {
        refuse("channel_slash", "no trailing slash", quote(channel));
    }
}

/// The reserved and unreserved characters of RFC 3986, and `%`.
fn is_uri_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(character)
}

/// Whether the URL has an authority that is not empty, as it is written.
fn names_host(url: &str) -> bool {
    url.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.contains('/') && !rest.starts_with('/') && !rest.is_empty()
    })
}

fn are_escapes_whole(url: &str) -> bool {
    url.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    })
}
