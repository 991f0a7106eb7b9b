//! Reading variants and other maps of strings, whose keys must be there once.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserializer;
use serde::de::{Error as _, MapAccess, Visitor};

/// Reads a map from keys to values, such as a variant, and refuses a key that is given twice: readers
/// that keep the first and readers that keep the last would see different packages.
pub(crate) fn read<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Variant;

    impl<'de> Visitor<'de> for Variant {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut variant = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, String>()? {
                let shown = cep27::printable(&key);
                if variant.insert(key, value).is_some() {
                    return Err(A::Error::custom(format_args!("duplicate key `{shown}`")));
                }
            }
            Ok(variant)
        }
    }

    deserializer.deserialize_map(Variant)
}
