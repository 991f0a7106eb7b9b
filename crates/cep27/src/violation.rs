//! One broken rule, and lists of them that cannot grow without end.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{Rule, printable};

/// One way in which a document breaks a rule of CEP-27.
///
/// Its `Display` is one line fit for a terminal, without the explanation. `expected` and `found`
/// carry no control or bidirectional characters; `pointer` and `within` are exact, so that a
/// program can follow them: print them through [`printable`] or [`ascii_json`](crate::ascii_json).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Violation {
    /// The rule that is broken.
    pub rule: Rule,
    /// What is wrong, in `snake_case`; stable, for programs to match on.
    pub code: &'static str,
    /// Where, as a JSON pointer (RFC 6901). A missing member is pointed to where it should be.
    pub pointer: String,
    /// For a statement inside an envelope, the pointer to the payload that holds it; `pointer` is
    /// then one into the decoded payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// What the rule asks for.
    pub expected: String,
    /// What the document has.
    pub found: String,
    /// How this comes about, where it has a well-known cause, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

impl Rule {
    /// A violation of this rule. Foreign text enters `expected` and `found` through [`quote`] or
    /// [`describe`] alone.
    pub(crate) fn broken(
        self,
        code: &'static str,
        pointer: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Violation {
        Violation {
            rule: self,
            code,
            pointer: pointer.into(),
            within: None,
            expected: expected.into(),
            found: found.into(),
            explanation: None,
        }
    }
}

impl Violation {
    /// The same with an explanation, if there is one.
    pub(crate) fn because(self, explanation: impl Into<Option<&'static str>>) -> Self {
        let explanation = explanation.into().map(str::to_owned);
        Self {
            explanation,
            ..self
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if !self.pointer.is_empty() {
            write!(f, " at {}", printable(&self.pointer))?;
        }
        if let Some(within) = &self.within {
            write!(f, " in the payload at {}", printable(within))?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

/// Most violations that are listed; a document with more gets the number of the others. Keeps a
/// hostile document from growing into a report many times its size.
pub(crate) const VIOLATION_LIMIT: usize = 200;

/// Violations as they are found.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    list: Vec<Violation>,
    unlisted: usize,
}

impl Violations {
    pub(crate) fn push(&mut self, violation: Violation) {
        if self.list.len() < VIOLATION_LIMIT {
            self.list.push(violation);
        } else {
            self.unlisted += 1;
        }
    }

    /// Takes in what was found in the payload at `within`.
    pub(crate) fn extend_within(&mut self, within: &str, violations: Vec<Violation>) {
        for violation in violations {
            self.push(Violation {
                within: Some(within.to_owned()),
                ..violation
            });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Everything found, closed by the number of those that are not listed.
    pub(crate) fn into_list(mut self) -> Vec<Violation> {
        if self.unlisted > 0 {
            self.list.push(Rule::Document.broken(
                "more_violations",
                "",
                format!("at most {VIOLATION_LIMIT} violations to list"),
                format!("at least {} more", self.unlisted),
            ));
        }
        self.list
    }
}

/// Says what a JSON value is, in the words of a message.
pub(crate) fn describe(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => quote(text),
        Some(Value::Array(elements)) => format!("an array of {}", elements.len()),
        Some(Value::Object(_)) => "an object".to_owned(),
        Some(Value::Null) => "null".to_owned(),
        Some(value) => quote(&value.to_string()),
    }
}

/// Foreign text as a message quotes it: [`printable`], between backticks.
pub(crate) fn quote(text: &str) -> String {
    format!("`{}`", printable(text))
}
