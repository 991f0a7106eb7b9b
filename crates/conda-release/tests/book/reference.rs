//! Pages that are made from the code. `UPDATE_DOCS=1 cargo test --workspace --test book` writes them anew.

use std::fmt::Write as _;

use conda_release::{config, exit::Status};
use release_manifest::{SchemaName, schema};
use serde_json::{Map, Value};

use crate::root;

fn is_current(name: &str, expected: &str) {
    let path = root().join("docs/reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/reference/{name} is not what the code says: run `UPDATE_DOCS=1 cargo test --workspace --test book` and commit it"
    );
}

/// The text of a description in a cell of a table: one line, links to code as their text.
fn cell(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = String::new();
    let mut rest = line.as_str();
    while let Some((before, link)) = rest.split_once("[`") {
        plain.push_str(before);
        let (name, after) = link.split_once("`]").unwrap_or((link, ""));
        let after = match after.strip_prefix('(') {
            Some(target) => target.split_once(')').map_or("", |(_, after)| after),
            None => after,
        };
        let _ = write!(plain, "`{name}`");
        rest = after;
    }
    plain.push_str(rest);
    plain.replace('|', "\\|")
}

/// What a value may be, in a few words; the name of its definition where it has one.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(constant) = schema.get("const") {
        return format!("`{constant}`");
    }
    if let Some(options) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let options = options.iter().filter(|option| option["type"] != "null");
        return options.map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values = values.iter().map(|value| format!("`{value}`"));
        return values.collect::<Vec<_>>().join(", ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    let types = types
        .iter()
        .filter_map(Value::as_str)
        .filter(|kind| *kind != "null");
    let name = |kind| match kind {
        "array" => format!("list of {}", kind_of_items(&schema["items"])),
        "object" => "table".to_owned(),
        kind => kind.to_owned(),
    };
    types.map(name).collect::<Vec<_>>().join(" or ")
}

fn kind_of_items(items: &Value) -> String {
    match items.is_object() {
        true => kind(items),
        false => "anything".to_owned(),
    }
}

fn default(schema: &Value) -> String {
    match schema.get("default") {
        None | Some(Value::Null) => String::new(),
        Some(Value::Object(_)) => String::new(),
        Some(value) => format!("`{value}`"),
    }
}

/// A table of an object's members, or the values that there are.
fn members(schema: &Value) -> String {
    let mut text = String::new();
    let Some(members) = schema["properties"].as_object() else {
        let values = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
        let Some(values) = values else {
            let kind = kind(schema);
            return match kind.is_empty() {
                true => String::new(),
                false => format!("{kind}\n\n"),
            };
        };
        text.push_str("| | |\n|---|---|\n");
        for value in values {
            if let Some(variant) = value["properties"]["type"]["const"].as_str() {
                let others = value["properties"].as_object().map(Map::keys);
                let others = others.into_iter().flatten().filter(|it| *it != "type");
                let others: Vec<String> = others.map(|it| format!("`{it}`")).collect();
                let with = match others.is_empty() {
                    true => String::new(),
                    false => format!(" ({})", others.join(", ")),
                };
                let _ = writeln!(text, "| `{variant}` | {}{with} |", described(value));
            } else {
                let _ = writeln!(text, "| {} | {} |", kind(value), described(value));
            }
        }
        return text + "\n";
    };
    let has_default = members.values().any(|member| !default(member).is_empty());
    text.push_str(match has_default {
        true => "| key | value | default | |\n|---|---|---|---|\n",
        false => "| key | value | |\n|---|---|---|\n",
    });
    for (name, member) in members {
        let default = match has_default {
            true => format!(" {} |", default(member)),
            false => String::new(),
        };
        let _ = writeln!(
            text,
            "| `{name}` | {} |{default} {} |",
            kind(member),
            described(member)
        );
    }
    text + "\n"
}

fn described(schema: &Value) -> String {
    cell(schema["description"].as_str().unwrap_or_default())
}

/// A page with a section for each definition of a schema.
fn page(title: &str, introduction: &str, schema: &Value) -> String {
    let mut text = format!("# {title}\n\n{introduction}\n\n");
    text.push_str(&members(schema));
    let definitions = schema["$defs"].as_object().into_iter().flatten();
    for (name, definition) in definitions {
        let _ = writeln!(text, "## {name}\n");
        let description = described(definition);
        if !description.is_empty() {
            let _ = writeln!(text, "{description}\n");
        }
        text.push_str(&members(definition));
    }
    format!("{}\n", text.trim_end())
}

#[test]
fn the_configuration() {
    let introduction = "`conda-release.toml` at the root of the workspace, or `[workspace.metadata.conda-release]` in its \
        `Cargo.toml`; both at once are an error. The command line wins over the environment (`CONDA_RELEASE_…`), and that over \
        the file. Made from the code: `conda-release schema config` prints the same as a JSON schema.";
    is_current(
        "configuration.md",
        &page("Configuration", introduction, &config::schema()),
    );
}

#[test]
fn the_manifest() {
    let introduction = "`release-manifest.json` is preview, state, result and the protocol between machines. Paths are relative \
        to it, arrays are sorted, and the same release gives the same bytes but for times. Made from the code: \
        `conda-release schema manifest` prints the same as a JSON schema.";
    is_current(
        "manifest.md",
        &page(
            "The release manifest",
            introduction,
            &schema(SchemaName::Manifest),
        ),
    );
}

#[test]
fn the_exit_statuses() {
    let mut text = "# Exit statuses\n\nA script can rely on them. When several apply, the earliest phase wins: the order is that \
        of the table. With `--output-format json`, stdout is one JSON document, also for errors.\n\n| status | meaning |\n|---|---|\n"
        .to_owned();
    for status in Status::ALL {
        let _ = writeln!(text, "| {} | {} |", status.code(), status.meaning());
    }
    is_current("exit-statuses.md", &text);
}
