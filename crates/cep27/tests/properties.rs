//! What holds for every input.
#![allow(clippy::unwrap_used)]

use cep27::{
    Expected, FileName, Format, Sha256, Statement, Subdir, TargetChannel, ascii_json, check_json,
    printable, validate_against, validate_document, validate_predicate, validate_statement,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value};

fn file_name() -> impl Strategy<Value = FileName> {
    let name = "_?[a-z0-9]{1,20}([._-][a-z0-9]{1,8}){0,4}";
    let format = select(vec![Format::Conda, Format::TarBz2]);
    (name, "[a-z0-9._+!]{1,64}", "[a-zA-Z0-9._+]{1,64}", format).prop_map(
        |(name, version, build, format)| FileName::new(&name, &version, &build, format).unwrap(),
    )
}

fn channel() -> impl Strategy<Value = TargetChannel> {
    r"https?://[b-s][a-z0-9]{0,9}\.(org|dev)(:[1-9][0-9]{3})?(/[a-z0-9_][a-z0-9_.-]{1,9}){0,4}"
        .prop_map(|url| url.parse().unwrap())
}

/// Keys that need escaping, in a pointer or on a terminal, turn up often.
fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,3}", "[~/01\u{202e}\n\"ü]{0,4}", ".{0,8}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(key(), inner, 0..6)
                .prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// A text in which a member of an object stands twice, and the pointer to it.
fn duplicate() -> impl Strategy<Value = (String, String)> {
    let around = vec(
        prop_oneof![key().prop_map(Ok), (0..4_usize).prop_map(Err)],
        0..5,
    );
    (key(), value(), value(), around).prop_map(|(key, a, b, around)| {
        let quoted = |key: &str| Value::from(key).to_string();
        let segment = |key: &str| format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        let mut text = format!("{{{0}:{a},{0}:{b}}}", quoted(&key));
        let mut pointer = segment(&key);
        for level in around {
            (text, pointer) = match level {
                Ok(key) => (
                    format!("{{{}:{text}}}", quoted(&key)),
                    segment(&key) + &pointer,
                ),
                Err(i) => (
                    format!("[{}{text}]", "0,".repeat(i)),
                    format!("/{i}{pointer}"),
                ),
            };
        }
        (text, pointer)
    })
}

fn is_safe(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c))
}

proptest! {
    #[test]
    fn a_file_name_goes_there_and_back(file in file_name()) {
        prop_assert_eq!(&file.as_str().parse::<FileName>().unwrap(), &file);
        let again = FileName::new(file.name(), file.version(), file.build(), file.format()).unwrap();
        prop_assert_eq!(&again, &file);
        prop_assert_eq!(file.to_string().len() <= 211, true);
        let json = serde_json::to_string(&file).unwrap();
        prop_assert_eq!(serde_json::from_str::<FileName>(&json).unwrap(), file);
    }

    #[test]
    fn any_text_that_parses_is_the_name_it_parses_to(text in r"\PC{0,30}|[a-zA-Z0-9._+!-]{1,30}\.(conda|tar\.bz2)") {
        if let Ok(file) = text.parse::<FileName>() {
            prop_assert_eq!(file.as_str(), &text);
        }
        if let Ok(digest) = text.parse::<Sha256>() {
            prop_assert_eq!(digest.to_string(), &*text);
        }
        if let Ok(channel) = text.parse::<TargetChannel>() {
            prop_assert_eq!(channel.as_str(), &text);
        }
        if let Ok(subdir) = text.parse::<Subdir>() {
            prop_assert_eq!(subdir.as_str(), &text);
        }
    }

    #[test]
    fn a_digest_goes_there_and_back(bytes: [u8; 32]) {
        let digest = Sha256::from_bytes(bytes);
        let again: Sha256 = digest.to_string().parse().unwrap();
        prop_assert_eq!(again.as_bytes(), &bytes);
    }

    #[test]
    fn what_we_write_is_valid_and_says_what_we_meant(
        file in file_name(), bytes: [u8; 32], channel in channel(),
    ) {
        let sha256 = Sha256::from_bytes(bytes);
        let json = Statement::new(&file, sha256, &channel).to_json();
        let expected = Expected { file: &file, sha256, channel: Some(channel.as_str()), subdir: None };
        let valid = validate_against(&json, &expected).unwrap();
        prop_assert_eq!(valid.file, file);
        prop_assert_eq!(valid.sha256, sha256);
        prop_assert_eq!(valid.target_channel.as_deref(), Some(channel.as_str()));
    }

    #[test]
    fn json_without_duplicates_is_read_as_serde_json_reads_it(value in value()) {
        let json = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(check_json(&json), Ok(value.clone()));
        let ascii = ascii_json(&value).unwrap();
        prop_assert!(ascii.is_ascii());
        prop_assert_eq!(check_json(ascii.as_bytes()), Ok(value));
    }

    #[test]
    fn a_duplicate_key_is_found_wherever_it_is((text, pointer) in duplicate()) {
        let violations = check_json(text.as_bytes()).unwrap_err();
        prop_assert_eq!(violations.len(), 1);
        prop_assert_eq!(violations[0].code, "duplicate_key");
        prop_assert_eq!(&violations[0].pointer, &pointer);
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert!(value.pointer(&pointer).is_some());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        drop(check_json(&bytes));
        drop(validate_statement(&bytes));
        drop(validate_predicate(&bytes));
        drop(validate_document(&bytes));
    }

    #[test]
    fn a_broken_statement_never_panics_and_is_reported_safely(
        file in file_name(),
        edits in vec((any::<Index>(), prop_oneof![any::<u8>().prop_map(Some), Just(None)]), 1..6),
    ) {
        let channel = "https://prefix.dev/c".parse().unwrap();
        let mut json = Statement::new(&file, Sha256::from_bytes([7; 32]), &channel).to_json();
        for (index, edit) in edits {
            let at = index.index(json.len());
            match edit {
                Some(byte) => json[at] = byte,
                None => drop(json.remove(at)),
            }
        }
        for violation in validate_statement(&json).err().into_iter().flatten() {
            prop_assert!(is_safe(&violation.to_string()), "{:?}", violation);
        }
    }

    #[test]
    fn a_report_quotes_foreign_text_safely(key in key(), text in ".{0,40}|[\u{202a}-\u{202e}\u{7f}-\u{9f}]{1,9}") {
        let json = serde_json::json!({
            "_type": text, "predicateType": text, "predicate": { "targetChannel": text },
            "subject": [{ "name": text, "digest": { "sha256": text, key: text } }, text],
        });
        for violation in validate_statement(json.to_string().as_bytes()).unwrap_err() {
            prop_assert!(is_safe(&violation.to_string()), "{:?}", violation);
            let debug = format!("{violation:?}");
            prop_assert!(is_safe(&debug));
        }
        for error in [
            text.parse::<FileName>().err(), text.parse::<Sha256>().err(),
            text.parse::<Subdir>().err(), text.parse::<TargetChannel>().err(),
        ].into_iter().flatten() {
            prop_assert!(is_safe(&error.to_string()), "{error:?}");
        }
        prop_assert!(is_safe(&printable(&text)));
    }
}
