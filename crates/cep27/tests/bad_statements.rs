//! Statements that are wrong, each with everything that is to be said about it: rule, pointer and
//! code of every violation, in order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use cep27::{Expected, Violation, validate_against, validate_predicate, validate_statement};

const VALID: &str = r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"libgreet-1.0.0-h123_0.conda","digest":{"sha256":"01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"}}],"predicateType":"https://schemas.conda.org/attestations-publish-1.schema.json","predicate":{"targetChannel":"https://prefix.dev/my-channel"}}"#;
const TYPE: &str = r#""https://in-toto.io/Statement/v1""#;
const SUBJECT: &str = r#"[{"name":"libgreet-1.0.0-h123_0.conda","digest":{"sha256":"01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"}}]"#;
const NAME: &str = r#""libgreet-1.0.0-h123_0.conda""#;
const DIGEST: &str =
    r#"{"sha256":"01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"}"#;
const SHA256: &str = r#""01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b""#;
const PREDICATE_TYPE: &str = r#""https://schemas.conda.org/attestations-publish-1.schema.json""#;
const PREDICATE: &str = r#"{"targetChannel":"https://prefix.dev/my-channel"}"#;
const CHANNEL: &str = r#""https://prefix.dev/my-channel""#;

/// What is expected of one violation: rule, pointer, code.
type Found = (u8, &'static str, &'static str);

struct Bad {
    name: &'static str,
    json: Vec<u8>,
    violations: Vec<Found>,
}

fn bad(name: &'static str, json: impl Into<Vec<u8>>, violations: &[Found]) -> Bad {
    let (json, violations) = (json.into(), violations.to_vec());
    Bad {
        name,
        json,
        violations,
    }
}

/// The valid statement with the one occurrence of a part replaced.
fn with(part: &str, replacement: &str) -> String {
    assert_eq!(VALID.matches(part).count(), 1, "{part}");
    VALID.replace(part, replacement)
}

/// The valid statement without a member of this key and value.
fn without(key: &str, value: &str) -> String {
    let member = format!(r#""{key}":{value}"#);
    let after = format!("{member},");
    if VALID.contains(&after) {
        with(&after, "")
    } else if VALID.contains(&format!(",{member}")) {
        with(&format!(",{member}"), "")
    } else {
        with(&member, "")
    }
}

fn name(text: &str) -> String {
    with(NAME, &serde_json::to_string(text).unwrap())
}

fn sha256(text: &str) -> String {
    with(SHA256, &serde_json::to_string(text).unwrap())
}

fn channel(text: &str) -> String {
    with(CHANNEL, &serde_json::to_string(text).unwrap())
}

fn nested(levels: usize) -> String {
    let value = "[".repeat(levels) + &"]".repeat(levels);
    with(
        PREDICATE,
        &format!(r#"{{"targetChannel":{CHANNEL},"deep":{value}}}"#),
    )
}

/// The pointer to the first element of the first element of … so many arrays.
fn first(pointer: &str, arrays: usize) -> &'static str {
    format!("{pointer}{}", "/0".repeat(arrays)).leak()
}

/// Not one JSON document, or one that parsers may read differently.
#[rustfmt::skip]
fn documents() -> Vec<Bad> {
    let duplicate = |part: &str| with(part, &format!("{part},{part}"));
    vec![
        bad("nothing", "", &[(0, "", "json_truncated")]),
        bad("blanks", " \n\t", &[(0, "", "json_truncated")]),
        bad("text", "a statement", &[(0, "", "json_syntax")]),
        bad("cut in the digest", &VALID.as_bytes()[..120], &[(0, "/subject/0/digest/sha256", "json_truncated")]),
        bad("cut at the end", &VALID.as_bytes()[..VALID.len() - 1], &[(0, "", "json_truncated")]),
        bad("trailing comma, as in the CEP's example", with(DIGEST, &format!("{DIGEST},")), &[(0, "/subject/0", "json_syntax")]),
        bad("single quotes", VALID.replace('"', "'"), &[(0, "", "json_syntax")]),
        bad("comment", with(TYPE, &format!("{TYPE}/* v1 */")), &[(0, "", "json_syntax")]),
        bad("NaN", with(CHANNEL, "NaN"), &[(0, "/predicate/targetChannel", "json_syntax")]),
        bad("lone surrogate", with("my-channel", r"\ud800"), &[(0, "/predicate/targetChannel", "json_syntax")]),
        bad("raw newline in a string", with("my-channel", "my\nchannel"), &[(0, "/predicate/targetChannel", "json_syntax")]),
        bad("byte order mark", format!("\u{feff}{VALID}"), &[(0, "", "byte_order_mark")]),
        bad("UTF-16", VALID.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>(), &[(0, "", "json_syntax")]),
        bad("invalid UTF-8", [&VALID.as_bytes()[..20], &[0xff], &VALID.as_bytes()[20..]].concat(), &[(0, "", "invalid_utf8")]),
        bad("two documents, one a line", format!("{VALID}\n{VALID}\n"), &[(0, "", "trailing_data")]),
        bad("trailing brace", format!("{VALID}}}"), &[(0, "", "trailing_data")]),
        bad("trailing NUL", format!("{VALID}\0"), &[(0, "", "trailing_data")]),
        bad("duplicate _type", duplicate(&format!(r#""_type":{TYPE}"#)), &[(0, "/_type", "duplicate_key")]),
        bad("duplicate name", duplicate(&format!(r#""name":{NAME}"#)), &[(0, "/subject/0/name", "duplicate_key")]),
        bad("duplicate sha256", duplicate(&format!(r#""sha256":{SHA256}"#)), &[(0, "/subject/0/digest/sha256", "duplicate_key")]),
        bad("duplicate in other letters", with(r#""_type""#, &format!(r#""_type":{TYPE},"\u005ftype""#)), &[(0, "/_type", "duplicate_key")]),
        bad("key three times", with(CHANNEL, &format!(r#"{CHANNEL},"a":1,"a":2,"a":3"#)), &[(0, "/predicate/a", "duplicate_key"), (0, "/predicate/a", "duplicate_key")]),
        bad("duplicate key with `/` and `~`", with(CHANNEL, &format!(r#"{CHANNEL},"a/b~c":1,"a/b~c":2"#)), &[(0, "/predicate/a~1b~0c", "duplicate_key")]),
        bad("duplicate empty key", with(CHANNEL, &format!(r#"{CHANNEL},"":1,"":2"#)), &[(0, "/predicate/", "duplicate_key")]),
        bad("duplicate deep in an array", with(CHANNEL, &format!(r#"{CHANNEL},"x":[0,[{{"k":1,"k":2}}]]"#)), &[(0, "/predicate/x/1/0/k", "duplicate_key")]),
        bad("duplicate subject hides a wrong one", with(r#""subject""#, r#""subject":[],"subject""#), &[(0, "/subject", "duplicate_key")]),
        bad("duplicate with the last wrong", with(NAME, &format!(r#"{NAME},"name":7"#)), &[(0, "/subject/0/name", "duplicate_key"), (4, "/subject/0/name", "name_type")]),
        bad("65 levels", nested(63), &[(0, first("/predicate/deep", 62), "nesting")]),
        bad("100,000 levels", "[".repeat(100_000), &[(0, first("", 64), "nesting")]),
        bad("a key of 1025 bytes", with(r#""_type""#, &format!(r#""{}":1,"_type""#, "k".repeat(1025))), &[(0, "", "key_length")]),
        bad("a byte over 1 MiB", format!("{VALID}{}", " ".repeat((1 << 20) + 1 - VALID.len())), &[(0, "", "size")]),
    ]
}

/// Rules 1, 2 and 3.
#[rustfmt::skip]
fn shapes() -> Vec<Bad> {
    let two = format!("[{0},{0}]", &SUBJECT[1..SUBJECT.len() - 1]);
    vec![
        bad("an array", "[]", &[(1, "", "statement_type")]),
        bad("a string", r#""https://in-toto.io/Statement/v1""#, &[(1, "", "statement_type")]),
        bad("null", "null", &[(1, "", "statement_type")]),
        bad("an empty object", "{}", &[(1, "/_type", "statement_type"), (2, "/predicateType", "predicate_type"), (3, "/subject", "subject_missing")]),
        bad("no _type", without("_type", TYPE), &[(1, "/_type", "statement_type")]),
        bad("_type null", with(TYPE, "null"), &[(1, "/_type", "statement_type")]),
        bad("Statement v0.1", with("Statement/v1", "Statement/v0.1"), &[(1, "/_type", "statement_v0_1")]),
        bad("Statement v1.0", with("Statement/v1", "Statement/v1.0"), &[(1, "/_type", "statement_type")]),
        bad("Statement v1 with a slash", with("Statement/v1", "Statement/v1/"), &[(1, "/_type", "statement_type")]),
        bad("_type over http", with("https://in-toto", "http://in-toto"), &[(1, "/_type", "statement_type")]),
        bad("_type in capitals", with("/Statement", "/STATEMENT"), &[(1, "/_type", "statement_type")]),
        bad("type without underscore", with("_type", "type"), &[(1, "/_type", "statement_type")]),
        bad("no predicateType", without("predicateType", PREDICATE_TYPE), &[(2, "/predicateType", "predicate_type")]),
        bad("predicateType of a draft", with("attestations-publish-1.schema.json", "attestations/publish/v1"), &[(2, "/predicateType", "predicate_type")]),
        bad("predicateType of provenance", with(PREDICATE_TYPE, r#""https://slsa.dev/provenance/v1""#), &[(2, "/predicateType", "predicate_type")]),
        bad("predicateType of a later version", with("publish-1", "publish-2"), &[(2, "/predicateType", "predicate_type")]),
        bad("predicateType with a blank", with(".schema.json", ".schema.json "), &[(2, "/predicateType", "predicate_type")]),
        bad("predicateType in an array", with(PREDICATE_TYPE, &format!("[{PREDICATE_TYPE}]")), &[(2, "/predicateType", "predicate_type")]),
        bad("no subject", without("subject", SUBJECT), &[(3, "/subject", "subject_missing")]),
        bad("subject null", with(SUBJECT, "null"), &[(3, "/subject", "subject_type")]),
        bad("subject without array", with(SUBJECT, &SUBJECT[1..SUBJECT.len() - 1]), &[(3, "/subject", "subject_type")]),
        bad("subject of none", with(SUBJECT, "[]"), &[(3, "/subject", "subject_none")]),
        bad("subject of two, as of a glob", with(SUBJECT, &two), &[(3, "/subject", "subject_many")]),
        bad("subject of two, the second wrong", with("}}]", r#"}},{"name":"x"}]"#), &[(3, "/subject", "subject_many"), (4, "/subject/1/name", "extension"), (5, "/subject/1/digest", "digest_missing")]),
        bad("subject a string", with(SUBJECT, &format!("[{NAME}]")), &[(3, "/subject/0", "descriptor_type")]),
        bad("subject an array", with(SUBJECT, "[[]]"), &[(3, "/subject/0", "descriptor_type")]),
        bad("subject an empty object", with(SUBJECT, "[{}]"), &[(4, "/subject/0/name", "name_missing"), (5, "/subject/0/digest", "digest_missing")]),
    ]
}

/// Rule 4.
#[rustfmt::skip]
fn names() -> Vec<Bad> {
    let at = |code| (4, "/subject/0/name", code);
    let long = "a".repeat(65);
    vec![
        bad("no name", without("name", NAME), &[at("name_missing")]),
        bad("name null", with(NAME, "null"), &[at("name_type")]),
        bad("name a number", with(NAME, "1"), &[at("name_type")]),
        bad("name empty", name(""), &[at("extension")]),
        bad("name without extension", name("libgreet-1.0.0-h123_0"), &[at("extension")]),
        bad("name of a wheel", name("libgreet-1.0.0-py3-none-any.whl"), &[at("extension")]),
        bad("name of its bundle", name("libgreet-1.0.0-h123_0.conda.sigstore.json"), &[at("extension")]),
        bad("extension in capitals", name("libgreet-1.0.0-h123_0.CONDA"), &[at("extension")]),
        bad("extension.tar.gz", name("libgreet-1.0.0-h123_0.tar.gz"), &[at("extension")]),
        bad("extension alone", name(".conda"), &[at("name_parts")]),
        bad("no build", name("libgreet-1.0.0.conda"), &[at("name_parts")]),
        bad("name alone", name("libgreet.conda"), &[at("name_parts")]),
        bad("empty parts", name("--.conda"), &[at("name_length"), at("version_length"), at("build_length")]),
        bad("empty build", name("libgreet-1.0.0-.conda"), &[at("build_length")]),
        bad("name with subdir", name("linux-64/libgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name with channel", name("https://prefix.dev/c/linux-64/libgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name that climbs", name("../libgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name with backslash", name(r"linux-64\libgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name in capitals", name("LibGreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name of a virtual package", name("__glibc-2.39-0.conda"), &[at("name_form")]),
        bad("name with two separators", name("lib._greet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name with a leading period", name(".libgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name like an option", name("-libgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name with a blank", name("lib greet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name in other letters", name("líbgreet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name with a NUL", name("libgreet\0-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("name that reorders", name("lib\u{202e}greet-1.0.0-h123_0.conda"), &[at("name_form")]),
        bad("version in capitals", name("libgreet-1.0.0RC1-h123_0.conda"), &[at("version_form")]),
        bad("build with an exclamation mark", name("libgreet-1.0.0-h123!0.conda"), &[at("build_form")]),
        bad("everything wrong", name("Lib-1:0-h@.conda"), &[at("name_form"), at("version_form"), at("build_form")]),
        bad("name of 65 characters", name(&format!("{long}-1-0.conda")), &[at("name_length")]),
        bad("version of 65 characters", name(&format!("a-{long}-0.conda")), &[at("version_length")]),
        bad("build of 65 characters", name(&format!("a-1-{long}.conda")), &[at("build_length")]),
        bad("file name of 212 characters", name(&format!("{}-1-0.conda", "a".repeat(202))), &[at("file_name_length")]),
        bad("name with a trailing newline", name("libgreet-1.0.0-h123_0.conda\n"), &[at("extension")]),
    ]
}

/// Rule 5.
#[rustfmt::skip]
fn digests() -> Vec<Bad> {
    let at = |code| (5, "/subject/0/digest/sha256", code);
    let hex = SHA256.trim_matches('"');
    vec![
        bad("no digest", without("digest", DIGEST), &[(5, "/subject/0/digest", "digest_missing")]),
        bad("digest null", with(DIGEST, "null"), &[(5, "/subject/0/digest", "digest_type")]),
        bad("digest a string", with(DIGEST, SHA256), &[(5, "/subject/0/digest", "digest_type")]),
        bad("digest empty", with(DIGEST, "{}"), &[at("sha256_missing")]),
        bad("sha512 instead", with(r#""sha256""#, r#""sha512""#), &[(5, "/subject/0/digest/sha512", "digest_extra"), at("sha256_missing")]),
        bad("SHA256 in capitals", with(r#""sha256""#, r#""SHA256""#), &[(5, "/subject/0/digest/SHA256", "digest_extra"), at("sha256_missing")]),
        bad("md5 beside it", with(SHA256, &format!(r#"{SHA256},"md5":"00""#)), &[(5, "/subject/0/digest/md5", "digest_extra")]),
        bad("slash beside it", with(SHA256, &format!(r#"{SHA256},"sha512/256":"00""#)), &[(5, "/subject/0/digest/sha512~1256", "digest_extra")]),
        bad("null beside it", with(SHA256, &format!(r#"{SHA256},"md5":null"#)), &[(5, "/subject/0/digest/md5", "digest_extra")]),
        bad("sha256 null", with(SHA256, "null"), &[at("sha256_type")]),
        bad("sha256 a number", with(SHA256, "1"), &[at("sha256_type")]),
        bad("sha256 empty", sha256(""), &[at("sha256_form")]),
        bad("sha256 of 63", sha256(&hex[1..]), &[at("sha256_form")]),
        bad("sha256 of 65", sha256(&format!("{hex}0")), &[at("sha256_form")]),
        bad("sha256 in capitals", sha256(&hex.to_uppercase()), &[at("sha256_case")]),
        bad("sha256 with one capital", sha256(&hex.replacen('b', "B", 1)), &[at("sha256_case")]),
        bad("sha256 with prefix", sha256(&format!("sha256:{hex}")), &[at("sha256_form")]),
        bad("sha256 with 0x", sha256(&format!("0x{}", &hex[2..])), &[at("sha256_form")]),
        bad("sha256 with underscores", sha256(&hex.replacen("01", "0_", 1)), &[at("sha256_form")]),
        bad("sha256 no hexadecimal", sha256(&hex.replacen('b', "g", 1)), &[at("sha256_form")]),
        bad("sha256 in base64", sha256("AbpHGcgLb+kRsJGnwFEktk7uzpZOCcBY74+YBdrKVGs="), &[at("sha256_form")]),
        bad("sha256 in wide digits", sha256(&"０".repeat(64)), &[at("sha256_form")]),
        bad("sha256 of 64 bytes, not characters", sha256(&"é".repeat(32)), &[at("sha256_form")]),
    ]
}

/// Rules 6 and 7.
#[rustfmt::skip]
fn predicates() -> Vec<Bad> {
    let at = |code| (7, "/predicate/targetChannel", code);
    let long = format!("https://prefix.dev/{}", "c".repeat(2083 - 19 + 1));
    vec![
        bad("predicate empty", with(PREDICATE, "{}"), &[(6, "/predicate/targetChannel", "channel_missing")]),
        bad("predicate an array", with(PREDICATE, "[]"), &[(6, "/predicate", "predicate_shape")]),
        bad("predicate a string", with(PREDICATE, CHANNEL), &[(6, "/predicate", "predicate_shape")]),
        bad("predicate false", with(PREDICATE, "false"), &[(6, "/predicate", "predicate_shape")]),
        bad("predicate a number", with(PREDICATE, "0"), &[(6, "/predicate", "predicate_shape")]),
        bad("target_channel", with("targetChannel", "target_channel"), &[(6, "/predicate/targetChannel", "channel_missing")]),
        bad("targetchannel", with("targetChannel", "targetchannel"), &[(6, "/predicate/targetChannel", "channel_missing")]),
        bad("channel null", with(CHANNEL, "null"), &[at("channel_type")]),
        bad("channel an array", with(CHANNEL, &format!("[{CHANNEL}]")), &[at("channel_type")]),
        bad("channel empty", channel(""), &[at("channel_length")]),
        bad("channel of 2084 characters", channel(&long), &[at("channel_length")]),
        bad("channel by name", channel("conda-forge"), &[at("channel_url")]),
        bad("channel by path", channel("/srv/channel"), &[at("channel_url")]),
        bad("channel without scheme", channel("prefix.dev/my-channel"), &[at("channel_url")]),
        bad("channel relative to a scheme", channel("//prefix.dev/my-channel"), &[at("channel_url")]),
        bad("channel without host", channel("https://"), &[at("channel_url"), at("channel_slash")]),
        bad("channel without one slash", channel("https:/prefix.dev/my-channel"), &[at("channel_url")]),
        bad("channel without both slashes", channel("https:prefix.dev/my-channel"), &[at("channel_url")]),
        bad("channel with three slashes", channel("https:///prefix.dev/my-channel"), &[at("channel_url")]),
        bad("channel with a port beyond all", channel("https://prefix.dev:65536/c"), &[at("channel_url")]),
        bad("channel with slash", channel("https://prefix.dev/my-channel/"), &[at("channel_slash")]),
        bad("channel with two slashes", channel("https://prefix.dev/my-channel//"), &[at("channel_slash")]),
        bad("host with slash", channel("https://prefix.dev/"), &[at("channel_slash")]),
        bad("channel with a blank", channel("https://prefix.dev/my channel"), &[at("channel_characters")]),
        bad("channel after a blank", channel(" https://prefix.dev/my-channel"), &[at("channel_characters")]),
        bad("channel with newline", channel("https://prefix.dev/my-channel\n"), &[at("channel_characters")]),
        bad("channel with tab", channel("https://prefix.dev/my-\tchannel"), &[at("channel_characters")]),
        bad("channel with backslashes", channel(r"https:\\prefix.dev\my-channel"), &[at("channel_characters")]),
        bad("channel in other letters", channel("https://prefix.dev/größe"), &[at("channel_characters")]),
        bad("channel with template", channel("https://prefix.dev/{channel}/"), &[at("channel_characters"), at("channel_slash")]),
        bad("channel with half an escape", channel("https://prefix.dev/my%2"), &[at("channel_escape")]),
        bad("channel with a wrong escape", channel("https://prefix.dev/my%zzchannel"), &[at("channel_escape")]),
    ]
}

/// Rule 8, against the package and channel of the valid statement.
#[rustfmt::skip]
fn mismatches() -> Vec<Bad> {
    let at = |pointer, code| (8, pointer, code);
    let (file, digest) = ("/subject/0/name", "/subject/0/digest/sha256");
    let target = "/predicate/targetChannel";
    vec![
        bad("another build", name("libgreet-1.0.0-h123_1.conda"), &[at(file, "name_mismatch")]),
        bad("another format", name("libgreet-1.0.0-h123_0.tar.bz2"), &[at(file, "name_mismatch")]),
        bad("another digest", with("01ba", "01bb"), &[at(digest, "digest_mismatch")]),
        bad("digest in capitals", sha256(&SHA256.trim_matches('"').to_uppercase()), &[(5, digest, "sha256_case")]),
        bad("another channel", channel("https://prefix.dev/other"), &[at(target, "channel_mismatch")]),
        bad("channel in capitals", channel("https://prefix.dev/My-Channel"), &[at(target, "channel_mismatch")]),
        bad("channel over http", channel("http://prefix.dev/my-channel"), &[at(target, "channel_mismatch")]),
        bad("channel at a port", channel("https://prefix.dev:8443/my-channel"), &[at(target, "channel_mismatch")]),
        bad("channel with credentials", channel("https://me@prefix.dev/my-channel"), &[at(target, "channel_mismatch")]),
        bad("channel with subdir", channel("https://prefix.dev/my-channel/linux-64"), &[at(target, "channel_mismatch")]),
        bad("no predicate", without("predicate", PREDICATE), &[at(target, "channel_absent")]),
        bad("null predicate", with(PREDICATE, "null"), &[at(target, "channel_absent")]),
        bad("wrong and another name", name("Other-1-0.conda"), &[(4, file, "name_form"), at(file, "name_mismatch")]),
        bad("everything at once", r#"{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"a-1-0.conda","digest":{"md5":"0"}}],"predicateType":1,"predicate":{"targetChannel":"c/"}}"#, &[(1, "/_type", "statement_v0_1"), (2, "/predicateType", "predicate_type"), (5, "/subject/0/digest/md5", "digest_extra"), (5, digest, "sha256_missing"), (7, target, "channel_url"), (7, target, "channel_slash"), at(file, "name_mismatch"), at(target, "channel_mismatch")]),
    ]
}

/// Statements that are unusual and valid.
#[rustfmt::skip]
fn unusual() -> Vec<(&'static str, String)> {
    vec![
        ("no predicate", without("predicate", PREDICATE)),
        ("null predicate", with(PREDICATE, "null")),
        ("further members", with(TYPE, &format!(r#"{TYPE},"note":{{"a":1}}"#))),
        ("further predicate members", with(CHANNEL, &format!(r#"{CHANNEL},"note":"a""#))),
        ("further members of the subject", with(NAME, &format!(r#"{NAME},"uri":"pkg:conda/libgreet""#))),
        ("escaped letters", with("libgreet", r"\u006cibgreet")),
        ("blanks", VALID.replace(':', " : ").replace("https : //", "https://")),
        ("same key in two objects", with(CHANNEL, &format!(r#"{CHANNEL},"a":{{"k":1}},"b":{{"k":1}}"#))),
        ("keys that differ in case", with(CHANNEL, &format!(r#"{CHANNEL},"a":1,"A":1"#))),
        ("64 levels", nested(62)),
        ("a key of 1024 bytes", with(TYPE, &format!(r#"{TYPE},"{}":1"#, "k".repeat(1024)))),
        ("1 MiB", format!("{VALID}{}", " ".repeat((1 << 20) - VALID.len()))),
        ("build in capitals", name("libgreet-1.0.0-H123_A.conda")),
        ("name with underscore", name("_libgcc_mutex-0.1-conda_forge.tar.bz2")),
        ("version with epoch and local part", name("a-1!2.0+local_1-0.conda")),
        ("parts of 64 characters", name(&format!("{0}-{0}-{0}.tar.bz2", "a".repeat(64)))),
        ("channel with port", channel("https://localhost:8080/c")),
        ("channel of a file", channel("file:///srv/channel")),
        ("channel in S3", channel("s3://bucket/channel")),
        ("channel with escape", channel("https://prefix.dev/my%20channel")),
        ("channel of 2083 characters", channel(&format!("https://prefix.dev/{}", "c".repeat(2083 - 19)))),
        ("host alone", channel("https://prefix.dev")),
    ]
}

fn assert_found(bad: &Bad, violations: &[Violation]) {
    let found: Vec<(u8, &str, &str)> = violations
        .iter()
        .map(|violation| (violation.rule.number(), &*violation.pointer, violation.code))
        .collect();
    assert_eq!(found, bad.violations, "{}: {violations:#?}", bad.name);
    for violation in violations {
        assert!(
            !violation.expected.is_empty() && !violation.found.is_empty(),
            "{}",
            bad.name
        );
        let line = violation.to_string();
        assert!(
            !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{line:?}"
        );
    }
}

fn statements() -> Vec<Bad> {
    [documents(), shapes(), names(), digests(), predicates()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn every_bad_statement_is_refused_for_all_its_reasons() {
    let bad = statements();
    assert!(bad.len() > 60, "{}", bad.len());
    let names: BTreeSet<&str> = bad.iter().map(|bad| bad.name).collect();
    assert_eq!(names.len(), bad.len(), "a name is used twice");
    for bad in bad {
        let violations = validate_statement(&bad.json).expect_err(bad.name);
        assert_found(&bad, &violations);
    }
}

#[test]
fn what_does_not_match_the_package_is_refused() {
    let file = NAME.trim_matches('"').parse().unwrap();
    let expected = Expected {
        file: &file,
        sha256: SHA256.trim_matches('"').parse().unwrap(),
        channel: Some("https://PREFIX.dev:443/my-channel/"),
        subdir: Some("linux-64".parse().unwrap()),
    };
    let valid = validate_against(VALID.as_bytes(), &expected).unwrap();
    assert_eq!(
        valid.target_channel.as_deref(),
        Some("https://prefix.dev/my-channel")
    );
    for bad in mismatches() {
        let violations = validate_against(&bad.json, &expected).expect_err(bad.name);
        assert_found(&bad, &violations);
    }
    // A mirror: any channel, or none, will do.
    let mirror = Expected {
        channel: None,
        ..expected
    };
    for json in [channel("https://prefix.dev/other"), with(PREDICATE, "null")] {
        assert!(validate_against(json.as_bytes(), &mirror).is_ok(), "{json}");
    }
}

#[test]
fn what_is_unusual_is_accepted() {
    for (name, json) in unusual() {
        if let Err(violations) = validate_statement(json.as_bytes()) {
            panic!("{name}: {violations:#?}");
        }
    }
}

#[test]
fn well_known_causes_are_explained() {
    let explained = |json: &str, word: &str| {
        let violations = validate_statement(json.as_bytes()).unwrap_err();
        let explanation = violations[0].explanation.as_deref().unwrap_or_default();
        assert!(explanation.contains(word), "{violations:#?}");
    };
    explained(&with("Statement/v1", "Statement/v0.1"), "cosign");
    explained(&with("}}]", "}},{}]"), "actions/attest");
    explained(
        &with(PREDICATE_TYPE, r#""https://slsa.dev/provenance/v1""#),
        "provenance",
    );
    explained(
        &with(
            "attestations-publish-1.schema.json",
            "attestations/publish/v1",
        ),
        "draft",
    );
    explained(
        &name("linux-64/libgreet-1.0.0-h123_0.conda"),
        "without folder",
    );
    explained(
        &sha256(&SHA256.trim_matches('"').to_uppercase()),
        "lower-case",
    );
}

#[test]
fn a_predicate_by_itself_is_checked_alike() {
    for json in [
        PREDICATE,
        "null",
        r#"{"targetChannel":"https://prefix.dev/c","note":1}"#,
    ] {
        assert_eq!(validate_predicate(json.as_bytes()), Ok(()));
    }
    let cases: &[(&str, &[Found])] = &[
        ("{}", &[(6, "/targetChannel", "channel_missing")]),
        ("[]", &[(6, "", "predicate_shape")]),
        (
            r#"{"targetChannel":"c/"}"#,
            &[
                (7, "/targetChannel", "channel_url"),
                (7, "/targetChannel", "channel_slash"),
            ],
        ),
        (
            r#"{"targetChannel":"a:b","targetChannel":"a:b"}"#,
            &[(0, "/targetChannel", "duplicate_key")],
        ),
    ];
    for (json, violations) in cases {
        let bad = bad("predicate", *json, violations);
        assert_found(&bad, &validate_predicate(&bad.json).unwrap_err());
    }
}

#[test]
fn a_report_stays_small() {
    let json = format!("{{{}}}", vec![r#""a":1"#; 100_000].join(","));
    let violations = validate_statement(json.as_bytes()).unwrap_err();
    assert_eq!(violations.len(), 201);
    assert_eq!(violations[200].code, "more_violations");
    // 99,999 duplicates and three missing members, less the 200 that are listed.
    assert_eq!(violations[200].found, "at least 99802 more");
}

#[test]
fn long_foreign_text_is_cut_inside_its_quotes() {
    let violations = validate_statement(sha256(&"f".repeat(100_000)).as_bytes()).unwrap_err();
    assert_eq!(violations[0].found, format!("`{}…`", "f".repeat(200)));
}

#[test]
fn violations_read_well() {
    let violations = validate_statement(name("Greet\u{202e}\n-1-0.conda").as_bytes()).unwrap_err();
    insta::assert_snapshot!(violations[0], @r"CEP-27 rule 4 at /subject/0/name: expected a name of lower-case letters, digits and single `.`, `_`, `-` in between, starting with a letter, a digit or one `_`, found `Greet\u{202e}\n`");
    insta::assert_json_snapshot!(validate_statement(&with("Statement/v1", "Statement/v0.1").into_bytes()).unwrap_err(), @r#"
    [
      {
        "rule": 1,
        "code": "statement_v0_1",
        "pointer": "/_type",
        "expected": "`https://in-toto.io/Statement/v1`",
        "found": "the older `https://in-toto.io/Statement/v0.1`",
        "explanation": "older cosign releases write in-toto Statement v0.1, which CEP-27 does not allow: attest the package again with a client that writes v1"
      }
    ]
    "#);
}
