//! Reading JSON strictly: each key once, nothing behind the document, and limits on all that can grow.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use crate::Rule;
use crate::violation::{Violation, Violations, quote};

/// Most bytes of a JSON document: bundles and sidecars.
pub const JSON_LIMIT: usize = 16 << 20;
/// Most levels of arrays and objects.
pub const NESTING_LIMIT: usize = 64;
/// Most bytes of a key.
pub const KEY_LIMIT: usize = 1024;

/// Reads one JSON document that means the same to every reader.
///
/// Refused, beyond what RFC 8259 refuses: a key twice in one object (parsers differ in which
/// value wins), data after the document, a byte order mark, more than [`JSON_LIMIT`] bytes,
/// [`NESTING_LIMIT`] levels, keys of more than [`KEY_LIMIT`] bytes.
///
/// # Errors
/// Every violation found, all of [`Rule::Document`]; a syntax error ends the search.
pub fn check_json(json: &[u8]) -> Result<Value, Vec<Violation>> {
    match read_json(json, JSON_LIMIT) {
        (Some(value), violations) if violations.is_empty() => Ok(value),
        (_, violations) => Err(violations.into_list()),
    }
}

/// Reads a document of at most `limit` bytes. The value is there unless it cannot be read at all;
/// of duplicate keys it has the last.
pub(crate) fn read_json(json: &[u8], limit: usize) -> (Option<Value>, Violations) {
    let mut violations = Violations::default();
    match parse(json, limit, &mut violations) {
        Ok(value) => (Some(value), violations),
        Err(violation) => {
            violations.push(*violation);
            (None, violations)
        }
    }
}

/// One segment of a JSON pointer, with its leading slash (RFC 6901).
pub(crate) fn segment(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn parse(json: &[u8], limit: usize, violations: &mut Violations) -> Result<Value, Box<Violation>> {
    let text = readable(json, limit)?;
    let mut scan = Scan {
        pointer: String::new(),
        violations,
        ending: None,
    };
    let root = Node {
        scan: &mut scan,
        level: 1,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    if let Err(error) = root.deserialize(&mut deserializer) {
        let pointer = scan.pointer;
        return Err(scan.ending.unwrap_or_else(|| syntax(&error, pointer)));
    }
    deserializer.end().map_err(|error| trailing(&error))?;
    // Read again for the value: only serde_json itself reads numbers alike with all its features.
    serde_json::from_str(text).map_err(|error| syntax(&error, String::new()))
}

fn readable(json: &[u8], limit: usize) -> Result<&str, Box<Violation>> {
    if json.len() > limit {
        let expected = format!("at most {limit} bytes");
        return Err(violation("size", "", expected, "more"));
    }
    let text = str::from_utf8(json).map_err(|error| {
        let found = format!("invalid UTF-8 at byte {}", error.valid_up_to());
        violation("invalid_utf8", "", "UTF-8", found)
    })?;
    if text.starts_with('\u{feff}') {
        let expected = "a JSON value at the start";
        return Err(violation(
            "byte_order_mark",
            "",
            expected,
            "a byte order mark",
        ));
    }
    Ok(text)
}

fn violation(
    code: &'static str,
    pointer: impl Into<String>,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> Box<Violation> {
    let violation = Rule::Document.broken(code, pointer, expected, found);
    Box::new(violation)
}

fn syntax(error: &serde_json::Error, pointer: String) -> Box<Violation> {
    let code = match error.classify() {
        Category::Eof => "json_truncated",
        _ => "json_syntax",
    };
    let expected = "one JSON document";
    violation(code, pointer, expected, error.to_string())
}

fn trailing(error: &serde_json::Error) -> Box<Violation> {
    let expected = "nothing after the document";
    let violation = violation("trailing_data", "", expected, error.to_string());
    Box::new(violation.because("a file of several documents, one a line, is to be split first"))
}

/// What is known while a document is walked from start to end.
struct Scan<'a> {
    /// Where the walk is; after an error, where it ended.
    pointer: String,
    violations: &'a mut Violations,
    /// The violation of ours that made the walk end.
    ending: Option<Box<Violation>>,
}

impl Scan<'_> {
    /// Appends the [`segment`] of a key; hardly any has something to escape.
    fn step_to(&mut self, key: &str) {
        if key.contains(['~', '/']) {
            self.pointer.push_str(&segment(key));
        } else {
            self.pointer.push('/');
            self.pointer.push_str(key);
        }
    }

    fn end<E: serde::de::Error>(&mut self, code: &'static str, expected: String, found: &str) -> E {
        self.ending = Some(violation(code, self.pointer.clone(), expected, found));
        E::custom(code)
    }
}

/// The value that comes next in a walk, at a level of nesting.
struct Node<'s, 'a> {
    scan: &'s mut Scan<'a>,
    level: usize,
}

impl Node<'_, '_> {
    fn enter<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.level > NESTING_LIMIT {
            return Err(self.scan.end(
                "nesting",
                format!("at most {NESTING_LIMIT} levels"),
                "more",
            ));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        self.enter()?;
        let (here, level) = (self.scan.pointer.len(), self.level + 1);
        for index in 0.. {
            // Writing to a string does not fail.
            let _ok = write!(self.scan.pointer, "/{index}");
            let element = elements.next_element_seed(Node {
                scan: &mut *self.scan,
                level,
            })?;
            self.scan.pointer.truncate(here);
            if element.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        self.enter()?;
        let (here, level) = (self.scan.pointer.len(), self.level + 1);
        let mut keys = BTreeSet::new();
        while let Some(key) = members.next_key::<String>()? {
            if key.len() > KEY_LIMIT {
                let expected = format!("keys of at most {KEY_LIMIT} bytes");
                return Err(self.scan.end("key_length", expected, "a longer one"));
            }
            self.scan.step_to(&key);
            if keys.contains(&key) {
                self.scan.violations.push(*violation(
                    "duplicate_key",
                    self.scan.pointer.clone(),
                    "each key once",
                    format!("{} again", quote(&key)),
                ));
            } else {
                keys.insert(key);
            }
            members.next_value_seed(Node {
                scan: &mut *self.scan,
                level,
            })?;
            self.scan.pointer.truncate(here);
        }
        Ok(())
    }
}
