//! YAML that is serialised from values: no text of a repository can become a part of its structure.

use serde_yaml::{Mapping, Value};

use crate::error::Error;

/// A mapping whose keys stay in this order.
pub(super) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    let entries = entries.into_iter().map(|(key, it)| (Value::from(key), it));
    Value::Mapping(entries.collect::<Mapping>())
}

/// A list.
pub(super) fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
    Value::Sequence(items.into_iter().map(Into::into).collect())
}

/// Puts an entry at the end of a mapping, if there is something to put.
pub(super) fn put(mapping: &mut Value, key: &str, value: Option<Value>) {
    if let (Value::Mapping(mapping), Some(value)) = (mapping, value) {
        mapping.insert(key.into(), value);
    }
}

/// The document as text, under comments that are ours.
///
/// # Errors
/// Never for what [`map`] and [`list`] make.
pub(super) fn document(comments: &str, document: &Value) -> Result<String, Error> {
    let text = serde_yaml::to_string(document)
        .map_err(|error| Error::output("write", "YAML")(std::io::Error::other(error)))?;
    Ok(format!("{comments}{text}"))
}
