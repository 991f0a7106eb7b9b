//! The expressions of GitHub Actions, as far as our workflows use them. Whatever else one says fails the test.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What an expression sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// The contexts that are there, by their names.
    pub(crate) contexts: BTreeMap<&'static str, Value>,
    /// Whether something before it failed, or was skipped where a job needs it.
    pub(crate) failed: bool,
}

impl Scope {
    /// The scope with one more context, or another in its place.
    pub(crate) fn with(&self, name: &'static str, value: Value) -> Self {
        let mut scope = self.clone();
        scope.contexts.insert(name, value);
        scope
    }

    /// The value of a text: that of its only expression, or the text with all expressions replaced.
    pub(crate) fn value(&self, text: &str) -> Value {
        let whole = text
            .strip_prefix("${{")
            .and_then(|it| it.strip_suffix("}}"));
        match whole {
            Some(expression) if !expression.contains("${{") => self.evaluate(expression),
            _ => Value::String(self.text(text)),
        }
    }

    /// The text with all expressions replaced.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (expression, after) = after.split_once("}}").expect("an expression ends");
            out.push_str(before);
            out.push_str(&as_text(&self.evaluate(expression)));
            rest = after;
        }
        out + rest
    }

    /// Whether a step or job runs by its `if`: by itself, only if nothing failed.
    pub(crate) fn holds(&self, condition: Option<&str>) -> bool {
        let Some(condition) = condition else {
            return !self.failed;
        };
        let bare = condition
            .strip_prefix("${{")
            .and_then(|it| it.strip_suffix("}}"));
        let condition = bare.unwrap_or(condition);
        let asks = ["success()", "failure()", "always()", "cancelled()"];
        let asks = asks.iter().any(|function| condition.contains(function));
        (asks || !self.failed) && is_true(&self.evaluate(condition))
    }

    fn evaluate(&self, expression: &str) -> Value {
        let mut parser = Parser {
            scope: self,
            tokens: tokens(expression),
            at: 0,
        };
        let value = parser.or();
        assert_eq!(
            parser.at,
            parser.tokens.len(),
            "`{expression}` is understood to its end"
        );
        value
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Literal(Value),
    Name(String),
    Sign(&'static str),
}

const SIGNS: [&str; 11] = ["==", "!=", "&&", "||", "!", "(", ")", "[", "]", ".", ","];

fn tokens(expression: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if first == '\'' {
            let end = rest[1..].find('\'').expect("a string ends") + 2;
            assert!(
                !rest[end..].starts_with('\''),
                "`''` in {expression} is not played"
            );
            found.push(Token::Literal(json!(&rest[1..end - 1])));
            rest = &rest[end..];
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            assert!(end > 0, "`{rest}` is not understood in {expression}");
            let word = &rest[..end];
            found.push(match (word, word.parse::<u64>()) {
                ("true", _) => Token::Literal(json!(true)),
                ("false", _) => Token::Literal(json!(false)),
                (_, Ok(number)) => Token::Literal(json!(number)),
                _ => Token::Name(word.to_owned()),
            });
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    found
}

struct Parser<'a> {
    scope: &'a Scope,
    tokens: Vec<Token>,
    at: usize,
}

impl Parser<'_> {
    fn takes(&mut self, sign: &'static str) -> bool {
        let is_there = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(is_there);
        is_there
    }

    fn or(&mut self) -> Value {
        let mut value = self.and();
        while self.takes("||") {
            let right = self.and();
            value = if is_true(&value) { value } else { right };
        }
        value
    }

    fn and(&mut self) -> Value {
        let mut value = self.equal();
        while self.takes("&&") {
            let right = self.equal();
            value = if is_true(&value) { right } else { value };
        }
        value
    }

    fn equal(&mut self) -> Value {
        let value = self.not();
        if self.takes("==") {
            return json!(are_equal(&value, &self.not()));
        }
        if self.takes("!=") {
            return json!(!are_equal(&value, &self.not()));
        }
        value
    }

    fn not(&mut self) -> Value {
        match self.takes("!") {
            true => json!(!is_true(&self.not())),
            false => self.path(),
        }
    }

    fn path(&mut self) -> Value {
        let mut value = self.primary();
        loop {
            if self.takes(".") {
                let Some(Token::Name(name)) = self.tokens.get(self.at).cloned() else {
                    panic!("a name after `.`, not {:?}", self.tokens.get(self.at));
                };
                self.at += 1;
                value = value.get(&name).cloned().unwrap_or_default();
            } else if self.takes("[") {
                let index = self.or();
                assert!(self.takes("]"), "an index ends");
                let found = match &index {
                    Value::String(name) => value.get(name),
                    Value::Number(at) => value.get(at.as_u64().unwrap() as usize),
                    other => panic!("{other} is no index"),
                };
                value = found.cloned().unwrap_or_default();
            } else {
                return value;
            }
        }
    }

    fn primary(&mut self) -> Value {
        if self.takes("(") {
            let value = self.or();
            assert!(self.takes(")"), "a parenthesis ends");
            return value;
        }
        let token = self.tokens.get(self.at).cloned().expect("an operand");
        self.at += 1;
        match token {
            Token::Literal(value) => value,
            Token::Name(name) if self.takes("(") => {
                let mut arguments = Vec::new();
                while !self.takes(")") {
                    arguments.push(self.or());
                    self.takes(",");
                }
                self.call(&name, &arguments)
            }
            Token::Name(name) => match self.scope.contexts.get(name.as_str()) {
                Some(value) => value.clone(),
                None => panic!("there is no context `{name}` here"),
            },
            Token::Sign(sign) => panic!("`{sign}` is no operand"),
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Value {
        match (name, arguments) {
            ("success", []) => json!(!self.scope.failed),
            ("failure", []) => json!(self.scope.failed),
            // Nobody cancels here.
            ("cancelled", []) => json!(false),
            ("always", []) => json!(true),
            ("toJSON", [value]) => json!(serde_json::to_string_pretty(value).unwrap()),
            ("fromJSON", [Value::String(text)]) => serde_json::from_str(text).unwrap(),
            ("join", [Value::Array(items), Value::String(between)]) => {
                let items: Vec<String> = items.iter().map(as_text).collect();
                json!(items.join(between))
            }
            _ => panic!("the function {name}({arguments:?}) is not played"),
        }
    }
}

/// Whether GitHub takes a value for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Texts are equal whatever their case; values of different kinds as numbers.
fn are_equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::String(left), Value::String(right)) => left.eq_ignore_ascii_case(right),
        (Value::Null, Value::Null) => true,
        (left, right) => number(left) == number(right),
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(number) => number.as_f64().unwrap(),
        Value::String(text) if text.is_empty() => 0.0,
        Value::String(text) => text.parse().unwrap_or(f64::NAN),
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// A value in a text.
pub(crate) fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => panic!("{value} in a text"),
    }
}

#[test]
fn expressions_mean_what_they_mean_on_github() {
    let scope = Scope::default()
        .with("matrix", json!({"shard": 2, "from": [1, 3]}))
        .with(
            "needs",
            json!({"plan": {"outputs": {"matrix-1": "{\"include\":[]}"}}}),
        )
        .with(
            "steps",
            json!({"build": {"outputs": {"shard-2": "sha256:0"}}}),
        );
    for (text, value) in [
        (
            "${{ matrix.shard == 2 && steps.build.outputs.shard-2 || '' }}",
            json!("sha256:0"),
        ),
        (
            "${{ matrix.shard == 1 && steps.build.outputs.shard-1 || '' }}",
            json!(""),
        ),
        (
            "${{ needs.plan.outputs.matrix-1 != '{\"include\":[]}' }}",
            json!(false),
        ),
        (
            "${{ fromJSON(needs.plan.outputs.matrix-1) }}",
            json!({"include": []}),
        ),
        (
            "shard-@(${{ join(matrix.from, '|') }})",
            json!("shard-@(1|3)"),
        ),
        ("${{ !matrix.from[2] && matrix.from[1] }}", json!(3)),
        ("${{ matrix.nothing }}-${{ 'A' == 'a' }}", json!("-true")),
    ] {
        assert_eq!(scope.value(text), value, "{text}");
    }
    let failed = Scope {
        failed: true,
        ..scope
    };
    for (condition, holds) in [
        (None, false),
        (Some("${{ matrix.shard == 2 }}"), false),
        (Some("${{ !cancelled() && matrix.shard == 2 }}"), true),
        (Some("always()"), true),
    ] {
        assert_eq!(failed.holds(condition), holds, "{condition:?}");
    }
}

#[test]
#[should_panic(expected = "is not played")]
fn a_function_that_nobody_knows_is_no_text() {
    Scope::default().value("${{ hashFiles('Cargo.lock') }}");
}
